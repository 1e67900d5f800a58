import { expect, test } from 'vitest'
import { formatList, formatUsage } from '../../src/cli/fs-format.ts'

const at = new Date(2018, 6, 26, 23, 39).getTime()
const file = {
  name: 'part-00000',
  path: '/tmp/purchases/part-00000',
  isFolder: false,
  size: 1643,
  modifiedMs: at,
  mode: 0o644,
}
const folder = {
  ...file,
  name: 'purchases',
  path: '/tmp/purchases',
  isFolder: true,
  size: 0,
  mode: 0o755,
}

test('a folder is listed with the text of hadoop fs -ls', () => {
  expect(formatList([file, folder], 'root', true)).toEqual([
    'Found 2 items',
    '-rw-r--r--   1 root supergroup       1643 2018-07-26 23:39 /tmp/purchases/part-00000',
    'drwxr-xr-x   - root supergroup          0 2018-07-26 23:39 /tmp/purchases',
  ])
  expect(formatList([file], 'root', false)).toHaveLength(1)
  expect(formatList([], 'root', true)).toEqual([])
})

test('sizes are shown with and without copies', () => {
  expect(
    formatUsage([
      { path: '/a', size: 12 },
      { path: '/b', size: 3 },
    ]),
  ).toEqual(['12  12  /a', '3   3   /b'])
})
