import type { ArgsDef } from 'citty'
import { QuestlogError } from '../core/errors.ts'
import { nearestName } from '../plan/nearest.ts'

/** The words after a command, sorted out: what citty's own parser lets pass (unknown options, missing values, words too many) is refused. */
export interface NormalArguments {
  /** `--name=value`, `--flag`, `--no-flag`, then `--` and the words. */
  readonly raw: string[]
  /** Every value of each option that takes one, in order: citty keeps the last only. */
  readonly values: ReadonlyMap<string, readonly string[]>
}

interface Option {
  readonly name: string
  readonly takesValue: boolean
}

/** Throws USAGE for a word that the command does not know, with the nearest one that it does. */
export function normalizeArguments(given: readonly string[], args: ArgsDef): NormalArguments {
  const options = optionsByName(args)
  const wordsMax = Object.values(args).filter((arg) => arg.type === 'positional').length
  const raw: string[] = []
  const words: string[] = []
  const values = new Map<string, string[]>()
  const rest = [...given]
  const take = (option: Option, shown: string, inline: string | undefined) => {
    if (!option.takesValue) {
      if (inline !== undefined) throw usage(`${shown} takes no value`)
      raw.push(`--${option.name}`)
      return
    }
    const value = inline ?? rest.shift()
    if (value === undefined) throw usage(`${shown} needs a value`)
    raw.push(`--${option.name}=${value}`)
    values.set(option.name, [...(values.get(option.name) ?? []), value])
  }
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (word === '--') words.push(...rest.splice(0))
    else if (word.startsWith('--')) takeLong(word, options, take)
    else if (word.startsWith('-') && word.length > 1) takeShort(word, options, take)
    else words.push(word)
  }
  if (words.length > wordsMax) throw usage(`unexpected word "${words[wordsMax]}"`)
  return { raw: [...raw, '--', ...words], values }
}

type Take = (option: Option, shown: string, inline: string | undefined) => void

function takeLong(word: string, options: ReadonlyMap<string, Option>, take: Take): void {
  const equals = word.indexOf('=')
  const name = equals === -1 ? word.slice(2) : word.slice(2, equals)
  const option = options.get(name)
  if (option === undefined) throw unknownOption(`--${name}`, options)
  take(option, `--${name}`, equals === -1 ? undefined : word.slice(equals + 1))
}

/** `-e`, `-c5`, `-c 5`, `-ec 5`. */
function takeShort(word: string, options: ReadonlyMap<string, Option>, take: Take): void {
  for (let i = 1; i < word.length; i++) {
    const option = options.get(word.charAt(i))
    if (option === undefined) throw unknownOption(`-${word.charAt(i)}`, options)
    const inline = option.takesValue && i + 1 < word.length ? word.slice(i + 1) : undefined
    take(option, `-${word.charAt(i)}`, inline)
    if (option.takesValue) return
  }
}

function optionsByName(args: ArgsDef): Map<string, Option> {
  const options = new Map<string, Option>()
  for (const [name, arg] of Object.entries(args)) {
    if (arg.type === 'positional') continue
    const option = { name, takesValue: arg.type !== 'boolean' }
    const aliases = 'alias' in arg && arg.alias !== undefined ? [arg.alias].flat() : []
    for (const known of [name, ...aliases]) options.set(known, option)
  }
  return options
}

function unknownOption(shown: string, options: ReadonlyMap<string, Option>): QuestlogError {
  const name = shown.replace(/^-+/, '')
  const known = [...options.keys()]
  const near =
    nearestName(name, known) ?? known.find((option) => name.length > 1 && option.startsWith(name))
  const hint =
    near === undefined ? 'see --help' : `did you mean ${near.length === 1 ? '-' : '--'}${near}?`
  return new QuestlogError('USAGE', `there is no option ${shown}`, {}, { hint })
}

function usage(message: string): QuestlogError {
  return new QuestlogError('USAGE', message)
}

/** A port number; 0 = a free one. */
export function parsePort(text: string, option: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN
  if (port <= 65_535) return port
  throw usage(`--${option} is "${text}", but must be a port from 0 (a free one) to 65535`)
}

/** A whole number from `min` on. */
export function parseWhole(text: string, option: string, min: number): number {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
  if (value >= min) return value
  throw usage(`${option} is "${text}", but must be a whole number from ${min} on`)
}

const sizeUnits: Readonly<Record<string, number>> = {
  k: 1e3,
  m: 1e6,
  g: 1e9,
  ki: 1024,
  mi: 1024 ** 2,
  gi: 1024 ** 3,
}

/** `max.message.bytes=5MiB` → name and value; a value that is a size becomes its number of bytes. */
export function parseConfig(text: string): readonly [string, string] {
  const equals = text.indexOf('=')
  if (equals < 1) throw usage(`--config is "${text}", but must be NAME=VALUE`)
  const name = text.slice(0, equals).trim()
  const value = text.slice(equals + 1).trim()
  const size = /^(\d+(?:\.\d+)?)\s*([kmg]i?)b?$/i.exec(value)
  if (size === null) return [name, value]
  const [, number = '', unit = ''] = size
  return [name, String(Math.round(Number(number) * (sizeUnits[unit.toLowerCase()] ?? 1)))]
}

/** `HOST:PORT`, an IPv6 address in brackets. */
export function parseAddress(
  text: string,
  option: string,
): { readonly host: string; readonly port: number } {
  const match = /^(?:\[([0-9a-f:]+)\]|([^:[\]\s]+)):(\d{1,5})$/i.exec(text)
  const host = match?.[1] ?? match?.[2]
  const port = Number(match?.[3])
  if (host !== undefined && port > 0 && port <= 65_535) return { host, port }
  throw usage(`--${option} is "${text}", but must be HOST:PORT`)
}
