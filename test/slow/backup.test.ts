import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { Instance, questlog } from '../support/instance.ts'

const breathe = () => new Promise((resolve) => setTimeout(resolve, 5))

/** Sends numbered events, one after another in each of four lines, until told to stop. */
function startLoad(instance: Instance): {
  readonly answered: Map<number, string>
  stop(): Promise<void>
} {
  const answered = new Map<number, string>()
  let running = true
  let last = 0
  const line = async () => {
    while (running) {
      const number = ++last
      const path = `${number % 2 === 0 ? '/purchase_a_sword' : '/join_guild'}?n=${number}`
      const answer = await instance.send(path).catch(() => undefined)
      if (answer?.status === 200) answered.set(number, answer.receipt ?? '')
      else await breathe()
    }
  }
  const lines = Array.from({ length: 4 }, line)
  return {
    answered,
    async stop() {
      running = false
      await Promise.all(lines)
    },
  }
}

async function numbersIn(data: string): Promise<number[]> {
  const sql = `select cast(raw_event ->> 'n' as integer) as n from events order by 1`
  const { stdout, stderr, code } = await questlog('sql', sql, '-o', 'csv', '--data', data)
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return stdout.trim().split('\n').slice(1).map(Number)
}

test('a backup of a running instance, whose lake is killed meanwhile, is restored beside it: everything answered before is there once, no offset comes twice', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'questlog-e2e-backup-'))
  const [backup, data] = [join(folder, 'backup'), join(folder, 'data')]
  await using instance = await Instance.start()
  try {
    const load = startLoad(instance)
    while (load.answered.size < 300) await breathe()
    // The tables have commits, and fresh rows beyond them.
    await instance.kill('lake')
    await instance.sql('select count(*) from events')
    while (load.answered.size < 600) await breathe()
    const before = new Set(load.answered.keys())
    const [made] = await Promise.all([
      questlog('backup', backup, '--data', instance.data),
      instance.kill('lake'),
    ])
    await load.stop()
    expect(made).toMatchObject({ code: 0, stderr: '' })
    expect(made.stdout).toContain('is in ')
    expect(await questlog('backup', backup, '--verify')).toMatchObject({ code: 0 })
    const again = await questlog('backup', backup, '--data', instance.data)
    expect(again.stderr).toContain('error[DATA_UNUSABLE]')

    const restored = await questlog('restore', backup, '--data', data)
    expect(restored).toMatchObject({ code: 0, stderr: '' })
    expect((await questlog('audit', '--data', data)).code).toBe(0)
    const up = [
      'up',
      '-d',
      '--config',
      instance.config,
      '--collector-port=0',
      '--sql-port=0',
      '--broker-port=0',
    ]
    const started = await questlog(...up, '--data', data)
    expect(started.stderr).toBe('')
    const numbers = await numbersIn(data)
    expect([...before].filter((number) => !numbers.includes(number))).toEqual([])
    expect(new Set(numbers).size).toBe(numbers.length)
    const { stdout } = await questlog('ps', '--json', '--data', data)
    const status = JSON.parse(stdout) as {
      endpoints: { collector: string }
      topics: { kept: number; inTables: number }[]
    }
    expect(status.topics).toMatchObject([{ kept: numbers.length, inTables: numbers.length }])
    const answer = await fetch(new URL('/join_guild?n=0', status.endpoints.collector))
    expect(answer.headers.get('questlog-receipt')).toBe(`events/0/${numbers.length}`)
    expect(await numbersIn(data)).toHaveLength(numbers.length + 1)
    const audit = await questlog('audit', '--data', data)
    expect(audit.stdout).toContain('everything adds up')
    expect(audit.code).toBe(0)
  } finally {
    await questlog('down', '--data', data)
    await rm(folder, { recursive: true, force: true })
  }
})

test('doctor looks at a running instance and finds it well', async () => {
  await using instance = await Instance.start()
  const { stdout, code } = await questlog('doctor', '--json', '--data', instance.data)
  const { healthy, findings } = JSON.parse(stdout) as {
    healthy: boolean
    findings: { name: string; level: string; text: string }[]
  }
  expect(findings.filter(({ level }) => level === 'bad')).toEqual([])
  expect({ healthy, code }).toEqual({ healthy: true, code: 0 })
  expect(findings.find(({ name }) => name === 'notes')?.text).toContain('runs as pid')
  expect(findings.find(({ name }) => name === 'port')?.text).toContain(instance.endpoints.collector)
})
