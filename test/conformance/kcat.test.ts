import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runCommand, waitFor, type CommandResult } from '../support/commands.ts'
import { clientsFolder } from './clients.ts'
import { readBatches } from './segments.ts'
import { targets, type Target } from './target.ts'

/** What a slow machine may take for what takes moments. */
const slackMs = 15_000

describe.each(targets)('kcat talks to $name', ({ start }) => {
  let target: Target
  let folder: string
  const running = new Set<ChildProcess>()

  beforeAll(async () => {
    expect(clientsFolder).not.toBe('')
    folder = mkdtempSync(join(tmpdir(), 'questlog-kcat-'))
    target = await start()
  })
  afterAll(async () => {
    for (const child of running) child.kill('SIGKILL')
    await target[Symbol.asyncDispose]()
    rmSync(folder, { recursive: true, force: true })
  })

  /** Runs a line of shell; `kcat` in it is followed by the address of the broker. */
  const shell = (line: string): Promise<CommandResult> =>
    runCommand('sh', ['-c', line.replace(/\bkcat\b/g, `kcat -b ${target.bootstrap}`)], {
      cwd: folder,
    })
  const output = async (line: string): Promise<string> => {
    const { code, stdout, stderr } = await shell(line)
    expect(`${code} ${stderr}`).toMatch(/^0 /)
    return stdout
  }
  const lines = async (line: string): Promise<string[]> =>
    (await output(line)).split('\n').slice(0, -1)

  test('a topic is there once a record was sent to it, and -L shows it', async () => {
    await output('echo one | kcat -P -t events')
    const listing = await output('kcat -L -t events')
    const [, port] = target.bootstrap.split(':')
    expect(listing).toContain(` 1 brokers:\n  broker 1 at 127.0.0.1:${port} (controller)\n`)
    expect(listing).toContain(
      '  topic "events" with 1 partitions:\n    partition 0, leader 1, replicas: 1, isrs: 1\n',
    )
    expect(await output('kcat -L')).toContain('  topic "events" with 1 partitions:\n')
  })

  test('each codec arrives as it was sent: the same records, and its bits in the file', async () => {
    const codecs = ['none', 'gzip', 'snappy', 'lz4', 'zstd']
    // Where a batch ends is librdkafka's choice: a record alone must be worth compressing, too.
    const three = [1, 2, 3].map((n) => `${n} ${'of the records of one codec '.repeat(20)}`)
    for (const codec of codecs)
      await output(
        `printf '%s\\n' ${three.map((line) => `'${line}'`).join(' ')} | kcat -P -t z -z ${codec}`,
      )
    expect(await lines('kcat -C -t z -o beginning -e -q')).toEqual(
      codecs.flatMap((_codec) => three),
    )
    const batches = readBatches(target.partitionFolder('z', 0))
    expect(batches.flatMap(({ count, codec }) => Array<number>(count).fill(codec))).toEqual(
      codecs.flatMap((_codec, bits) => three.map(() => bits)),
    )
  })

  test('reading begins where -o says', async () => {
    for (let round = 0; round < 5; round++) await output('seq 1 3 | kcat -P -t offsets')
    expect(await lines('kcat -C -t offsets -o 4 -e -q')).toHaveLength(11)
    expect((await lines('kcat -C -t offsets -o 4 -e -q'))[0]).toBe('2')
    expect(await lines('kcat -C -t offsets -o -1 -e -q')).toEqual(['3'])
    expect(await lines('kcat -C -t offsets -o end -e -q')).toEqual([])
    expect(await lines('kcat -C -t offsets -o beginning -c 2 -q')).toEqual(['1', '2'])
    expect((await shell('kcat -C -t offsets -e')).stderr).toContain(
      '% Reached end of topic offsets [0] at offset 15: exiting',
    )
  })

  test('-Q finds offsets by name and by time', async () => {
    await output('seq 1 3 | kcat -P -t times')
    expect(await output('kcat -Q -t times:0:-1')).toBe('times [0] offset 3\n')
    expect(await output('kcat -Q -t times:0:-2')).toBe('times [0] offset 0\n')
    expect(await output('kcat -Q -t times:0:1500000000000')).toBe('times [0] offset 0\n')
    expect(await output('kcat -Q -t times:0:4102444800000')).toBe('times [0] offset -1\n')
  })

  test('keys, headers, empty and missing values come back', async () => {
    await output('printf "a:1\\nb:\\n:3\\n" | kcat -P -t shapes -K : -Z -H h=x -H empty=')
    const format = `-f '%o|%K|%k|%S|%s|%h\\n'`
    expect(await lines(`kcat -C -t shapes -e -q ${format}`)).toEqual([
      '0|1|a|1|1|h=x,empty=',
      '1|1|b|-1||h=x,empty=',
      '2|-1||1|3|h=x,empty=',
    ])
  })

  test('a group reads everything once', async () => {
    await output('seq 1 15 | kcat -P -t grouped')
    const read = 'kcat -G g1 -X auto.offset.reset=earliest -e -q grouped'
    expect(await lines(read)).toHaveLength(15)
    expect(await lines(read)).toEqual([])
    await output('seq 16 18 | kcat -P -t grouped')
    expect(await lines(read)).toEqual(['16', '17', '18'])
  })

  test('an idempotent producer writes its id, and a transaction is seen when it is committed', async () => {
    await output('seq 1 3 | kcat -P -t exactly -X enable.idempotence=true')
    const sent = await shell('seq 4 6 | kcat -P -t exactly -X transactional.id=t1')
    expect(sent.stderr).toContain('% Transaction successfully committed')
    for (const isolation of ['read_committed', 'read_uncommitted'])
      expect(await lines(`kcat -C -t exactly -e -q -X isolation.level=${isolation}`)).toEqual([
        '1',
        '2',
        '3',
        '4',
        '5',
        '6',
      ])
    const batches = readBatches(target.partitionFolder('exactly', 0))
    expect(batches.every(({ producerId }) => producerId >= 0n)).toBe(true)
    // How many batches three records become is librdkafka's choice.
    const kinds = batches.flatMap(({ isTransactional, isControl, count }) =>
      Array<string>(count).fill(
        isControl ? 'control' : isTransactional ? 'in a transaction' : 'plain',
      ),
    )
    expect(kinds).toEqual([
      ...Array<string>(3).fill('plain'),
      ...Array<string>(3).fill('in a transaction'),
      'control',
    ])
    expect(await output('kcat -Q -t exactly:0:-1')).toBe('exactly [0] offset 7\n')
  })

  test('records of 5 MB go in and out, plain and compressed; larger ones are refused', async () => {
    const limit = '-X message.max.bytes=5242880'
    for (const codec of ['none', 'zstd'])
      await output(`python3 -c "print('z' * 5000000)" | kcat -P -t big -z ${codec} ${limit}`)
    expect(await lines(`kcat -C -t big -e -q -f '%S\\n'`)).toEqual(['5000000', '5000000'])
    const refused = await shell(
      `python3 -c "print('z' * 6000000)" | kcat -P -t big -z none -X message.max.bytes=10000000`,
    )
    expect(refused.stderr).toContain('Message size too large')
    expect(await output('kcat -Q -t big:0:-1')).toBe('big [0] offset 2\n')
  })

  test('acks 0, 1 and all', async () => {
    for (const acks of ['0', '1', 'all'])
      await output(`echo ${acks} | kcat -P -t acks -X acks=${acks}`)
    await waitFor('all three are there', 60_000, async () =>
      (await output('kcat -Q -t acks:0:-1')).endsWith(' 3\n'),
    )
    expect((await lines('kcat -C -t acks -e -q')).toSorted()).toEqual(['0', '1', 'all'])
  })

  test('when one of two members of a group dies, the other has all partitions within the session timeout, and nothing is read twice after a commit', async () => {
    await createTopic('shared', 4)
    const sessionMs = 10_000
    const member = () => {
      const words = ['-b', target.bootstrap, '-G', 'pair', '-X', `session.timeout.ms=${sessionMs}`]
      // Commits are made as records are handed out, so that what was printed and committed is known when it dies.
      words.push('-X', 'auto.offset.reset=earliest', '-X', 'auto.commit.interval.ms=100', '-u')
      const child = spawn('kcat', [...words, '-f', '%p %o %s\n', 'shared'], { cwd: folder })
      running.add(child)
      const seen = { child, output: '', log: '' }
      child.stdout.setEncoding('utf8').on('data', (text: string) => (seen.output += text))
      child.stderr.setEncoding('utf8').on('data', (text: string) => (seen.log += text))
      return seen
    }
    const assigned = ({ log }: { log: string }) => {
      // A line is printed in parts: the last is whole when another begins.
      const whole = log.split('\n').slice(0, -1)
      const last = whole.findLast((line) => line.includes('assigned:')) ?? ''
      return [...last.matchAll(/\[(\d)\]/g)].map(([, partition]) => Number(partition))
    }
    const read = () => [one, two].flatMap(({ output }) => output.split('\n').slice(0, -1))
    const one = member()
    const two = member()
    await waitFor('they share the partitions', 120_000, async () =>
      [one, two].every((each) => assigned(each).length === 2),
    )
    for (let partition = 0; partition < 4; partition++)
      await output(`seq 1 100 | kcat -P -t shared -p ${partition}`)
    await waitFor('they have read everything', 120_000, async () => read().length >= 400)
    await committed('pair', 400)
    one.child.kill('SIGKILL')
    const killedMs = performance.now()
    await waitFor('the survivor has them all', 120_000, async () => assigned(two).length === 4)
    const tookMs = performance.now() - killedMs
    for (let partition = 0; partition < 4; partition++)
      await output(`seq 101 200 | kcat -P -t shared -p ${partition}`)
    await waitFor('it reads on', 120_000, async () => read().length >= 800)
    await committed('pair', 800)
    two.child.kill('SIGTERM')
    expect(read()).toHaveLength(800)
    expect(new Set(read()).size).toBe(800)
    // Beside its session: it hears of it with its next heartbeat, at most 3 s later. Without one of its own a session lasts 45 s.
    expect(tookMs).toBeLessThan(sessionMs + 3_000 + slackMs)
  })

  async function createTopic(topic: string, partitions: number): Promise<void> {
    await python(
      `from kafka.admin import *; KafkaAdminClient(bootstrap_servers='${target.bootstrap}', api_version_auto_timeout_ms=60000).create_topics([NewTopic('${topic}', ${partitions}, 1)])`,
    )
  }

  /** Waits until the commits of a group reach so many records in all. */
  async function committed(group: string, records: number): Promise<void> {
    const program = `from kafka.admin import *; print(sum(o.offset for o in KafkaAdminClient(bootstrap_servers='${target.bootstrap}', api_version_auto_timeout_ms=60000).list_consumer_group_offsets('${group}').values()))`
    await waitFor(
      `group ${group} has committed`,
      120_000,
      async () => Number(await python(program)) === records,
    )
  }

  async function python(program: string): Promise<string> {
    const result = await runCommand('/usr/bin/python3', ['-c', program], { cwd: folder })
    expect(`${result.code} ${result.stderr}`).toMatch(/^0 /)
    return result.stdout
  }
})
