import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { expect, test } from 'vitest'
import { waitFor } from '../support/commands.ts'
import { Instance, questlog } from '../support/instance.ts'
import { parseResults, scriptPath, venvPython } from './clients.ts'

const definition = `import { defineConfig, event, table } from 'questlog'
export default defineConfig({
  events: { join_guild: event({}) },
  tables: { events: table({ from: '*', trigger: '100ms' }) },
})
`

/** The readers of readers_loop.py. */
class ReadLoop {
  readonly #child: ChildProcess
  readonly #lines: AsyncIterator<string>

  constructor(...words: readonly string[]) {
    this.#child = spawn(venvPython, [scriptPath('readers_loop.py'), ...words], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    if (this.#child.stdout === null) throw new Error('the readers have no output')
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]()
  }

  /** Resolves when each reader has read this many times more, or much has gone wrong. */
  async more(reads: number): Promise<void> {
    this.#child.stdin?.write(`${reads}\n`)
    const { value } = await this.#lines.next()
    expect(value).toMatch(/^reads /)
  }

  async end(): Promise<Record<string, unknown>> {
    this.#child.stdin?.end()
    let output = ''
    for (;;) {
      const { value, done } = await this.#lines.next()
      if (done === true) return parseResults(output)
      output += `${value}\n`
    }
  }

  [Symbol.dispose](): void {
    this.#child.kill('SIGKILL')
  }
}

test('kill -9 of lake during commits, merges and exports: no reader fails or sees half, and no row is lost or there twice', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'questlog-readers-kill-'))
  using _removed = { [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }) }
  const config = join(folder, 'questlog.config.ts')
  writeFileSync(config, definition)
  await using instance = await Instance.start(config, {
    folder,
    environment: { QUESTLOG_MAINTENANCE_INTERVAL_MS: '500' },
  })
  let sent = 0
  const send = async (count: number) => {
    const lines = Array.from({ length: count }, () => {
      sent++
      return JSON.stringify({ event_type: 'join_guild', n: String(sent) })
    })
    const headers = { 'content-type': 'application/x-ndjson' }
    const answer = await instance.send('/events', {
      method: 'POST',
      headers,
      body: lines.join('\n'),
    })
    expect(answer.status).toBe(200)
  }
  const act = (...words: string[]) => questlog(...words, '--data', instance.data)
  await send(100)
  await waitFor('the first rows are committed', 300_000, async () => {
    const { stdout } = await act('tables', 'list', '-o', 'json')
    const tables = JSON.parse(stdout) as { table: string; rows: number }[]
    return tables.some(({ table, rows }) => table.endsWith('events') && rows === 100)
  })
  expect(await act('export', 'events', '/tmp/events')).toMatchObject({ code: 0 })

  using loop = new ReadLoop(
    `${instance.endpoints.sql}/iceberg`,
    join(instance.data, 'lake/default/events'),
    join(instance.data, 'exports/tmp/events'),
  )
  await loop.more(1)
  for (let round = 0; round < 5; round++) {
    const busy = [
      act('tables', 'compact', 'events'),
      act('export', 'events', '/tmp/events', '--mode', 'overwrite'),
    ]
    for (let n = 0; n < 10; n++) await send(20)
    await instance.kill('lake')
    await Promise.all(busy) // they may have failed: their process was killed
    await loop.more(2)
  }
  const [[rows] = []] = await instance.sql('select count(*) from events')
  expect(rows).toBe(sent)
  expect(await act('export', 'events', '/tmp/events', '--mode', 'overwrite')).toMatchObject({
    code: 0,
  })
  await loop.more(1)
  expect(await loop.end()).toMatchObject({ failures: [] })
  expect(await instance.audit()).toMatchObject({ code: 0 })
})
