import type { ErrorCode } from '../core/errors.ts'
import type { Metric, MetricValue } from '../core/metrics.ts'

/** What the collector counted since it was made. */
export interface CollectorCounters {
  /** Requests that could be read as far as their target. */
  readonly requests: number
  /** Events that were acknowledged. */
  readonly kept: number
  /** Refused events and requests by error code. */
  readonly refused: Readonly<Partial<Record<ErrorCode, number>>>
  /** Answers by HTTP status. */
  readonly answers: Readonly<Record<string, number>>
  readonly unknownPathRequests: number
  readonly connections: number
  /** Connections that were closed at once because connectionsMax were open. */
  readonly connectionsDropped: number
  readonly requestsInFlight: number
  readonly bodyBytesHeld: number
}

/** The collector's own metrics. */
export function collectorMetrics(counters: CollectorCounters): Metric[] {
  return [
    counter('requests_total', 'Requests.', [{ value: counters.requests }]),
    counter('answers_total', 'Answers by HTTP status.', labelled('status', counters.answers)),
    counter('events_kept_total', 'Events that were acknowledged.', [{ value: counters.kept }]),
    counter(
      'refused_total',
      'Refused events and requests by error code.',
      labelled('code', counters.refused),
    ),
    counter('unknown_path_requests_total', 'Requests to paths without a route.', [
      { value: counters.unknownPathRequests },
    ]),
    counter('connections_dropped_total', 'Connections beyond connectionsMax.', [
      { value: counters.connectionsDropped },
    ]),
    gauge('connections', 'Open connections.', counters.connections),
    gauge('requests_in_flight', 'Requests without an answer yet.', counters.requestsInFlight),
    gauge('body_bytes', 'Bytes of request bodies that are held.', counters.bodyBytesHeld),
  ]
}

function counter(name: string, help: string, values: readonly MetricValue[]): Metric {
  return { name: `questlog_collector_${name}`, help, type: 'counter', values }
}

function gauge(name: string, help: string, value: number): Metric {
  return { name: `questlog_collector_${name}`, help, type: 'gauge', values: [{ value }] }
}

function labelled(label: string, counts: Readonly<Record<string, number>>): MetricValue[] {
  return Object.entries(counts).map(([name, value]) => ({ labels: { [label]: name }, value }))
}
