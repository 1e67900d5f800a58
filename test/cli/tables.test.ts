import { expect, test } from 'vitest'
import { sparkTree } from '../../src/cli/spark-tree.ts'
import { findTable } from '../../src/cli/tables.ts'

test('the tree is that of printSchema, nested columns too', () => {
  const text = { kind: 'string' } as const
  const tree = sparkTree([
    { name: 'Accept', type: text },
    { name: 'User-Agent', type: text },
    { name: 'strength', type: { kind: 'int' } },
    { name: '_offset', type: { kind: 'long' } },
    { name: 'price', type: { kind: 'decimal', precision: 9, scale: 2 } },
    { name: 'tags', type: { kind: 'list', element: text } },
    { name: 'counts', type: { kind: 'map', value: { kind: 'double' } } },
    {
      name: 'device',
      type: {
        kind: 'struct',
        fields: [
          { name: 'os', type: text },
          {
            name: 'screens',
            type: {
              kind: 'list',
              element: { kind: 'struct', fields: [{ name: 'width', type: { kind: 'int' } }] },
            },
          },
        ],
      },
    },
    { name: '_timestamp', type: { kind: 'timestamptz' } },
  ])
  expect(tree.join('\n')).toBe(`root
 |-- Accept: string (nullable = true)
 |-- User-Agent: string (nullable = true)
 |-- strength: integer (nullable = true)
 |-- _offset: long (nullable = true)
 |-- price: decimal(9,2) (nullable = true)
 |-- tags: array (nullable = true)
 |    |-- element: string (containsNull = true)
 |-- counts: map (nullable = true)
 |    |-- key: string
 |    |-- value: double (valueContainsNull = true)
 |-- device: struct (nullable = true)
 |    |-- os: string (nullable = true)
 |    |-- screens: array (nullable = true)
 |    |    |-- element: struct (containsNull = true)
 |    |    |    |-- width: integer (nullable = true)
 |-- _timestamp: timestamp (nullable = true)`)
})

test('a table is named alone or with its namespace; an unknown one is told with the nearest', () => {
  const tables = [
    { namespace: 'default', name: 'events' },
    { namespace: 'default', name: 'sword_purchases' },
    { namespace: 'other', name: 'events' },
  ]
  expect(findTable(tables, 'sword_purchases')).toBe(tables[1])
  expect(findTable(tables, 'other.events')).toBe(tables[2])
  expect(() => findTable(tables, 'events')).toThrow('default.events, other.events')
  try {
    findTable(tables, 'sword_purchase')
    expect.unreachable()
  } catch (error) {
    expect(error).toMatchObject({ code: 'TABLE_UNKNOWN', hint: 'did you mean sword_purchases?' })
  }
})
