import { dirname, join } from 'node:path'
import { realClock } from '../core/clock.ts'
import { QuestlogError, systemErrorCode } from '../core/errors.ts'
import { Exclusive } from '../core/exclusive.ts'
import { realFiles } from '../core/files.ts'
import { createLogLineWriter } from '../core/host.ts'
import { acquireLock, type ProcessLock } from '../core/lock.ts'
import { createLogger, type Logger } from '../core/logger.ts'
import { resolveSettings } from '../core/settings.ts'
import { readDefinition } from '../plan/store.ts'
import {
  answerRequest,
  toPlainError,
  type ChildNotice,
  type RequestHandlers,
  type ResponseMessage,
} from './messages.ts'
import type { IngestRole, LakeRole, RoleArguments, RoleName, RoleOptions } from './roles.ts'
import { formatAddress } from './words.ts'

/** A process that lost its supervisor stops by itself within this time: the next `up` waits for its locks. */
const orphanStopMs = 4_000
/** A restarted process waits this long for a lock that its dying predecessor still holds. */
const lockWaitMs = 15_000

type Role = { readonly port: number; readonly brokerPort: number | null } & (IngestRole | LakeRole)

/** What starts a role's parts. Each role loads its own code only. */
async function loadRole(name: RoleName): Promise<(options: RoleOptions) => Promise<Role>> {
  if (name === 'ingest') {
    const { startIngest } = await import('./ingest-role.ts')
    return async (options) => {
      const role = await startIngest(options)
      return Object.assign(role, { port: role.collectorPort })
    }
  }
  const { startLake } = await import('./lake-role.ts')
  return async (options) => {
    const role = await startLake(options)
    return Object.assign(role, { port: role.sqlPort, brokerPort: null })
  }
}

/** The life of a role's process: takes its lock, starts, answers the supervisor, stops. Ends the process. */
export async function runRole(given: RoleArguments): Promise<void> {
  process.title = `questlog ${given.role}`
  const logger = createLogger(given.role, () => realClock.nowMs(), createLogLineWriter(2))
  const host = new RoleHost(given, logger)
  process.on('message', (message) => void host.receive(message))
  process.on('disconnect', () => void host.stopOrphan())
  process.on('SIGTERM', () => void host.stopOnSignal())
  // Ctrl-C reaches the whole foreground group: the supervisor asks each process to stop in its order.
  process.on('SIGINT', () => {})
  process.on('SIGHUP', () => {})
  // A closed terminal must not end the process: what it would have shown is dropped.
  process.stdout.on('error', () => {})
  process.stderr.on('error', () => {})
  await host.run()
}

/** One role in its process. */
class RoleHost {
  readonly #given: RoleArguments
  readonly #logger: Logger
  readonly #locked: Promise<ProcessLock>
  /** Loaded at once, also while it is not known yet which definition to start with. */
  readonly #startRole: ReturnType<typeof loadRole>
  /** One at a time, in the order of asking: what the supervisor asked for last is what holds in the end. */
  readonly #activation = new Exclusive<null>(null)
  #role: Role | undefined
  #starting: Promise<Role> | undefined
  #stopping: Promise<readonly string[]> | undefined
  /** Settles when the last message has been handed to the channel. */
  #sent: Promise<void> = Promise.resolve()

  constructor(given: RoleArguments, logger: Logger) {
    this.#given = given
    this.#logger = logger
    this.#locked = waitForLock(lockPath(given))
    this.#startRole = loadRole(given.role)
  }

  async run(): Promise<void> {
    try {
      await Promise.all([this.#locked, this.#startRole])
      const { definitionVersion } = this.#given
      if (definitionVersion !== null) await this.#start(definitionVersion)
    } catch (error) {
      await this.#fail(error)
    }
  }

  async receive(message: unknown): Promise<void> {
    await answerRequest(message, this.#handlers, (answer) => this.#send(answer))
    if (!isStopRequest(message)) return
    // The answer must have reached the supervisor before the channel ends with the process.
    await this.#sent
    process.exit(0)
  }

  readonly #handlers: RequestHandlers = {
    activate: ({ version }) => this.#activation.run(() => this.#activate(version)),
    status: async () => (await this.#running()).status(),
    stop: async () => ({ lines: await this.#stop() }),
    createTopic: async (spec) => (await this.#ingest()).createTopic(spec),
    listTopics: async () => (await this.#ingest()).listTopics(),
    alterTopic: async (change) => (await this.#ingest()).alterTopic(change),
    maintainTable: async (work) => (await this.#lake()).maintainTable(work),
    exportRows: async (request) => (await this.#lake()).exportRows(request),
    deleteTopic: async (deletion) => {
      await (await this.#ingest()).deleteTopic(deletion)
      return null
    },
  }

  async #activate(version: number): Promise<null> {
    if (this.#role !== undefined || this.#starting !== undefined)
      await (await this.#running()).activate(version)
    else
      await this.#start(version).catch((error: unknown) => {
        void this.#fail(error)
        throw error
      })
    return null
  }

  async stopOrphan(): Promise<void> {
    this.#logger.warn('the supervisor is gone: stopping')
    setTimeout(() => process.exit(0), orphanStopMs).unref()
    await this.#stop().catch(() => [])
    process.exit(0)
  }

  async stopOnSignal(): Promise<void> {
    this.#logger.info('asked to stop by SIGTERM')
    await this.#stop().catch(() => [])
    process.exit(0)
  }

  async #start(version: number): Promise<Role> {
    this.#starting ??= this.#startOnce(version)
    return this.#starting
  }

  async #startOnce(version: number): Promise<Role> {
    await this.#locked
    const { data, host, port, broker, accessLog, repair } = this.#given
    const definition = await readDefinition(realFiles, data, version)
    const startRole = await this.#startRole
    const started = await startRole({
      data,
      host,
      port,
      broker,
      definitionVersion: version,
      definition,
      accessLog,
      repair,
      settings: resolveSettings(definition.settings, process.env),
      files: realFiles,
      clock: realClock,
      logger: this.#logger,
      event: (text) => this.#send({ notice: 'event', text }),
      loadDefinition: (wanted) => readDefinition(realFiles, data, wanted),
    }).catch((error: unknown) => {
      throw explainStart(error, this.#given)
    })
    this.#role = started
    const { port: servedPort, brokerPort } = started
    this.#logger.info('ready', { port: servedPort, brokerPort, definitionVersion: version })
    this.#send({ notice: 'ready', port: servedPort, brokerPort })
    return started
  }

  async #running(): Promise<Role> {
    const role = this.#role ?? (await this.#starting)
    if (role === undefined)
      throw new QuestlogError('NOT_RUNNING', `${this.#given.role} has not started yet`)
    return role
  }

  async #ingest(): Promise<IngestRole> {
    const role = await this.#running()
    if (!('createTopic' in role))
      throw new QuestlogError('INTERNAL', `${this.#given.role} owns no topics`)
    return role
  }

  async #lake(): Promise<LakeRole> {
    const role = await this.#running()
    if (!('exportRows' in role))
      throw new QuestlogError('INTERNAL', `${this.#given.role} owns no tables`)
    return role
  }

  async #stop(): Promise<readonly string[]> {
    this.#stopping ??= (async () => {
      const role = this.#role ?? (await this.#starting?.catch(() => undefined))
      const lines = (await role?.stop()) ?? []
      this.#logger.info('stopped')
      return lines
    })()
    return this.#stopping
  }

  async #fail(error: unknown): Promise<void> {
    this.#logger.error('can not start', { error })
    this.#send({ notice: 'failed', error: toPlainError(error) })
    await this.#sent
    process.exit(1)
  }

  #send(message: ChildNotice | ResponseMessage): void {
    if (!process.connected) return
    this.#sent = new Promise((resolve) => {
      process.send?.(message, undefined, undefined, () => resolve())
    })
  }
}

function isStopRequest(message: unknown): boolean {
  return (
    typeof message === 'object' &&
    message !== null &&
    'request' in message &&
    message.request === 'stop'
  )
}

function lockPath({ role, data }: RoleArguments): string {
  return join(data, role === 'ingest' ? 'log' : 'lake', 'lock')
}

async function waitForLock(path: string): Promise<ProcessLock> {
  await realFiles.makeFolder(dirname(path))
  const endMs = realClock.monotonicMs() + lockWaitMs
  for (;;) {
    const lock = acquireLock(path)
    if (lock !== undefined) return lock
    if (realClock.monotonicMs() > endMs)
      throw new QuestlogError('ALREADY_RUNNING', `another process holds ${path}`, { path })
    await realClock.sleep(20)
  }
}

/** System errors of a start in terms of the catalog. */
function explainStart(error: unknown, given: RoleArguments): unknown {
  const { role, host, port } = given
  if (error instanceof QuestlogError && error.code === 'PORT_BUSY') return portBusy(error, given)
  const cause = error instanceof QuestlogError ? error.cause : error
  switch (systemErrorCode(cause)) {
    case 'EADDRINUSE':
      return portBusy(error, given)
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return new QuestlogError(
        'USAGE',
        `${formatAddress(host, port)} is no address of this machine`,
        { host },
        { cause: error, hint: 'pass --host 127.0.0.1, or an address that `ip addr` shows' },
      )
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
    case 'ENOSPC':
      return new QuestlogError(
        'DATA_UNUSABLE',
        error instanceof Error ? error.message : String(error),
        { role },
        { cause: error },
      )
    default:
      return error
  }
}

/** `option` is the option of `questlog up` that chooses the port. */
function portBusy(cause: unknown, { role, port, broker }: RoleArguments): QuestlogError {
  const busy = cause instanceof QuestlogError ? cause.facts['port'] : port
  const isBroker = broker !== null && busy === broker.port && busy !== port
  const plain = role === 'lake' ? 'sql-port' : 'collector-port'
  const facts = {
    port: isBroker ? broker.port : port,
    role,
    option: isBroker ? 'broker-port' : plain,
  }
  const message = `port ${facts.port}, which ${role} listens on, is in use`
  return new QuestlogError('PORT_BUSY', message, facts, { cause })
}
