import { expect, test } from 'vitest'
import { formatKcat } from '../../src/cli/kcat-format.ts'

const record = {
  offset: 7,
  timestampMs: 1_532_644_800_000,
  key: Buffer.from('k'),
  value: Buffer.from('value'),
  headers: [{ key: 'a', value: Buffer.from('1') }],
}
const none = { json: false, format: undefined, keySeparator: undefined }
const print = (options: Partial<typeof none> | object) =>
  formatKcat({ ...none, ...options })('events', 2, record).toString()

test('a record is printed as kcat prints it', () => {
  expect(print({})).toBe('value\n')
  expect(print({ keySeparator: ':' })).toBe('k:value\n')
  expect(print({ format: '%t [%p] %o: %k=%s %S %K %T %h 100%%\\n' })).toBe(
    'events [2] 7: k=value 5 1 1532644800000 a=1 100%\n',
  )
  expect(print({ format: '%S\\n' })).toBe('5\n')
  expect(JSON.parse(print({ json: true }))).toMatchObject({ partition: 2, offset: 7 })
})

test('a record without a value has length -1', () => {
  const empty = { ...record, value: null, key: null }
  const format = formatKcat({ ...none, format: '%S %K|%s|' })
  expect(format('events', 0, empty).toString()).toBe('-1 -1||')
})
