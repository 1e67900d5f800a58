import { mkdirSync, mkdtempSync, realpathSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import {
  joinEndpoints,
  publishInstance,
  readInstances,
  runningDataFolders,
  supervisorLockPath,
  withdrawInstance,
  type Instance,
} from '../../src/app/instance.ts'
import { roleNames } from '../../src/app/roles.ts'
import { acquireLock } from '../../src/core/lock.ts'

let root = ''
let environment: NodeJS.ProcessEnv = {}
let data = ''

beforeEach(() => {
  root = realpathSync(mkdtempSync(join(tmpdir(), 'questlog-instance-')))
  environment = { XDG_RUNTIME_DIR: root }
  data = join(root, 'data')
  mkdirSync(join(data, 'run'), { recursive: true })
})
afterEach(() => rmSync(root, { recursive: true, force: true }))

const instanceOn = (changes: Partial<Instance> = {}): Instance => ({
  pid: 1,
  control: 'http://127.0.0.1:1',
  token: 'secret',
  endpoints: { collector: 'http://127.0.0.1:5000', broker: null, sql: null },
  data,
  config: '/c',
  startedAt: 5,
  roles: roleNames,
  ...changes,
})

test('an instance is found while its lock is held, and by nobody else read', () => {
  const lock = acquireLock(supervisorLockPath(data, roleNames))
  publishInstance(instanceOn(), environment)
  expect(statSync(join(data, 'run', 'instance.json')).mode & 0o777).toBe(0o600)
  expect(readInstances(data)).toEqual([instanceOn()])
  expect(runningDataFolders(environment)).toEqual([data])
  const [registry = ''] = readdirSync(root).filter((name) => name.startsWith('questlog-'))
  expect(statSync(join(root, registry)).mode & 0o777).toBe(0o700)
  lock?.release()
})

test('what a killed process left behind is not taken for running, and its note is removed', () => {
  const lock = acquireLock(supervisorLockPath(data, roleNames))
  publishInstance(instanceOn(), environment)
  lock?.release()
  expect(readInstances(data)).toEqual([])
  expect(runningDataFolders(environment)).toEqual([])
  const [registry = ''] = readdirSync(root).filter((name) => name.startsWith('questlog-'))
  expect(readdirSync(join(root, registry))).toEqual([])
})

test('roles alone are joined to one; the note goes with the last of them', () => {
  const locks = roleNames.map((role) => acquireLock(supervisorLockPath(data, [role])))
  const ingest = instanceOn({ roles: ['ingest'] })
  const lake = instanceOn({
    pid: 2,
    roles: ['lake'],
    endpoints: { collector: null, broker: null, sql: 'http://127.0.0.1:8080' },
  })
  publishInstance(ingest, environment)
  publishInstance(lake, environment)
  expect(joinEndpoints(readInstances(data))).toEqual({
    collector: 'http://127.0.0.1:5000',
    broker: null,
    sql: 'http://127.0.0.1:8080',
  })
  withdrawInstance(ingest, environment)
  expect(runningDataFolders(environment)).toEqual([data])
  withdrawInstance(lake, environment)
  expect(runningDataFolders(environment)).toEqual([])
  for (const lock of locks) lock?.release()
})

test('a runtime folder that does not exist is done without', () => {
  expect(runningDataFolders({ XDG_RUNTIME_DIR: join(root, 'missing') })).toEqual(expect.any(Array))
})
