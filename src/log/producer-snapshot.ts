import { crc32c } from '@node-rs/crc32'
import { systemErrorCode } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import { listSnapshots, snapshotPath } from './layout.ts'
import type { Producer } from './producers.ts'
import type { StoredTransactions } from './transactions.ts'

// docs/internals/log-format.md, "Producer snapshot": magic 4 · version 4 · CRC-32C of the payload 4 · payload (JSON).
const magicText = 'QLPS'
const currentVersion = 1
const headerBytes = 12
/** The newest, and one before it should that not be good. */
const snapshotsKept = 2

/** What the producers of a partition had done below an offset. Derived from the record batches: one that is missing or bad costs a longer scan, nothing else. */
export interface ProducerSnapshot {
  readonly offset: number
  /** Entries that the index of aborted transactions has had by then, pruned ones included. */
  readonly abortedCount: number
  readonly producers: readonly (readonly [number, Producer])[]
  readonly transactions: StoredTransactions
}

/** Writes a snapshot; not synced. Older ones go, but for one. */
export async function writeSnapshot(
  files: Files,
  folder: string,
  snapshot: ProducerSnapshot,
): Promise<void> {
  const payload = Buffer.from(JSON.stringify(snapshot))
  const header = Buffer.alloc(headerBytes)
  header.write(magicText, 0, 'latin1')
  header.writeUInt32BE(currentVersion, 4)
  header.writeUInt32BE(crc32c(payload), 8)
  const path = snapshotPath(folder, snapshot.offset)
  const temporary = `${path}.new`
  if ((await files.sizeOf(temporary)) !== undefined) await files.unlink(temporary)
  const file = await files.openAppend(temporary)
  try {
    await file.append(Buffer.concat([header, payload]))
  } finally {
    await file.close()
  }
  await files.rename(temporary, path)
  const known = await listSnapshots(files, folder)
  for (const offset of known.slice(0, -snapshotsKept))
    await files.unlink(snapshotPath(folder, offset))
}

/** The snapshot at this offset; undefined when it is missing, bad, or of a version that is not known. */
export async function readSnapshot(
  files: Files,
  folder: string,
  offset: number,
): Promise<ProducerSnapshot | undefined> {
  const bytes = await files.readAll(snapshotPath(folder, offset)).catch((error: unknown) => {
    if (systemErrorCode(error) === 'ENOENT') return undefined
    throw error
  })
  if (bytes === undefined || bytes.length < headerBytes) return undefined
  if (bytes.toString('latin1', 0, 4) !== magicText || bytes.readUInt32BE(4) !== currentVersion)
    return undefined
  const payload = bytes.subarray(headerBytes)
  if (crc32c(payload) !== bytes.readUInt32BE(8)) return undefined
  const snapshot = JSON.parse(payload.toString('utf8')) as ProducerSnapshot // the CRC is right: we wrote it
  return snapshot.offset === offset ? snapshot : undefined
}

/** Removes the snapshots above an offset: what they say of is not on the log any more. */
export async function dropSnapshotsAbove(
  files: Files,
  folder: string,
  offset: number,
): Promise<void> {
  for (const each of await listSnapshots(files, folder))
    if (each > offset) await files.unlink(snapshotPath(folder, each))
}
