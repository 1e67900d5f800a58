import { readFile, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { kafkaApisPage } from './support/kafka-reference.ts'
import { errorsPage, settingsPage } from './support/reference.ts'

const command = 'UPDATE_REFERENCE=1 npx vitest run test/reference.test.ts'

test.each([
  ['settings.md', settingsPage()],
  ['errors.md', errorsPage()],
  ['kafka-apis.md', kafkaApisPage()],
])('docs/reference/%s says what the code does', async (name, page) => {
  const path = fileURLToPath(new URL(`../docs/reference/${name}`, import.meta.url))
  if (process.env.UPDATE_REFERENCE !== undefined) await writeFile(path, page)
  const kept = await readFile(path, 'utf8').catch(() => '')
  expect(kept, `the page is out of date; run: ${command}`).toBe(page)
})
