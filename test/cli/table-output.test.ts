import { expect, test } from 'vitest'
import {
  displayWidth,
  NumberCell,
  TableOutput,
  type Cell,
  type OutputColumn,
} from '../../src/cli/table-output.ts'

async function print(
  columns: readonly OutputColumn[],
  rows: readonly (readonly Cell[])[],
): Promise<string> {
  let text = ''
  const output = new TableOutput(columns, (more) => void (text += more))
  await output.add(rows)
  await output.end()
  return text
}

const number = (name: string): OutputColumn => ({ name, type: 'bigint' })
const words = (name: string): OutputColumn => ({ name, type: 'varchar' })

test('a count looks as in the write-ups', async () => {
  expect(await print([number('_col0')], [[4891]])).toBe(
    [' _col0 ', '-------', '  4891 ', '(1 row)', '', ''].join('\n'),
  )
})

test('texts stand left, numbers right, headers in the middle', async () => {
  const rows = [
    ['user1.comcast.com', 30],
    ['user2.att.com', 1200],
    [null, null],
  ]
  expect(await print([words('host'), number('_col1')], rows)).toBe(
    [
      '       host        | _col1 ',
      '-------------------+-------',
      ' user1.comcast.com |    30 ',
      ' user2.att.com     |  1200 ',
      ' NULL              |  NULL ',
      '(3 rows)',
      '',
      '',
    ].join('\n'),
  )
})

test('a result without rows has its header', async () => {
  expect(await print([words('Table')], [])).toBe(' Table \n-------\n(0 rows)\n\n')
})

test('a cell of several lines goes on below, marked unless it stands alone', async () => {
  expect(await print([words('a'), words('b')], [['x\nyy', 'z']])).toBe(
    [' a  | b ', '----+---', ' x +| z ', ' yy |   ', '(1 row)', '', ''].join('\n'),
  )
  expect(await print([words('a')], [['x\nyy']])).toBe(
    [' a  ', '----', ' x  ', ' yy ', '(1 row)', '', ''].join('\n'),
  )
})

test('doubles keep a point, large integers all digits, nested values are JSON', async () => {
  const columns: OutputColumn[] = [
    { name: 'd', type: 'double' },
    number('n'),
    { name: 'l', type: 'array(bigint)' },
    { name: 'b', type: 'boolean' },
  ]
  const cells: Cell[] = [
    5,
    new NumberCell('9007199254740993'),
    [new NumberCell('9007199254740993'), null, { a: 'x' }],
    true,
  ]
  expect((await print(columns, [cells])).split('\n')[2]).toBe(
    ' 5.0 | 9007199254740993 | [9007199254740993,null,{"a":"x"}] | true ',
  )
})

test('an event cannot steer the terminal', async () => {
  const text = await print([words('a')], [['\u001b[2J\u0007\t\r\u009b\u202e']])
  expect(text).not.toMatch(/[^\P{Cc}\n]|\u202e/u)
  expect(text).toContain(String.raw`\x1b[2J\x07\t\r\x9b\u202e`)
})

test('a long result is printed while it comes, under one header', async () => {
  const printed: string[] = []
  const output = new TableOutput([number('n')], (text) => void printed.push(text))
  await output.add(Array.from({ length: 2500 }, (_, index) => [index]))
  expect(printed).toHaveLength(2)
  await output.end()
  const lines = printed.join('').split('\n')
  expect(lines.filter((line) => line.startsWith('--'))).toHaveLength(1)
  expect(lines).toHaveLength(2 + 2500 + 1 + 2)
  expect(lines.at(-3)).toBe('(2500 rows)')
})

test('widths are those of the terminal', () => {
  const widths = {
    abc: 3,
    é: 1,
    'e\u0301': 1,
    日本: 4,
    '😀': 2,
    '👩‍👩‍👧': 2,
    ｆ: 2,
    '': 0,
    '→': 1,
    '\u200b': 0,
  }
  for (const [text, width] of Object.entries(widths))
    expect([text, displayWidth(text)]).toEqual([text, width])
})
