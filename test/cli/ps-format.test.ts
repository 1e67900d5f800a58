import { expect, test } from 'vitest'
import type { InstanceStatus } from '../../src/app/roles.ts'
import { psJson, psLines } from '../../src/cli/ps-format.ts'

const topic = {
  name: 'events',
  kept: 4891,
  inTables: 4800,
  filtered: 0,
  deadLetters: 91,
  unrouted: 0,
  inFlight: 0,
  removed: 0,
  addsUp: true,
}

const status: InstanceStatus = {
  data: '/d',
  config: '/c',
  definitionVersion: 1,
  endpoints: { collector: 'http://127.0.0.1:5000', broker: null, sql: 'http://127.0.0.1:8080' },
  components: [
    {
      name: 'supervisor',
      command: 'questlog up',
      state: 'running',
      pid: 41,
      ports: '',
      uptimeMs: 61_000,
      memoryBytes: 52_000_000,
      restarts: 0,
    },
    {
      name: 'lake',
      command: 'stream, tables, sql',
      state: 'restarting',
      pid: null,
      ports: '',
      uptimeMs: 0,
      memoryBytes: 0,
      restarts: 2,
    },
  ],
  topics: [topic],
  tables: [],
  attention: ['91 events were set aside'],
}

test('ps shows processes, where every event is, and what needs a look', () => {
  expect(psLines([status]).join('\n'))
    .toBe(`Name         Command               State        Ports   Pid   Up     Memory
supervisor   questlog up           running              41    61 s   52.0 MB
lake         stream, tables, sql   restarting

events: answered 4,891 = in tables 4,800 + filtered 0 + set aside 91 + in no table 0 + on the way 0 — adds up

! 91 events were set aside`)
})

test('when nothing runs ps shows the header alone', () => {
  expect(psLines([])).toEqual(['Name   Command   State   Ports   Pid   Up   Memory'])
})

test('a line that does not add up says what to do', () => {
  const [, , , line] = psLines([
    { ...status, components: [], topics: [{ ...topic, addsUp: false }], attention: [] },
  ]).concat('', '')
  expect(psLines([{ ...status, topics: [{ ...topic, addsUp: false }] }]).join('\n')).toContain(
    'DOES NOT ADD UP: run `questlog audit`',
  )
  expect(line).toBe('')
})

test('a line says how many of its events are no longer on the log', () => {
  const lines = psLines([{ ...status, topics: [{ ...topic, removed: 1_000 }] }])
  expect(lines.join('\n')).toContain('— adds up; 1,000 of them retention has removed from the log')
})

test('the JSON is exactly the documented contract', () => {
  expect(psJson(status.endpoints, [status])).toEqual({
    endpoints: { collector: 'http://127.0.0.1:5000', broker: null, sql: 'http://127.0.0.1:8080' },
    components: [
      { name: 'supervisor', state: 'running', pid: 41, uptimeMs: 61_000 },
      { name: 'lake', state: 'restarting', pid: null, uptimeMs: 0 },
    ],
    topics: [
      {
        name: 'events',
        kept: 4891,
        inTables: 4800,
        filtered: 0,
        deadLetters: 91,
        unrouted: 0,
        inFlight: 0,
        removed: 0,
      },
    ],
  })
})
