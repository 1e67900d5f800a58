import { homedir } from 'node:os'
import { isAbsolute, relative } from 'node:path'

/** `41220` → `41,220`. */
export function formatCount(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ',')
}

/** `1 event`, `41,220 events`. */
export function formatMany(count: number, noun: string): string {
  return `${formatCount(count)} ${noun}${count === 1 ? '' : 's'}`
}

/** `512 B`, `12.3 MB`, in powers of 1000 as `ls -h --si` and disks count. */
export function formatBytes(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`
  let value = bytes
  for (const unit of ['kB', 'MB', 'GB']) {
    value /= 1000
    if (value < 999.95) return `${value.toFixed(1)} ${unit}`
  }
  return `${(value / 1000).toFixed(1)} TB`
}

/** `0.8 s`, `42 s`, `3 min`, `5 h`, `12 d`. */
export function formatDuration(ms: number): string {
  const seconds = ms / 1000
  if (seconds < 10) return `${seconds.toFixed(1)} s`
  if (seconds < 120) return `${Math.floor(seconds)} s`
  if (seconds < 7_200) return `${Math.floor(seconds / 60)} min`
  if (seconds < 172_800) return `${Math.floor(seconds / 3_600)} h`
  return `${Math.floor(seconds / 86_400)} d`
}

/** A path as a person would type it from here: relative below the current folder, `~` below home. */
export function formatPath(path: string, from: string): string {
  const below = relative(from, path)
  if (below === '') return '.'
  if (!below.startsWith('..') && !isAbsolute(below)) return `./${below}`
  const fromHome = relative(homedir(), path)
  return fromHome === '' || fromHome.startsWith('..') || isAbsolute(fromHome)
    ? path
    : `~/${fromHome}`
}

/** `127.0.0.1:5000`, `[::1]:5000`. */
export function formatAddress(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

/** A word that a POSIX shell reads back as this text. */
export function quoteShell(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}
