import { describe, expect, test } from 'vitest'
import { judge, type FoundRow } from '../../src/cli/demo-verdict.ts'
import type { Outcome, Played } from '../../src/sim/play.ts'
import { composeRounds } from '../../src/sim/rounds.ts'

const requests = composeRounds(1, 1)
const answered: Outcome = {
  kind: 'answered',
  receipt: { topic: 'events', partition: 0, offset: 0 },
}

/** All answered, but for the outcomes that are given by number. */
function playedWith(others: ReadonlyMap<number, Outcome> = new Map()): Played[] {
  return requests.map((request) => {
    const outcome = others.get(request.number) ?? answered
    return { request, outcome, latencyMs: 1, sentMs: 0, atMs: 1 }
  })
}

const rows = (): FoundRow[] =>
  requests.map(({ number, host, type }) => ({ request: number, host, type }))

describe('the comparison of what was answered with what SQL finds', () => {
  test('is equal when every answered number is there once', () => {
    const verdict = judge(playedWith(), rows())
    expect(verdict.isEqual).toBe(true)
    expect(verdict.groups).toHaveLength(9)
    expect(verdict.groups.map(({ answered: count }) => count)).toEqual(
      verdict.groups.map(({ found }) => found),
    )
    expect(verdict.groups[0]).toEqual({
      host: 'user1.comcast.com',
      type: 'default',
      answered: 10,
      found: 10,
      missing: [],
    })
  })

  test('names the numbers that are missing', () => {
    const verdict = judge(
      playedWith(),
      rows().filter(({ request }) => request !== 7 && request !== 100),
    )
    expect(verdict.isEqual).toBe(false)
    expect(verdict.groups.flatMap(({ missing }) => missing).toSorted((a, b) => a - b)).toEqual([
      7, 100,
    ])
  })

  test('names the numbers that are there twice, answered or not', () => {
    const lost = new Map<number, Outcome>([[9, { kind: 'no answer', reason: 'socket hang up' }]])
    const found = rows()
    const verdict = judge(playedWith(lost), [
      ...found,
      ...found.filter(({ request }) => request === 3 || request === 9),
    ])
    expect(verdict.isEqual).toBe(false)
    expect(verdict.twice).toEqual([3, 9])
  })

  test('an event under another host or type is missing where it belongs, and strange where it is', () => {
    const found = rows().map((row) => (row.request === 5 ? { ...row, host: 'elsewhere' } : row))
    const verdict = judge(playedWith(), found)
    expect(verdict.isEqual).toBe(false)
    expect(verdict.groups.flatMap(({ missing }) => missing)).toEqual([5])
    expect(verdict.strange).toBe(1)
  })

  test('a row of no request that was sent is not equal', () => {
    const strange = { request: 226, host: 'user1.comcast.com', type: 'default' }
    expect(judge(playedWith(), [...rows(), strange])).toMatchObject({ isEqual: false, strange: 1 })
    const unnumbered = { ...strange, request: Number.NaN }
    expect(judge(playedWith(), [...rows(), unnumbered])).toMatchObject({ isEqual: false })
  })

  test('what got no answer may be kept or not; neither is wrong', () => {
    const others = new Map<number, Outcome>([
      [1, { kind: 'no answer', reason: 'socket hang up' }],
      [2, { kind: 'no answer', reason: 'socket hang up' }],
      [3, { kind: 'refused', status: 503 }],
    ])
    const verdict = judge(
      playedWith(others),
      rows().filter(({ request }) => request !== 1 && request !== 3),
    )
    expect(verdict).toMatchObject({
      isEqual: true,
      unanswered: { kept: 1, notKept: 1 },
      refused: { kept: 0, notKept: 1 },
    })
  })
})
