import { spawn } from 'node:child_process'
import { createServer, type AddressInfo } from 'node:net'

export interface CommandResult {
  /** Exit code, or null when a signal ended it. */
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface CommandOptions {
  readonly cwd: string
  readonly environment?: NodeJS.ProcessEnv
  /** It is ended after this time: a guard against one that hangs, not a promise. */
  readonly timeoutMs?: number
}

/** Runs a program to its end. Rejects only when it can't be started. */
export function runCommand(
  program: string,
  words: readonly string[],
  options: CommandOptions,
): Promise<CommandResult> {
  const { cwd, environment = process.env, timeoutMs = 300_000 } = options
  return new Promise((resolve, reject) => {
    const child = spawn(program, words, {
      cwd,
      env: environment,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
    })
    let stdout = ''
    let stderr = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
    child.once('error', reject)
    // A background process that was started by the command may hold its output open: `exit` comes first then.
    child.once('exit', (code) => {
      const finish = () => resolve({ code, stdout, stderr })
      child.once('close', finish)
      setTimeout(finish, 1_000).unref()
    })
  })
}

/** The same; throws with everything that it printed when it fails. Resolves to its standard output. */
export async function runOrThrow(
  program: string,
  words: readonly string[],
  options: CommandOptions,
): Promise<string> {
  const { code, stdout, stderr } = await runCommand(program, words, options)
  if (code === 0) return stdout
  throw new Error(
    `${[program, ...words].join(' ')} ended with ${code ?? 'a signal'}\n${stdout}\n${stderr}`,
  )
}

/** A TCP port of this machine that nobody listens on, the wanted one if it is free. */
export async function freePort(wanted = 0): Promise<number> {
  const server = createServer()
  const port = await new Promise<number>((resolve, reject) => {
    server.once('error', reject)
    server.listen(wanted, '127.0.0.1', () => resolve((server.address() as AddressInfo).port)) // a TCP server that listens
  }).catch(() => undefined)
  await new Promise<void>((resolve) => server.close(() => resolve()))
  return port ?? freePort()
}

/** So many TCP ports that nobody listens on, each another. */
export async function freePorts(count: number): Promise<number[]> {
  const found = new Set<number>()
  while (found.size < count) found.add(await freePort())
  return [...found]
}

/** Asks again and again until the answer is neither undefined nor false. */
export async function waitFor<T>(
  what: string,
  timeoutMs: number,
  ask: () => Promise<T | undefined | false>,
): Promise<T> {
  const endMs = performance.now() + timeoutMs
  for (;;) {
    const answer = await ask()
    if (answer !== undefined && answer !== false) return answer
    if (performance.now() > endMs) throw new Error(`waited ${timeoutMs} ms in vain: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}
