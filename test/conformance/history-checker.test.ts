import { describe, expect, test } from 'vitest'
import { findAnomalies, type Operation } from './history.ts'

// The checker itself: it must find what it is there for.

const send = (value: string, offset: number, over: object = {}): Operation => ({
  kind: 'send',
  producer: 'p',
  value,
  partition: 0,
  outcome: 'acknowledged',
  offset,
  ...over,
})
const poll = (value: string, offset: number, consumer = 'last'): Operation => ({
  kind: 'poll',
  consumer,
  partition: 0,
  offset,
  value,
})
const assign = (consumer: string, offset: number): Operation => ({
  kind: 'assign',
  consumer,
  partition: 0,
  offset,
})
const names = (operations: readonly Operation[], mayRepeat: readonly string[] = []) =>
  findAnomalies(operations, { mayRepeat: new Set(mayRepeat), last: 'last' }).map(({ name }) => name)

const good = [
  send('a', 0),
  send('b', 1),
  assign('c', 0),
  poll('a', 0, 'c'),
  poll('b', 1, 'c'),
  assign('c', 1),
  poll('b', 1, 'c'),
  assign('last', 0),
  poll('a', 0),
  poll('b', 1),
]

describe('the history checker', () => {
  test('finds nothing in a good history, with gaps and unknown outcomes', () => {
    expect(names(good)).toEqual([])
    const unknown = { outcome: 'unknown', offset: undefined }
    expect(names([...good, send('x', -1, unknown), send('c', 7), poll('c', 7)])).toEqual([])
    expect(
      names([...good, send('c', 7), send('y', -1, unknown), poll('c', 7), poll('y', 9)]),
    ).toEqual([])
  })

  const bad: readonly (readonly [string, readonly Operation[]])[] = [
    ['lost', [send('a', 0), send('b', 1), send('c', 2), poll('a', 0), poll('c', 2)]],
    ['unseen', [send('a', 0), send('b', 1), poll('a', 0)]],
    ['duplicate', [send('a', 0), poll('a', 0), poll('a', 1)]],
    [
      'inconsistent offset',
      [send('a', 0), send('b', 1), poll('a', 0), poll('b', 1), poll('b', 0, 'c')],
    ],
    ['non-monotonic poll', [...good, poll('b', 1, 'd'), poll('a', 0, 'd')]],
    ['skipped', [...good, assign('d', 0), poll('b', 1, 'd')]],
    ['never sent', [send('a', 0), poll('a', 0), poll('z', 1)]],
    [
      'refused read',
      [send('a', 0), send('b', 1, { outcome: 'refused' }), poll('a', 0), poll('b', 1)],
    ],
    [
      'aborted read',
      [
        send('a', 0, { transaction: 't' }),
        { kind: 'end', transaction: 't', outcome: 'abort' },
        poll('a', 0, 'c'),
      ],
    ],
    [
      'torn transaction',
      [
        send('a', 0, { transaction: 't' }),
        send('b', 1, { transaction: 't' }),
        { kind: 'end', transaction: 't', outcome: 'unknown' },
        poll('a', 0),
      ],
    ],
  ]
  test.each(bad)('finds: %s', (name, operations) => {
    expect(names(operations)).toContain(name)
  })

  test('finds: order', () => {
    expect(names([send('a', 1), send('b', 0), poll('b', 0), poll('a', 1)])).toEqual(['order'])
  })

  test('allows a producer that is not idempotent to repeat itself, and no more', () => {
    const twice = [send('a', 0), send('b', 1), poll('a', 0), poll('b', 1), poll('a', 2)]
    expect(names(twice)).toEqual(['duplicate', 'order'])
    expect(names(twice, ['p'])).toEqual([])
    expect(names([...twice, send('c', 3)], ['p'])).toEqual(['unseen'])
  })
})
