import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { waitFor } from '../support/commands.ts'
import { Instance, questlog } from '../support/instance.ts'

const definition = {
  topics: { events: { retentionBytes: 20_000 } },
  events: { hit: { route: 'GET /hit' } },
  tables: { hits: { from: 'hit', trigger: '200ms' }, all: { from: '*', trigger: '300ms' } },
  settings: { segmentBytesMax: 8192, retentionCheckIntervalMs: 50 },
}
const perBatch = 50

/** Sends numbered events in batches; every one is answered. */
async function send(instance: Instance, batches: number): Promise<void> {
  for (let batch = 0; batch < batches; batch++) {
    const lines = Array.from({ length: perBatch }, (_, n) =>
      JSON.stringify({ event_type: 'hit', n, padding: 'x'.repeat(40) }),
    )
    const headers = { 'content-type': 'application/x-ndjson' }
    const body = lines.join('\n')
    const answer = await instance.send('/events', { method: 'POST', headers, body })
    expect(answer.status).toBe(200)
  }
}

/** Waits until segments have gone beyond this many records, then compares what ps, SQL and audit say. */
async function expectAccounted(instance: Instance, sent: number, removedMin: number) {
  let [topic] = await instance.topics()
  while (topic === undefined || topic.removed < removedMin || topic.inFlight > 0)
    [topic] = await instance.topics()
  expect(topic).toMatchObject({ kept: sent, inTables: sent, filtered: 0, deadLetters: 0 })
  expect(await instance.sql('select count(*) from hits')).toEqual([[sent]])
  expect(await instance.sql('select count(distinct _offset) from "all"')).toEqual([[sent]])
  const audit = await instance.audit()
  expect(audit.stdout + audit.stderr).toContain(`events: answered ${sent} = in tables ${sent}`)
  expect(audit.stdout).toContain('everything adds up')
  expect(audit.code).toBe(0)
  const verified = await questlog('log', 'verify', '--data', instance.data)
  expect(verified.stdout).toContain('the log is whole')
  expect(verified.code).toBe(0)
  return topic
}

async function segments(instance: Instance): Promise<number> {
  const names = await readdir(join(instance.data, 'log', 'events-0'))
  return names.filter((name) => name.endsWith('.log')).length
}

test('segments that every table has committed go; ps, SQL and audit add up, also after kill -9 and while stopped', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'questlog-e2e-'))
  const config = join(folder, 'questlog.config.json')
  await writeFile(config, JSON.stringify(definition))
  try {
    await using instance = await Instance.start(config)
    await send(instance, 20)
    const { removed } = await expectAccounted(instance, 20 * perBatch, 300)
    await waitFor(
      'few of 20 segments are left',
      120_000,
      async () => (await segments(instance)) <= 6,
    )
    for (const component of ['ingest', 'lake']) await instance.kill(component)
    await instance.sql('select 1') // both are back: nothing that is sent is refused
    while ((await instance.send('/hit', { method: 'HEAD' }).catch(() => undefined)) === undefined);
    await send(instance, 20)
    await expectAccounted(instance, 40 * perBatch, removed + 300)
    await instance.kill('supervisor')
    await instance.up()
    await send(instance, 5)
    await expectAccounted(instance, 45 * perBatch, removed + 300)
    await instance.down()
    const audit = await instance.audit()
    expect(audit.stdout).toContain(`events: answered ${45 * perBatch} = in tables`)
    expect(audit.code).toBe(0)
    const verified = await questlog('log', 'verify', '--data', instance.data)
    expect(verified.stdout).toContain('— whole')
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})
