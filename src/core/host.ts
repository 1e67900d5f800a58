import { spawnSync } from 'node:child_process'
import {
  accessSync,
  closeSync,
  constants,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  watch,
  write,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemErrorCode } from './errors.ts'

/** The small things that processes need of their machine beside data: private notes, log files, a watched folder. Synchronous, for start, stop and one-shot commands. */

/** The text of a file, or undefined when it can't be read. */
export function readTextIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}

/** Replaces a file that only this user may read. A reader sees the old or the new text. */
export function writePrivateFile(path: string, text: string): void {
  const temporary = `${path}.${process.pid}.new`
  writeFileSync(temporary, text, { mode: 0o600 })
  renameSync(temporary, path)
}

export function removeIfThere(path: string): void {
  rmSync(path, { force: true })
}

/** Whether there is a file or folder of this name. */
export function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined
}

/** Creates a folder that only this user may enter. False when it can't be had: it belongs to someone else. */
export function makePrivateFolder(path: string): boolean {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 })
    const status = lstatSync(path)
    return status.isDirectory() && (process.getuid === undefined || status.uid === process.getuid())
  } catch {
    return false
  }
}

/** Creates a folder and proves that files can be made in it; throws the system's error when not. */
export function requireWritableFolder(path: string): void {
  mkdirSync(path, { recursive: true })
  accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK)
  const probe = join(path, `.probe-${process.pid}`)
  closeSync(openSync(probe, 'w'))
  rmSync(probe, { force: true })
}

/** Creates a new folder for this run alone; answers with its path. */
export function makeTemporaryFolder(prefix: string): string {
  return mkdtempSync(join(tmpdir(), prefix))
}

/** Removes a folder and what is in it, also while something in it is just ending. */
export function removeFolder(path: string): void {
  rmSync(path, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 })
}

/** Names in a folder, sorted; empty when it can't be read. */
export function listNames(path: string): string[] {
  try {
    return readdirSync(path).sort()
  } catch {
    return []
  }
}

/** Opens a log file for appending. One that has grown past `bytesMax` is kept as `<path>.1` and a new one begun. */
export function openLogFile(path: string, bytesMax: number): number {
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0
  if (size > bytesMax) renameSync(path, `${path}.1`)
  return openSync(path, 'a')
}

export function closeFile(fd: number): void {
  closeSync(fd)
}

/**
 * Writes lines to an open log file at once. On a full disk lines are lost, and the first one that fits again starts a line of its own: what comes
 * after stays readable. (A stream of Node would drop that one as well.)
 */
export function createLogLineWriter(fd: number): (line: string) => void {
  let torn = false
  return (line) => {
    const bytes = Buffer.from(`${torn ? '\n' : ''}${line}\n`)
    let written = 0
    try {
      while (written < bytes.length) written += writeSync(fd, bytes, written)
      torn = false
    } catch {
      torn ||= written > 0
    }
  }
}

/** Size and time of change of each file, as one text: another text means that something was saved. */
export function folderSignature(folder: string, isWanted: (name: string) => boolean): string {
  return listNames(folder)
    .filter(isWanted)
    .map((name) => `${name} ${fileSignature(join(folder, name))}`)
    .join('\n')
}

function fileSignature(path: string): string {
  try {
    const { size, mtimeMs, ino } = statSync(path)
    return `${size} ${mtimeMs} ${ino}`
  } catch {
    return ''
  }
}

/** Calls `changed` with the name of a file that was saved in the folder. Without support of the file system it never does. */
export function watchFolder(folder: string, changed: (name: string) => void): { close(): void } {
  try {
    const watcher = watch(folder, { persistent: false }, (_, name) => changed(name ?? ''))
    watcher.on('error', () => watcher.close())
    return { close: () => watcher.close() }
  } catch {
    return { close: () => {} }
  }
}

/** Lines for a terminal or pipe that never hold the caller up: one write at a time, and lines are dropped (and counted) while the reader is slow. */
export interface LineWriter {
  line(text: string): void
  /** Resolves when everything given so far is written, or can't be. */
  flush(): Promise<void>
}

const pendingCharactersMax = 1024 * 1024
/** Between two writes: each is a trip through the thread pool, dearer than a hundred lines. Nobody reads faster. */
const restMs = 20

export function createLineWriter(fd: number): LineWriter {
  let pending = ''
  let dropped = 0
  let writing: Promise<void> | undefined
  let isHurried = false
  let endRest = () => {}
  const rest = () =>
    new Promise<void>((resolve) => {
      if (isHurried) return resolve()
      const timer = setTimeout(resolve, restMs)
      endRest = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  const drain = async () => {
    // A turn of the event loop gathers the lines of one burst.
    await new Promise((resolve) => setImmediate(resolve))
    while (pending !== '') {
      const bytes = Buffer.from(pending)
      pending = dropped === 0 ? '' : `… ${dropped} lines not shown: the reader is slow\n`
      dropped = 0
      if (!(await writeAll(fd, bytes))) break
      await rest()
    }
    writing = undefined
  }
  return {
    line(text) {
      if (pending.length > pendingCharactersMax) dropped++
      else pending += `${text}\n`
      writing ??= drain()
    },
    async flush() {
      isHurried = true
      endRest()
      await writing
      isHurried = false
    },
  }
}

/** False when nobody reads any more. */
async function writeAll(fd: number, bytes: Buffer): Promise<boolean> {
  for (let position = 0; position < bytes.length;) {
    const outcome = await new Promise<number | string>((resolve) => {
      write(fd, bytes, position, bytes.length - position, null, (error, written) => {
        resolve(error === null ? written : (error.code ?? 'EIO'))
      })
    })
    if (typeof outcome === 'number') position += outcome
    else if (outcome === 'EAGAIN') await new Promise((resolve) => setTimeout(resolve, 10))
    else return false
  }
  return true
}

/** A process that listens on a TCP port of this machine. */
export interface PortHolder {
  readonly pid: number
  readonly program: string
}

/** Who listens on the port, as far as this user may see: from /proc, else from lsof. */
export function findPortHolder(port: number): PortHolder | undefined {
  return process.platform === 'linux' ? holderFromProc(port) : holderFromLsof(port)
}

function holderFromProc(port: number): PortHolder | undefined {
  const sockets = new Set<string>()
  for (const table of ['/proc/net/tcp', '/proc/net/tcp6']) {
    for (const line of (readTextIfThere(table) ?? '').split('\n').slice(1)) {
      const [, local, , state, , , , , , inode] = line.trim().split(/\s+/)
      const listens = state === '0A'
      if (listens && Number.parseInt(local?.split(':')[1] ?? '', 16) === port)
        sockets.add(`socket:[${inode}]`)
    }
  }
  if (sockets.size === 0) return undefined
  for (const pid of listNames('/proc').filter((name) => /^\d+$/.test(name))) {
    const holds = listNames(`/proc/${pid}/fd`).some((fd) =>
      sockets.has(linkTarget(`/proc/${pid}/fd/${fd}`)),
    )
    if (holds) return { pid: Number(pid), program: programOf(pid) }
  }
  return undefined
}

function programOf(pid: string): string {
  const words = (readTextIfThere(`/proc/${pid}/cmdline`) ?? '').split('\0').filter(Boolean)
  const name = (readTextIfThere(`/proc/${pid}/comm`) ?? '').trim()
  return words.length === 0 ? name : words.slice(0, 3).join(' ').slice(0, 80)
}

function linkTarget(path: string): string {
  try {
    return readlinkSync(path)
  } catch (error) {
    return systemErrorCode(error) ?? ''
  }
}

function holderFromLsof(port: number): PortHolder | undefined {
  const { stdout } = spawnSync('lsof', ['-nP', `-iTCP:${port}`, '-sTCP:LISTEN', '-Fpc'], {
    encoding: 'utf8',
    timeout: 2_000,
  })
  const pid = /^p(\d+)$/m.exec(stdout ?? '')?.[1]
  const program = /^c(.+)$/m.exec(stdout ?? '')?.[1]
  return pid === undefined ? undefined : { pid: Number(pid), program: program ?? '?' }
}
