import { dirname, join } from 'node:path/posix'
import type { SourceFile } from './tidy-source.ts'

/** A folder of src may import only from folders of a lower rank, and from itself. docs/internals/architecture.md says what each holds. */
export const ranks: Readonly<Record<string, number>> = {
  core: 0,
  plan: 1,
  log: 2,
  lake: 2,
  collect: 3,
  kafka: 3,
  stream: 3,
  sql: 3,
  sim: 3,
  engines: 4,
  app: 5,
  cli: 6,
}

/** The package's public names; it may import from everywhere. */
const publicEntry = 'src/index.ts'

export interface RankReport {
  readonly problems: readonly string[]
  /** Imports from one folder of src into another that were looked at. */
  readonly crossings: number
}

/** Which imports go the wrong way. Paths of files start with `src/`. */
export function checkRanks(files: readonly SourceFile[]): RankReport {
  const problems: string[] = []
  let crossings = 0
  for (const { path, imports } of files) {
    const from = folderOf(path)
    if (path !== publicEntry && !(from in ranks)) {
      problems.push(`${path}: the folder ${from} has no rank`)
      continue
    }
    for (const specifier of imports.filter((name) => name.startsWith('.'))) {
      const target = join(dirname(path), specifier)
      const to = folderOf(target)
      if (to !== from) crossings++
      const problem = wrongWay({ path, from, target, to })
      if (problem !== undefined) problems.push(`${path}: imports ${specifier}: ${problem}`)
    }
  }
  return { problems, crossings }
}

interface Crossing {
  readonly path: string
  readonly from: string
  readonly target: string
  readonly to: string
}

function wrongWay({ path, from, target, to }: Crossing): string | undefined {
  if (!target.startsWith('src/')) return 'it is outside of src'
  if (!target.endsWith('.ts')) return 'the name must end in .ts'
  if (path === publicEntry || from === to) return undefined
  if (target === publicEntry) return 'the public entry is for users of the package'
  const [own, other] = [ranks[from], ranks[to]]
  if (other === undefined) return `the folder ${to} has no rank`
  if (own === undefined || other < own) return undefined
  return other === own
    ? `${from} and ${to} have the same rank`
    : `${to} has a higher rank than ${from}`
}

/** `core` of `src/core/files.ts`; empty for a file of src itself. */
export function folderOf(path: string): string {
  const parts = path.split('/')
  return parts.length > 2 ? (parts[1] ?? '') : ''
}
