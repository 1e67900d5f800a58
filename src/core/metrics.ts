/** One measured quantity with its current values. Labels have few distinct values: topics, tables, states; never paths or ids. */
export interface Metric {
  /** Snake case with the unit last: `questlog_answered_total`. */
  readonly name: string
  readonly help: string
  readonly type: 'counter' | 'gauge'
  readonly values: readonly MetricValue[]
}

export interface MetricValue {
  readonly labels?: Readonly<Record<string, string>>
  readonly value: number
}

/** What `/health` and `/ready` answer: ready = 200, else 503 with the reasons. */
export interface HealthReport {
  readonly ready: boolean
  readonly reasons: readonly string[]
}

/** Prometheus text exposition format, version 0.0.4. */
export function formatMetrics(metrics: readonly Metric[]): string {
  const lines: string[] = []
  for (const metric of metrics) {
    lines.push(`# HELP ${metric.name} ${metric.help}`, `# TYPE ${metric.name} ${metric.type}`)
    for (const { labels, value } of metric.values)
      lines.push(`${metric.name}${formatLabels(labels)} ${value}`)
  }
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`
}

function formatLabels(labels: Readonly<Record<string, string>> | undefined): string {
  const entries = Object.entries(labels ?? {})
  if (entries.length === 0) return ''
  const escape = (text: string) =>
    text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
  return `{${entries.map(([name, value]) => `${name}="${escape(value)}"`).join(',')}}`
}
