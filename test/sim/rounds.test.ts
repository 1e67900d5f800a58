import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { SeededRandom } from '../../src/sim/random.ts'
import { composeRounds, countRounds, type SimRequest } from '../../src/sim/rounds.ts'

const counted = (requests: readonly SimRequest[]) => {
  const counts = new Map<string, number>()
  for (const { host, type } of requests) {
    const key = `${host} ${type}`
    counts.set(key, (counts.get(key) ?? 0) + 1)
  }
  return counts
}

const expected = (rounds: number) =>
  new Map(countRounds(rounds).map(({ host, type, count }) => [`${host} ${type}`, count]))

describe('the endless load of the write-up', () => {
  test('one round is 225 requests: 45 default, 75 sword, 105 guild, as many of each host as written', () => {
    const sum = (type: string) =>
      countRounds(1)
        .filter((row) => row.type === type)
        .reduce((total, { count }) => total + count, 0)
    expect(['default', 'purchase_sword', 'join_guild'].map(sum)).toEqual([45, 75, 105])
    expect(countRounds(1).map(({ host, count }) => [host, count])).toEqual([
      ['user1.comcast.com', 10],
      ['user1.comcast.com', 20],
      ['user1.comcast.com', 30],
      ['user2.att.com', 15],
      ['user2.att.com', 25],
      ['user2.att.com', 35],
      ['user3.gogov.com', 20],
      ['user3.gogov.com', 30],
      ['user3.gogov.com', 40],
    ])
  })

  test('whole rounds hold exactly the counts that are known, whatever the seed', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5 }), fc.nat(), (rounds, seed) => {
        const requests = composeRounds(rounds, seed)
        expect(counted(requests)).toEqual(expected(rounds))
        expect(counted(requests.slice(0, 225))).toEqual(expected(1))
        expect(requests.map(({ number }) => number)).toEqual(requests.map((_, index) => index + 1))
      }),
    )
  })

  test('a seed gives the same requests each time, another seed another order', () => {
    expect(composeRounds(3, 7)).toEqual(composeRounds(3, 7))
    expect(composeRounds(3, 7)).not.toEqual(composeRounds(3, 8))
  })

  test('a path belongs to one event type', () => {
    const types = new Set(composeRounds(2, 1).map(({ path, type }) => `${path} ${type}`))
    expect([...types].sort()).toEqual([
      '/ default',
      '/join_the_guild join_guild',
      '/purchase_a_sword purchase_sword',
    ])
  })
})

describe('seeded numbers', () => {
  test('stay below their limit, and every one of them comes', () => {
    const random = new SeededRandom(1)
    const times = Array.from({ length: 10 }, () => 0)
    for (let i = 0; i < 10_000; i++) {
      const number = random.below(10)
      times[number] = (times[number] ?? 0) + 1
    }
    expect(times).toHaveLength(10)
    for (const count of times) expect(Math.abs(count - 1_000)).toBeLessThan(150)
  })

  test('shuffle keeps every item', () => {
    fc.assert(
      fc.property(fc.array(fc.integer()), fc.nat(), (items, seed) => {
        const sorted = (list: readonly number[]) => list.toSorted((a, b) => a - b)
        expect(sorted(new SeededRandom(seed).shuffle(items))).toEqual(sorted(items))
      }),
    )
  })
})
