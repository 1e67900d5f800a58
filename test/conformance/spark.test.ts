import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { realClock } from '../../src/core/clock.ts'
import { runOrThrow, waitFor } from '../support/commands.ts'
import { jarsOf, parseResults, scriptPath, venvPython } from './clients.ts'
import { QuestlogTarget } from './target.ts'

test("Spark's Kafka source reads what is there, from an offset on, and streams on over kill -9 of ingest", async () => {
  await using target = await QuestlogTarget.start()
  const folder = mkdtempSync(join(tmpdir(), 'questlog-spark-'))
  const send = (from: number, to: number) =>
    runOrThrow(
      'sh',
      [
        '-c',
        `seq ${from} ${to} | sed 's/.*/k&:{"n":&}/' | kcat -P -b ${target.bootstrap} -t spark -K: -X message.timeout.ms=300000`,
      ],
      { cwd: folder },
    )
  await send(0, 4)
  const words = [jarsOf('spark-kafka').join(','), target.bootstrap, 'spark', folder, '400', '600']
  const child = spawn(venvPython, [scriptPath('spark.py'), ...words], {
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
  try {
    await waitFor('the batches are read', 600_000, async () => output.includes('=from-1-to-3'))
    // The stream begins; what it reads comes while the broker goes away and comes back.
    await send(5, 199)
    await realClock.sleep(1_000)
    await target.killIngest()
    await target.ready()
    await send(200, 399)
    await waitFor('the first query has ended', 600_000, async () => output.includes('=written-400'))
    await target.killIngest()
    await target.ready()
    await send(400, 599)
    expect(await ended).toBe(0)
  } finally {
    child.kill('SIGKILL')
    rmSync(folder, { recursive: true, force: true })
  }
  const row = (n: number) => [`k${n}`, `{"n":${n}}`, 'spark', 0, n, 0]
  expect(parseResults(output)).toMatchObject({
    schema: [
      'key binary',
      'value binary',
      'topic string',
      'partition int',
      'offset bigint',
      'timestamp timestamp',
      'timestampType int',
    ],
    rows: [0, 1, 2, 3, 4].map(row),
    shown: expect.stringMatching(/^\|\[6B 30\]\|\[7B 22 6E 22 3A 3\.\.\.\|/),
    'from-4': [4],
    'from-1-to-3': [1, 2],
    'written-400': true,
    'written-600': true,
    // A restart may leave a gap of offsets, never a second copy.
    distinct: 600,
    rows_written: 600,
  })
})
