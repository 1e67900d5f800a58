import type { Long, Snapshot, TableMetadata } from './metadata.ts'

/** Which snapshots a table keeps besides the current one and the heads of branches and tags. */
export interface SnapshotPolicy {
  /** A snapshot stays for this long after a newer one took its place. */
  readonly ageMsMin: number
  /** The newest ones stay, however old. */
  readonly countMin: number
  /** More than so many are never kept, also of younger ones: their files stay by `ageMsMin`, but the table does not name them. */
  readonly countMax: number
}

/** A snapshot that may go. */
export interface ExpiredSnapshot {
  readonly snapshot: Snapshot
  /** When a newer one took its place, wall-clock milliseconds: a reader may have opened the table with it until then. */
  readonly replacedAtMs: number
}

/**
 * The snapshots that may go by now, oldest first. Its age is not what counts: the only snapshot of a table that was quiet for a day is what every
 * reader has just opened.
 */
export function expiredSnapshots(
  metadata: TableMetadata,
  policy: SnapshotPolicy,
  nowMs: number,
): readonly ExpiredSnapshot[] {
  const snapshots = metadata.snapshots ?? []
  const heads = new Set<Long | undefined>([
    metadata['current-snapshot-id'],
    ...Object.values(metadata.refs ?? {}).map((ref) => ref['snapshot-id']),
  ])
  return snapshots.flatMap((snapshot, index) => {
    const next = snapshots[index + 1]
    const newer = snapshots.length - 1 - index
    if (next === undefined || newer < policy.countMin || heads.has(snapshot['snapshot-id']))
      return []
    const replacedAtMs = Math.max(next['timestamp-ms'], snapshot['timestamp-ms'])
    const isOld = nowMs - replacedAtMs >= policy.ageMsMin
    return isOld || newer >= policy.countMax ? [{ snapshot, replacedAtMs }] : []
  })
}
