import { expect, test } from 'vitest'
import { createBacklog, parseProgress } from '../../src/app/backlog.ts'
import { realClock } from '../../src/core/clock.ts'

const state = {
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
  const backlog = createBacklog(file, () => states, { ...realClock, monotonicMs: () => nowMs })
  return {
    backlog,
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

test('progress is read with bytes around it', () => {
  expect(parseProgress('0a1b {"applied":{"t":{"1":{"offset":5}}}}  ')?.get('t')?.get(1)).toBe(5)
  expect(parseProgress('no')).toBeUndefined()
})
