import type { Metric, MetricValue } from '../core/metrics.ts'
import type { ApiName } from './apis.ts'
import type { Traffic } from './connection.ts'

/** Clients are counted by name and version up to so many of them; the rest together. */
const clientNamesMax = 50
const clientNameLengthMax = 40

interface RequestCount {
  count: number
  milliseconds: number
}

/** Gauges that others know. */
export interface BrokerGauges {
  readonly connections: number
  readonly requestBytes: number
  readonly fetchBytes: number
}

/** What the broker counted since it was made. */
export class BrokerCounters implements Traffic {
  bytesIn = 0
  bytesOut = 0
  connectionsOpened = 0
  /** Closed at once because brokerConnectionsMax were open. */
  connectionsDropped = 0
  /** Closed because of what the client sent, or did not take. */
  connectionsFailed = 0
  recordBytesIn = 0
  recordBytesOut = 0
  readonly #requests = new Map<ApiName, RequestCount>()
  readonly #clients = new Map<string, { name: string; version: string; count: number }>()

  request(api: ApiName, milliseconds: number): void {
    const before = this.#requests.get(api) ?? { count: 0, milliseconds: 0 }
    before.count += 1
    before.milliseconds += milliseconds
    this.#requests.set(api, before)
  }

  /** A connection of this software. */
  client(name: string, version: string): void {
    const key = `${name} ${version}`
    const isNamed =
      this.#clients.has(key) ||
      (this.#clients.size < clientNamesMax && key.length <= clientNameLengthMax)
    const counted = isNamed ? { key, name, version } : { key: '', name: 'other', version: '' }
    const before = this.#clients.get(counted.key)
    if (before === undefined)
      this.#clients.set(counted.key, { name: counted.name, version: counted.version, count: 1 })
    else before.count += 1
  }

  metrics(gauges: BrokerGauges): readonly Metric[] {
    const byApi = (pick: (count: RequestCount) => number): MetricValue[] =>
      [...this.#requests].map(([api, count]) => ({ labels: { api }, value: pick(count) }))
    const clients = [...this.#clients.values()].map(({ name, version, count }) => ({
      labels: { name, version },
      value: count,
    }))
    return [
      counter(
        'requests_total',
        'Requests by API.',
        byApi(({ count }) => count),
      ),
      counter(
        'request_seconds_total',
        'Time from request to answer by API, waiting included.',
        byApi(({ milliseconds }) => milliseconds / 1000),
      ),
      plain('received_bytes_total', 'Bytes received.', this.bytesIn),
      plain('sent_bytes_total', 'Bytes sent.', this.bytesOut),
      plain('produced_bytes_total', 'Bytes of record batches kept.', this.recordBytesIn),
      plain('fetched_bytes_total', 'Bytes of record batches given out.', this.recordBytesOut),
      plain('connections_total', 'Connections opened.', this.connectionsOpened),
      plain(
        'connections_dropped_total',
        'Connections beyond brokerConnectionsMax.',
        this.connectionsDropped,
      ),
      plain(
        'connections_failed_total',
        'Connections closed because of what the client sent, or did not take.',
        this.connectionsFailed,
      ),
      counter('clients_total', 'Connections by client software.', clients),
      gauge('connections', 'Open connections.', gauges.connections),
      gauge('request_bytes', 'Bytes of requests and small answers held.', gauges.requestBytes),
      gauge('fetch_bytes', 'Bytes of answers to Fetch held.', gauges.fetchBytes),
    ]
  }
}

function counter(name: string, help: string, values: readonly MetricValue[]): Metric {
  return { name: `questlog_broker_${name}`, help, type: 'counter', values }
}

function plain(name: string, help: string, value: number): Metric {
  return counter(name, help, [{ value }])
}

function gauge(name: string, help: string, value: number): Metric {
  return { name: `questlog_broker_${name}`, help, type: 'gauge', values: [{ value }] }
}
