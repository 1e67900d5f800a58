import { readFileSync } from 'node:fs'
import { cpus, loadavg, release, totalmem, type } from 'node:os'

/** What a result was measured on. */
export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly memoryGiB: number
  readonly kernel: string
  readonly node: string
  readonly duckdb: string
  /** Of the last minute, when the benchmark began. What is beyond 0.5 was somebody else's work. */
  readonly loadAverage: number
}

export function describeMachine(): Machine {
  const processors = cpus()
  return {
    cpu: processors[0]?.model.trim() ?? 'unknown',
    cores: processors.length,
    memoryGiB: Math.round(totalmem() / 1024 ** 3),
    kernel: `${type()} ${release()}`,
    node: process.versions.node,
    duckdb: duckdbVersion(),
    loadAverage: Math.round((loadavg()[0] ?? 0) * 100) / 100,
  }
}

function duckdbVersion(): string {
  const manifest = new URL('../node_modules/@duckdb/node-api/package.json', import.meta.url)
  const { version } = JSON.parse(readFileSync(manifest, 'utf8')) as { version: string } // every package has one
  return version
}

export function machineLine(machine: Machine): string {
  const { cpu, cores, memoryGiB, kernel, node, duckdb, loadAverage } = machine
  return `${cpu}, ${cores} cores, ${memoryGiB} GiB; ${kernel}; Node ${node}; DuckDB ${duckdb}; load average ${loadAverage} at the start`
}
