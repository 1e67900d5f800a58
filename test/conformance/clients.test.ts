import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runCommand, runOrThrow } from '../support/commands.ts'
import {
  classPath,
  debianPython,
  parseResults,
  runScript,
  scriptPath,
  venvPython,
  type JarsName,
} from './clients.ts'
import {
  confluentResults,
  javaResults,
  kafkajsResults,
  kafkaPythonResults,
  platformaticResults,
} from './expected.ts'
import { QuestlogTarget, type Target } from './target.ts'

// What is expected was found out with the same scripts against Kafka 4.3; running them there each time would take as long again.
describe('clients of each language talk to questlog', () => {
  let target: Target
  let folder: string

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'questlog-clients-'))
    target = await QuestlogTarget.start()
  })
  afterAll(async () => {
    await target[Symbol.asyncDispose]()
    rmSync(folder, { recursive: true, force: true })
  })

  test('kafka-python 2.0, as Debian has it', async () => {
    const results = await runScript(debianPython, 'kafka_python.py', [target.bootstrap, 'python2'])
    expect(results).toEqual({ version: '2', ...kafkaPythonResults })
  })

  test('kafka-python 3', async () => {
    const results = await runScript(venvPython, 'kafka_python.py', [target.bootstrap, 'python3'])
    expect(results).toEqual({ version: '3', ...kafkaPythonResults })
  })

  test('confluent-kafka: librdkafka of today', async () => {
    const results = await runScript(venvPython, 'confluent.py', [target.bootstrap, 'confluent'])
    expect(results).toEqual(confluentResults)
  })

  test('kafkajs', async () => {
    const results = await runScript('node', 'kafkajs.mjs', [target.bootstrap, 'kafkajs'])
    expect(results).toEqual(kafkajsResults)
  })

  test('@platformatic/kafka', async () => {
    const results = await runScript('node', 'platformatic.mjs', [target.bootstrap, 'platformatic'])
    expect(results).toEqual(platformaticResults)
  })

  const versions: readonly (readonly [string, JarsName])[] = [
    ['3.4', 'clients-3.4'],
    ['3.9', 'clients-3.9'],
    ['4', 'kafka-4'],
  ]
  test.each(versions)('the Java clients of Kafka %s', async (version, jars) => {
    const classes = join(folder, jars)
    await runOrThrow(
      'javac',
      ['-nowarn', '-cp', classPath(jars), '-d', classes, scriptPath('JavaClient.java')],
      { cwd: folder },
    )
    const output = await runOrThrow(
      'java',
      ['-cp', `${classes}:${classPath(jars)}`, 'JavaClient', target.bootstrap, `java${version}`],
      { cwd: folder, timeoutMs: 600_000 },
    )
    expect(parseResults(output)).toEqual(javaResults)
  })

  test('TopicCommand, which kafka-topics.sh runs, creates, describes and deletes', async () => {
    const command = (...words: string[]) => {
      const java = ['-cp', classPath('kafka-4'), 'org.apache.kafka.tools.TopicCommand']
      java.push('--bootstrap-server', target.bootstrap, ...words)
      return runCommand('java', java, { cwd: folder })
    }
    const spec = ['--topic', 'made', '--partitions', '1', '--replication-factor', '1']
    expect(await command('--create', ...spec, '--if-not-exists')).toMatchObject({
      code: 0,
      stdout: 'Created topic made.\n',
    })
    expect(await command('--create', ...spec, '--if-not-exists')).toMatchObject({
      code: 0,
      stdout: '',
    })
    const again = await command('--create', ...spec)
    expect(again.code).toBe(1)
    expect(again.stdout).toMatch(/topic '?made'? .*exists/i)
    expect((await command('--list')).stdout.split('\n')).toContain('made')
    const described = await command('--describe', '--topic', 'made')
    const [summary = '', partition = ''] = described.stdout.split('\n')
    expect(summary).toMatch(
      /^Topic: made\tTopicId: [\w-]{22}\tPartitionCount: 1\tReplicationFactor: 1\tConfigs: /,
    )
    expect(partition).toMatch(/^\tTopic: made\tPartition: 0\tLeader: 1\tReplicas: 1\tIsr: 1/)
    expect(await command('--alter', '--topic', 'made', '--partitions', '3')).toMatchObject({
      code: 0,
    })
    expect((await command('--describe', '--topic', 'made')).stdout).toContain('PartitionCount: 3')
    expect(await command('--delete', '--topic', 'made')).toMatchObject({ code: 0 })
    const gone = await command('--describe', '--topic', 'made')
    expect(gone.code).toBe(1)
    expect(gone.stdout).toContain("Topic 'made' does not exist as expected")
  })
})
