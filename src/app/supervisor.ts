import { fork, type ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import type { Clock } from '../core/clock.ts'
import { QuestlogError, systemErrorCode } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import { closeFile, findPortHolder, openLogFile, requireWritableFolder } from '../core/host.ts'
import { acquireLock, type ProcessLock } from '../core/lock.ts'
import type { Logger } from '../core/logger.ts'
import { resolveSettings, type Settings } from '../core/settings.ts'
import type { Topic } from '../log/record.ts'
import type { Definition } from '../plan/definition.ts'
import { withoutCertificates } from './certificates.ts'
import { Component } from './component.ts'
import { watchConfig, type ConfigWatch } from './config-watch.ts'
import { startControl, type ControlServer } from './control-server.ts'
import type { DefinitionSource } from './definition-source.ts'
import {
  publishInstance,
  readInstances,
  supervisorLockPath,
  withdrawInstance,
  type Instance,
} from './instance.ts'
import { composeStatus } from './instance-status.ts'
import { countKept, describeKept } from './kept.ts'
import {
  roleNames,
  type Endpoints,
  type InstanceStatus,
  type RoleArguments,
  type RoleName,
  type TopicSpec,
} from './roles.ts'
import type { UpOptions } from './up-options.ts'
import { formatAddress, formatDuration, formatPath } from './words.ts'

const activateTimeoutMs = 60_000
/** A change of definition is tried this often when the process dies meanwhile. */
const activateAttemptsMax = 5
/** A process that is to take a definition may die so often while it starts. */
const startAttemptsMax = 20
/** The statement of an export ends by itself after `queryTimeoutMs`, which is at most a day. */
const exportTimeoutMs = 2 * 86_400_000
const tableWorkTimeoutMs = 86_400_000
const topicTimeoutMs = 10_000
const componentLogBytesMax = 8 * 1024 * 1024
/** The last answer of the control server has this long. */
const controlCloseMs = 2_000
/** A second `up` waits this long for a supervisor that is just ending. */
const lockWaitMs = 5_000

export interface SupervisorOptions extends Omit<UpOptions, 'insecure' | 'version'> {
  readonly accessLog: boolean
  /** The program of a child process. */
  readonly roleEntry: (role: RoleName) => string
  readonly definitions: DefinitionSource
  readonly clock: Clock
  readonly files: Files
  /** Writes to `run/supervisor.log`. */
  readonly logger: Logger
  /** One line for the screen. */
  readonly screen: (line: string) => void
  readonly environment: NodeJS.ProcessEnv
  /** How long a process may take for a new definition, each time that it is asked; 60,000 unless given. */
  readonly activateTimeoutMs?: number
}

/** Starts everything and keeps it running until `stop`. Rejects, with everything stopped again, when it can't start. */
export async function startSupervisor(options: SupervisorOptions): Promise<Supervisor> {
  const supervisor = new Supervisor(options)
  try {
    await supervisor.start()
    return supervisor
  } catch (error) {
    await supervisor.abandon()
    throw explainPort(error)
  }
}

export class Supervisor {
  readonly #options: SupervisorOptions
  readonly #startedAtMs: number
  #components: readonly Component[] = []
  #settings: Settings = resolveSettings()
  #version = 0
  #definition: Definition | undefined
  /** Why the saved definition is not the live one. */
  #refused: QuestlogError | undefined
  #lock: ProcessLock | undefined
  #control: ControlServer | undefined
  #watch: ConfigWatch | undefined
  #instance: Instance | undefined
  #stopping: Promise<void> | undefined
  readonly #stopLines: string[] = []
  readonly #stopReaders = new Set<(line: string) => void>()
  #finish: () => void = () => {}
  /** Resolves when everything has stopped. */
  readonly done: Promise<void>

  constructor(options: SupervisorOptions) {
    this.#options = options
    this.#startedAtMs = options.clock.monotonicMs()
    this.done = new Promise((resolve) => (this.#finish = resolve))
  }

  get endpoints(): Endpoints {
    const at = (port: number | null | undefined, scheme = '') =>
      (port ?? 0) === 0 ? null : `${scheme}${formatAddress(this.#options.host, port ?? 0)}`
    const [ingest, lake] = [this.#component('ingest'), this.#component('lake')]
    return {
      collector: at(ingest?.port, 'http://'),
      broker: at(ingest?.brokerPort),
      sql: at(lake?.port, 'http://'),
    }
  }

  get definition(): Definition | undefined {
    return this.#definition
  }

  get definitionVersion(): number {
    return this.#version
  }

  async start(): Promise<void> {
    const { data, definitions, environment } = this.#options
    requireData(data)
    await this.#options.files.makeFolder(join(data, 'run'))
    this.#lock = await this.#takeLock()
    const early = await this.#startEarly()
    const { version, definition } = await definitions.evaluate()
    this.#settings = resolveSettings(definition.settings, environment)
    this.#control = await startControl({
      status: () => this.status(),
      listTopics: () => this.listTopics(),
      createTopic: (spec) => this.createTopic(spec),
      alterTopic: (change) => this.#ingest().request('alterTopic', change, topicTimeoutMs),
      maintainTable: (work) => this.#lake().request('maintainTable', work, tableWorkTimeoutMs),
      exportRows: (request) => this.#lake().request('exportRows', request, exportTimeoutMs),
      deleteTopic: async (deletion) => {
        await this.#ingest().request('deleteTopic', deletion, topicTimeoutMs)
      },
      stop: (write) => {
        this.onStopLine(write)
        return this.stop()
      },
    })
    const live = (await definitions.active()) === version
    const fits = early !== undefined && isSpawnedAlike(early, this.#settings)
    if (!fits) {
      await Promise.all(this.#components.map((component) => component.stop(0)))
      this.#startComponents((role) => (this.#waits(role, live) ? null : version))
    }
    this.#publish()
    await this.#startOn(version, live, fits)
    this.#version = version
    this.#definition = definition
    this.#publish()
    this.#watch = watchConfig(this.#options.config, this.#options.clock, () => this.#saved())
    this.#options.logger.info('started', { data, definitionVersion: version, ...this.endpoints })
  }

  /**
   * Starts the processes while the definition file is still being evaluated: they load their code, and wait for the version. Answers with the settings
   * that they were started with: those of the definition that was live last, undefined when there is none, and then nothing is started.
   */
  async #startEarly(): Promise<Settings | undefined> {
    const { definitions, environment, logger } = this.#options
    try {
      const version = await definitions.active()
      if (version === undefined) return undefined
      this.#settings = resolveSettings((await definitions.read(version)).settings, environment)
    } catch (error) {
      logger.warn('the live definition can not be read', { error })
      return undefined
    }
    this.#startComponents(() => null)
    return this.#settings
  }

  #startComponents(versionOf: (role: RoleName) => number | null): void {
    this.#components = roleNames
      .filter((role) => this.#options.roles.includes(role))
      .map((role) => this.#createComponent(role, versionOf(role)))
    for (const component of this.#components) component.start()
  }

  /** Lake first: a route goes live when its table is there. */
  #waits(role: RoleName, live: boolean): boolean {
    return role === 'ingest' && !live && this.#options.roles.length > 1
  }

  /** `early`: the processes know no version yet. */
  async #startOn(version: number, live: boolean, early: boolean): Promise<void> {
    const first = Promise.race(this.#components.map((component) => failed(component)))
    for (const component of this.#components)
      if (early && !this.#waits(component.name, live)) component.begin(version)
    for (const component of this.#components) {
      // Not before its turn: one that dies while it waits is started to wait again.
      component.definitionVersion = version
      const waits = this.#waits(component.name, live)
      await Promise.race([waits ? this.#activateOn(component, version) : component.ready(), first])
    }
    if (!live) await this.#options.definitions.setActive(version)
  }

  #createComponent(role: RoleName, definitionVersion: number | null): Component {
    const options = this.#options
    return new Component({
      arguments: {
        role,
        data: options.data,
        host: options.host,
        port: role === 'ingest' ? options.collectorPort : options.sqlPort,
        broker:
          role === 'ingest' ? { port: options.brokerPort, advertised: options.advertised } : null,
        definitionVersion,
        accessLog: options.accessLog && role === 'ingest',
        repair: options.repair,
      },
      spawn: (given) => this.#spawn(given),
      clock: options.clock,
      restartDelayMs: this.#settings.restartDelayMs,
      event: (text) => this.#say(text),
    })
  }

  #spawn(given: RoleArguments): ChildProcess {
    const { data, roleEntry, environment } = this.#options
    const log = openLogFile(join(data, 'run', `${given.role}.log`), componentLogBytesMax)
    try {
      return fork(roleEntry(given.role), [], {
        stdio: ['ignore', given.accessLog ? 'inherit' : log, log, 'ipc'],
        env: {
          ...withoutCertificates(environment),
          QUESTLOG_ROLE: JSON.stringify(given),
          // Statements of DuckDB hold a thread of the pool each; files need some too.
          ...(given.role === 'lake' && {
            UV_THREADPOOL_SIZE: String(this.#settings.queryConcurrencyMax + 8),
          }),
        },
      })
    } finally {
      closeFile(log)
    }
  }

  /** The definition file was saved: evaluates it and makes it live; on an error the last good one stays. */
  async #saved(): Promise<void> {
    const { definitions, clock } = this.#options
    const startMs = clock.monotonicMs()
    const before = this.#definition
    const taken: Component[] = []
    try {
      const { version, definition } = await definitions.evaluate()
      if (version === this.#version) {
        if (this.#refused !== undefined) this.#say(`definition is again version ${version}`)
        this.#refused = undefined
        return
      }
      for (const component of this.#components) {
        await this.#activateOn(component, version).catch((error: unknown) => {
          // It may yet take the definition: what it is asked for then comes after that.
          if (isNoAnswer(error)) taken.unshift(component)
          throw error
        })
        component.definitionVersion = version
        taken.unshift(component)
      }
      await definitions.setActive(version)
      this.#version = version
      this.#definition = definition
      this.#refused = undefined
      const changes = summarize(definitions.describeChange(before, definition))
      const took = formatDuration(clock.monotonicMs() - startMs)
      this.#say(`definition version ${version} is live (${took}): ${changes}`)
    } catch (error) {
      if (this.#stopping !== undefined) return
      const refused =
        error instanceof QuestlogError ? error : new QuestlogError('INTERNAL', String(error))
      this.#refused = refused
      await this.#takeBack(taken)
      this.#say(`definition not taken, version ${this.#version} stays live: ${refused.message}`)
    }
  }

  /** All processes go by one definition: those that have taken one that another refuses go back to the live one. */
  async #takeBack(taken: readonly Component[]): Promise<void> {
    for (const component of taken) {
      component.definitionVersion = this.#version
      await this.#activateOn(component, this.#version).catch((error: unknown) => {
        const reason = error instanceof Error ? error.message : String(error)
        this.#say(`${component.name} keeps the definition until it starts again: ${reason}`)
      })
    }
  }

  async #activateOn(component: Component, version: number): Promise<void> {
    const timeoutMs = this.#options.activateTimeoutMs ?? activateTimeoutMs
    for (let attempt = 1; ; attempt++) {
      try {
        return void (await component.request('activate', { version }, timeoutMs))
      } catch (error) {
        if (!isNoAnswer(error) || attempt === activateAttemptsMax) throw error
        await backAgain(component)
      }
    }
  }

  status(): Promise<InstanceStatus> {
    const { data, config, host, cwd, clock } = this.#options
    return composeStatus({
      data,
      config,
      host,
      configName: formatPath(config, cwd),
      definitionVersion: this.#version,
      endpoints: this.endpoints,
      components: this.#components,
      refused: this.#refused,
      uptimeMs: clock.monotonicMs() - this.#startedAtMs,
      stopping: this.#stopping !== undefined,
    })
  }

  async listTopics(): Promise<readonly Topic[]> {
    return this.#ingest().request('listTopics', {}, topicTimeoutMs)
  }

  async createTopic(spec: TopicSpec): Promise<Topic> {
    return this.#ingest().request('createTopic', spec, topicTimeoutMs)
  }

  /** Events on the log; undefined when ingest is not run by this process or does not answer. */
  async countOnLog(): Promise<number | undefined> {
    const status = await this.#component('ingest')
      ?.request('status', {}, topicTimeoutMs)
      .catch(() => undefined)
    return status?.topics.reduce((sum, topic) => sum + topic.kept, 0)
  }

  #ingest(): Component {
    const ingest = this.#component('ingest')
    if (ingest === undefined)
      throw new QuestlogError('NOT_RUNNING', 'the log is not run by this process')
    return ingest
  }

  #lake(): Component {
    const lake = this.#component('lake')
    if (lake === undefined)
      throw new QuestlogError('NOT_RUNNING', 'the tables are not run by this process')
    return lake
  }

  #component(role: RoleName): Component | undefined {
    return this.#components.find((component) => component.name === role)
  }

  /** Hands each line about a stop to `write`, whoever asks for it; those said before come at once. */
  onStopLine(write: (line: string) => void): void {
    for (const line of this.#stopLines) write(line)
    this.#stopReaders.add(write)
  }

  /** Drains: ingest finishes its answers, then lake commits what is fresh. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stopOnce().finally(() => void this.#close())
    return this.#stopping
  }

  /** Ends the control server after the answer to `down`, which is still being written. */
  async #close(): Promise<void> {
    const late = new AbortController()
    await Promise.race([
      this.#control?.close(),
      this.#options.clock.sleep(controlCloseMs, late.signal),
    ])
    late.abort()
    this.#finish()
  }

  async #stopOnce(): Promise<void> {
    const tell = (line: string) => {
      this.#stopLines.push(line)
      for (const reader of this.#stopReaders) reader(line)
    }
    await this.#watch?.close()
    for (const component of this.#components.toReversed()) {
      const lines = await component.stop(this.#settings.drainTimeoutMs)
      tell(`Stopping ${component.name.padEnd(10)} … done`)
      for (const line of lines) tell(`  ${line}`)
    }
    const { data, files, cwd, logger } = this.#options
    const kept = await countKept(files, data).catch(() => undefined)
    this.#release()
    tell(`Stopping supervisor … done`)
    if (kept !== undefined) tell(describeKept(kept, formatPath(data, cwd)))
    logger.info('stopped')
  }

  /** Ends the children at once, without draining. Nothing that was answered is lost: it is on the log. */
  killNow(): void {
    for (const component of this.#components) component.kill()
  }

  /** After a failed start. */
  async abandon(): Promise<void> {
    this.killNow()
    await Promise.all(this.#components.map((component) => component.stop(0)))
    this.#release()
    await this.#close()
  }

  #release(): void {
    if (this.#instance !== undefined) withdrawInstance(this.#instance, this.#options.environment)
    this.#instance = undefined
    this.#lock?.release()
    this.#lock = undefined
  }

  async #takeLock(): Promise<ProcessLock> {
    const { data, roles, clock } = this.#options
    const endMs = clock.monotonicMs() + lockWaitMs
    for (;;) {
      const lock = acquireLock(supervisorLockPath(data, roles))
      const running = findRival(data, roles, lock !== undefined)
      if (lock !== undefined && running === undefined) return lock
      lock?.release()
      // One that was just killed may be named for a moment longer.
      const alive = running !== undefined && isProcessAlive(running.pid)
      if (alive || clock.monotonicMs() > endMs) throw alreadyRunning(data, running)
      await clock.sleep(50)
    }
  }

  #publish(): void {
    if (this.#control === undefined) return
    const { data, config, roles, clock, environment } = this.#options
    this.#instance = {
      pid: process.pid,
      control: this.#control.url,
      token: this.#control.token,
      endpoints: this.endpoints,
      data,
      config,
      startedAt: this.#instance?.startedAt ?? clock.nowMs(),
      roles,
    }
    publishInstance(this.#instance, environment)
  }

  #say(text: string): void {
    this.#options.logger.info(text)
    this.#options.screen(text)
  }
}

const changesShown = 6

function summarize(changes: readonly string[]): string {
  if (changes.length === 0) return 'nothing changed'
  const shown = changes.slice(0, changesShown).join('; ')
  const rest = changes.length - changesShown
  return rest > 0 ? `${shown}; and ${rest} more changes` : shown
}

/** Whether processes that were started with these settings need not be started anew: all else they read themselves. */
function isSpawnedAlike(before: Settings, after: Settings): boolean {
  return (
    before.queryConcurrencyMax === after.queryConcurrencyMax &&
    before.restartDelayMs === after.restartDelayMs
  )
}

/** Never resolves; rejects when the component can't start. */
async function failed(component: Component): Promise<never> {
  await component.ready()
  return new Promise(() => {})
}

function requireData(data: string): void {
  try {
    requireWritableFolder(data)
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new QuestlogError(
      'DATA_UNUSABLE',
      `the data folder ${data} can't be written: ${reason}`,
      { data, reason: systemErrorCode(error) },
      { cause: error },
    )
  }
}

/** An instance that runs one of these roles on the data; its own note of an earlier life does not count while this process holds its lock. */
function findRival(
  data: string,
  roles: readonly RoleName[],
  ownsLock: boolean,
): Instance | undefined {
  const own = supervisorLockPath(data, roles)
  return readInstances(data)
    .filter((instance) => !ownsLock || supervisorLockPath(data, instance.roles) !== own)
    .find((instance) => instance.roles.some((role) => roles.includes(role)))
}

function isProcessAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return systemErrorCode(error) === 'EPERM'
  }
}

function alreadyRunning(data: string, running: Instance | undefined): QuestlogError {
  if (running === undefined)
    return new QuestlogError('ALREADY_RUNNING', `another process holds ${data}`, { data })
  const { collector, sql } = running.endpoints
  const addresses = [collector, sql].filter((address) => address !== null).join(' and ')
  return new QuestlogError(
    'ALREADY_RUNNING',
    `questlog already runs on ${data}: pid ${running.pid}${addresses === '' ? '' : `, ${addresses}`}`,
    { data, pid: running.pid },
  )
}

/** Adds who holds a busy port. The command with another port is the caller's to say: it knows its arguments. */
function explainPort(error: unknown): unknown {
  if (!(error instanceof QuestlogError) || error.code !== 'PORT_BUSY') return error
  const port = Number(error.facts['port'])
  const holder = findPortHolder(port)
  if (holder === undefined) return error
  return new QuestlogError(
    'PORT_BUSY',
    `${error.message} by pid ${holder.pid} (${holder.program})`,
    { ...error.facts, pid: holder.pid, program: holder.program },
    { cause: error },
  )
}

/** Waits for a process that has died. One that dies once more while it starts, with the definition that it had, says nothing about the new one. */
async function backAgain(component: Pick<Component, 'ready'>): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await component.ready()
    } catch (error) {
      if (!isNoAnswer(error) || attempt === startAttemptsMax) throw error
    }
  }
}

/** Whether a process has died, or not answered in time. */
function isNoAnswer(error: unknown): boolean {
  return error instanceof QuestlogError && error.code === 'NOT_RUNNING'
}
