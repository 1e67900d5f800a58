import { mkdirSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { machineLine, type Machine } from './machine.ts'
import type { Spread } from './statistics.ts'

/** A promise of speed, and whether these figures keep it. */
export interface Bar {
  readonly what: string
  /** What was measured; NaN = it could not be. */
  readonly value: number
  readonly limit: number
  readonly bound: 'at least' | 'at most'
  readonly unit: string
}

export interface Table {
  readonly title: string
  readonly columns: readonly string[]
  readonly rows: readonly (readonly string[])[]
}

/** What a benchmark found. */
export interface Findings {
  readonly tables: readonly Table[]
  readonly bars: readonly Bar[]
  /** How it was measured, what was left out and why. */
  readonly notes: readonly string[]
  /** Every round, as numbers. */
  readonly rounds: unknown
}

export interface Report extends Findings {
  readonly name: string
  readonly title: string
  readonly startedAt: string
  readonly elapsedSeconds: number
  readonly command: string
  /** Fewer than asked for when the machine was too slow for all of them. */
  readonly roundsDone: number
  readonly machine: Machine
}

export const atLeast = (what: string, value: number, limit: number, unit = ''): Bar => ({
  what,
  value,
  limit,
  bound: 'at least',
  unit,
})

export const atMost = (what: string, value: number, limit: number, unit = ''): Bar => ({
  what,
  value,
  limit,
  bound: 'at most',
  unit,
})

export function isMet({ value, limit, bound }: Bar): boolean {
  return bound === 'at least' ? value >= limit : value <= limit
}

function barLine(bar: Bar): string {
  const { what, value, limit, bound, unit } = bar
  const measured = Number.isNaN(value) ? 'not measured' : formatNumber(value) + unit
  const missing = Math.abs(value / limit - 1) * 100
  const verdict = isMet(bar)
    ? 'met'
    : Number.isNaN(value) || limit === 0
      ? 'MISSED'
      : `MISSED by ${formatNumber(missing)} %`
  return `${what}: ${measured}, ${bound} ${formatNumber(limit)}${unit}: ${verdict}`
}

/** Three digits that count, with thousands separated. */
export function formatNumber(value: number): string {
  if (Number.isNaN(value)) return '–'
  const digits =
    Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : Math.abs(value) >= 1 ? 2 : 3
  return value.toLocaleString('en-US', { maximumFractionDigits: digits })
}

/** `median (min–max)` */
export function formatSpread({ median, min, max }: Spread, factor = 1): string {
  if (Number.isNaN(median)) return '–'
  const [middle, low, high] = [median, min, max].map((value) => formatNumber(value * factor))
  return min === max ? `${middle}` : `${middle} (${low}–${high})`
}

/** The report as a Markdown page; it reads well on a terminal, too. */
export function renderReport(report: Report): string {
  return [
    `# ${report.title}`,
    '',
    `\`${report.command}\`, ${report.startedAt}, rounds: ${report.roundsDone}, ${report.elapsedSeconds} s.`,
    `${machineLine(report.machine)}.`,
    ...report.tables.flatMap((table) => ['', `## ${table.title}`, '', ...renderTable(table)]),
    ...(report.bars.length === 0
      ? []
      : ['', '## Bars', '', ...report.bars.map((bar) => `- ${barLine(bar)}`)]),
    ...(report.notes.length === 0
      ? []
      : ['', '## Notes', '', ...report.notes.map((note) => `- ${note}`)]),
    '',
  ].join('\n')
}

function renderTable({ columns, rows }: Table): string[] {
  const widths = columns.map((column, index) =>
    Math.max(column.length, ...rows.map((row) => row[index]?.length ?? 0)),
  )
  const line = (cells: readonly string[]) =>
    `| ${cells
      .map((cell, index) =>
        index === 0 ? cell.padEnd(widths[index] ?? 0) : cell.padStart(widths[index] ?? 0),
      )
      .join(' | ')} |`
  const rule = `|${widths.map((width, index) => (index === 0 ? `${'-'.repeat(width + 2)}` : `${'-'.repeat(width + 1)}:`)).join('|')}|`
  return [line(columns), rule, ...rows.map(line)]
}

/** Writes bench/results/<name>.json and .md in the place of the last ones. */
export function saveReport(report: Report): void {
  const folder = fileURLToPath(new URL('results/', import.meta.url))
  mkdirSync(folder, { recursive: true })
  const bars = report.bars.map((bar) => ({ ...bar, met: isMet(bar) }))
  writeFileSync(`${folder}${report.name}.json`, `${JSON.stringify({ ...report, bars }, null, 2)}\n`)
  writeFileSync(`${folder}${report.name}.md`, renderReport(report))
}
