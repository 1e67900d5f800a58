/** Facts of a log line. Values are data of the system, never secrets. */
export type LogFacts = Readonly<Record<string, unknown>>

/** JSON lines with a constant text and facts as fields: quiet when healthy, one line per change of state, never one per event. */
export interface Logger {
  info(text: string, facts?: LogFacts): void
  warn(text: string, facts?: LogFacts): void
  error(text: string, facts?: LogFacts): void
}

export type LogLevel = 'info' | 'warn' | 'error'

/** One line of a component's log file: `{"time","level","component","text",…facts}`. */
export function formatLogLine(
  timeMs: number,
  level: LogLevel,
  component: string,
  text: string,
  facts: LogFacts,
): string {
  return JSON.stringify({ time: new Date(timeMs).toISOString(), level, component, text, ...facts })
}

/** A logger that hands each finished line to `write`. Errors among the facts are written with message and code. */
export function createLogger(
  component: string,
  nowMs: () => number,
  write: (line: string) => void,
): Logger {
  const log =
    (level: LogLevel) =>
    (text: string, facts: LogFacts = {}) => {
      const plain = Object.fromEntries(
        Object.entries(facts).map(([name, value]) => [name, describe(value)]),
      )
      write(formatLogLine(nowMs(), level, component, text, plain))
    }
  return { info: log('info'), warn: log('warn'), error: log('error') }
}

/** A logger that drops everything; for tests and one-shot commands. */
export const silentLogger: Logger = { info: () => {}, warn: () => {}, error: () => {} }

function describe(value: unknown): unknown {
  if (typeof value === 'bigint') return value.toString()
  if (!(value instanceof Error)) return value
  const code = 'code' in value ? { code: value.code } : {}
  return {
    message: value.message,
    ...code,
    stack: value.stack
      ?.split('\n')
      .slice(1, 6)
      .map((line) => line.trim()),
  }
}
