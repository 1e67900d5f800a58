import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freePort, runCommand, runOrThrow, waitFor } from '../support/commands.ts'
import { repositoryRoot } from '../support/tidy-source.ts'
import { clientsFolder, debianPython } from './clients.ts'
import { QuestlogTarget } from './target.ts'

describe('the web API of the write-ups, with questlog for its Kafka', () => {
  let target: QuestlogTarget
  let folder: string
  let flask: ChildProcess | undefined
  let url: string

  beforeAll(async () => {
    expect(clientsFolder).not.toBe('')
    folder = mkdtempSync(join(tmpdir(), 'questlog-web-api-'))
    target = await QuestlogTarget.start()
    const port = await freePort()
    url = `http://127.0.0.1:${port}`
    flask = await startFlask(port)
  })
  afterAll(async () => {
    flask?.kill('SIGKILL')
    await target[Symbol.asyncDispose]()
    rmSync(folder, { recursive: true, force: true })
  })

  /** Starts it with the name `kafka` for this machine, as a line in /etc/hosts gives it: in a file of its own that only it sees. */
  async function startFlask(port: number): Promise<ChildProcess> {
    const hosts = join(folder, 'hosts')
    writeFileSync(hosts, '127.0.0.1 localhost kafka\n')
    const named = ['-m', 'sh', '-c', `mount --bind ${hosts} /etc/hosts && exec "$@"`, 'sh']
    const canName = (await runCommand('unshare', [...named, 'true'], { cwd: folder })).code === 0
    const [, brokerPort = ''] = target.bootstrap.split(':')
    const words = [debianPython, '-m', 'flask', 'run', '--port', String(port)]
    const child = spawn(canName ? 'unshare' : 'env', [...(canName ? named : []), ...words], {
      cwd: folder,
      env: {
        ...process.env,
        FLASK_APP: join(repositoryRoot, 'examples/w205-web-api/game_api.py'),
        KAFKA_SERVERS: `${canName ? 'kafka' : '127.0.0.1'}:${brokerPort}`,
      },
      stdio: 'ignore',
    })
    await waitFor(
      'Flask answers',
      120_000,
      async () => (await fetch(url).catch(() => undefined))?.ok,
    )
    return child
  }

  const ab = (path: string, host: string, requests: number) =>
    runOrThrow('ab', ['-n', String(requests), '-H', `Host: ${host}`, `${url}${path}`], {
      cwd: folder,
    })
  const events = async (): Promise<Record<string, string>[]> =>
    (
      await runOrThrow(
        'kcat',
        ['-C', '-b', target.bootstrap, '-t', 'events', '-o', 'beginning', '-e', '-q'],
        { cwd: folder },
      )
    )
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Record<string, string>)

  test('200 requests of ab are 200 events on the log, each with its headers', async () => {
    const before = (await events()).length
    const report = await ab('/purchase_a_sword', 'user1.comcast.com', 200)
    expect(report).toMatch(/^Failed requests: +0$/m)
    expect(report).toMatch(/^Document Length: +18 bytes$/m)
    const all = await events()
    expect(all).toHaveLength(before + 200)
    expect(all.at(-1)).toEqual({
      event_type: 'purchase_sword',
      Host: 'user1.comcast.com',
      'User-Agent': 'ApacheBench/2.3',
      Accept: '*/*',
    })
  })

  test('SQL finds them in their tables', async () => {
    await ab('/join_guild', 'user2.att.com', 20)
    expect(
      await target.instance.sql(`select host, count(*) from sword_purchases group by host`),
    ).toEqual([['user1.comcast.com', 200]])
    expect(await target.instance.sql('select count(*) from join_guilds')).toEqual([[20]])
  })

  test('after kill -9 they are all there, and it goes on', async () => {
    const before = (await events()).length
    const pid = await target.instance.pid('ingest')
    process.kill(pid, 'SIGKILL')
    await waitFor('ingest is back', 300_000, async () => {
      const again = await target.instance.pid('ingest').catch(() => pid)
      return again !== pid
    })
    await waitFor('Flask has found it again', 300_000, async () => {
      return (await fetch(`${url}/join_guild`)).ok
    })
    expect((await events()).slice(0, before)).toHaveLength(before)
    await ab('/purchase_a_sword', 'user3.gogov.com', 10)
    expect(await target.instance.sql('select count(*) from sword_purchases')).toEqual([[210]])
    expect(await target.instance.audit()).toMatchObject({ code: 0 })
  })
})
