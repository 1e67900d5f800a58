import fc from 'fast-check'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { queryRows } from '../../src/core/duckdb.ts'
import { quoteName } from '../../src/plan/columns.ts'
import { define, World } from './world.ts'

const definition = (trigger = '1h') =>
  define({
    events: {
      purchase: {
        params: z.object({ number: z.int().optional(), name: z.string().optional() }),
      },
    },
    tables: { purchases: { from: 'purchase', trigger } },
  })

const purchases = (count: number, number: (index: number) => number) =>
  Array.from({ length: count }, (_, index) => ({
    event_type: 'purchase',
    name: `item ${index % 5}`,
    ...(index % 7 === 0 ? {} : { number: number(index) }),
  }))

const all = new Set(['number', 'name', '_offset', '_log_partition', '_timestamp'])
const unbounded = { min: Number.NEGATIVE_INFINITY, max: Number.POSITIVE_INFINITY }
const offsets = (min: number, max: number) => ({
  columns: all,
  ranges: [{ column: '_offset', min, max }],
})

/** Three data files with ten rows each, and ten fresh rows. */
async function fourTens(world: World) {
  const stream = await world.start(definition())
  for (let ten = 0; ten < 4; ten++) {
    if (ten > 0) await stream.activate(definition())
    await world.append(purchases(10, (index) => ten * 100 + index))
    await world.count('"default".purchases')
  }
  return stream
}

test('a part of a table has the rows of its view, out of no more files than may have them', async () => {
  await using world = await World.open()
  const stream = await fourTens(world)
  const files = (min: number, max: number) =>
    stream.narrowedScan('purchases', offsets(min, max), 'default')?.match(/\.parquet/g)?.length ?? 0
  expect([files(0, 29), files(3, 9), files(9, 10), files(30, 39), files(40, 99)]).toEqual([
    3, 1, 2, 0, 0,
  ])
  expect(stream.narrowedScan('shields', offsets(0, 9), 'default')).toBeUndefined()
  expect(stream.narrowedScan('purchases', offsets(0, 9), 'other')).toBeUndefined()

  const moments = await world.query(
    'SELECT epoch_us(min(_timestamp))::VARCHAR AS first, epoch_us(max(_timestamp))::VARCHAR AS last FROM "default".purchases WHERE _offset BETWEEN 10 AND 19',
  )
  const [min, max] = [Number(moments[0]?.['first']), Number(moments[0]?.['last'])]
  const scan = stream.narrowedScan(
    'purchases',
    { columns: all, ranges: [{ column: '_timestamp', min, max, microseconds: true }] },
    'default',
  )
  expect(scan?.match(/\.parquet/g)).toHaveLength(1)

  const bound = fc.option(fc.integer({ min: -5, max: 410 }), { nil: undefined })
  const ranges = fc.array(
    fc.record({
      column: fc.constantFrom('number', '_offset', '_log_partition'),
      min: bound,
      max: bound,
    }),
    { maxLength: 3 },
  )
  const columns = fc.uniqueArray(fc.constantFrom(...all, 'name', 'nothing'))
  await fc.assert(
    fc.asyncProperty(columns, ranges, async (names, wanted) => {
      const asked = wanted.map(({ column, min, max }) => ({
        column,
        min: min ?? unbounded.min,
        max: max ?? unbounded.max,
      }))
      const conditions = wanted.flatMap(({ column, min, max }) => [
        ...(min === undefined ? [] : [`${column} >= ${min}`]),
        ...(max === undefined ? [] : [`${column} <= ${max}`]),
      ])
      const read = [...new Set([...names, ...wanted.map(({ column }) => column)])]
      const scan = stream.narrowedScan(
        'purchases',
        { columns: new Set(read), ranges: asked },
        'default',
      )
      const chosen = read.filter((name) => all.has(name)).map(quoteName)
      const rows = (from: string) =>
        world.query(
          `SELECT ${['count(*) AS n', ...chosen].join(', ')} FROM ${from} WHERE ${['true', ...conditions].join(' AND ')} GROUP BY ALL ORDER BY ALL`,
        )
      expect(await rows(`(${scan})`)).toEqual(await rows('"default".purchases'))
    }),
    { numRuns: 60 },
  )
})

test('the part of a moment that is gone has the rows of that moment, or fails', async () => {
  await using world = await World.open()
  const stream = await fourTens(world)
  const scan = stream.narrowedScan('purchases', offsets(30, 99), 'default')
  const connection = await world.instance?.connect()
  if (connection === undefined) throw new Error('there is no instance')
  const rows = () => queryRows(connection, `SELECT _offset::INTEGER AS o FROM (${scan}) ORDER BY o`)
  const of = (count: number) => Array.from({ length: count }, (_, index) => ({ o: 30 + index }))
  expect(await rows()).toEqual(of(10))
  // More rows, and a commit that leaves them where they are.
  await stream.activate(definition('100ms'))
  await expect(rows()).rejects.toThrow(/does not exist/)
  connection.closeSync()
})

test('while rows are committed, a part of the table never lacks one that was there before', async () => {
  await using world = await World.open()
  const stream = await world.start(definition('100ms'))
  const connection = await world.instance?.connect()
  if (connection === undefined) throw new Error('there is no instance')
  const wanted = { columns: all, ranges: [] }
  let appended = 0
  let [read, gone] = [0, 0]
  while ((stream.tables[0]?.lake.version ?? 0) < 8) {
    await world.append(purchases(3_000, (index) => index))
    appended += 3_000
    await stream.caughtUp(null, new AbortController().signal)
    const scan = stream.narrowedScan('purchases', wanted, 'default')
    for (let times = 0; times < 3; times++) {
      const counted = await queryRows(
        connection,
        `SELECT count(*)::INTEGER AS n, count(DISTINCT _offset)::INTEGER AS d FROM (${scan})`,
      ).catch(() => undefined)
      if (counted === undefined) gone++
      else {
        read++
        expect(counted).toEqual([{ n: appended, d: appended }])
      }
    }
  }
  expect(read).toBeGreaterThan(0)
  expect(read + gone).toBeGreaterThan(6)
  connection.closeSync()
})
