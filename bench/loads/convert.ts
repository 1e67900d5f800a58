// DuckDB on its own, one thread: runs each COPY that it is told, and answers with its time. The yardstick of the batches.
import { DuckDBInstance } from '@duckdb/node-api'

export interface Converted {
  readonly elapsedMs: number
  readonly processorMs: number
}

const instance = await DuckDBInstance.create(':memory:', {
  threads: '1',
  autoinstall_known_extensions: 'false',
  autoload_known_extensions: 'false',
})
const connection = await instance.connect()
await connection.run("SET TimeZone = 'UTC'")

process.on('message', (sql) => void convert(String(sql)))
process.send?.('ready')

async function convert(sql: string): Promise<void> {
  const startMs = performance.now()
  const start = process.cpuUsage()
  await connection.run(sql)
  const { user, system } = process.cpuUsage(start)
  const converted: Converted = {
    elapsedMs: performance.now() - startMs,
    processorMs: (user + system) / 1000,
  }
  process.send?.(converted)
}
