import { fileURLToPath } from 'node:url'
import type { ArgsDef } from 'citty'
import { formatDuration, formatMany, formatPath, quoteShell } from '../app/words.ts'
import { realClock, type Clock } from '../core/clock.ts'
import { asQuestlogError } from '../core/errors.ts'
import { composeRounds, type SimRequest } from '../sim/rounds.ts'
import { normalizeArguments, parseWhole } from './arguments.ts'
import { DemoInstance } from './demo-instance.ts'
import { playWithKills, type PlayedRun } from './demo-play.ts'
import { findUnequalTables, isKept, readEvents, showOutcome } from './demo-report.ts'
import { DemoScreen } from './demo-screen.ts'
import { judge } from './demo-verdict.ts'
import { exitCodeOf, exitCodes, formatError, printLines, printWord } from './output.ts'

const standard = { seed: 205, rounds: 20, rate: 500, kills: 2 } as const
const lookIntervalMs = 500

const optionRows = {
  once: { type: 'boolean', description: 'exit when everything is compared' },
  seed: { type: 'string', description: `order of the requests (${standard.seed})` },
  rounds: { type: 'string', description: `rounds of 225 requests (${standard.rounds})` },
  rate: { type: 'string', description: `requests a second (${standard.rate})` },
  'no-kill': { type: 'boolean', description: 'end no process' },
  help: { type: 'boolean', description: 'say this' },
} as const satisfies ArgsDef

interface DemoOptions {
  readonly once: boolean
  readonly help: boolean
  readonly seed: number
  readonly rounds: number
  readonly requestsPerSecond: number
  readonly kills: number
}

/**
 * `npm run demo`: starts a questlog of its own, plays a game against it, ends its processes in the middle, and compares what was
 * answered with what SQL finds. Answers with the exit code: 0 when every promise was kept.
 */
export async function runDemo(words: readonly string[]): Promise<number> {
  const stopping = new AbortController()
  try {
    const options = parseOptions(words)
    if (options.help) {
      printLines(helpLines())
      return exitCodes.ok
    }
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
      process.on(signal, () => stopping.abort())
    // A terminal that was closed: the demo still stops what it started.
    for (const stream of [process.stdout, process.stderr])
      stream.on('error', () => stopping.abort())
    const screen = new DemoScreen(process.stdout, realClock, process.env)
    return await new Demo(options, screen, realClock, stopping.signal).run()
  } catch (error) {
    if (stopping.signal.aborted) return exitCodes.interrupted
    printWord(formatError(error))
    return exitCodeOf(asQuestlogError(error))
  }
}

class Demo {
  readonly #options: DemoOptions
  readonly #screen: DemoScreen
  readonly #clock: Clock
  readonly #signal: AbortSignal

  constructor(options: DemoOptions, screen: DemoScreen, clock: Clock, signal: AbortSignal) {
    this.#options = options
    this.#screen = screen
    this.#clock = clock
    this.#signal = signal
  }

  async run(): Promise<number> {
    const screen = this.#screen
    const { rounds, seed, requestsPerSecond } = this.#options
    const requests = composeRounds(rounds, seed)
    const load = `${formatMany(rounds, 'round')} of a game, ${formatMany(requests.length, 'request')} at ${requestsPerSecond} a second, seed ${seed}`
    screen.line(`${screen.style('strong', 'questlog demo')}: ${load}`)
    screen.line()
    const startMs = this.#clock.monotonicMs()
    const instance = await DemoInstance.start()
    let isGood = false
    try {
      if (this.#signal.aborted) return exitCodes.interrupted
      this.#showStart(instance, this.#clock.monotonicMs() - startMs)
      const run = await this.#play(instance, requests)
      if (this.#signal.aborted) return exitCodes.interrupted
      isGood = await this.#compare(instance, run)
      if (screen.isTerminal && !this.#options.once) await this.#stay(instance)
      return isGood ? exitCodes.ok : exitCodes.failed
    } catch (error) {
      if (this.#signal.aborted) return exitCodes.interrupted
      printWord(formatError(error))
      return exitCodeOf(asQuestlogError(error))
    } finally {
      await this.#end(instance, isGood || this.#signal.aborted)
    }
  }

  #showStart(instance: DemoInstance, elapsedMs: number): void {
    const rows = [
      ['collector', `${instance.collector}   /  /purchase_a_sword  /join_the_guild`],
      ['sql', `${instance.sql}   events, default_hits, sword_purchases, join_guilds`],
      ['data', `${instance.data}   log, tables, definitions`],
    ]
    const screen = this.#screen
    screen.line(`Started by questlog up -d in ${formatDuration(elapsedMs)}:`)
    for (const [name = '', text = ''] of rows) screen.line(`  ${name.padEnd(9)}   ${text}`)
    screen.line()
  }

  async #play(instance: DemoInstance, requests: readonly SimRequest[]): Promise<PlayedRun> {
    const { requestsPerSecond, kills } = this.#options
    return playWithKills({
      instance,
      requests,
      requestsPerSecond,
      kills,
      kill: (pid) => process.kill(pid, 'SIGKILL'),
      clock: this.#clock,
      signal: this.#signal,
      screen: this.#screen,
    })
  }

  /** Asks SQL for everything and shows it beside what was answered. True when every promise was kept. */
  async #compare(instance: DemoInstance, run: PlayedRun): Promise<boolean> {
    const asking = { endpoint: instance.sql, clock: this.#clock, signal: this.#signal }
    const rows = await readEvents(asking)
    const unequalTables = await findUnequalTables(rows, asking)
    const outcome = { run, verdict: judge(run.played, rows), unequalTables }
    showOutcome(outcome, this.#screen)
    return isKept(outcome)
  }

  /** Stays up until Ctrl-C, or until someone else stops it. */
  async #stay(instance: DemoInstance): Promise<void> {
    const screen = this.#screen
    const data = quoteShell(instance.data)
    let processes = await instance.processes()
    const { ingest, lake } = processes ?? { ingest: '', lake: '' }
    screen.line()
    screen.line('It runs on. Paste these in another terminal:')
    screen.line()
    screen.line(
      `  curl -H 'Host: user1.comcast.com' '${instance.collector}/purchase_a_sword?color=red'`,
    )
    screen.line(
      `  ${command()} sql --data ${data} "select host, count(*) from sword_purchases group by host"`,
    )
    screen.line()
    screen.line('Kill it yourself, and ask again:')
    screen.line()
    screen.line(`  kill -9 ${ingest} ${lake}`)
    screen.line()
    screen.line(`Ctrl-C stops it and removes ${instance.data}.`)
    while (!this.#signal.aborted) {
      await this.#clock.sleep(lookIntervalMs, this.#signal)
      const seen = await instance.look()
      if (seen === 'stopped') return
      if (seen === 'away' || (seen.ingest === processes?.ingest && seen.lake === processes.lake))
        continue
      processes = seen
      screen.line(`  back by themselves; next time: kill -9 ${seen.ingest} ${seen.lake}`)
    }
  }

  /** Stops what was started. Data that shows a broken promise is kept for a look. */
  async #end(instance: DemoInstance, removesData: boolean): Promise<void> {
    await instance.stop()
    if (removesData) instance.removeData()
    const data = quoteShell(instance.data)
    this.#screen.line()
    this.#screen.line(
      removesData
        ? `Stopped; ${instance.data} is removed.`
        : `Stopped; the data is kept for a look: ${command()} audit --data ${data}`,
    )
  }
}

/** The CLI of this checkout, as it can be pasted in any folder. */
function command(): string {
  const path = fileURLToPath(new URL('../../bin/questlog', import.meta.url))
  const short = formatPath(path, '/')
  return quoteShell(short) === short && short.startsWith('~') ? short : quoteShell(path)
}

function parseOptions(words: readonly string[]): DemoOptions {
  const { raw, values } = normalizeArguments(words, optionRows)
  const whole = (name: 'seed' | 'rounds' | 'rate', min: number) => {
    const text = values.get(name)?.at(-1)
    return text === undefined ? standard[name] : parseWhole(text, `--${name}`, min)
  }
  return {
    once: raw.includes('--once'),
    help: raw.includes('--help'),
    seed: whole('seed', 0),
    rounds: whole('rounds', 1),
    requestsPerSecond: whole('rate', 1),
    kills: raw.includes('--no-kill') ? 0 : standard.kills,
  }
}

function helpLines(): string[] {
  const rows = Object.entries(optionRows).map(([name, row]) => {
    const option = row.type === 'string' ? `--${name} N` : `--${name}`
    return `  ${option.padEnd(11)}  ${row.description}`
  })
  return ['npm run demo [-- OPTIONS]', '', ...rows]
}
