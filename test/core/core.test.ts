import { describe, expect, test } from 'vitest'
import { inTransaction, openDuckdb, queryRows } from '../../src/core/duckdb.ts'
import {
  asQuestlogError,
  errorCatalog,
  QuestlogError,
  systemErrorCode,
} from '../../src/core/errors.ts'
import { Exclusive } from '../../src/core/exclusive.ts'
import { realClock } from '../../src/core/clock.ts'
import { createLogger, formatLogLine } from '../../src/core/logger.ts'
import { formatMetrics } from '../../src/core/metrics.ts'

describe('errors', () => {
  test('every error says what to do, and answers with a status that is an error', () => {
    for (const [code, { http, hint }] of Object.entries(errorCatalog)) {
      expect(http >= 400 && http < 600, code).toBe(true)
      expect(hint.length, code).toBeGreaterThan(5)
    }
  })

  test('an error has the advice of its row, unless the place knows better', () => {
    expect(new QuestlogError('OVERLOADED', 'x')).toMatchObject({
      hint: errorCatalog.OVERLOADED.hint,
      row: { http: 503, retriable: true },
    })
    expect(new QuestlogError('OVERLOADED', 'x', {}, { hint: 'wait' }).hint).toBe('wait')
  })

  test('what is none of ours becomes INTERNAL and keeps its cause; ours stay as they are', () => {
    const own = new QuestlogError('USAGE', 'x')
    const other = new Error('broken')
    expect(asQuestlogError(own)).toBe(own)
    expect(asQuestlogError(other)).toMatchObject({
      code: 'INTERNAL',
      message: 'broken',
      cause: other,
    })
    expect(asQuestlogError('text').message).toBe('text')
    expect(systemErrorCode(Object.assign(new Error('x'), { code: 'EIO' }))).toBe('EIO')
    expect([undefined, null, 'EIO', {}, { code: 5 }].map(systemErrorCode)).toEqual(
      Array(5).fill(undefined),
    )
  })
})

describe('an exclusive resource', () => {
  test('is used by one piece of work at a time, in the order of asking, whatever becomes of each', async () => {
    const resource = new Exclusive<string[]>([])
    let inside = 0
    const work = (name: string, fails: boolean) =>
      resource.run(async (list) => {
        expect(++inside).toBe(1)
        await realClock.sleep(1)
        list.push(name)
        inside--
        if (fails) throw new Error(name)
        return [...list]
      })
    const results = await Promise.allSettled([work('a', false), work('b', true), work('c', false)])
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    expect(await resource.run(async (list) => list)).toEqual(['a', 'b', 'c'])
  })
})

describe('the clock', () => {
  test('a sleep ends when its signal aborts, also when that was before', async () => {
    const stop = new AbortController()
    const slept = realClock.sleep(3_600_000, stop.signal)
    stop.abort()
    await slept
    await realClock.sleep(3_600_000, stop.signal)
  })
})

describe('log lines', () => {
  test('are one line of JSON each, with errors and big numbers as plain facts', () => {
    const lines: string[] = []
    const logger = createLogger(
      'lake',
      () => 0,
      (line) => lines.push(line),
    )
    logger.warn('a\nb', {
      offset: 5n,
      error: Object.assign(new Error('no\nroom'), { code: 'ENOSPC' }),
    })
    expect(lines).toHaveLength(1)
    expect(lines[0]).not.toContain('\n')
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({
      time: '1970-01-01T00:00:00.000Z',
      level: 'warn',
      component: 'lake',
      text: 'a\nb',
      offset: '5',
      error: { message: 'no\nroom', code: 'ENOSPC' },
    })
    expect(formatLogLine(0, 'info', 'x', 'y', {})).toBe(
      '{"time":"1970-01-01T00:00:00.000Z","level":"info","component":"x","text":"y"}',
    )
  })
})

describe('metrics', () => {
  test('are Prometheus text, with labels escaped', () => {
    const text = formatMetrics([
      {
        name: 'a_total',
        help: 'What.',
        type: 'counter',
        values: [{ value: 1 }, { labels: { topic: 'a"b\\c\nd' }, value: 2 }],
      },
    ])
    expect(text).toBe(
      '# HELP a_total What.\n# TYPE a_total counter\na_total 1\na_total{topic="a\\"b\\\\c\\nd"} 2\n',
    )
    expect(formatMetrics([])).toBe('')
  })
})

describe('a transaction', () => {
  test('leaves everything or nothing', async () => {
    const instance = await openDuckdb({
      memoryMiB: 256,
      threads: 1,
      temporaryFolder: '',
      temporaryMiB: 0,
    })
    const connection = await instance.connect()
    await connection.run('CREATE TABLE t (n INTEGER)')
    await inTransaction(connection, () => connection.run('INSERT INTO t VALUES (1)'))
    await expect(
      inTransaction(connection, async () => {
        await connection.run('INSERT INTO t VALUES (2)')
        throw new Error('half-way')
      }),
    ).rejects.toThrow('half-way')
    await expect(
      inTransaction(connection, () => connection.run('SELECT nothing')),
    ).rejects.toThrow()
    expect(await queryRows(connection, 'SELECT n FROM t')).toEqual([{ n: 1 }])
    connection.closeSync()
  })
})
