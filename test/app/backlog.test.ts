import { expect, test } from 'vitest'
import { createBacklog, parseProgress } from '../../src/app/backlog.ts'
import { realClock } from '../../src/core/clock.ts'

const state = {
  topic: 'events',
  topicId: 't',
  partition: 0,
  startOffset: 100,
  endOffset: 300,
  visibleOffset: 300,
  bytes: 20_000,
}

function backlogOf(text: string, states = [state]) {
  let nowMs = 0
  let current = text
  let reads = 0
  const file = {
    write: () => {},
    read: () => {
      reads++
      return Buffer.from(current)
    },
    close: () => {},
  }
  const { bytes, totalBytes, delayMs } = createBacklog(
    file,
    () => states,
    { ...realClock, monotonicMs: () => nowMs },
    { backlogBytesHeld: 10_000 },
  )
  return {
    backlog: totalBytes,
    bytes,
    delayMs,
    reads: () => reads,
    later: (ms: number, next: string) => {
      nowMs += ms
      current = next
    },
  }
}

test('the backlog is what lies behind the applied offset, at the mean size of a record', () => {
  expect(backlogOf('{"applied":{"t":{"0":{"offset":250}}}}').backlog()).toBe(5_000)
  expect(backlogOf('{"applied":{"t":{"0":{"offset":"50"}}}}').backlog()).toBe(20_000)
  expect(backlogOf('{"applied":{"t":{"0":{"offset":400}}}}').backlog()).toBe(0)
})

test('topics that the stream does not read, and a file that is not there, count nothing', () => {
  expect(backlogOf('{"applied":{"other":{"0":{"offset":1}}}}').backlog()).toBe(0)
  expect(backlogOf('').backlog()).toBe(0)
  expect(backlogOf('{"applied":{"t":{}}}', [{ ...state, endOffset: 100 }]).backlog()).toBe(0)
})

test('the file is read at most every 250 ms; a torn one leaves the last answer', () => {
  const { backlog, later, reads } = backlogOf('{"applied":{"t":{"0":{"offset":250}}}}')
  expect([backlog(), backlog()]).toEqual([5_000, 5_000])
  expect(reads()).toBe(1)
  later(260, '{"applied":{"t":{"0":{"off')
  expect(backlog()).toBe(5_000)
  later(260, 'crc {"applied":{"t":{"0":{"offset":300}}}}\n')
  expect(backlog()).toBe(0)
  expect(reads()).toBe(3)
})

test('bodies wait the longer the more there is, while the tables take some of it', () => {
  const states = [{ ...state, startOffset: 0, visibleOffset: 300, endOffset: 300, bytes: 30_000 }]
  const { delayMs, later } = backlogOf('{"applied":{"t":{"0":{"offset":100}}}}', states)
  const at = (offset: number) => {
    later(260, `{"applied":{"t":{"0":{"offset":${offset}}}}}`)
    return delayMs()
  }
  expect(delayMs()).toBe(100)
  expect(at(150)).toBeCloseTo(50)
  expect(at(190)).toBeCloseTo(10)
  expect(at(200)).toBe(0)
  expect(at(230)).toBe(0)
})

test('tables that take nothing are not waited for', () => {
  const { delayMs, later } = backlogOf('{"applied":{"t":{"0":{"offset":120}}}}')
  expect(delayMs()).toBeGreaterThan(0)
  later(900, '{"applied":{"t":{"0":{"offset":120}}}}')
  expect(delayMs()).toBeGreaterThan(0)
  later(300, '{"applied":{"t":{"0":{"offset":120}}}}')
  expect(delayMs()).toBe(0)
  later(300, '{"applied":{"t":{"0":{"offset":121}}}}')
  expect(delayMs()).toBeGreaterThan(0)
})

test('a topic that stands still counts against its own events alone, and is not waited for', () => {
  const whole = { ...state, startOffset: 0, bytes: 30_000 }
  const states = ['still', 'other', 'idle'].map((topic) => ({ ...whole, topic, topicId: topic }))
  const { backlog, bytes, delayMs, later } = backlogOf('', states)
  const at = (other: number) =>
    later(
      600,
      `{"applied":{"still":{"0":{"offset":100}},"other":{"0":{"offset":${other}}},"idle":{"0":{"offset":300}}}}`,
    )
  const seen = () => [null, 'still', 'other', 'idle', 'new'].map(bytes)
  at(200)
  expect(seen()).toEqual([30_000, 30_000, 30_000, 30_000, 30_000])
  for (const offset of [210, 220, 250]) {
    at(offset)
    backlog()
  }
  expect(seen()).toEqual([5_000, 25_000, 5_000, 5_000, 5_000])
  expect(backlog()).toBe(25_000)
  expect(delayMs()).toBe(0)
  for (let time = 0; time < 3; time++) at(250)
  expect(seen()).toEqual([0, 20_000, 5_000, 0, 0])
})

test('progress is read with bytes around it', () => {
  expect(parseProgress('0a1b {"applied":{"t":{"1":{"offset":5}}}}  ')?.get('t')?.get(1)).toBe(5)
  expect(parseProgress('no')).toBeUndefined()
})
