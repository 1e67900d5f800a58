import { request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { connect, type Socket } from 'node:net'
import { realClock, type Clock } from '../../src/core/clock.ts'
import type { QuestlogError } from '../../src/core/errors.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { resolveSettings } from '../../src/core/settings.ts'
import {
  createCollector,
  type Collector,
  type CollectorOptions,
} from '../../src/collect/collector.ts'
import type { EventSink } from '../../src/collect/event-sink.ts'
import type { Appended, NewRecord, Topic } from '../../src/log/record.ts'
import type { Definition, EventDefinition } from '../../src/plan/definition.ts'

/** The event log's promise in memory: one partition, order kept, nothing kept when an append rejects. */
export class FakeLog implements EventSink {
  readonly records: { topic: string; key: Uint8Array | null; record: NewRecord }[] = []
  readonly appends: { topic: string; key: Uint8Array | null; count: number }[] = []
  /** Rejects the next appends with this. */
  failure: QuestlogError | undefined
  /** Appends wait for this. */
  gate: Promise<void> | undefined
  readonly #topics: Map<string, Topic>

  constructor(configs: Readonly<Record<string, string>> = {}) {
    const topic = (name: string): Topic => ({ id: `id-of-${name}`, name, partitions: 1, configs })
    this.#topics = new Map(['events', 'other'].map((name) => [name, topic(name)]))
  }

  topic(name: string): Topic | undefined {
    return this.#topics.get(name)
  }

  async append(
    topic: string,
    key: Uint8Array | null,
    records: readonly NewRecord[],
  ): Promise<Appended> {
    await this.gate
    if (this.failure !== undefined) throw this.failure
    const baseOffset = this.records.filter((kept) => kept.topic === topic).length
    for (const record of records) this.records.push({ topic, key, record })
    this.appends.push({ topic, key, count: records.length })
    return { topic, partition: 0, baseOffset, timestampMs: 0 }
  }

  /** Values as text. */
  values(): string[] {
    return this.records.map(({ record }) => Buffer.from(record.value ?? []).toString('utf8'))
  }

  /** Values as objects; fails when one is not JSON. */
  events(): Record<string, unknown>[] {
    return this.values().map((value) => JSON.parse(value) as Record<string, unknown>)
  }
}

export function eventDefinition(
  over: Partial<EventDefinition> & { type: string },
): EventDefinition {
  return {
    topic: 'events',
    routes: [],
    fixed: {},
    params: [],
    required: [],
    schema: null,
    headers: true,
    key: null,
    onInvalid: 'set-aside',
    ...over,
  }
}

export function definitionOf(...events: EventDefinition[]): Definition {
  return { formatVersion: 1, namespace: 'default', topics: [], events, tables: [], settings: {} }
}

const get = (path: string, reply: string) => ({ method: 'GET' as const, path, reply })

/** The routes of the write-ups, and some with what they do not use. */
export const exampleDefinition = definitionOf(
  eventDefinition({ type: 'default', routes: [get('/', 'This is the default response!\n')] }),
  eventDefinition({
    type: 'purchase_sword',
    routes: [get('/purchase_a_sword', '\nSword Purchased!\n')],
  }),
  eventDefinition({
    type: 'join_guild',
    routes: [
      get('/join_guild', '\nGuild joined!\n'),
      get('/join_the_guild', 'You Joined the Guild!\n'),
    ],
  }),
  eventDefinition({
    type: 'purchase_knife',
    routes: [get('/purchase_a_knife', 'Knife Purchased!\n')],
    fixed: { description: 'very sharp knife' },
  }),
  eventDefinition({ type: 'bare', headers: false, routes: [get('/bare', 'ok\n')] }),
  eventDefinition({
    type: 'keyed',
    headers: false,
    key: 'player',
    routes: [{ method: 'POST', path: '/keyed', reply: 'ok\n' }],
  }),
  eventDefinition({
    type: 'strict',
    headers: false,
    onInvalid: 'reject',
    required: ['level'],
    params: [
      { name: 'level', type: { kind: 'int' } },
      { name: 'at', type: { kind: 'timestamptz' } },
      { name: 'big', type: { kind: 'long' } },
    ],
    routes: [get('/strict', 'ok\n')],
  }),
)

export interface Started {
  readonly collector: Collector
  readonly log: FakeLog
  readonly port: number
  readonly lines: string[]
  readonly backlog: { bytes: number }
}

const running = new Set<Collector>()

/** A collector that does not listen yet. */
export function make(
  settings: Readonly<Record<string, unknown>>,
  over: Partial<CollectorOptions> & { log: FakeLog },
): Collector {
  return createCollector({
    settings: resolveSettings(settings),
    clock: realClock,
    logger: silentLogger,
    definition: exampleDefinition,
    accessLog: null,
    health: () => ({ ready: true, reasons: [] }),
    metrics: () => [],
    backlogBytes: () => 0,
    bodyDelayMs: () => 0,
    ...over,
  })
}

/** Starts a collector on a free port. Closed by `stopAll`. */
export async function start(
  settings: Readonly<Record<string, unknown>> = {},
  over: Partial<CollectorOptions> & { log?: FakeLog; clock?: Clock } = {},
): Promise<Started> {
  const log = over.log ?? new FakeLog()
  const lines: string[] = []
  const backlog = { bytes: 0 }
  const collector = make(settings, {
    accessLog: (line) => lines.push(line),
    backlogBytes: () => backlog.bytes,
    ...over,
    log,
  })
  running.add(collector)
  const port = await collector.listen('127.0.0.1', 0)
  return { collector, log, port, lines, backlog }
}

export async function stopAll(): Promise<void> {
  await Promise.all([...running].map((collector) => collector.close()))
  running.clear()
}

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** One request on a connection of its own, with exactly these headers (and Host). */
export function ask(
  port: number,
  target: string,
  options: {
    method?: string
    headers?: Record<string, string | string[]>
    body?: string | Uint8Array
  } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({
      port,
      host: '127.0.0.1',
      path: target,
      method: options.method ?? (options.body === undefined ? 'GET' : 'POST'),
      headers: { Host: 'game', ...options.headers },
      agent: false,
    })
    request.on('error', reject)
    request.on('response', (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: Buffer.concat(chunks).toString('utf8'),
        }),
      )
    })
    request.end(options.body)
  })
}

export const post = (
  port: number,
  target: string,
  body: string | Uint8Array,
  type: string | null = 'application/json',
  headers: Record<string, string> = {},
): Promise<Answer> =>
  ask(port, target, {
    body,
    headers: { ...(type === null ? {} : { 'Content-Type': type }), ...headers },
  })

/** The code of an error answer. */
export function codeOf(answer: Answer): string {
  return (JSON.parse(answer.body) as { error: { code: string } }).error.code
}

export interface Results {
  readonly kept: number
  readonly refused: number
  readonly results: readonly { status: number; receipt?: string; error?: { code: string } }[]
}

export function resultsOf(answer: Answer): Results {
  return JSON.parse(answer.body) as Results
}

/** Sends bytes as they are and resolves with all that comes back until the server closes, or until `enough` says so. */
export function exchangeRaw(
  port: number,
  bytes: string | Uint8Array,
  enough: (received: string) => boolean = () => false,
): Promise<string> {
  return new Promise((resolve) => {
    let received = ''
    const socket: Socket = connect(port, '127.0.0.1', () => socket.write(bytes))
    socket.setEncoding('latin1')
    socket.on('data', (chunk: string) => {
      received += chunk
      if (enough(received)) socket.destroy()
    })
    socket.on('error', () => {})
    socket.on('end', () => socket.end())
    socket.on('close', () => resolve(received))
  })
}

/** Waits until `condition` holds. */
export async function until(condition: () => boolean, whatFor: string): Promise<void> {
  const deadlineMs = performance.now() + 60_000
  while (!condition()) {
    if (performance.now() > deadlineMs) throw new Error(`waited too long for ${whatFor}`)
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
}
