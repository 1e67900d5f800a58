import { dirname, join } from 'node:path'
import { quoteName } from '../src/plan/columns.ts'
import { commitLevel } from '../src/stream/committer.ts'
import { eventFields } from './events.ts'
import type { Converted } from './loads/convert.ts'
import { forkBench, nextMessage } from './processes.ts'

export interface Baseline {
  readonly eventsPerSecond: number
  /** Processor time an event. */
  readonly microseconds: number
}

/** DuckDB's own conversion of a file of events to Parquet, in a process of its own. */
export async function convertInDuckdb(
  eventsFile: string,
  events: number,
): Promise<{ sameColumns: () => Promise<Baseline>; nineColumns: () => Promise<Baseline> }> {
  const child = forkBench('convert.ts')
  await nextMessage(child)
  const target = join(dirname(eventsFile), 'baseline.parquet')
  const convert = async (select: string): Promise<Baseline> => {
    const answer = nextMessage(child)
    // As quickly as questlog's own commits.
    const options = `FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL ${commitLevel}`
    child.send(`COPY (${select}) TO '${target}' (${options})`)
    const { elapsedMs, processorMs } = (await answer) as Converted // convert.ts sends nothing else
    return {
      eventsPerSecond: (events * 1000) / elapsedMs,
      microseconds: (processorMs * 1000) / events,
    }
  }
  // What is read for the first time is not in the page cache.
  await convert(nineColumns(eventsFile))
  return {
    sameColumns: () => convert(sameColumns(eventsFile)),
    nineColumns: () => convert(nineColumns(eventsFile)),
  }
}

function nineColumns(eventsFile: string): string {
  const types = Object.entries(eventFields).map(([name, type]) => `${name}: '${type}'`)
  return `SELECT * FROM read_json('${eventsFile}', format = 'newline_delimited', columns = {${types.join(', ')}})`
}

/** The columns of questlog's table, in its order: the text, the record's time, the headers, the fields, the system columns. */
function sameColumns(eventsFile: string): string {
  const { event_type: _first, ...others } = eventFields
  const microseconds = '1700000000000000 + n'
  const columns = [
    'raw_event',
    `strftime(make_timestamp(${microseconds}), '%Y-%m-%d %H:%M:%S.%g') AS timestamp`,
    ...['Accept', 'Host', 'User-Agent'].map((name) => `NULL::VARCHAR AS ${quoteName(name)}`),
    'fields.event_type',
    ...Object.keys(others).map((name) => `fields.${name}`),
    `'events/0/' || n AS event_id`,
    '0::INTEGER AS _log_partition',
    'n AS _offset',
    `make_timestamptz(${microseconds}) AS _timestamp`,
  ]
  const shape = JSON.stringify(eventFields)
  return `SELECT ${columns.join(', ')} FROM (SELECT json::VARCHAR AS raw_event, from_json(json, '${shape}') AS fields, row_number() OVER () - 1 AS n FROM read_ndjson_objects('${eventsFile}'))`
}
