import { fork, type ChildProcess } from 'node:child_process'
import { constants, setPriority } from 'node:os'
import type { DuckdbOptions, Query } from '../core/duckdb.ts'
import { QuestlogError } from '../core/errors.ts'
import { programPath } from '../core/program.ts'
import type { Background } from '../stream/maintenance.ts'
import { fromPlainError } from './messages.ts'
import type { PlainError } from './roles.ts'

/** What the process is asked: one statement at a time, so that nothing has to say which answer is whose. */
export interface MergingRequest {
  readonly sql: string
}

type Rows = Awaited<ReturnType<Query>>

export type MergingAnswer = { readonly rows: Rows } | { readonly error: PlainError }

export interface MergingProcessOptions {
  readonly duckdb: DuckdbOptions
  /** How long it stays when there is nothing to do; the default is longer than the pause between two looks at the tables. */
  readonly idleMs?: number
  /** How it is started: the program, and options of Node; the default is `merging-main.js` and those of this process. */
  readonly program?: string
  readonly execArgv?: readonly string[]
}

/**
 * A process of the lowest priority that runs statements on data files: whatever else wants a processor gets it first. Started by the first statement, ended
 * when there was none for a while (it takes a moment of this process to start one, and room while it is there), and gone with this process, however that ends.
 */
export class MergingProcess implements Background {
  readonly #options: MergingProcessOptions
  #child: ChildProcess | undefined
  #idle: NodeJS.Timeout | undefined
  #isClosed = false

  constructor(options: MergingProcessOptions) {
    this.#options = options
  }

  /** Null while there is none. */
  get pid(): number | null {
    return this.#child?.pid ?? null
  }

  /** Rejects with DuckDB's error, INTERNAL when the process ended before it answered, OVERLOADED when it did not answer in time. Then the statement may have written files. */
  async query(sql: string, timeoutMs: number): Promise<Rows> {
    if (this.#isClosed) throw hasEnded()
    clearTimeout(this.#idle)
    this.#child ??= this.#start()
    let isLate = false
    const late = setTimeout(() => {
      isLate = true
      this.#end()
    }, timeoutMs)
    try {
      return await ask(this.#child, { sql })
    } catch (error) {
      if (this.#isClosed) throw hasEnded()
      throw isLate ? overloaded(timeoutMs) : error
    } finally {
      clearTimeout(late)
      if (!this.#isClosed)
        this.#idle = setTimeout(() => this.#end(), this.#options.idleMs ?? 15_000)
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true
    clearTimeout(this.#idle)
    this.#end()
  }

  #start(): ChildProcess {
    const { duckdb, program, execArgv } = this.#options
    const child = fork(program ?? programPath('merging-main', import.meta.url), [], {
      // What it says at its end belongs to the log of this process.
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      env: { ...process.env, QUESTLOG_MERGING: JSON.stringify(duckdb), UV_THREADPOOL_SIZE: '1' },
      ...(execArgv && { execArgv: [...execArgv] }),
    })
    child.once('exit', () => this.#forget(child))
    child.once('error', () => this.#forget(child))
    try {
      // Now, for its start is work too. From here every thread of it has this priority.
      if (child.pid !== undefined) setPriority(child.pid, constants.priority.PRIORITY_LOW)
    } catch {
      // It has ended already, or the system does not let us: then it merges all the same.
    }
    return child
  }

  #forget(child: ChildProcess): void {
    if (this.#child === child) this.#child = undefined
  }

  /** It has nothing that would have to be put away. */
  #end(): void {
    this.#child?.kill('SIGKILL')
    this.#child = undefined
  }
}

function ask(child: ChildProcess, request: MergingRequest): Promise<Rows> {
  return new Promise((resolve, reject) => {
    const settle = (how: () => void) => {
      child.off('message', answered).off('exit', ended).off('error', failed)
      how()
    }
    const answered = (message: unknown) => {
      const answer = message as MergingAnswer // of merging-main.ts, the same version
      settle(() => ('rows' in answer ? resolve(answer.rows) : reject(fromPlainError(answer.error))))
    }
    const ended = (code: number | null, signal: NodeJS.Signals | null) =>
      settle(() => reject(gone(`was ended by ${signal ?? `itself with exit code ${code}`}`)))
    const failed = (error: Error) => settle(() => reject(gone(`can not run: ${error.message}`)))
    child.on('message', answered).on('exit', ended).on('error', failed)
    child.send(request, (error) => {
      if (error !== null) failed(error)
    })
  })
}

function hasEnded(): QuestlogError {
  return new QuestlogError('SHUTTING_DOWN', 'questlog is stopping')
}

function overloaded(timeoutMs: number): QuestlogError {
  const seconds = Math.round(timeoutMs / 1000)
  return new QuestlogError(
    'OVERLOADED',
    `everything else left a merge too little of this machine to be done in ${seconds} s`,
  )
}

function gone(how: string): QuestlogError {
  return new QuestlogError(
    'INTERNAL',
    `the process that merges files ${how}`,
    {},
    { hint: 'nothing is lost: it is tried again; see `questlog logs lake`' },
  )
}
