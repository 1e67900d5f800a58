import { join, posix } from 'node:path'
import { QuestlogError } from '../core/errors.ts'

/** The folder under which exports lie, and which `questlog fs` shows as `/`. */
export function exportRoot(data: string): string {
  return join(data, 'exports')
}

/** A path as commands name it, `/tmp/purchases`, and where it lies. */
export interface ExportPath {
  readonly shown: string
  readonly real: string
}

/** `/tmp/purchases`, `tmp/purchases` and `hdfs://host:8020/tmp/purchases` are the same. USAGE for a path that leads out, or to a name that readers skip. */
export function exportPath(data: string, text: string): ExportPath {
  const path = text.replace(/^(?:hdfs|file):\/\/[^/]*/, '')
  const shown = posix.resolve('/', path)
  const bad = shown.split('/').find((part) => /^[._]/.test(part) && part !== '_SUCCESS')
  if (bad !== undefined || shown.includes('\0'))
    throw new QuestlogError(
      'USAGE',
      `${text} is no path for exports: "${bad ?? text}" starts with a dot or an underscore, and readers skip such names`,
    )
  return { shown, real: join(exportRoot(data), ...shown.split('/')) }
}
