import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { DuckDBInstance } from '@duckdb/node-api'
import * as fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { openDuckdb } from '../../src/core/duckdb.ts'
import { convertTopic } from '../../src/stream/conversion.ts'
import { encodeBatch } from '../../src/log/record-batch.ts'
import { recordChunks, type PlacedRecord } from '../../src/log/record-chunks.ts'
import type { NewRecord } from '../../src/log/record.ts'
import { packRuns, type RecordRun } from '../../src/stream/record-runs.ts'
import { Staging } from '../../src/stream/staging.ts'
import { define } from './world.ts'

const definition = define({
  events: {
    purchase_sword: {
      params: z.object({
        damage: z.number().int().optional(),
        ok: z.boolean().optional(),
        color: z.string().optional(),
      }),
    },
    join_guild: {},
  },
  tables: {
    events: { from: '*' },
    red: { from: 'purchase_sword', where: "color = 'red'", set: { Host: 'upper(color)' } },
  },
})
const conversion = convertTopic(definition, 'events')

let instance: DuckDBInstance
beforeAll(async () => {
  instance = await openDuckdb({
    memoryMiB: 256,
    threads: 1,
    temporaryFolder: join(tmpdir(), 'questlog-staging'),
    temporaryMiB: 10,
  })
})
afterAll(() => instance.closeSync())

let offset = 0
const place = (value: string): PlacedRecord => ({
  partition: 0,
  record: {
    offset: offset++,
    timestampMs: 1_532_644_587_000,
    key: null,
    value: Buffer.from(value),
    headers: [],
  },
})

/** What the stream asks of a batch, in one row. */
function questions(): string {
  const tables = [...conversion.tables.values()]
  const flags = tables.flatMap((sql, index) => [
    `count(*) FILTER (${sql.matches}) AS m${index}`,
    `count(*) FILTER (${sql.matches} AND NOT ${sql.fits}) AS a${index}`,
    `count(*) FILTER (${sql.matches} AND ${sql.fits} AND ${sql.keeps}) AS t${index}`,
    `min(${sql.misfitReason}) AS r${index}`,
  ])
  return `SELECT count(*) AS n, count(*) FILTER (f0 IS NULL) AS unparsed, ${flags.join(', ')} FROM parsed`
}

test('a field that was absent in every batch so far is seen when it comes', async () => {
  const staging = new Staging(await instance.connect(), conversion)
  const count = async (...values: string[]) => {
    await staging.stage(values.map(place), 64)
    return (await staging.query(questions()))[0]
  }
  expect(
    await count('{"event_type":"purchase_sword"}', '{"event_type":"purchase_sword"}'),
  ).toMatchObject({ n: '2', a0: '0', t0: '2' })
  expect(await count('{"event_type":"purchase_sword","ok":"yes"}')).toMatchObject({
    n: '1',
    a0: '1',
    t0: '0',
    r0: 'ok does not fit boolean: yes',
  })
  expect(
    await count('{"event_type":"purchase_sword","damage":"x"}', '{"event_type":"join_guild"}'),
  ).toMatchObject({ n: '2', a0: '1', t0: '1' })
  expect(await count('{"event_type":"purchase_sword","color":"red"}')).toMatchObject({
    t0: '1',
    t1: '1',
  })
  staging.close()
})

test('what prepared statements say of a batch, whatever came before it, is what DuckDB says when it is asked afresh', async () => {
  const value = fc.record(
    {
      event_type: fc.constantFrom('purchase_sword', 'join_guild', 'nobody'),
      damage: fc.constantFrom<unknown>(1, '2', 5.7, 'x', null, true, 9_007_199_254_740_991),
      ok: fc.constantFrom<unknown>(true, 'false', 'yes', 0, '1', null),
      color: fc.constantFrom<unknown>('red', 'blue', '', null, 7, '\ud800'),
    },
    { requiredKeys: [] },
  )
  const batch = fc.array(
    fc.oneof(
      { weight: 9, arbitrary: value.map((fields) => JSON.stringify(fields)) },
      fc.constantFrom('not json', '[]', '{}'),
    ),
    { minLength: 1, maxLength: 12 },
  )
  await fc.assert(
    fc.asyncProperty(fc.array(batch, { minLength: 1, maxLength: 6 }), async (batches) => {
      const staging = new Staging(await instance.connect(), conversion)
      for (const values of batches) {
        const records = values.map(place)
        await staging.stage(records, 64)
        await staging.mend(records)
        const once = new Staging(await instance.connect(), conversion)
        await once.stage(records, 64)
        await once.mend(records)
        expect(await staging.query(questions())).toEqual(await once.lookUp(questions()))
        const rows = `SELECT * FROM parsed`
        expect(await staging.query(rows)).toEqual(await once.lookUp(rows))
        once.close()
      }
      staging.close()
    }),
    { numRuns: 5 },
  )
})

test('what is staged in runs is what is staged record by record, in its order, also where it is no JSON', async () => {
  const values = Array.from({ length: 3_000 }, (_, index) =>
    index % 997 === 5
      ? 'not json'
      : JSON.stringify({
          event_type: 'purchase_sword',
          damage: index,
          color: index % 701 === 3 ? '\ud800' : 'r\u00e9d',
        }),
  )
  const from = 50
  const batch = encodeBatch(from, [
    { timestampMs: 1_000, records: values.slice(0, 1_400).map(asRecord) },
    { timestampMs: 2_000, records: values.slice(1_400).map(asRecord) },
  ])
  const slice = { batches: [batch], nextOffset: batch.nextOffset }
  const [single] = recordChunks(3, slice, from, slice.nextOffset, 1e9)
  const [packed] = recordChunks<RecordRun>(3, slice, from, slice.nextOffset, 1e9, packRuns(64))
  expect(packed?.records).toHaveLength(2)
  const results = []
  for (const records of [single?.records ?? [], packed?.records ?? []]) {
    const staging = new Staging(await instance.connect(), conversion)
    expect(await staging.stage(records, 64)).toEqual([])
    const refused = (await staging.mend(records)).map(({ record, reason }) => [
      record.offset,
      Buffer.from(record.value ?? []).toString(),
      reason,
    ])
    results.push({ refused, rows: await staging.query('SELECT * FROM parsed') })
    staging.close()
  }
  expect(results[1]).toEqual(results[0])
  expect(results[1]?.refused).toHaveLength(4)
  expect(results[1]?.rows).toHaveLength(2_996)
})

test('a small batch has the values of a large one, and is taken as a whole just when each of its records is', async () => {
  const value = fc.record(
    {
      event_type: fc.constantFrom('purchase_sword', 'purchase_sword', 'join_guild', 'nobody'),
      damage: fc.constantFrom<unknown>(1, '2', null, 9_007_199_254_740_991, 'x'),
      ok: fc.constantFrom<unknown>(true, 'false', '1', null),
      color: fc.constantFrom<unknown>('red', 'blue', '', null, 7, 'é\u001e,;', '\ud800'),
    },
    { requiredKeys: ['event_type'] },
  )
  const text = fc.oneof(
    { weight: 19, arbitrary: value.map((fields) => JSON.stringify(fields)) },
    fc.constantFrom('not json', '[]', '{}', '{"event_type":"join_guild","x":"\u001e"}'),
  )
  const record = fc.record({
    text,
    id: fc.option(fc.constantFrom('mine', 'a,b;c\u001e', ''), { freq: 5 }),
    partition: fc.nat(2),
    timestampMs: fc.constantFrom(-62_135_596_800_000, 0, 1_532_644_587_123, 253_402_300_799_999),
    offset: fc.maxSafeNat(),
  })
  const kept = [
    '_log_partition',
    '_offset',
    '_ms',
    'raw',
    'id',
    ...conversion.values.map(({ name }) => name),
  ]
  const staging = new Staging(await instance.connect(), conversion)
  let wholes = 0
  await fc.assert(
    fc.asyncProperty(fc.array(record, { minLength: 1, maxLength: 12 }), async (drawn) => {
      const records = drawn.map(({ text: json, id, partition, offset: at, timestampMs }) => {
        const headers = id === null ? [] : [{ key: 'event_id', value: Buffer.from(id) }]
        const { record: placed } = place(json)
        return { partition, record: { ...placed, headers, offset: at, timestampMs } }
      })
      await staging.stage(records, 64)
      const large = await staging.lookUp(`SELECT *, t0 <> 0 AND a0 = 0 AS whole FROM parsed`)
      const items = [
        ...kept,
        ...conversion.verdict.whole("error('not whole')").map((sql) => `${sql} AS t0`),
      ]
      const small = await staging
        .insertBound(
          (source) =>
            `SELECT ${items.join(', ')} FROM (${conversion.parseWhole(source)}) AS parsed`,
        )
        .catch((error: unknown) => String(error))
      if (large.every((row) => row['whole'] === true)) {
        wholes++
        const names = [...kept.map((name) => name.replaceAll('"', '')), 't0']
        expect(small).toEqual(
          large.map((row) => Object.fromEntries(names.map((name) => [name, row[name]]))),
        )
      } else expect(small).toContain('not whole')
    }),
    { numRuns: 20 },
  )
  expect(wholes).toBeGreaterThan(0)
  staging.close()
})

test('records that are parameters of a statement are judged as those that are written', async () => {
  const values = [
    '{"event_type":"purchase_sword","damage":7,"color":"red"}',
    '{"event_type":"purchase_sword","ok":"yes"}',
    '{"event_type":"join_guild"}',
    '[1]',
    'not json',
    '{"event_type":"purchase_sword","color":"\\ud800 \u001e é"}',
  ]
  const id = { key: 'event_id', value: Buffer.from('mine') }
  const records = values.map(place)
  const named = { partition: 3, record: { ...place('{}').record, headers: [id] } }
  const staging = new Staging(await instance.connect(), conversion)
  expect(await staging.put([...records, named], 64)).toEqual([])
  expect(staging.isBindable).toBe(true)
  const bound = await staging.insertBound(conversion.parse)
  await staging.write()
  expect(bound).toEqual(await staging.query(staging.judged))
  expect(bound.map((row) => row['id'])).toEqual([...values.map(() => null), 'mine'])
  await staging.put([], 64)
  expect(await staging.insertBound(conversion.parse)).toEqual([])
  await staging.put(
    Array.from({ length: 129 }, () => place('{}')),
    64,
  )
  expect(staging.isBindable).toBe(false)
  staging.close()
})

const asRecord = (value: string): NewRecord => ({
  key: null,
  value: Buffer.from(value),
  headers: [],
})
