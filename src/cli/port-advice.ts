import { createServer } from 'node:net'
import { quoteShell } from '../app/words.ts'
import { QuestlogError } from '../core/errors.ts'

const portsTried = 50

/** Tells a busy port's way out: the same command with a free port. Other errors stay as they are. */
export async function withPortAdvice(
  error: unknown,
  rawArgs: readonly string[],
  host: string,
): Promise<unknown> {
  if (!(error instanceof QuestlogError) || error.code !== 'PORT_BUSY') return error
  const port = Number(error.facts['port'])
  const { option } = error.facts
  if (typeof option !== 'string') return error
  const free = await findFreePort(port + 1, host)
  const words = rawArgs.filter((word) => word !== '--' && !word.startsWith(`--${option}=`))
  const command = ['questlog', 'up', ...words, `--${option}=${free}`].map(quoteShell).join(' ')
  const airplay =
    process.platform === 'darwin' && port === 5000
      ? "on a Mac port 5000 is the AirPlay Receiver's: switch it off in System Settings, General, AirDrop & Handoff, or run "
      : ''
  return new QuestlogError('PORT_BUSY', error.message, error.facts, {
    cause: error,
    hint: `${airplay}${command}`,
  })
}

/** The first free port from `from` on; 0 when there is none nearby. */
export async function findFreePort(from: number, host: string): Promise<number> {
  for (let port = from; port < Math.min(from + portsTried, 65_536); port++)
    if (await isFree(port, host)) return port
  return 0
}

function isFree(port: number, host: string): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, host, () => server.close(() => resolve(true)))
  })
}
