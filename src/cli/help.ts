import type { ArgDef, ArgsDef } from 'citty'

/** The help of one command: what it does, its words and its options, each with its meaning and what holds when it is left out. */
export function renderHelp(name: string, summary: string, args: ArgsDef): string {
  const words = Object.entries(args).filter(([, arg]) => arg.type === 'positional')
  const options = Object.entries(args).filter(([, arg]) => arg.type !== 'positional')
  const rows = [
    ...words.map(([word, arg]) => [word.toUpperCase(), describe(arg)] as const),
    ...options.map(([option, arg]) => [showOption(option, arg), describe(arg)] as const),
  ]
  const width = Math.max(0, ...rows.map(([left]) => left.length))
  const usage = [
    `questlog ${name}`,
    ...words.map(([word, arg]) =>
      arg.required === false ? `[${word.toUpperCase()}]` : word.toUpperCase(),
    ),
    ...(options.length === 0 ? [] : ['[OPTIONS]']),
  ]
  const lines = rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`)
  return [usage.join(' '), `  ${summary}`, ...(rows.length === 0 ? [] : ['', ...lines])].join('\n')
}

/** `-p, --partitions N`; options without a letter are indented to the others. */
function showOption(name: string, arg: ArgDef): string {
  const alias = 'alias' in arg && arg.alias !== undefined ? [arg.alias].flat()[0] : undefined
  const letter = alias === undefined ? '    ' : `-${alias}, `
  const value = arg.type === 'boolean' ? '' : ` ${arg.valueHint ?? 'VALUE'}`
  return `${letter}--${name}${value}`
}

function describe(arg: ArgDef): string {
  const standard = typeof arg.default === 'string' ? ` (${arg.default})` : ''
  return `${arg.description ?? ''}${standard}`
}
