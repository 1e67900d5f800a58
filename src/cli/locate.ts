import { resolve } from 'node:path'
import { readInstances, runningDataFolders, type Instance } from '../app/instance.ts'
import { formatPath } from '../app/words.ts'
import { QuestlogError } from '../core/errors.ts'
import { exists } from '../core/host.ts'

export const standardData = './questlog-data'
export const standardConfig = './questlog.config.ts'

/** What runs on the data folder that a command means: the given one, else the one on which something runs. Empty when nothing runs; USAGE when there are several. */
export function findInstances(data: string | undefined): readonly Instance[] {
  const folder = data === undefined ? runningFolder() : resolve(data)
  return folder === undefined ? [] : readInstances(folder)
}

/** The same; NOT_RUNNING when nothing runs. */
export function requireInstances(data: string | undefined): readonly [Instance, ...Instance[]] {
  const [first, ...others] = findInstances(data)
  if (first !== undefined) return [first, ...others]
  const where =
    data === undefined ? 'on this machine' : `on ${formatPath(resolve(data), process.cwd())}`
  throw new QuestlogError('NOT_RUNNING', `no questlog of yours runs ${where}`)
}

/** The data folder that a command means, also when nothing runs on it. */
export function requireData(data: string | undefined): string {
  const folder = data === undefined ? (runningFolder() ?? resolve(standardData)) : resolve(data)
  if (exists(folder)) return folder
  throw new QuestlogError(
    'NOT_RUNNING',
    data === undefined
      ? `no questlog of yours runs on this machine, and there is no ${standardData}`
      : `there is no data folder ${data}`,
    { data: folder },
    { hint: 'name the data folder with --data, or start with `questlog up -d`' },
  )
}

function runningFolder(): string | undefined {
  const folders = runningDataFolders(process.env)
  if (folders.length < 2) return folders[0]
  const list = folders.map((folder) => `\n  --data ${formatPath(folder, process.cwd())}`).join('')
  throw new QuestlogError(
    'USAGE',
    `${folders.length} of them run on this machine; which one is meant?${list}`,
    {},
    { hint: 'name one with --data' },
  )
}
