import { spawn } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const demo = fileURLToPath(new URL('../../bin/demo.mjs', import.meta.url))

function run(words: readonly string[], onOutput: (output: string, interrupt: () => void) => void) {
  return new Promise<{ code: number | null; output: string; complaints: string }>((resolve) => {
    const child = spawn(process.execPath, [demo, ...words], { stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    let complaints = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text
      onOutput(output, () => child.kill('SIGINT'))
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => (complaints += text))
    child.on('close', (code) => resolve({ code, output, complaints }))
  })
}

const dataFolder = (output: string) => /data +(\S*questlog-demo-\w+)/.exec(output)?.[1] ?? ''

function expectNothingLeft(output: string) {
  const folder = dataFolder(output)
  expect(folder.startsWith(tmpdir())).toBe(true)
  expect(readdirSync(tmpdir()).map((name) => `${tmpdir()}/${name}`)).not.toContain(folder)
}

test('both processes are killed twice, and SQL finds exactly what was answered, each of it once', async () => {
  const { code, output } = await run(['--once', '--rounds', '3', '--rate', '150'], () => {})
  expect(output).toContain('seed 205')
  expect(output.match(/kill -9 \d+ \d+/g)).toHaveLength(2)
  expect(output.match(/back by themselves/g)).toHaveLength(2)
  expect(output.match(/ equal$/gm)).toHaveLength(9)
  expect(output).toMatch(/ equal, each of them once$/m)
  expect(output).toMatch(/p50 [\d.]+ m?s, p99 [\d.]+ m?s/)
  // Beside those of its progress, of which there is one every two seconds.
  const lines = output.split('\n').filter((line) => !line.includes(' of 675 '))
  expect(lines.length).toBeLessThanOrEqual(38)
  expect(code).toBe(0)
  expectNothingLeft(output)
})

test('Ctrl-C in the middle stops what was started and leaves nothing behind', async () => {
  let isInterrupted = false
  const { code, output } = await run(['--once', '--rate', '100'], (sofar, interrupt) => {
    if (isInterrupted || !sofar.includes('of 4,500')) return
    isInterrupted = true
    interrupt()
  })
  expect(output).toContain('Stopped; ')
  expect(code).toBe(130)
  expectNothingLeft(output)
})

test('a wrong option is named, and nothing is started', async () => {
  const { code, output, complaints } = await run(['--sed', '1'], () => {})
  expect(complaints).toContain('did you mean --seed?')
  expect(output).toBe('')
  expect(code).toBe(2)
})
