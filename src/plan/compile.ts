import { asQuestlogError } from '../core/errors.ts'
import { resolveSettings, settingNames } from '../core/settings.ts'
import { compileEvents } from './compile-events.ts'
import { compileTables } from './compile-tables.ts'
import type { Definition, TopicDefinition } from './definition.ts'
import { parseDuration } from './durations.ts'
import { describeValue, isObject, meantOr, Problems, type DefinitionProblem } from './problems.ts'

/** A hundred years. */
const retentionMaxMs = 36_500 * 86_400_000
const retentionBytesMax = 2 ** 50

export const defaultTopic = 'events'
export const defaultNamespace = 'default'

/** Name of the view in schema `_counts` with the number of rows of a table. */
export function countViewName(namespace: string, name: string): string {
  return namespace === defaultNamespace ? name : `${namespace}.${name}`
}

/** SQL names its own schemas so; `log` is for the topics. */
const takenNamespaces: readonly string[] = [
  'questlog',
  'log',
  'main',
  'temp',
  'system',
  'information_schema',
  'pg_catalog',
]

export type Compiled =
  | { readonly definition: Definition; readonly problems?: undefined }
  | { readonly problems: readonly DefinitionProblem[]; readonly definition?: undefined }

/**
 * Checks what the definition file exports and fills in every default. `config` is untrusted: it may be the result of any code, or JSON.
 * All problems are collected; there is a definition only when there are none.
 */
export function compileDefinition(config: unknown): Compiled {
  const problems = new Problems()
  const root = problems.object(config, [], 'the result of defineConfig({ … })')
  if (root === undefined) return { problems: problems.list }
  problems.knownKeys(root, ['namespace', 'topics', 'events', 'tables', 'settings'], [])
  const namespace = compileNamespace(root.namespace, problems)
  const declared = compileTopics(root.topics, problems)
  const events = compileEvents(
    root.events,
    declared.map((topic) => topic.name),
    problems,
  )
  const usesDefault = events.some((event) => event.topic === defaultTopic)
  const topics =
    usesDefault && !declared.some((topic) => topic.name === defaultTopic)
      ? [{ name: defaultTopic, partitions: 1, configs: {} }, ...declared]
      : declared
  const tables = compileTables(root.tables, events, problems)
  const settings = compileSettings(root.settings, problems)
  if (problems.list.length > 0) return { problems: problems.list }
  return { definition: { formatVersion: 1, namespace, topics, events, tables, settings } }
}

function compileNamespace(value: unknown, problems: Problems): string {
  const namespace = problems.text(value, defaultNamespace, ['namespace'])
  if (!/^[a-z][a-z0-9_]{0,127}$/.test(namespace))
    problems.add(
      ['namespace'],
      `${describeValue(namespace)} is no name for a namespace`,
      'use a-z, 0-9 and _, a letter first',
    )
  else if (takenNamespaces.includes(namespace))
    problems.add(['namespace'], `${namespace} is taken by the system`, 'choose another name')
  return namespace
}

function compileTopics(value: unknown, problems: Problems): TopicDefinition[] {
  if (value === undefined) return []
  const topics = problems.object(value, ['topics'], 'an object of topics by name')
  return Object.entries(topics ?? {}).map(([name, config]) => compileTopic(name, config, problems))
}

function compileTopic(name: string, value: unknown, problems: Problems): TopicDefinition {
  const path = ['topics', name]
  if (!/^[a-zA-Z0-9._-]{1,249}$/.test(name) || name === '.' || name === '..')
    problems.add(
      path,
      `${describeValue(name)} is no name for a topic`,
      'use 1 to 249 characters of a-z, A-Z, 0-9, ".", "_" and "-"',
    )
  else if (name.startsWith('__'))
    problems.add(path, 'names that begin with __ belong to the system', 'choose another name')
  const config = problems.object(value, path, 'an object such as { partitions: 1 }') ?? {}
  problems.knownKeys(config, ['partitions', 'maxMessageBytes', 'retention', 'retentionBytes'], path)
  const partitions = wholeNumber(config.partitions, 1, 1000, [...path, 'partitions'], problems)
  const limitPath = [...path, 'maxMessageBytes']
  const limit = wholeNumber(config.maxMessageBytes, 1024, 100 * 1024 * 1024, limitPath, problems)
  const retentionMs = compileRetention(config.retention, [...path, 'retention'], problems)
  const bytesPath = [...path, 'retentionBytes']
  const bytes = wholeNumber(config.retentionBytes, 0, retentionBytesMax, bytesPath, problems)
  const configs = {
    'max.message.bytes': limit,
    'retention.ms': retentionMs,
    'retention.bytes': bytes,
  }
  const given = Object.entries(configs).filter(([, number]) => number !== undefined)
  const texts = Object.fromEntries(given.map(([key, number]) => [key, String(number)]))
  return { name, partitions: partitions ?? 1, configs: texts }
}

function compileRetention(
  value: unknown,
  path: readonly string[],
  problems: Problems,
): number | undefined {
  if (value === undefined) return undefined
  const durationMs = parseDuration(value)
  if (durationMs === undefined)
    problems.add(
      path,
      `is ${describeValue(value)}, but must be a time with its unit`,
      "write '90s', '30m', '12h' or '7d'",
    )
  else if (durationMs < 1000 || durationMs > retentionMaxMs)
    problems.add(path, `${describeValue(value)} is out of range`, 'write from 1s to 36500d')
  else return durationMs
  return undefined
}

function wholeNumber(
  value: unknown,
  min: number,
  max: number,
  path: readonly string[],
  problems: Problems,
): number | undefined {
  if (value === undefined) return undefined
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max)
    return value
  const rule = `a whole number from ${min} to ${max}`
  problems.add(path, `is ${describeValue(value)}, but must be ${rule}`, `write ${rule}`)
  return undefined
}

function compileSettings(value: unknown, problems: Problems): Record<string, unknown> {
  if (value === undefined) return {}
  const settings = problems.object(value, ['settings'], 'an object of settings by name') ?? {}
  const names: readonly string[] = settingNames()
  const kept: [string, unknown][] = []
  for (const [name, setting] of Object.entries(settings)) {
    const path = ['settings', name]
    if (setting === undefined) continue
    if (!names.includes(name)) {
      const fix = meantOr(name, names, 'remove it; docs/reference/settings.md lists all')
      problems.add(path, `there is no setting ${name}`, fix)
    } else if (isObject(setting) || typeof setting === 'function') {
      problems.add(
        path,
        `is ${describeValue(setting)}`,
        'write a number, a text or a list of texts',
      )
    } else {
      kept.push([name, setting])
      checkSetting(name, setting, problems)
    }
  }
  return Object.fromEntries(kept)
}

function checkSetting(name: string, value: unknown, problems: Problems): void {
  try {
    resolveSettings({ [name]: value })
  } catch (error) {
    const { message, hint } = asQuestlogError(error)
    problems.add(['settings', name], message, hint)
  }
}
