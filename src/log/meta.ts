import { dirname } from 'node:path'
import { crc32c } from '@node-rs/crc32'
import { QuestlogError } from '../core/errors.ts'
import { replaceFile, type AppendFile, type Files } from '../core/files.ts'
import { isDiskFull, unknownFormat } from './failures.ts'
import { topicOfFolder } from './layout.ts'
import type { Topic } from './record.ts'

// docs/internals/log-format.md, "Meta file": magic 4 · version 4, then entries: length 4 · CRC-32C of the payload 4 · payload (JSON).
const magicText = 'QLMT'
const currentVersion = 2
/** Version 1 could not say that a topic was deleted. */
const firstVersion = 1
const fileHeaderBytes = 8
const entryHeaderBytes = 8

/** A topic as the meta file keeps it. */
export interface StoredTopic extends Topic {
  readonly createdAtMs: number
  /** Names of the configs that the definition has set; absent = none. */
  readonly declared?: readonly string[]
  /** Where its partitions begin: a topic of the same name, whose records are in tables, ended there. Absent: at 0. */
  readonly firstOffsets?: readonly number[]
}

/** A topic that is no more. A new one may have its name, never its id. */
export interface DeletedTopic {
  readonly id: string
  readonly name: string
  /** Where its partitions ended: those of a new topic of the name begin there. Absent: at 0. */
  readonly ends?: readonly number[]
}

interface MetaEntry {
  readonly topic?: StoredTopic
  readonly deleted?: DeletedTopic
}

/** What the bytes of a meta file say. */
export interface MetaContents {
  /** The newest entry of each topic, in the order in which they were created. */
  readonly topics: readonly StoredTopic[]
  /** Topics that were deleted, and of which folders may still be there. */
  readonly deleted: readonly DeletedTopic[]
  /** Bytes up to the end of the last good entry. */
  readonly goodBytes: number
}

/**
 * Reads a meta file up to its first bad entry. Nothing good after that: it is the torn end of the last append, which nobody was told of.
 * LOG_DAMAGED when good entries follow or the header is bad; FORMAT_UNKNOWN for a later version.
 */
export function decodeMeta(bytes: Buffer, path: string): MetaContents {
  if (bytes.length < fileHeaderBytes || bytes.toString('latin1', 0, 4) !== magicText)
    throw damagedMeta(path, 0, 'the header is bad')
  const version = bytes.readUInt32BE(4)
  if (version !== currentVersion && version !== firstVersion) throw unknownFormat(path, version)
  const topics = new Map<string, StoredTopic>()
  const deleted = new Map<string, DeletedTopic>()
  let at = fileHeaderBytes
  for (let payload = entryAt(bytes, at); payload !== undefined; payload = entryAt(bytes, at)) {
    const entry = parseEntry(payload, path)
    if (entry.topic !== undefined) {
      topics.set(entry.topic.id, entry.topic)
      deleted.delete(entry.topic.name)
    }
    if (entry.deleted !== undefined) {
      topics.delete(entry.deleted.id)
      deleted.set(entry.deleted.name, entry.deleted)
    }
    at += entryHeaderBytes + payload.length
  }
  for (let next = at + 1; next < bytes.length; next++)
    if (entryAt(bytes, next) !== undefined) throw damagedMeta(path, at, 'an entry is bad')
  return { topics: [...topics.values()], deleted: [...deleted.values()], goodBytes: at }
}

function entryAt(bytes: Buffer, at: number): Buffer | undefined {
  const start = at + entryHeaderBytes
  if (start >= bytes.length) return undefined
  const length = bytes.readUInt32BE(at)
  if (length === 0 || start + length > bytes.length) return undefined
  const payload = bytes.subarray(start, start + length)
  return crc32c(payload) === bytes.readUInt32BE(at + 4) ? payload : undefined
}

function parseEntry(payload: Buffer, path: string): MetaEntry {
  const entry = JSON.parse(payload.toString('utf8')) as MetaEntry // the CRC is right: we wrote it
  if (entry.topic === undefined && entry.deleted === undefined)
    throw new QuestlogError('FORMAT_UNKNOWN', `${path} has an entry of an unknown kind`, {
      file: path,
    })
  return entry
}

function damagedMeta(path: string, position: number, reason: string): QuestlogError {
  return new QuestlogError(
    'LOG_DAMAGED',
    `${path} is damaged at byte ${position}: ${reason}`,
    { file: path, position },
    { hint: 'put the file back from a copy; it names the topics, --repair cannot guess them' },
  )
}

function encodeMeta(entries: readonly MetaEntry[]): Buffer {
  const header = Buffer.alloc(fileHeaderBytes)
  header.write(magicText, 0, 'latin1')
  header.writeUInt32BE(currentVersion, 4)
  return Buffer.concat([header, ...entries.map(encodeEntry)])
}

function encodeEntry(entry: MetaEntry): Buffer {
  const payload = Buffer.from(JSON.stringify(entry))
  const header = Buffer.alloc(entryHeaderBytes)
  header.writeUInt32BE(payload.length, 0)
  header.writeUInt32BE(crc32c(payload), 4)
  return Buffer.concat([header, payload])
}

/** Writes the file anew, short and whole: what the last run wrote without being sure of it is now on the disk. On a full disk it stays as it is. */
async function rewrite(files: Files, path: string, contents: MetaContents): Promise<MetaContents> {
  const { topics, deleted } = contents
  const bytes = encodeMeta([
    ...deleted.map((each) => ({ deleted: each })), // first: a topic of the same name is a later one
    ...topics.map((topic) => ({ topic })),
  ])
  try {
    await replaceFile(files, path, bytes)
    return { ...contents, goodBytes: bytes.length }
  } catch (error) {
    if (isDiskFull(error)) return contents
    throw error
  }
}

/** The meta file, open for its one writer. */
export class MetaFile {
  readonly #file: AppendFile
  readonly #topics = new Map<string, StoredTopic>()
  readonly #deleted: Map<string, DeletedTopic>
  #goodBytes: number
  #offline: string | null = null

  private constructor(file: AppendFile, contents: MetaContents) {
    this.#file = file
    this.#goodBytes = contents.goodBytes
    for (const topic of contents.topics) this.#topics.set(topic.name, topic)
    this.#deleted = new Map(contents.deleted.map((topic) => [topic.name, topic]))
  }

  /** Opens the file, creates it if it is missing, cuts a torn end off. LOG_DAMAGED when `folders` (of partitions) hold one of a topic that the file does not know. */
  static async open(files: Files, path: string, folders: readonly string[]): Promise<MetaFile> {
    if (((await files.sizeOf(path)) ?? 0) === 0) {
      const orphan = folders[0]
      if (orphan !== undefined)
        throw damagedMeta(path, 0, `the file is missing, but there is a folder ${orphan}`)
      await replaceFile(files, path, encodeMeta([]))
    }
    let contents = decodeMeta(await files.readAll(path), path)
    const present = new Set(folders.map((folder) => topicOfFolder(folder) ?? ''))
    const deleted = contents.deleted.filter(
      ({ name, ends }) => ends !== undefined || present.has(name),
    )
    const known = new Set([...contents.topics, ...deleted].map((topic) => topic.name))
    const orphan = folders.find((folder) => !known.has(topicOfFolder(folder) ?? ''))
    if (orphan !== undefined)
      throw damagedMeta(path, contents.goodBytes, `no entry names the topic of folder ${orphan}`)
    contents = await rewrite(files, path, { ...contents, deleted })
    const file = await files.openAppend(path)
    if (file.size > contents.goodBytes) await file.truncate(contents.goodBytes)
    else await file.sync()
    await files.syncFolder(dirname(path))
    return new MetaFile(file, contents)
  }

  /** Topics in the order in which they were created. */
  topics(): readonly StoredTopic[] {
    return [...this.#topics.values()]
  }

  topic(name: string): StoredTopic | undefined {
    return this.#topics.get(name)
  }

  /** Deleted topics of which folders may still be there. */
  deleted(): readonly DeletedTopic[] {
    return [...this.#deleted.values()]
  }

  /** Notes that no file of a deleted topic is left. */
  gone(name: string): void {
    if (this.#deleted.get(name)?.ends === undefined) this.#deleted.delete(name)
  }

  /** Keeps a topic, durably; the newest entry of an id counts. OVERLOADED when the disk is full, OUTCOME_UNKNOWN when the sync failed; then nothing more is taken until the next start. */
  async put(topic: StoredTopic): Promise<void> {
    await this.#append({ topic })
    this.#topics.set(topic.name, topic)
    this.#deleted.delete(topic.name)
  }

  /** Deletes a topic, durably; errors as of `put`. */
  async remove(topic: DeletedTopic): Promise<void> {
    await this.#append({ deleted: topic })
    this.#topics.delete(topic.name)
    this.#deleted.set(topic.name, topic)
  }

  async #append(change: MetaEntry): Promise<void> {
    const path = this.#file.path
    if (this.#offline !== null)
      throw new QuestlogError('PARTITION_OFFLINE', `${path} is offline: ${this.#offline}`, {
        file: path,
      })
    const entry = encodeEntry(change)
    try {
      await this.#file.append(entry)
      await this.#file.sync()
    } catch (error) {
      throw await this.#giveUp(error)
    }
    this.#goodBytes += entry.length
  }

  /** Takes an entry back that is not known to be durable. */
  async #giveUp(error: unknown): Promise<QuestlogError> {
    const path = this.#file.path
    const full = isDiskFull(error)
    try {
      await this.#file.truncate(this.#goodBytes)
      if (full)
        return new QuestlogError(
          'OVERLOADED',
          `the disk is full: ${path} cannot grow`,
          { file: path },
          { cause: error },
        )
    } catch {
      // Then the first error tells more than this one.
    }
    this.#offline = String(error)
    return new QuestlogError(
      'OUTCOME_UNKNOWN',
      `${path} could not be written: ${this.#offline}`,
      { file: path },
      { cause: error },
    )
  }

  close(): Promise<void> {
    return this.#file.close()
  }
}
