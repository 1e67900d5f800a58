import type { ChildProcess } from 'node:child_process'
import type { Clock } from '../core/clock.ts'
import { QuestlogError } from '../core/errors.ts'
import {
  fromPlainError,
  isNotice,
  Requester,
  type ChildNotice,
  type ChildRequestName,
  type ChildRequests,
} from './messages.ts'
import type { ComponentState, RoleArguments, RoleName } from './roles.ts'
import { formatDuration } from './words.ts'

/** The delay before a restart doubles up to this. */
const restartDelayMaxMs = 5_000
/** A process that was ready for this long starts again after the first delay. */
const settledAfterMs = 10_000
/** A start is given up when the process died this often before it was ever ready. */
const startDeathsMax = 5
/** A process that answered `stop` has this long to exit. */
const exitTimeoutMs = 2_000

/** The answer says nothing that `ready` does not: it may come late. */
const beginTimeoutMs = 600_000

/** After the end of a process its last messages have this long to arrive. */
const lastWordsMs = 200

export interface ComponentOptions {
  readonly arguments: RoleArguments
  /** Starts the process with an IPC channel. */
  readonly spawn: (given: RoleArguments) => ChildProcess
  readonly clock: Clock
  readonly restartDelayMs: number
  /** One line for the screen. */
  readonly event: (text: string) => void
}

/** One process under the supervisor: started, started again when it dies, asked, stopped. */
export class Component {
  readonly name: RoleName
  readonly #options: ComponentOptions
  readonly #wake = new AbortController()
  #given: RoleArguments
  #child: ChildProcess | undefined
  #requester: Requester | undefined
  #state: ComponentState = 'starting'
  #startedAtMs = 0
  #readyAtMs: number | undefined
  #wasReady = false
  #restarts = 0
  #quickDeaths = 0
  #lastEnd: { readonly cause: string; readonly atMs: number } | undefined
  #problem: QuestlogError | undefined
  #waiting: { resolve: () => void; reject: (error: unknown) => void }[] = []
  #run: Promise<void> = Promise.resolve()
  #stopping: Promise<readonly string[]> | undefined

  constructor(options: ComponentOptions) {
    this.#options = options
    this.#given = options.arguments
    this.name = options.arguments.role
  }

  get state(): ComponentState {
    return this.#state
  }

  get pid(): number | null {
    return this.#child?.pid ?? null
  }

  /** The port it serves on; remembered over restarts. */
  get port(): number {
    return this.#given.port
  }

  /** The port for Kafka clients, likewise; null when there is none. */
  get brokerPort(): number | null {
    return this.#given.broker?.port ?? null
  }

  get restarts(): number {
    return this.#restarts
  }

  /** How the process ended last, and how long ago; undefined when it never did. */
  get lastEnd(): { readonly cause: string; readonly agoMs: number } | undefined {
    if (this.#lastEnd === undefined) return undefined
    const { cause, atMs } = this.#lastEnd
    return { cause, agoMs: this.#options.clock.monotonicMs() - atMs }
  }

  /** Why the last start failed; undefined once it is ready. */
  get problem(): QuestlogError | undefined {
    return this.#problem
  }

  get uptimeMs(): number {
    return this.#child === undefined ? 0 : this.#options.clock.monotonicMs() - this.#startedAtMs
  }

  /** The definition that the next start of the process begins with. */
  set definitionVersion(version: number) {
    this.#given = { ...this.#given, definitionVersion: version }
  }

  /** Starts the process and keeps it running from here on. */
  start(): void {
    this.#run = this.#keepRunning()
  }

  /** Resolves when the process is ready; rejects with why it can't be, when it never was. */
  ready(): Promise<void> {
    if (this.#state === 'running') return Promise.resolve()
    if (this.#state === 'stopping' || this.#state === 'stopped')
      return Promise.reject(
        this.#problem ?? new QuestlogError('SHUTTING_DOWN', `${this.name} is stopping`),
      )
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }))
  }

  /** Lets a process that waits for its definition go on with this one, which its next start begins with too. `ready` tells how it went. */
  begin(version: number): void {
    this.definitionVersion = version
    // One that refuses says `failed` and ends, like one that was started with a version; one that has ended is started with this one.
    this.#requester?.request('activate', { version }, beginTimeoutMs).catch(() => {})
  }

  /** Asks the process; NOT_RUNNING when it is not there, ends meanwhile, or takes longer than `timeoutMs`. */
  async request<Name extends ChildRequestName>(
    name: Name,
    parameters: ChildRequests[Name]['parameters'],
    timeoutMs: number,
  ): Promise<ChildRequests[Name]['result']> {
    if (this.#requester === undefined)
      throw new QuestlogError('NOT_RUNNING', `${this.name} is not running`)
    return this.#requester.request(name, parameters, timeoutMs)
  }

  /** Asks the process to drain, and ends it when it does not in `timeoutMs`. Answers with lines for the screen. */
  stop(timeoutMs: number): Promise<readonly string[]> {
    this.#stopping ??= this.#stopOnce(timeoutMs)
    return this.#stopping
  }

  /** Ends the process at once. */
  kill(): void {
    this.#state = 'stopping'
    this.#wake.abort()
    this.#child?.kill('SIGKILL')
  }

  async #stopOnce(timeoutMs: number): Promise<readonly string[]> {
    const ran = this.#child !== undefined
    this.#state = 'stopping'
    this.#wake.abort()
    const lines = ran ? await this.#askToStop(timeoutMs) : [`it was not running`]
    await this.#run
    this.#state = 'stopped'
    this.#settle(new QuestlogError('SHUTTING_DOWN', `${this.name} is stopping`))
    return lines
  }

  async #askToStop(timeoutMs: number): Promise<readonly string[]> {
    const child = this.#child
    const killer = new AbortController()
    try {
      const { lines } = await this.request('stop', {}, timeoutMs)
      void this.#options.clock.sleep(exitTimeoutMs, killer.signal).then(() => {
        if (!killer.signal.aborted) child?.kill('SIGKILL')
      })
      await this.#run
      return lines
    } catch {
      const alive = child !== undefined && child.exitCode === null && child.signalCode === null
      child?.kill('SIGKILL')
      return alive
        ? [`it did not stop within ${formatDuration(timeoutMs)} and was ended; nothing is lost`]
        : ['it was not running']
    } finally {
      killer.abort()
    }
  }

  async #keepRunning(): Promise<void> {
    const { clock } = this.#options
    for (;;) {
      const cause = await this.#runOnce()
      if (this.#isStopping()) return
      const readyForMs = this.#readyAtMs === undefined ? 0 : clock.monotonicMs() - this.#readyAtMs
      this.#quickDeaths = readyForMs > settledAfterMs ? 1 : this.#quickDeaths + 1
      this.#restarts++
      this.#lastEnd = { cause, atMs: clock.monotonicMs() }
      this.#state = 'restarting'
      if (!this.#wasReady && this.#giveUp(cause)) return
      const delayMs = Math.min(
        this.#options.restartDelayMs * 2 ** (this.#quickDeaths - 1),
        restartDelayMaxMs,
      )
      this.#options.event(`${this.name} ${cause}; starting it again in ${formatDuration(delayMs)}`)
      await clock.sleep(delayMs, this.#wake.signal)
      if (this.#isStopping()) return
    }
  }

  /** Whether a first start is over: it failed for a reason that a restart can't change, or died too often. */
  #giveUp(cause: string): boolean {
    const failed = this.#problem !== undefined && !this.#problem.row.retriable
    if (!failed && this.#quickDeaths < startDeathsMax) return false
    this.#problem ??= new QuestlogError(
      'INTERNAL',
      `${this.name} ${cause}, ${this.#quickDeaths} times while it was starting`,
      { component: this.name },
      { hint: `see \`questlog logs ${this.name}\`` },
    )
    this.#state = 'stopped'
    this.#settle(this.#problem)
    return true
  }

  #isStopping(): boolean {
    return this.#state === 'stopping' || this.#state === 'stopped'
  }

  /** One life of the process; answers how it ended. */
  async #runOnce(): Promise<string> {
    try {
      return await this.#watch(this.#options.spawn(this.#given))
    } catch (error) {
      // No room for its log file, or for a process: tried again like any other end.
      return `can not run: ${error instanceof Error ? error.message : String(error)}`
    }
  }

  #watch(child: ChildProcess): Promise<string> {
    const requester = new Requester((message) => {
      if (child.connected) child.send(message)
    })
    this.#child = child
    this.#requester = requester
    this.#readyAtMs = undefined
    this.#startedAtMs = this.#options.clock.monotonicMs()
    child.on('message', (message) => {
      if (!requester.receive(message) && isNotice(message)) this.#notice(message)
    })
    return new Promise((resolve) => {
      const ended = (cause: string) => {
        // Who learns of the end by a request that fails must not take the process for ready.
        if (this.#state === 'running') this.#state = 'restarting'
        if (this.#child === child) this.#child = undefined
        if (this.#requester === requester) this.#requester = undefined
        requester.close(`${this.name} ${cause}`)
        resolve(cause)
      }
      child.once('error', (error) => ended(`can not run: ${error.message}`))
      child.once('exit', (code, signal) => {
        // What it said last may still be on its way: the channel ends after it.
        const last = new AbortController()
        child.once('disconnect', () => last.abort())
        if (!child.connected) last.abort()
        void this.#options.clock
          .sleep(lastWordsMs, last.signal)
          .then(() => ended(this.#describeEnd(code, signal)))
      })
    })
  }

  #describeEnd(code: number | null, signal: NodeJS.Signals | null): string {
    if (this.#problem !== undefined && this.#readyAtMs === undefined)
      return `can not start: ${this.#problem.message}`
    if (signal !== null) return `was ended by ${signal}`
    return code === 0 ? 'ended' : `ended with exit code ${code}`
  }

  #notice(notice: ChildNotice): void {
    switch (notice.notice) {
      case 'event':
        this.#options.event(notice.text)
        break
      case 'failed':
        this.#problem = fromPlainError(notice.error)
        break
      case 'ready':
        this.#becomeReady(notice)
    }
  }

  #becomeReady({ port, brokerPort }: ChildNotice & { notice: 'ready' }): void {
    if (this.#isStopping()) return
    const { clock } = this.#options
    const { broker } = this.#given
    this.#given = {
      ...this.#given,
      port,
      broker: broker && brokerPort !== null ? { ...broker, port: brokerPort } : null,
    }
    this.#readyAtMs = clock.monotonicMs()
    this.#problem = undefined
    this.#state = 'running'
    if (this.#wasReady)
      this.#options.event(
        `${this.name} is back (pid ${this.pid}, ${formatDuration(this.#readyAtMs - this.#startedAtMs)})`,
      )
    this.#wasReady = true
    this.#settle(undefined)
  }

  #settle(error: QuestlogError | undefined): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const { resolve, reject } of waiting) {
      if (error === undefined) resolve()
      else reject(error)
    }
  }
}
