import type { FolderEntry } from '../core/folders.ts'

/** An entry with the path that is printed for it. */
export interface ShownEntry extends FolderEntry {
  readonly path: string
}

/** Size is right-aligned in at least so many places. */
const sizeWidthMin = 10
const group = 'supergroup'

/** The lines of `hadoop fs -ls`: `Found N items` for a folder, then a line each; local time. */
export function formatList(
  entries: readonly ShownEntry[],
  owner: string,
  isFolder: boolean,
): string[] {
  const width = Math.max(sizeWidthMin, ...entries.map(({ size }) => String(size).length))
  const lines = entries.map((entry) => {
    const kind = entry.isFolder ? 'd' : '-'
    const copies = entry.isFolder ? '-' : '1'
    const size = String(entry.size).padStart(width)
    return `${kind}${formatMode(entry.mode)} ${copies.padStart(3)} ${owner} ${group} ${size} ${formatMinute(entry.modifiedMs)} ${entry.path}`
  })
  return isFolder && entries.length > 0 ? [`Found ${entries.length} items`, ...lines] : lines
}

/** The lines of `hadoop fs -du`: bytes, bytes with all copies, path. */
export function formatUsage(sizes: readonly { path: string; size: number }[]): string[] {
  const width = Math.max(0, ...sizes.map(({ size }) => String(size).length))
  return sizes.map(({ path, size }) => {
    const shown = String(size).padEnd(width)
    return `${shown}  ${shown}  ${path}`
  })
}

function formatMode(mode: number): string {
  return [6, 3, 0]
    .map((shift) => (mode >> shift) & 7)
    .map((bits) => `${bits & 4 ? 'r' : '-'}${bits & 2 ? 'w' : '-'}${bits & 1 ? 'x' : '-'}`)
    .join('')
}

/** `2018-07-26 23:39`, local time. */
function formatMinute(atMs: number): string {
  const at = new Date(atMs)
  const two = (value: number) => String(value).padStart(2, '0')
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}`
}
