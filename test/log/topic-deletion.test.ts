import { expect, test } from 'vitest'
import type { PartitionView } from '../../src/log/record.ts'
import { SimulatedFiles } from '../support/simulated-files.ts'
import { codeOf, createEvents, openLog, readAll, record, values } from './support.ts'

test('a topic made anew gives no offset out again that was acknowledged while the old one was deleted', async () => {
  const files = new SimulatedFiles({ seed: 1 })
  const log = await openLog(files)
  await createEvents(log)
  await log.append('events', null, [record('before')])
  const late = log.append('events', null, [record('late')])
  const deleted = log.deleteTopic('events', { continueOffsets: true })
  const { baseOffset } = await late
  await deleted
  await createEvents(log)
  expect(log.states()[0]?.startOffset).toBeGreaterThan(baseOffset)
  await log.close()
})

test('a topic that can not be deleted takes appends again', async () => {
  const files = new SimulatedFiles({ seed: 1 })
  const log = await openLog(files)
  const topic = await createEvents(log)
  files.fault = (operation, path) =>
    operation === 'append' && path.endsWith('/meta') ? 'ENOSPC' : undefined
  expect(await codeOf(log.deleteTopic('events'))).toBe('OVERLOADED')
  files.fault = () => undefined
  await log.append('events', null, [record('after')])
  expect(values(await readAll(files, topic))).toEqual(['after'])
  await log.close()
})

test('a topic made anew shows nothing of the old one, also when that was read while its files went', async () => {
  const files = new SimulatedFiles({ seed: 1 })
  const log = await openLog(files)
  await createEvents(log, 2)
  await log.append('events', Buffer.from('key-0'), [record('old')])
  await log.append('events', Buffer.from('key-1'), [record('old')])
  await log.append('events', Buffer.from('key-2'), [record('old')])
  const read = (view: PartitionView | undefined) =>
    view?.read(0, { maxBytes: 1_000, atLeastOne: true, isolation: 'uncommitted' })
  const view = log.partition('events', 1)
  let late: Promise<unknown> | undefined
  files.fault = (operation, path) => {
    if (operation === 'name' && path.includes('/events-0/')) late ??= read(view)?.catch(() => {}) // it may be gone by then
    return undefined
  }
  await log.deleteTopic('events')
  expect(late).toBeDefined()
  await late
  await createEvents(log, 2)
  for (let n = 0; n < 3; n++) await log.append('events', Buffer.from(`key-${n}`), [record('new')])
  const found = await read(log.partition('events', 1))
  expect(found?.bytes.toString('latin1')).toContain('new')
  await log.close()
})
