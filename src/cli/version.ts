import { fileURLToPath } from 'node:url'
import { readTextIfThere } from '../core/host.ts'

/** The version of the package that this file belongs to: two folders up, in `src` as in `dist`. */
export function readVersion(): string {
  const path = fileURLToPath(new URL('../../package.json', import.meta.url))
  const { version } = JSON.parse(readTextIfThere(path) ?? '{}') as { version?: string } // our own package.json
  return version ?? '?'
}
