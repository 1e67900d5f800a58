const unitMs = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** `500ms`, `10s`, `1m`, `1h`, `7d` in milliseconds; undefined for anything else. */
export function parseDuration(value: unknown): number | undefined {
  const match = typeof value === 'string' ? /^(\d{1,9})(ms|s|m|h|d)$/.exec(value) : null
  const unit = match?.[2]
  if (unit === 'ms' || unit === 's' || unit === 'm' || unit === 'h' || unit === 'd')
    return Number(match?.[1]) * unitMs[unit]
  return undefined
}
