import { expect, test } from 'vitest'
import { alignRows, DemoScreen, type Progress } from '../../src/cli/demo-screen.ts'
import { percentile } from '../../src/cli/demo-watch.ts'
import type { Clock } from '../../src/core/clock.ts'

function screenOf(target: { isTTY?: boolean; columns?: number }, environment = {}) {
  let nowMs = 0
  let text = ''
  const clock: Clock = {
    nowMs: () => nowMs,
    monotonicMs: () => nowMs,
    sleep: async () => {},
    after: () => () => {},
  }
  const write = (part: string) => (text += part)
  const screen = new DemoScreen({ ...target, write }, clock, environment)
  const pass = (ms: number) => (nowMs += ms)
  return { screen, pass, text: () => text }
}

const progress = (played: number): Progress => ({
  played,
  total: 4_500,
  answered: played,
  count: 1_000,
  elapsedMs: played,
})

test('without a terminal there is a plain line now and then, and nothing but text', () => {
  const { screen, pass, text } = screenOf({})
  for (let i = 0; i < 50; i++) {
    screen.progress(progress(i * 10))
    pass(100)
  }
  screen.endProgress(progress(4_500))
  expect(text().split('\n').length).toBeLessThan(5)
  expect(text()).toContain('4,500 of 4,500   answered 4,500   SQL counts 1,000\n')
  expect(text()).not.toContain('\u001B')
  expect(text()).not.toContain('\r')
})

test('on a terminal a bar moves in its place, and lines go above it', () => {
  const { screen, pass, text } = screenOf({ isTTY: true, columns: 80 }, { NO_COLOR: '1' })
  screen.progress(progress(2_250))
  pass(1_000)
  screen.line('kill -9 1 2')
  screen.progress(progress(4_500))
  screen.endProgress(progress(4_500))
  expect(text().split('\n')).toHaveLength(3)
  const drawn = text().split('\r\u001B[K')
  expect(drawn[0]).toContain('████████████░░░░░░░░░░░░')
  expect(drawn[1]).toMatch(/^kill -9 1 2\n/)
  for (const part of drawn) expect(part.split('\n').at(-1)?.length).toBeLessThan(80)
})

test('a narrow terminal gets no line that would wrap', () => {
  const { screen, text } = screenOf({ isTTY: true, columns: 30 }, { NO_COLOR: '1' })
  screen.progress(progress(2_250))
  expect(text().length).toBeLessThan(30)
})

test('colours are left out when NO_COLOR asks for it', () => {
  expect(screenOf({ isTTY: true }).screen.style('good', 'equal')).toContain('\u001B')
  expect(screenOf({ isTTY: true }, { NO_COLOR: '1' }).screen.style('good', 'equal')).toBe('equal')
  expect(screenOf({}).screen.style('good', 'equal')).toBe('equal')
})

test('columns are as wide as their widest cell', () => {
  const rows = [
    ['host', 'answered'],
    ['user1', '1,234'],
  ]
  expect(alignRows(rows, new Set([1]))).toEqual(['  host    answered', '  user1      1,234'])
})

test('a percentile is a value that was measured', () => {
  expect(percentile([], 0.5)).toBeUndefined()
  expect(percentile([3, 1, 2], 0.5)).toBe(2)
  expect(percentile([3, 1, 2], 0.99)).toBe(3)
  expect(percentile([3, 1, 2], 0)).toBe(1)
})
