import { fork, type ChildProcess } from 'node:child_process'
import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { QuestlogError, type ErrorCode, type ErrorFacts } from '../core/errors.ts'
import { realFiles } from '../core/files.ts'
import { programPath } from '../core/program.ts'
import type { Definition } from './definition.ts'

export interface EvaluateOptions {
  /** The child is killed after this time. Default 10,000. */
  readonly timeoutMs?: number
  /** Where the JavaScript of TypeScript files is kept for the next time; nowhere unless given. */
  readonly cacheFolder?: string
  /** Called for each line that user code prints, at most 100 of them. */
  readonly onWarning?: (line: string) => void
}

/** What the child sends. */
export type ChildAnswer =
  | { readonly definition: Definition; readonly error?: undefined }
  | {
      readonly definition?: undefined
      readonly error: {
        readonly code: ErrorCode
        readonly message: string
        readonly hint: string
        readonly facts: ErrorFacts
      }
    }

/** A guard against a file that waits for ever; a slow machine needs a few seconds for a large one. */
const defaultTimeoutMs = 30_000
const childHeapMiB = 512
const printedCharsMax = 64 * 1024
const printedLinesMax = 100

/**
 * Evaluates the definition file in a child process of its own, so that code that hangs, prints, or ends the process does no harm.
 * The environment is passed through. Throws what `loadConfigFile` throws, and DEFINITION_INVALID when the child gave no answer in time.
 */
export async function evaluateInChild(
  path: string,
  options: EvaluateOptions = {},
): Promise<Definition> {
  const timeoutMs = options.timeoutMs ?? defaultTimeoutMs
  const file = resolve(path)
  const { cacheFolder } = options
  let ended = await runChild(file, timeoutMs, cacheFolder)
  if (cacheFolder !== undefined && ended.answer?.error !== undefined) {
    // What is kept may be damaged, or the disk full: only what the file itself says may refuse a start.
    ended = await runChild(file, timeoutMs, undefined)
    if (ended.answer?.definition !== undefined) await emptyFolder(cacheFolder)
  }
  const { answer } = ended
  for (const line of printedLines(ended.printed)) options.onWarning?.(line)
  if (answer?.definition !== undefined) return answer.definition
  if (answer !== undefined) {
    const { code, message, facts, hint } = answer.error
    throw new QuestlogError(code, message, facts, { hint })
  }
  const why = ended.timedOut
    ? `gave no definition within ${timeoutMs / 1000} s`
    : `ended (${ended.how}) before it gave a definition`
  throw new QuestlogError(
    'DEFINITION_INVALID',
    `${path}: the file ${why} — fix: remove what waits, or ends the process, at its top level`,
    { file, printed: ended.printed.slice(-2000) },
  )
}

/** The next evaluation makes the files anew; what can not be removed is left. */
async function emptyFolder(folder: string): Promise<void> {
  const names = await realFiles.list(folder).catch(() => [])
  await Promise.all(names.map((name) => realFiles.unlink(join(folder, name)).catch(() => {})))
}

interface Ended {
  readonly answer: ChildAnswer | undefined
  readonly printed: string
  readonly timedOut: boolean
  /** Exit code or signal. */
  readonly how: string
}

function startChild(file: string, cacheFolder: string | undefined): ChildProcess {
  const execArgv = [`--max-old-space-size=${childHeapMiB}`]
  let entry = programPath('evaluate-child', import.meta.url)
  if (import.meta.url.endsWith('.ts')) {
    // Run from its TypeScript source, a program needs a loader for it.
    entry = entry.replace(/\.js$/, '.ts')
    const jiti = pathToFileURL(createRequire(import.meta.url).resolve('jiti'))
    execArgv.push('--import', new URL('./jiti-register.mjs', jiti).href)
  }
  const words = cacheFolder === undefined ? [file] : [file, cacheFolder]
  return fork(entry, words, { execArgv, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] })
}

function runChild(
  file: string,
  timeoutMs: number,
  cacheFolder: string | undefined,
): Promise<Ended> {
  return new Promise((settle, fail) => {
    const child = startChild(file, cacheFolder)
    let answer: ChildAnswer | undefined
    let timedOut = false
    let printed = ''
    const keep = (chunk: string) => {
      printed = (printed + chunk).slice(0, printedCharsMax)
    }
    child.stdout?.setEncoding('utf8').on('data', keep)
    child.stderr?.setEncoding('utf8').on('data', keep)
    child.on('message', (message) => {
      answer ??= message as ChildAnswer // our own program sends nothing else
    })
    const limit = setTimeout(() => {
      timedOut = true
      child.kill('SIGKILL')
      // A grandchild may hold the pipes open.
      child.stdout?.destroy()
      child.stderr?.destroy()
    }, timeoutMs)
    child.on('error', fail)
    child.on('close', (code, signal) => {
      clearTimeout(limit)
      settle({ answer, printed, timedOut, how: signal ?? `exit code ${code}` })
    })
  })
}

function printedLines(printed: string): string[] {
  const lines = printed.split('\n').filter((line) => line.trim() !== '')
  if (lines.length <= printedLinesMax) return lines
  return [...lines.slice(0, printedLinesMax), `… and ${lines.length - printedLinesMax} lines more`]
}
