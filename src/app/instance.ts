import { createHash } from 'node:crypto'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import {
  exists,
  listNames,
  makePrivateFolder,
  readTextIfThere,
  removeIfThere,
  writePrivateFile,
} from '../core/host.ts'
import { isLocked } from '../core/lock.ts'
import { roleNames, type Endpoints, type RoleName } from './roles.ts'

/** A running `questlog up`, as it describes itself in `<data>/run/instance.json` (readable by its user only). */
export interface Instance {
  readonly pid: number
  /** `http://127.0.0.1:PORT` of the supervisor. */
  readonly control: string
  /** Bearer token for `control`. */
  readonly token: string
  readonly endpoints: Endpoints
  /** Data folder, absolute. */
  readonly data: string
  /** Definition file, absolute. */
  readonly config: string
  /** Milliseconds since 1970 UTC. */
  readonly startedAt: number
  readonly roles: readonly RoleName[]
}

/** One `up` may run both roles, or two of them one role each: then each has a name of its own. */
function instanceName(roles: readonly RoleName[]): string {
  return roles.length === roleNames.length ? '' : `-${roles.join('-')}`
}

export function supervisorLockPath(data: string, roles: readonly RoleName[]): string {
  return join(data, 'run', `supervisor${instanceName(roles)}.lock`)
}

function instancePath(data: string, roles: readonly RoleName[]): string {
  return join(data, 'run', `instance${instanceName(roles)}.json`)
}

/** The folder in which running instances leave a note, one a data folder; undefined when there can be none. */
function registryFolder(environment: NodeJS.ProcessEnv): string | undefined {
  const runtime = environment['XDG_RUNTIME_DIR'] ?? ''
  const base = runtime !== '' && exists(runtime) ? runtime : tmpdir()
  const folder = join(base, `questlog-${userInfo().uid}`)
  return makePrivateFolder(folder) ? folder : undefined
}

function registryPath(folder: string, data: string): string {
  return join(folder, `${createHash('sha256').update(data).digest('hex').slice(0, 16)}.json`)
}

/** Writes `run/instance.json` and the note in the registry. The lock of the supervisor is held. */
export function publishInstance(instance: Instance, environment: NodeJS.ProcessEnv): void {
  const { data, roles } = instance
  writePrivateFile(instancePath(data, roles), `${JSON.stringify(instance, null, 2)}\n`)
  const folder = registryFolder(environment)
  if (folder !== undefined)
    writePrivateFile(registryPath(folder, data), `${JSON.stringify({ data })}\n`)
}

/** Takes both away; called while the lock is still held. */
export function withdrawInstance(instance: Instance, environment: NodeJS.ProcessEnv): void {
  const { data, roles } = instance
  removeIfThere(instancePath(data, roles))
  const folder = registryFolder(environment)
  const others = readInstances(data).some((other) => other.pid !== instance.pid)
  if (folder !== undefined && !others) removeIfThere(registryPath(folder, data))
}

/** The instances that run on a data folder: none, one, or one for each role. */
export function readInstances(data: string): readonly Instance[] {
  const found: Instance[] = []
  for (const roles of [roleNames, ...roleNames.map((role) => [role])]) {
    const text = readTextIfThere(instancePath(data, roles))
    if (text === undefined || !isHeld(supervisorLockPath(data, roles))) continue
    try {
      found.push(JSON.parse(text) as Instance) // written whole by publishInstance
    } catch {
      // A file of a crashed machine: the lock's holder will write it again.
    }
  }
  return found
}

function isHeld(path: string): boolean {
  try {
    return exists(path) && isLocked(path)
  } catch {
    return false
  }
}

/** The data folders on which something runs. Notes of ended instances are taken away. */
export function runningDataFolders(environment: NodeJS.ProcessEnv): readonly string[] {
  const folder = registryFolder(environment)
  if (folder === undefined) return []
  const running: string[] = []
  for (const name of listNames(folder).filter((entry) => entry.endsWith('.json'))) {
    const data = readData(join(folder, name))
    if (data !== undefined && readInstances(data).length > 0) running.push(data)
    else removeIfThere(join(folder, name))
  }
  return running
}

/** Notes of processes that are gone: of this data folder, and in the registry. Nothing is taken away. */
export function findStaleNotes(data: string, environment: NodeJS.ProcessEnv): readonly string[] {
  const own = [roleNames, ...roleNames.map((role) => [role])]
    .filter((roles) => !isHeld(supervisorLockPath(data, roles)))
    .map((roles) => instancePath(data, roles))
    .filter(exists)
  const folder = registryFolder(environment)
  if (folder === undefined) return own
  const notes = listNames(folder)
    .filter((entry) => entry.endsWith('.json'))
    .map((entry) => join(folder, entry))
  const ended = notes.filter((path) => {
    const noted = readData(path)
    return noted === undefined || readInstances(noted).length === 0
  })
  return [...own, ...ended]
}

function readData(path: string): string | undefined {
  try {
    const note: unknown = JSON.parse(readTextIfThere(path) ?? '')
    if (typeof note === 'object' && note !== null && 'data' in note)
      return typeof note.data === 'string' ? note.data : undefined
  } catch {
    // Not a note.
  }
  return undefined
}

/** The endpoints of all instances on a data folder together. */
export function joinEndpoints(instances: readonly Instance[]): Endpoints {
  const first = (name: keyof Endpoints) =>
    instances.map((instance) => instance.endpoints[name]).find((value) => value !== null) ?? null
  return { collector: first('collector'), broker: first('broker'), sql: first('sql') }
}
