import { expect, test } from 'vitest'
import { QuestlogError } from '../../src/core/errors.ts'
import {
  answerRequest,
  isNotice,
  Requester,
  type RequestHandlers,
  type RequestMessage,
} from '../../src/app/messages.ts'

const handlers: RequestHandlers = {
  activate: async ({ version }) => {
    if (version < 0)
      throw new QuestlogError('EVOLUTION_REFUSED', 'no', { column: 'x' }, { hint: 'do' })
    if (version === 0) throw new TypeError('odd')
    return null
  },
  status: async () => ({
    topics: [],
    tables: [],
    attention: [],
    memoryBytes: 7,
  }),
  stop: async () => ({ lines: ['bye'] }),
  createTopic: async ({ name }) => ({ id: 'i', name, partitions: 1, configs: {} }),
  listTopics: async () => [],
  alterTopic: async ({ name }) => ({ id: 'i', name, partitions: 1, configs: {} }),
  deleteTopic: async () => null,
  maintainTable: async () => ({
    files: { before: 0, after: 0 },
    snapshots: { before: 0, after: 0 },
    removedFiles: 0,
    waitingFiles: 0,
  }),
  exportRows: async () => ({ rows: 0, folder: '', files: [] }),
}

/** Both ends, with JSON between them as on the channel. */
function connect(): Requester {
  const requester: Requester = new Requester((message: RequestMessage) => {
    void answerRequest(JSON.parse(JSON.stringify(message)), handlers, (answer) => {
      requester.receive(JSON.parse(JSON.stringify(answer)))
    })
  })
  return requester
}

test('each request gets its own answer', async () => {
  const requester = connect()
  const [lines, status, topic] = await Promise.all([
    requester.request('stop', {}, 1000),
    requester.request('status', {}, 1000),
    requester.request('createTopic', { name: 'a', partitions: 1, configs: {} }, 1000),
  ])
  expect(lines).toEqual({ lines: ['bye'] })
  expect(status).toMatchObject({ memoryBytes: 7 })
  expect(topic).toMatchObject({ name: 'a' })
})

test('an error keeps its code, facts and hint; a foreign one becomes INTERNAL', async () => {
  const requester = connect()
  await expect(requester.request('activate', { version: -1 }, 1000)).rejects.toMatchObject({
    code: 'EVOLUTION_REFUSED',
    message: 'no',
    facts: { column: 'x' },
    hint: 'do',
  })
  await expect(requester.request('activate', { version: 0 }, 1000)).rejects.toMatchObject({
    code: 'INTERNAL',
    message: 'odd',
  })
})

test('a request ends when nobody answers, and when the other side is gone', async () => {
  const deaf = new Requester(() => {})
  await expect(deaf.request('status', {}, 10)).rejects.toMatchObject({ code: 'NOT_RUNNING' })
  const open = deaf.request('status', {}, 10_000)
  deaf.close('lake was ended by SIGKILL')
  await expect(open).rejects.toThrow('lake was ended by SIGKILL')
  await expect(deaf.request('status', {}, 10_000)).rejects.toMatchObject({ code: 'NOT_RUNNING' })
})

test('what is no message of ours is left alone', async () => {
  const sent: unknown[] = []
  for (const message of [null, 7, 'text', {}, { id: 1 }, { request: 'stop' }])
    await answerRequest(message, handlers, (answer) => sent.push(answer))
  expect(sent).toEqual([])
  expect(new Requester(() => {}).receive({ notice: 'event', text: 'x' })).toBe(false)
  expect(isNotice({ notice: 'event', text: 'x' })).toBe(true)
  expect(isNotice({ id: 1, result: null })).toBe(false)
})
