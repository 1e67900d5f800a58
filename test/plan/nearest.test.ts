import { expect, test } from 'vitest'
import { nearestName } from '../../src/plan/nearest.ts'

const names = ['sword_purchases', 'join_guilds', 'default_hits', 'Host', 'damage']

test.each([
  ['sword_purchase', 'sword_purchases'],
  ['swrod_purchases', 'sword_purchases'],
  ['SWORD_PURCHASES', 'sword_purchases'],
  ['hots', 'Host'],
  ['damge', 'damage'],
  ['join_guild', 'join_guilds'],
  ['knives', undefined],
  ['x', undefined],
  ['', undefined],
])('%j most likely means %j', (text, expected) => {
  expect(nearestName(text, names)).toBe(expected)
})
