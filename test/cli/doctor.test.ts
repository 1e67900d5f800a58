import { createServer, type AddressInfo } from 'node:net'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { finding } from '../../src/app/doctor.ts'
import { realClock } from '../../src/core/clock.ts'
import { realFiles } from '../../src/core/files.ts'
import { examine, findingLines, findingsJson, isHealthy, judgePort } from '../../src/cli/doctor.ts'
import { findFreePort } from '../../src/cli/port-advice.ts'

const findings = [
  finding('node', 'ok', 'Node 20.19.0'),
  finding('clock', 'bad', 'the clock says 1970', 'set the clock'),
]

test('a line each, and what to do below it; JSON says the same', () => {
  expect(findingLines(findings)).toEqual([
    'ok    node   Node 20.19.0',
    'bad   clock  the clock says 1970',
    '             set the clock',
  ])
  expect(JSON.parse(findingsJson(findings))).toEqual({ healthy: false, findings })
  expect(isHealthy(findings)).toBe(false)
  expect(isHealthy(findings.map((each) => ({ ...each, level: 'look' })))).toBe(true)
})

test('a busy port is told with its holder and a way out', async () => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const free = await findFreePort(port, '127.0.0.1')
  expect(free).not.toBe(port)
  expect(judgePort('sql', port, free, { pid: 7, program: 'other' })).toEqual({
    name: 'port',
    level: 'look',
    text: `sql: ${port} is held by pid 7 (other)`,
    advice: `stop it, or start with \`questlog up --sql-port ${free}\``,
  })
  expect(judgePort('sql', 8080, 8080, undefined)).toMatchObject({ level: 'ok' })
  await new Promise((resolve) => server.close(resolve))
})

test('everything that a start depends on is looked at, also when there is no data folder yet', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'questlog-doctor-'))
  const config = join(folder, 'questlog.config.ts')
  const options = {
    files: realFiles,
    clock: realClock,
    data: join(folder, 'not', 'there'),
    config,
    environment: { XDG_RUNTIME_DIR: folder },
    nodeVersion: '20.19.0',
  }
  try {
    const names = (await examine(options)).map(({ name }) => name)
    expect(names).toEqual([
      'node',
      'config',
      'data',
      'notes',
      'leftovers',
      'port',
      'port',
      'port',
      'disk',
      'space',
      'clock',
    ])
    const configFinding = async () =>
      (await examine(options)).find(({ name }) => name === 'config')?.level
    expect(await configFinding()).toBe('look')
    await writeFile(config, 'export default { events: 5 }')
    expect(await configFinding()).toBe('bad')
    expect(await realFiles.list(folder)).not.toContain('not')
  } finally {
    await rm(folder, { recursive: true })
  }
})
