import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { splitStatements, tokenize } from '../../src/sql/lexer.ts'

const texts = (sql: string) => splitStatements(sql).map((part) => part.text.trim())

test('semicolons inside texts, names and comments do not end a statement', () => {
  expect(
    texts(`select ';', ";", $$;$$, $a$;$$;$a$, e'\\';' -- ;\n /* ; /* ; */ ; */ ; select 2;`),
  ).toEqual([`select ';', ";", $$;$$, $a$;$$;$a$, e'\\';' -- ;\n /* ; /* ; */ ; */`, 'select 2'])
})

test('parts without a statement are left out', () => {
  expect(texts(' ;; -- x\n; /* y */ ')).toEqual([])
})

test('names lose their quotes, words their case', () => {
  expect(tokenize('SELECT "A""b" FROM Übung').map(({ kind, value }) => [kind, value])).toEqual([
    ['word', 'select'],
    ['name', 'A"b'],
    ['word', 'from'],
    ['word', 'übung'],
  ])
})

test('what is not closed reaches to the end', () => {
  for (const open of [`'a;`, `"a;`, '$$a;', '/* a;'])
    expect(splitStatements(`select 1 ${open}`)).toHaveLength(1)
})

test('any text is cut into pieces that lie in order inside it', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: fc.constantFrom(...Array.from(`ab1é_ '"$;-/*\\\n(),.e😀`)) }),
      (sql) => {
        let position = 0
        for (const token of tokenize(sql)) {
          expect(token.start).toBeGreaterThanOrEqual(position)
          expect(token.end).toBeGreaterThan(token.start)
          position = token.end
        }
        expect(position).toBeLessThanOrEqual(sql.length)
        for (const part of splitStatements(sql))
          expect(sql.slice(part.offset, part.offset + part.text.length)).toBe(part.text)
      },
    ),
  )
})
