import { dirname } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { crc32c } from '@node-rs/crc32'
import { QuestlogError } from '../core/errors.ts'
import { replaceFile, type AppendFile, type Files } from '../core/files.ts'
import { isDiskFull, unknownFormat } from './failures.ts'

// docs/internals/log-format.md, "State files": magic 4 · version 4, then entries: length 4 · CRC-32C of the payload 4 · payload (JSON).
const magicText = 'QLKV'
const currentVersion = 1
const fileHeaderBytes = 8
const entryHeaderBytes = 8
/** Below 2^24 the first byte of a length is 0, which JSON never holds: no bytes inside a payload pass for an entry. */
const payloadBytesMax = 2 ** 24 - 1
/** Changes that wait are written together up to about so many bytes. */
const commitBytesMax = 1024 * 1024
/** A file that is this much larger than what it holds is written anew, unless it is small. */
const wasteFactor = 4
const compactBytesMin = 64 * 1024

/** Values by key; undefined = the key is removed. */
export type StateChanges = ReadonlyMap<string, unknown>

/** What the bytes of a state file say. */
export interface StateContents {
  readonly values: ReadonlyMap<string, unknown>
  /** Bytes up to the end of the last good entry. */
  readonly goodBytes: number
}

/**
 * Reads a state file up to its first bad entry. Nothing good after that: it is the torn end of the last write, which nobody was told of.
 * LOG_DAMAGED when good entries follow or the header is bad; FORMAT_UNKNOWN for a later version.
 */
export function decodeState(bytes: Buffer, path: string): StateContents {
  if (bytes.length < fileHeaderBytes || bytes.toString('latin1', 0, 4) !== magicText)
    throw damagedState(path, 0, 'the header is bad')
  const version = bytes.readUInt32BE(4)
  if (version !== currentVersion) throw unknownFormat(path, version)
  const values = new Map<string, unknown>()
  let at = fileHeaderBytes
  for (let payload = entryAt(bytes, at); payload !== undefined; payload = entryAt(bytes, at)) {
    // The CRC is right: we wrote it.
    const changes = JSON.parse(payload.toString('utf8')) as readonly [string, unknown?][]
    for (const [key, value] of changes)
      if (value === undefined) values.delete(key)
      else values.set(key, value)
    at += entryHeaderBytes + payload.length
  }
  for (let next = at + 1; next < bytes.length; next++)
    if (entryAt(bytes, next) !== undefined) throw damagedState(path, at, 'an entry is bad')
  return { values, goodBytes: at }
}

function entryAt(bytes: Buffer, at: number): Buffer | undefined {
  const start = at + entryHeaderBytes
  if (start >= bytes.length) return undefined
  const length = bytes.readUInt32BE(at)
  if (length === 0 || length > payloadBytesMax || start + length > bytes.length) return undefined
  const payload = bytes.subarray(start, start + length)
  return crc32c(payload) === bytes.readUInt32BE(at + 4) ? payload : undefined
}

function damagedState(path: string, position: number, reason: string): QuestlogError {
  return new QuestlogError(
    'LOG_DAMAGED',
    `${path} is damaged at byte ${position}: ${reason}`,
    { file: path, position },
    { hint: 'put the file back from a backup, or move it away to go on without what it holds' },
  )
}

function fileHeader(): Buffer {
  const header = Buffer.alloc(fileHeaderBytes)
  header.write(magicText, 0, 'latin1')
  header.writeUInt32BE(currentVersion, 4)
  return header
}

/** One entry of changes that are JSON texts already. */
function encodeEntry(changes: readonly string[]): Buffer {
  const payload = Buffer.from(`[${changes.join(',')}]`)
  const header = Buffer.alloc(entryHeaderBytes)
  header.writeUInt32BE(payload.length, 0)
  header.writeUInt32BE(crc32c(payload), 4)
  return Buffer.concat([header, payload])
}

function changeText(key: string, value: unknown): string {
  return value === undefined ? JSON.stringify([key]) : JSON.stringify([key, value])
}

/** The whole file for these changes, in entries of a bounded size. */
function encodeFile(changes: Iterable<string>): Buffer {
  const parts = [fileHeader()]
  let entry: string[] = []
  let bytes = 0
  for (const change of changes) {
    entry.push(change)
    bytes += change.length
    if (bytes < commitBytesMax) continue
    parts.push(encodeEntry(entry))
    entry = []
    bytes = 0
  }
  if (entry.length > 0) parts.push(encodeEntry(entry))
  return Buffer.concat(parts)
}

interface Pending {
  readonly changes: StateChanges
  readonly texts: readonly string[]
  readonly bytes: number
  readonly resolve: () => void
  readonly reject: (error: QuestlogError) => void
}

interface Held {
  readonly value: unknown
  /** The change that sets it, as it is written. */
  readonly text: string
}

/**
 * Values by key, kept in one append-only file that one process writes. A crash loses none of the changes that were resolved, and leaves them in order: what is there
 * afterwards are the changes up to some call of `put`, all of each.
 */
export class StateFile {
  readonly #files: Files
  readonly #path: string
  readonly #held = new Map<string, Held>()
  /** Undefined until something is put. */
  #file: AppendFile | undefined
  #goodBytes = 0
  /** Bytes that a file of only what is held would have, about. */
  #liveBytes = fileHeaderBytes
  readonly #queue: Pending[] = []
  #commits: Promise<void> | undefined
  #offline: string | null = null
  #closing = false
  #closed: Promise<void> | undefined

  private constructor(files: Files, path: string) {
    this.#files = files
    this.#path = path
  }

  /**
   * Opens the file and cuts a torn end off; without a file it begins empty, and the first `put` makes one. LOG_DAMAGED for any other damage; FORMAT_UNKNOWN
   * for a later version. The folder must be there, and the caller holds its lock.
   */
  static async open({ files, path }: { files: Files; path: string }): Promise<StateFile> {
    const state = new StateFile(files, path)
    if (((await files.sizeOf(path)) ?? 0) === 0) return state
    const contents = decodeState(await files.readAll(path), path)
    for (const [key, value] of contents.values) state.#hold(key, value, changeText(key, value))
    await state.#openFile(contents.goodBytes)
    return state
  }

  /** The value of a key, as the last resolved change left it; not to be changed in place. */
  get(key: string): unknown {
    return this.#held.get(key)?.value
  }

  /** All keys with their values. */
  *entries(): IterableIterator<[string, unknown]> {
    for (const [key, { value }] of this.#held) yield [key, value]
  }

  /**
   * Sets and removes keys, all or none of them; JSON values. Durable when it resolves, and visible to `get` from then on. Calls that come while another is
   * written share one sync. OVERLOADED when the disk is full (nothing changed); REQUEST_TOO_LARGE beyond 16 MiB; OUTCOME_UNKNOWN when the write or sync failed, and then
   * PARTITION_OFFLINE until the next start; SHUTTING_DOWN after `close`.
   */
  async put(changes: StateChanges): Promise<void> {
    if (this.#closing)
      throw new QuestlogError('SHUTTING_DOWN', 'questlog is stopping; nothing was kept')
    if (this.#offline !== null) throw this.#offlineError(this.#offline)
    if (changes.size === 0) return
    const texts = [...changes].map(([key, value]) => changeText(key, value))
    const bytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text) + 1, 1)
    if (bytes > payloadBytesMax)
      throw new QuestlogError(
        'REQUEST_TOO_LARGE',
        `${this.#path}: a change has ${bytes} bytes, but at most ${payloadBytesMax} fit`,
        { file: this.#path, bytes },
      )
    await new Promise<void>((resolve, reject) => {
      this.#queue.push({ changes, texts, bytes, resolve, reject })
      this.#commits ??= this.#commitQueue()
    })
  }

  async #commitQueue(): Promise<void> {
    while (this.#queue.length > 0) {
      await nextTurn() // everything that this turn of the event loop brings goes into one commit
      const puts = this.#take()
      const error = await this.#commit(puts)
      for (const put of puts)
        if (error === undefined) put.resolve()
        else put.reject(error)
      if (error === undefined) await this.#compactIfDue()
    }
    this.#commits = undefined
  }

  #take(): Pending[] {
    let bytes = 0
    let count = 0
    for (const put of this.#queue) {
      bytes += put.bytes
      if (count > 0 && bytes > commitBytesMax) break
      count++
    }
    return this.#queue.splice(0, count)
  }

  /** Writes them as one entry, so that a torn write is always the last entry; gives the error when they are not kept for certain. */
  async #commit(puts: readonly Pending[]): Promise<QuestlogError | undefined> {
    if (this.#offline !== null) return this.#offlineError(this.#offline)
    const entry = encodeEntry(puts.flatMap(({ texts }) => texts))
    try {
      this.#file ??= await this.#create()
      await this.#file.append(entry)
      await this.#file.sync()
    } catch (error) {
      return this.#giveUp(error)
    }
    this.#goodBytes += entry.length
    for (const { changes, texts } of puts) {
      let at = 0
      for (const [key, value] of changes) this.#hold(key, value, texts[at++] ?? '')
    }
    return undefined
  }

  #hold(key: string, value: unknown, text: string): void {
    const before = this.#held.get(key)
    if (before !== undefined) this.#liveBytes -= before.text.length + 1
    if (value === undefined) this.#held.delete(key)
    else {
      this.#held.set(key, { value, text })
      this.#liveBytes += text.length + 1
    }
  }

  async #create(): Promise<AppendFile> {
    await replaceFile(this.#files, this.#path, fileHeader())
    this.#goodBytes = fileHeaderBytes
    return this.#files.openAppend(this.#path)
  }

  /** Takes back what is not known to be durable. */
  async #giveUp(error: unknown): Promise<QuestlogError> {
    const isFull = isDiskFull(error)
    try {
      await this.#file?.truncate(this.#goodBytes)
      if (isFull)
        return new QuestlogError(
          'OVERLOADED',
          `the disk is full: ${this.#path} cannot grow`,
          { file: this.#path },
          { cause: error },
        )
    } catch {
      // Then the first error tells more than this one.
    }
    this.#offline = error instanceof Error ? error.message : String(error)
    return new QuestlogError(
      'OUTCOME_UNKNOWN',
      `${this.#path} could not be written: ${this.#offline}`,
      { file: this.#path },
      { cause: error },
    )
  }

  #offlineError(reason: string): QuestlogError {
    return new QuestlogError('PARTITION_OFFLINE', `${this.#path} is offline: ${reason}`, {
      file: this.#path,
    })
  }

  /** What the last run wrote without being sure of it is on the disk only when it is written anew. On a full disk the file stays as it is. */
  async #openFile(goodBytes: number): Promise<void> {
    this.#goodBytes = goodBytes
    if (await this.#rewrite()) return
    this.#file = await this.#files.openAppend(this.#path)
    if (this.#file.size > goodBytes) await this.#file.truncate(goodBytes)
    else await this.#file.sync()
  }

  async #compactIfDue(): Promise<void> {
    if (this.#goodBytes < Math.max(compactBytesMin, this.#liveBytes * wasteFactor)) return
    try {
      await this.#rewrite()
    } catch (error) {
      // The name may stand for either file now: nothing may be added to the one that is open.
      this.#offline = error instanceof Error ? error.message : String(error)
    }
  }

  /** Puts a file of only what is held in the place of the present one. False when the disk has no room for it: then nothing has changed. */
  async #rewrite(): Promise<boolean> {
    const bytes = encodeFile([...this.#held.values()].map(({ text }) => text))
    const temporary = `${this.#path}.new`
    try {
      if ((await this.#files.sizeOf(temporary)) !== undefined) await this.#files.unlink(temporary)
      await this.#files.writeNew(temporary, bytes)
    } catch (error) {
      if (!isDiskFull(error)) throw error
      await this.#files.unlink(temporary).catch(() => {}) // it takes room until the next try
      return false
    }
    await this.#files.rename(temporary, this.#path)
    await this.#files.syncFolder(dirname(this.#path))
    const old = this.#file
    this.#file = await this.#files.openAppend(this.#path)
    this.#goodBytes = bytes.length
    await old?.close()
    return true
  }

  /** Writes what waits, closes. Idempotent. */
  close(): Promise<void> {
    this.#closing = true
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    await this.#commits
    await this.#file?.close()
  }
}
