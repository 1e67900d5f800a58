import { spawn } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, test } from 'vitest'
import {
  fetchStatus,
  fetchTopics,
  requestStop,
  requestTopic,
} from '../../src/app/control-client.ts'
import { readInstances, runningDataFolders } from '../../src/app/instance.ts'
import type { ComponentStatus } from '../../src/app/roles.ts'
import { QuestlogError } from '../../src/core/errors.ts'
import { definitionOf, FakeSystem, isAlive, until } from './fixtures/fake-system.ts'

const systems: FakeSystem[] = []

function makeSystem(behaviour: object = {}): FakeSystem {
  const system = new FakeSystem(behaviour)
  systems.push(system)
  return system
}

afterEach(async () => {
  await Promise.all(systems.splice(0).map((system) => system.close()))
})

/** One that has been started before, with how many notes it has made by now and what its definitions say. */
async function stoppedSystem() {
  const system = makeSystem({ notesStart: true })
  await (await system.start()).stop()
  const before = system.notes().length
  return { system, before, evaluate: system.definitions.evaluate.bind(system.definitions) }
}

async function pidOf(
  supervisor: { status(): Promise<{ components: readonly ComponentStatus[] }> },
  name: string,
): Promise<number> {
  const { components } = await supervisor.status()
  return components.find((component) => component.name === name)?.pid ?? 0
}

/** What the processes noted after the first `before` lines, without their pids. */
function lives(system: FakeSystem, before: number): string[] {
  return system
    .notes()
    .slice(before)
    .map((line) => line.replace(/, pid.*/, ''))
}

/** How many of them wait for a definition. */
function waiting(system: FakeSystem, before: number): number {
  return lives(system, before).filter((line) => line.endsWith('waits')).length
}

describe('start', () => {
  test('lake has the definition before ingest serves it', async () => {
    const system = makeSystem()
    const supervisor = await system.start()
    expect(system.notes().map((line) => line.replace(/, pid.*/, ''))).toEqual([
      'lake ready with 1',
      'ingest activated 1',
      'ingest ready with 1',
    ])
    expect(system.definitions.activated).toEqual([1])
    expect(supervisor.endpoints.collector).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/)
    expect(supervisor.endpoints.broker).toBe('127.0.0.1:19092')
  })

  test('processes load their code while the definition file is evaluated, and begin with what it says', async () => {
    const { system, before, evaluate } = await stoppedSystem()
    system.definitions.evaluate = async () => {
      await until('both to wait', () => waiting(system, before) === 2)
      return evaluate()
    }
    await (await system.start()).stop()
    const again = lives(system, before)
    expect(again.filter((line) => line.includes('activated')).toSorted()).toEqual([
      'ingest activated 1',
      'lake activated 1',
    ])
    system.definitions.next = definitionOf('sword', 'shield')
    const middle = system.notes().length
    system.definitions.evaluate = async () => {
      await until('both to wait', () => waiting(system, middle) === 2)
      return evaluate()
    }
    await system.start()
    expect(lives(system, middle).filter((line) => !line.endsWith('waits'))).toEqual([
      'lake activated 2',
      'lake ready with 2',
      'ingest activated 2',
      'ingest ready with 2',
    ])
    expect(system.definitions.activated).toEqual([1, 2])
  })

  test('ingest serves nothing before lake has the definition, also when it dies while it waits', async () => {
    const system = makeSystem({ notesStart: true, slow: 'lake' })
    const start = system.start()
    const waits = () => system.notes().filter((line) => line.startsWith('ingest waits'))
    await until('ingest to wait', () => existsSync(system.notesPath) && waits().length === 1)
    process.kill(Number(/pid (\d+)/.exec(waits()[0] ?? '')?.[1]), 'SIGKILL')
    await until('the next one', () =>
      system.notes().some((line, at) => at > 0 && line.startsWith('ingest')),
    )
    writeFileSync(join(system.data, 'run', 'go-on'), '')
    await start
    expect(lives(system, 0)).toEqual([
      'ingest waits',
      'ingest waits',
      'lake ready with 1',
      'ingest activated 1',
      'ingest ready with 1',
    ])
  })

  test('processes that were started with other limits than the definition file says are started anew', async () => {
    const { system, before } = await stoppedSystem()
    const definition = definitionOf('sword')
    const settings = { ...definition.settings, queryConcurrencyMax: 3 }
    system.definitions.next = { ...definition, settings }
    const supervisor = await system.start()
    expect(lives(system, before).filter((line) => line.startsWith('lake ready'))).toEqual([
      'lake ready with 2',
    ])
    expect(lives(system, before)).not.toContain('lake activated 2')
    const { components } = await supervisor.status()
    expect(components.map(({ restarts }) => restarts)).toEqual([0, 0, 0])
  })

  test('a process that dies before it knows its definition is started again with it', async () => {
    const { system, before, evaluate } = await stoppedSystem()
    system.definitions.evaluate = async () => {
      await until('both to wait', () => waiting(system, before) === 2)
      const [, pid] = /lake waits, pid (\d+)/.exec(system.notes().join('\n')) ?? []
      process.kill(Number(pid), 'SIGKILL')
      return evaluate()
    }
    const supervisor = await system.start()
    expect(lives(system, before)).toContain('lake ready with 1')
    expect((await supervisor.status()).components.map(({ state }) => state)).toEqual(
      Array(3).fill('running'),
    )
  })

  test('a second one on the same data is refused and named', async () => {
    const system = makeSystem()
    const supervisor = await system.start()
    const refused = system.start()
    await expect(refused).rejects.toThrow(`pid ${process.pid}`)
    await expect(refused).rejects.toMatchObject({ code: 'ALREADY_RUNNING' })
    await expect(refused).rejects.toThrow(supervisor.endpoints.collector ?? '?')
    expect(await pidOf(supervisor, 'ingest')).toBeGreaterThan(0)
  })

  test('a busy port is refused with its holder, and nothing stays behind', async () => {
    const system = makeSystem()
    const holder = createServer()
    await new Promise<void>((resolve) => holder.listen(0, '127.0.0.1', resolve))
    const { port } = holder.address() as AddressInfo
    const refused = system.start({ collectorPort: port })
    await expect(refused).rejects.toMatchObject({
      code: 'PORT_BUSY',
      facts: { port, role: 'ingest' },
    })
    if (process.platform === 'linux') await expect(refused).rejects.toThrow(`by pid ${process.pid}`)
    expect(readInstances(system.data)).toEqual([])
    await new Promise((resolve) => holder.close(resolve))
    await system.start({ collectorPort: port })
  })

  test('a definition that can not be read is refused', async () => {
    const system = makeSystem()
    system.definitions.next = new QuestlogError('DEFINITION_INVALID', 'questlog.config.ts:3:1 …')
    await expect(system.start()).rejects.toMatchObject({ code: 'DEFINITION_INVALID' })
    expect(readInstances(system.data)).toEqual([])
  })

  test('a process that dies again and again is given up with its name', async () => {
    const system = makeSystem({ dieOnStart: 'lake' })
    const refused = system.start()
    await expect(refused).rejects.toThrow('lake ended with exit code 7, 5 times')
    await expect(refused).rejects.toMatchObject({ hint: 'see `questlog logs lake`' })
  })

  test('a data folder that is a file is refused', async () => {
    const system = makeSystem()
    writeFileSync(system.data, '')
    await expect(system.start()).rejects.toMatchObject({ code: 'DATA_UNUSABLE' })
  })

  test('one role runs alone, and the other beside it', async () => {
    const system = makeSystem()
    await system.start({ roles: ['ingest'] })
    await system.start({ roles: ['lake'] })
    const instances = readInstances(system.data)
    expect(instances.map(({ roles }) => roles)).toEqual([['lake'], ['ingest']])
    expect(runningDataFolders(system.environment)).toEqual([system.data])
    // Neither of them leaves room for a third.
    await expect(system.start()).rejects.toMatchObject({ code: 'ALREADY_RUNNING' })
    await expect(system.start({ roles: ['lake'] })).rejects.toThrow('questlog already runs on')
  })
})

describe('while it runs', () => {
  test('a killed process is started again on its port with the live definition', async () => {
    const system = makeSystem()
    const supervisor = await system.start()
    const before = supervisor.endpoints
    const pid = await pidOf(supervisor, 'ingest')
    process.kill(pid, 'SIGKILL')
    await until('ingest to be back', () =>
      system.screen.some((line) => line.startsWith('ingest is back')),
    )
    expect(system.screen[0]).toBe('ingest was ended by SIGKILL; starting it again in 0.0 s')
    expect(supervisor.endpoints).toEqual(before)
    expect(await pidOf(supervisor, 'ingest')).not.toBe(pid)
    expect(system.notes().at(-1)).toContain('ingest ready with 1')
  })

  test('the children stop when the supervisor is killed', async () => {
    const system = makeSystem()
    const program = fileURLToPath(new URL('./fixtures/run-supervisor.ts', import.meta.url))
    const child = spawn(process.execPath, ['--import', 'jiti/register', program, system.data], {
      cwd: fileURLToPath(new URL('../..', import.meta.url)),
      env: system.environment,
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let text = ''
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
    await until('the supervisor to be ready', () => text.includes('\n'))
    const components = JSON.parse(text) as ComponentStatus[]
    const pids = components.filter(({ name }) => name !== 'supervisor').map(({ pid }) => pid ?? 0)
    expect(pids.every(isAlive)).toBe(true)
    child.kill('SIGKILL')
    await until('the children to end', () => !pids.some(isAlive))
    await until('the lock to be free', () => readInstances(system.data).length === 0)
    expect(runningDataFolders(system.environment)).toEqual([])
    // And the next start finds its way free.
    await system.start()
  })

  test('a saved definition is live: lake first, then ingest, then for the next start', async () => {
    const system = makeSystem()
    const supervisor = await system.start()
    system.save('// two\n', definitionOf('sword', 'knife'))
    await until('the second version', () => supervisor.definitionVersion === 2)
    expect(system.notes().slice(-2)).toEqual(['lake activated 2', 'ingest activated 2'])
    expect(system.definitions.activated).toEqual([1, 2])
    await until('the line', () => system.screen.length > 0)
    expect(system.screen[0]).toMatch(/^definition version 2 is live \(\d\.\d s\): 1 → 2 events$/)
    process.kill(await pidOf(supervisor, 'lake'), 'SIGKILL')
    await until('lake to be back', () =>
      system.screen.some((line) => line.startsWith('lake is back')),
    )
    expect(system.notes().at(-1)).toContain('lake ready with 2')
  })

  test('a bad definition leaves the last good one live and is shown until it is mended', async () => {
    const system = makeSystem({ refuse: 2 })
    const supervisor = await system.start()
    system.save('// bad\n', new QuestlogError('DEFINITION_INVALID', 'questlog.config.ts:1:1: no'))
    await until('the refusal', () => system.screen.length === 1)
    expect(system.screen[0]).toContain('version 1 stays live: questlog.config.ts:1:1: no')
    expect((await supervisor.status()).attention[0]).toContain('was saved but not taken')
    system.save('// refused by the tables\n', definitionOf('sword', 'knife'))
    await until('the second refusal', () => system.screen.length === 2)
    expect(system.screen[1]).toContain('column damage can not become text')
    expect(system.notes().at(-1)).toContain('ready with 1')
    system.save('// good again\n', definitionOf('sword', 'axe', 'bow'))
    await until('the third version', () => supervisor.definitionVersion === 3)
    expect((await supervisor.status()).attention.join('\n')).not.toContain('not taken')
  })

  test('a definition that ingest refuses is taken back from lake', async () => {
    const system = makeSystem({ refuse: 2, refusedBy: 'ingest' })
    const supervisor = await system.start()
    system.save('// refused by the log\n', definitionOf('sword', 'knife'))
    await until('the refusal', () => system.screen.length === 1)
    expect(system.screen[0]).toContain('definition not taken, version 1 stays live')
    expect(system.notes().slice(-2)).toEqual(['lake activated 2', 'lake activated 1'])
    expect(supervisor.definitionVersion).toBe(1)
    process.kill(await pidOf(supervisor, 'lake'), 'SIGKILL')
    await until('lake to be back', () =>
      system.screen.some((line) => line.startsWith('lake is back')),
    )
    expect(system.notes().at(-1)).toContain('lake ready with 1')
  })

  test('a process that takes a refused definition too late goes back to the live one as well', async () => {
    const system = makeSystem({ late: 2 })
    const supervisor = await system.start({ activateTimeoutMs: 200 })
    system.save('// slow\n', definitionOf('sword', 'knife'))
    await until('the refusal', () => system.screen.length === 1)
    expect(system.screen[0]).toContain('definition not taken, version 1 stays live')
    expect(supervisor.definitionVersion).toBe(1)
    const taken = (role: string) => system.notes().filter((line) => line.startsWith(role))
    await until(
      'ingest to be back',
      () => taken('ingest activated').at(-1) === 'ingest activated 1',
    )
    expect(taken('ingest activated')).toContain('ingest activated 2')
    expect(taken('lake')).toContain('lake activated 2')
    expect(taken('lake').at(-1)).toBe('lake activated 1')
  })

  test('the commands reach it with its token, and nobody without', async () => {
    const system = makeSystem()
    await system.start()
    const [instance] = readInstances(system.data)
    if (instance === undefined) throw new Error('no instance')
    const status = await fetchStatus(instance)
    expect(status.components.map(({ name, state }) => `${name} ${state}`)).toEqual([
      'supervisor running',
      'ingest running',
      'lake running',
    ])
    expect(status.topics[0]).toMatchObject({ name: 'events', kept: 3, addsUp: true })
    expect(status.attention).toEqual([
      'unknown path /nix was called 2 times: add its route to ./questlog.config.ts',
      '1 event was set aside',
    ])
    expect((await fetchTopics(instance)).map(({ name }) => name)).toEqual(['events'])
    const spec = { name: 'x', partitions: 2, configs: {} }
    expect(await requestTopic(instance, spec)).toMatchObject(spec)
    await expect(requestTopic(instance, { ...spec, name: 'events' })).rejects.toMatchObject({
      code: 'TOPIC_EXISTS',
    })
    await expect(fetchStatus({ ...instance, token: 'guess' })).rejects.toMatchObject({
      code: 'UNAUTHORIZED',
    })
  })
})

describe('stop', () => {
  test('down stops ingest, then lake, says so, and leaves nothing running', async () => {
    const system = makeSystem()
    const supervisor = await system.start()
    const pids = [await pidOf(supervisor, 'ingest'), await pidOf(supervisor, 'lake')]
    const [instance] = readInstances(system.data)
    if (instance === undefined) throw new Error('no instance')
    const lines: string[] = []
    await requestStop(instance, (line) => lines.push(line))
    expect(lines.slice(0, 5)).toEqual([
      'Stopping ingest     … done',
      '  ingest says bye',
      'Stopping lake       … done',
      '  lake says bye',
      'Stopping supervisor … done',
    ])
    await supervisor.done
    expect(pids.some(isAlive)).toBe(false)
    expect(readInstances(system.data)).toEqual([])
    expect(runningDataFolders(system.environment)).toEqual([])
    await expect(fetchStatus(instance)).rejects.toMatchObject({ code: 'NOT_RUNNING' })
  })

  test('down works when a child is dead and when one does not listen', async () => {
    const system = makeSystem({ deaf: 'lake' })
    const supervisor = await system.start()
    const lake = await pidOf(supervisor, 'lake')
    process.kill(await pidOf(supervisor, 'ingest'), 'SIGKILL')
    const lines: string[] = []
    supervisor.onStopLine((line) => lines.push(line))
    await supervisor.stop()
    expect(lines.join('\n')).toContain(
      'it did not stop within 0.5 s and was ended; nothing is lost',
    )
    expect(lines).toContain('Stopping supervisor … done')
    expect(isAlive(lake)).toBe(false)
  })
})
