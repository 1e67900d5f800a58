import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import * as fc from 'fast-check'
import { afterAll, expect, test } from 'vitest'
import { parseSlice } from '../../src/cli/commands/produce.ts'
import { openInput, splitElements, type InputOptions } from '../../src/cli/produce-input.ts'
import { realFiles } from '../../src/core/files.ts'

const folder = mkdtempSync(join(tmpdir(), 'questlog-produce-'))
afterAll(() => rmSync(folder, { recursive: true }))

const plain = {
  files: realFiles,
  file: null,
  splitArray: false,
  slice: null,
  keySeparator: null,
  wholeDocument: true,
}

async function read(text: string, options: Partial<InputOptions> = {}) {
  const standardInput = Readable.from([Buffer.from(text)])
  const input = await openInput({ ...plain, standardInput, ...options })
  const records: string[] = []
  for await (const { key, value } of input.records)
    records.push(`${key === null ? '' : `${key.toString()}=`}${value.toString()}`)
  return { records, shape: input.shape }
}

function file(name: string, text: string): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

test('a line is a record, wherever the input was cut, with or without a line feed at the end', async () => {
  expect((await read('{"a":1}\n\nb\nc')).records).toEqual(['{"a":1}', 'b', 'c'])
  const chunks = ['on', 'e\ntw', 'o\n', 'three\n'].map((part) => Buffer.from(part))
  const { records } = await read('', { standardInput: Readable.from(chunks) })
  expect(records).toEqual(['one', 'two', 'three'])
})

test('a separator splits key and value at its first place', async () => {
  const { records } = await read('k:v:w\nno key\n', { keySeparator: ':' })
  expect(records).toEqual(['k=v:w', 'no key'])
})

test('a JSON file is one record, without white space and with every digit', async () => {
  const path = file('one.json', '[ {"id": 12345678901234567890.10} ,\n "a b" ]')
  const { records, shape } = await read('', { file: path })
  expect(records).toEqual(['[{"id":12345678901234567890.10},"a b"]'])
  expect(shape).toBe('one record, a JSON array of 2 elements')
})

test('a slice excludes its end, one index is one bare element, and a slice past the end is what there is', async () => {
  const text = '[0, {"a":"]"}, [2], "3"]'
  const slice = (given: string) => read(text, { slice: parseSlice(given) })
  expect((await slice('0:2')).records).toEqual(['[0,{"a":"]"}]'])
  expect((await slice('2:9')).records).toEqual(['[[2],"3"]'])
  expect((await slice('1')).records).toEqual(['{"a":"]"}'])
  expect((await slice('2:9')).shape).toBe('one record, a JSON array of 2 elements')
  await expect(slice('4')).rejects.toMatchObject({ code: 'USAGE' })
  expect((await read(text, { splitArray: true, slice: parseSlice(':3') })).records).toEqual([
    '0',
    '{"a":"]"}',
    '[2]',
  ])
})

test('what is no JSON array is refused before anything is sent', async () => {
  await expect(read('{"a":1}', { splitArray: true })).rejects.toMatchObject({
    code: 'EVENT_MALFORMED',
  })
  await expect(read('[1,', { splitArray: true })).rejects.toMatchObject({ code: 'EVENT_MALFORMED' })
  await expect(read('', { file: join(folder, 'none') })).rejects.toMatchObject({ code: 'USAGE' })
  expect(() => parseSlice('5:5')).toThrow('holds nothing')
  expect(() => parseSlice('x')).toThrow('A:B')
})

test('the elements of any JSON array are found, however it is written', () => {
  fc.assert(
    fc.property(fc.array(fc.jsonValue()), fc.constantFrom(0, 1, 2), (values, indent) => {
      const elements = splitElements(Buffer.from(JSON.stringify(values, null, indent)))
      expect(elements.map((element) => element.toString())).toEqual(
        values.map((value) => JSON.stringify(value)),
      )
    }),
  )
})
