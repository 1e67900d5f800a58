import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freePorts, runCommand } from './support/commands.ts'
import { findBlocks, findSteps, normalize } from './support/readme.ts'
import { listFiles, readText, repositoryRoot } from './support/tidy-source.ts'

const readme = readText('README.md').text
const blocks = findBlocks(readme)
const scripts: Record<string, string> = JSON.parse(readText('package.json').text).scripts

/** Commands that are run elsewhere, and where. */
const runElsewhere: Readonly<Record<string, string>> = {
  'npm run demo': 'test/slow/acceptance.test.ts',
  'npm test': '.ci/run',
}

describe('the README', () => {
  let folder = ''
  let ports = { collector: 0, broker: 0, sql: 0 }

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'questlog-readme-'))
    for (const name of [
      'bin',
      'dist',
      'docs',
      'examples',
      'src',
      'package.json',
      'package-lock.json',
      'tsconfig.json',
      'tsconfig.build.json',
    ])
      cpSync(join(repositoryRoot, name), join(folder, name), {
        recursive: true,
        preserveTimestamps: true,
      })
    symlinkSync(join(repositoryRoot, 'node_modules'), join(folder, 'node_modules'))
    mkdirSync(join(folder, 'runtime'))
    const [collector = 0, broker = 0, sql = 0] = await freePorts(3)
    ports = { collector, broker, sql }
  })

  afterAll(async () => {
    await run('bin/questlog down')
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  })

  /** Runs a line as a shell does, in the copy, where no other instance is seen. */
  const run = (command: string) =>
    runCommand('bash', ['-c', command], {
      cwd: folder,
      environment: { ...process.env, XDG_RUNTIME_DIR: join(folder, 'runtime') },
    })

  const withFreePorts = (command: string) =>
    command
      .replaceAll('127.0.0.1:5000', `127.0.0.1:${ports.collector}`)
      .replaceAll('127.0.0.1:9092', `127.0.0.1:${ports.broker}`)
      .replaceAll('127.0.0.1:8080', `127.0.0.1:${ports.sql}`)
      .replace(
        'questlog up ',
        `questlog up --collector-port ${ports.collector} --broker-port ${ports.broker} --sql-port ${ports.sql} `,
      )
  const withUsualPorts = (output: string) =>
    output
      .replaceAll(`127.0.0.1:${ports.collector}`, '127.0.0.1:5000')
      .replaceAll(`127.0.0.1:${ports.broker}`, '127.0.0.1:9092')
      .replaceAll(`127.0.0.1:${ports.sql}`, '127.0.0.1:8080')
      .replaceAll(`${folder}/`, './')

  test('has blocks of these kinds only: commands, sessions, definitions, pictures', () => {
    expect(new Set(blocks.map(({ language }) => language))).toEqual(
      new Set(['bash', 'console', 'ts', 'text']),
    )
  })

  test('prints what it says, command by command', async () => {
    for (const step of blocks
      .filter(({ language }) => language === 'bash' || language === 'console')
      .flatMap(findSteps)) {
      if (step.command in runElsewhere) continue
      const { code, stdout, stderr } = await run(
        withFreePorts(step.command.replace(/^curl /, 'curl -s ')),
      )
      const place = `README.md:${step.line}: ${step.command}`
      expect(`${place}\nexit ${code}\n${code === 0 ? '' : stderr}`).toBe(`${place}\nexit 0\n`)
      if (step.output !== null)
        expect(normalize(withUsualPorts(stdout)), place).toBe(normalize(step.output))
    }
  })

  test('names only scripts that exist, and those that are not run here are run elsewhere', () => {
    const commands = blocks
      .filter(({ language }) => language === 'bash')
      .flatMap(findSteps)
      .map(({ command }) => command)
    for (const command of commands.filter((text) => text.startsWith('npm ')))
      expect(Object.keys(scripts)).toContain(command.replace(/^npm (?:run )?/, '').split(' ')[0])
    for (const [command, file] of Object.entries(runElsewhere)) {
      expect(commands).toContain(command)
      expect(readText(file).text).toContain(command.split(' ').at(-1))
    }
  })

  test('shows definitions that compile and can be started', async () => {
    const definitions = blocks.filter(({ language }) => language === 'ts')
    expect(definitions.length).toBeGreaterThan(0)
    for (const [index, { text }] of definitions.entries()) {
      writeFileSync(join(folder, `readme-${index}.config.ts`), `${text}\n`)
      const { code, stdout, stderr } = await run(
        `bin/questlog check --config readme-${index}.config.ts`,
      )
      expect({ code, output: stdout + stderr }).toMatchObject({ code: 0 })
    }
    const base = JSON.parse(readFileSync(join(folder, 'tsconfig.json'), 'utf8'))
    writeFileSync(
      join(folder, 'tsconfig.readme.json'),
      JSON.stringify({ ...base, include: ['readme-*.config.ts'] }),
    )
    const { stdout } = await run(
      'node node_modules/typescript/bin/tsc --noEmit -p tsconfig.readme.json',
    )
    expect(stdout).toBe('')
  })

  test('has at most 900 words', () => {
    const prose = readme.replace(/^```[^]*?^```/gm, '')
    expect(prose.split(/\s+/).filter((word) => /\w/.test(word)).length).toBeLessThanOrEqual(900)
  })

  test('names a test for every promise, and the test exists', () => {
    const rows =
      /## Promises\n([^]*?)\n## /
        .exec(readme)?.[1]
        ?.split('\n')
        .filter((line) => line.startsWith('| ') && !line.startsWith('| promise')) ?? []
    expect(rows.length).toBeGreaterThan(0)
    const files = listFiles('test')
    for (const row of rows) {
      const links = [...row.matchAll(/\]\((test\/[\w/.-]+)\)/g)].map(([, path = '']) => path)
      expect(links.length, row).toBeGreaterThan(0)
      expect(
        links.filter((path) => !files.includes(path)),
        row,
      ).toEqual([])
    }
  })
})
