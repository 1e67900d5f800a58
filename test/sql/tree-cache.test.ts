import { afterAll, beforeAll, expect, test } from 'vitest'
import { TreeCache } from '../../src/sql/tree-cache.ts'
import { ask, openBench, type Bench } from './support.ts'

let bench: Bench
beforeAll(async () => {
  bench = await openBench()
})
afterAll(() => bench.close())

/** How often a cache asks for a tree while it is asked for these. */
async function parsed(...texts: readonly string[]): Promise<number> {
  const cache = new TreeCache()
  let count = 0
  for (const text of texts)
    await cache.tree(text, async () => {
      count++
      return { error: text.includes('wrong'), text }
    })
  return count
}

test('a statement is parsed once, whatever its numbers', async () => {
  expect(await parsed('select a1 from t where n = 12', 'select a1 from t where n = 97')).toBe(1)
})

test('what may be another statement is parsed anew', async () => {
  expect(await parsed('select 0x1', 'select 1x1')).toBe(2)
  expect(await parsed('select 1', 'select 12', 'select 1.5')).toBe(3)
  expect(await parsed("select '1'", "select '2'", 'select "1"', 'select "2"')).toBe(4)
  expect(await parsed('select a1', 'select a2', 'select $$1$$', 'select $$2$$')).toBe(4)
  expect(await parsed('select 1 --1', 'select 1 --2')).toBe(2)
  expect(await parsed('wrong 1', 'wrong 1')).toBe(2)
})

test('where a digit may end a text or a name, only the same text has the tree', async () => {
  expect(await parsed('select 1 as €1', 'select 1 as €2')).toBe(2)
  expect(await parsed('select $€1$, 1, $€1$', 'select $€1$, 2, $€1$')).toBe(2)
  expect(await parsed("select e'a'\n'\\' \" 1\"'", "select e'a'\n'\\' \" 2\"'")).toBe(2)
  expect(await parsed('select 1 --\r \' \n " 1"', 'select 1 --\r \' \n " 2"')).toBe(2)
  const [first, other] = ['€1', '€2'].map((tag) => ` , $${tag}$ , getenv('HOME') , $${tag}$ , `)
  await ask(bench.engine, `select $€1$${other}$€1$`)
  await expect(ask(bench.engine, `select $€1$${first}$€1$`)).rejects.toMatchObject({
    code: 'SQL_REFUSED',
  })
  const writes = "' $€1$; COMMIT; CREATE TABLE _fresh.written AS SELECT 1; BEGIN; select $€1$ '"
  await ask(bench.engine, `select $€2$ ${writes} $€2$`)
  await expect(ask(bench.engine, `select $€1$ ${writes} $€1$`)).rejects.toMatchObject({
    code: 'SQL_REFUSED',
  })
  expect((await ask(bench.engine, 'select 1 as €1')).names).toEqual(['€1'])
  expect((await ask(bench.engine, 'select 1 as €2')).names).toEqual(['€2'])
})

test('the trees are bounded', async () => {
  const texts = Array.from({ length: 500 }, (_, index) => `select a${index}`)
  expect(await parsed(...texts, 'select a499', 'select a1')).toBe(501)
  const long = `select '${'x'.repeat(5_000)}'`
  expect(await parsed(long, long)).toBe(2)
})

test('each answer is of its own numbers and names', async () => {
  const asked = async (sql: string) => {
    const { names, rows } = await ask(bench.engine, sql)
    return [names, rows]
  }
  expect(await asked('select 1x1')).toEqual([['x1'], [[1]]])
  expect(await asked('select 0x1')).toEqual([['x1'], [[0]]])
  expect(await asked('select 2x1')).toEqual([['x1'], [[2]]])
  expect(await asked('select damage from sword_purchases where _offset = 17')).toEqual([
    ['damage'],
    [[17]],
  ])
  expect(await asked('select damage from sword_purchases where _offset = 13')).toEqual([
    ['damage'],
    [[13]],
  ])
  expect((await ask(bench.engine, 'from sword_purchases limit 1')).rows).toHaveLength(1)
  expect((await ask(bench.engine, 'from sword_purchases limit 7')).rows).toHaveLength(7)
  expect(
    (
      await ask(
        bench.engine,
        'select a.damage from sword_purchases a, sword_purchases, sword_purchases limit 1111',
      )
    ).rows,
  ).toHaveLength(1111)
  expect(
    (
      await ask(
        bench.engine,
        'select a.damage from sword_purchases a, sword_purchases, sword_purchases limit 1024',
      )
    ).rows,
  ).toHaveLength(1024)
  expect(
    (
      await ask(
        bench.engine,
        'select a.damage from sword_purchases a, sword_purchases, sword_purchases limit 2222',
      )
    ).rows,
  ).toHaveLength(2222)
})
