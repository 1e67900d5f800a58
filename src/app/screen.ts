import type { Definition } from '../plan/definition.ts'
import { describeKept } from './kept.ts'
import type { Endpoints } from './roles.ts'
import { formatMany, formatPath } from './words.ts'

const routesShown = 20
const namesWidthMax = 72

export interface ScreenParts {
  readonly version: string
  readonly definition: Definition
  readonly definitionVersion: number
  readonly config: string
  readonly data: string
  readonly cwd: string
  /** Events on the log; undefined when this process does not run it. */
  readonly kept: number | undefined
  readonly endpoints: Endpoints
  readonly detached: boolean
}

/** What `questlog up` shows when everything is ready: definition, data, addresses with routes and tables, then the banner. */
export function startScreen(parts: ScreenParts): string[] {
  const { definition, endpoints, cwd } = parts
  const counts = `${formatMany(definition.events.length, 'event')}, ${formatMany(definition.tables.length, 'table')}`
  const folder = formatPath(parts.data, cwd)
  return [
    `questlog ${parts.version}`,
    '',
    `  definition  ${formatPath(parts.config, cwd)}, version ${parts.definitionVersion}: ${counts}`,
    `  data        ${parts.kept === undefined ? folder : describeKept(parts.kept, folder).replace(/^kept /, '')}`,
    ...(endpoints.collector === null ? [] : collectorLines(definition, endpoints.collector)),
    ...(endpoints.broker === null ? [] : brokerLines(endpoints.broker)),
    ...(endpoints.sql === null ? [] : sqlLines(parts, endpoints.sql)),
    '',
    ...bannerLines(parts),
  ]
}

function collectorLines(definition: Definition, address: string): string[] {
  const routes = definition.events.flatMap((event) =>
    event.routes.map((route) => ({ route: `${route.method} ${route.path}`, type: event.type })),
  )
  const width = Math.max(0, ...routes.map(({ route }) => route.length))
  const shown = routes.slice(0, routesShown)
  const rest = routes.length - shown.length
  return [
    `  collector   ${address}`,
    ...shown.map(({ route, type }) => `                ${route.padEnd(width)}  ${type}`),
    ...(rest > 0 ? [`                … and ${formatMany(rest, 'route')} more`] : []),
    '                POST /events',
  ]
}

function brokerLines(address: string): string[] {
  return [`  broker      ${address} for Kafka clients`]
}

function sqlLines(parts: ScreenParts, address: string): string[] {
  const names = parts.definition.tables.map((table) => table.name)
  const [first] = names
  const statement = first === undefined ? 'show tables' : `select count(*) from ${first}`
  return [
    `  sql         ${address}`,
    ...wrap(names, namesWidthMax).map((line) => `                ${line}`),
    `                questlog sql "${statement}"`,
  ]
}

function bannerLines(parts: ScreenParts): string[] {
  const { endpoints, config, cwd } = parts
  const name = formatPath(config, cwd).replace(/^\.\//, '')
  const address = endpoints.collector ?? endpoints.sql ?? ''
  const end = parts.detached ? 'stop it with: questlog down' : 'Press CTRL+C to quit'
  return [` * Serving questlog "${name}"`, ` * Running on ${address}/ (${end})`]
}

/** Names with commas, in lines of about this width. */
function wrap(names: readonly string[], width: number): string[] {
  const lines: string[] = []
  let line = ''
  for (const name of names) {
    if (line !== '' && line.length + name.length + 2 > width) {
      lines.push(`${line},`)
      line = ''
    }
    line = line === '' ? name : `${line}, ${name}`
  }
  return line === '' ? lines : [...lines, line]
}
