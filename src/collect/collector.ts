import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Clock } from '../core/clock.ts'
import { asQuestlogError, QuestlogError, systemErrorCode } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import type { HealthReport, Metric } from '../core/metrics.ts'
import type { Settings } from '../core/settings.ts'
import type { Definition } from '../plan/definition.ts'
import { AccessLog } from './access-log.ts'
import { ByteBudget } from './byte-budget.ts'
import { answerBadRequest } from './bad-request.ts'
import type { CollectorCounters } from './collector-metrics.ts'
import { Connections } from './connections.ts'
import { Cors } from './cors.ts'
import type { EventSink } from './event-sink.ts'
import type { Desk } from './exchange.ts'
import { HttpExchange } from './http-exchange.ts'
import { Intake } from './intake.ts'
import { PlainConnections } from './plain-connections.ts'
import { RequestHandler } from './request-handler.ts'
import { buildRoutes } from './routes.ts'
import { UnknownPaths } from './unknown-paths.ts'

export interface CollectorOptions {
  readonly log: EventSink
  readonly settings: Settings
  readonly clock: Clock
  readonly logger: Logger
  readonly definition: Definition
  /** Receives one line a request; null = off. */
  readonly accessLog: ((line: string) => void) | null
  readonly health: () => HealthReport
  /** Metrics of the rest of the process, answered after the collector's own. */
  readonly metrics: () => readonly Metric[]
  /** Bytes of log that the tables have not taken yet. Called once a request: cheap. */
  readonly backlogBytes: (topic: string | null) => number
  /** How long a body of events waits before it is read, milliseconds: 0 while the tables follow. Called once a body. */
  readonly bodyDelayMs: () => number
}

/** The HTTP service that takes events: docs/reference/collector.md. */
export interface Collector {
  /** Starts to listen and resolves with the port (0 = a free one). @throws PORT_BUSY */
  listen(host: string, port: number): Promise<number>
  /** The routes of every request that arrives from now on. @throws DEFINITION_INVALID, and then the routes stay as they are */
  replaceDefinition(definition: Definition): void
  /** Requests to paths without a route, most frequent first. */
  unknownPaths(): readonly { path: string; count: number }[]
  counters(): CollectorCounters
  /** Stops accepting, answers what has arrived (bounded by drainTimeoutMs), then closes all connections. Idempotent. */
  close(): Promise<void>
}

/** How often a closing collector looks for connections that became idle. */
const drainPollMs = 10

/** Makes a collector that does not listen yet. @throws DEFINITION_INVALID */
export function createCollector(options: CollectorOptions): Collector {
  return new HttpCollector(options)
}

class HttpCollector implements Collector {
  readonly #options: CollectorOptions
  readonly #server: Server
  readonly #connections: Connections
  readonly #plain: PlainConnections
  readonly #desk: Desk
  readonly #intake: Intake
  readonly #budget: ByteBudget
  readonly #unknownPaths: UnknownPaths
  readonly #handler: RequestHandler
  #connectionsDropped = 0
  #closed: Promise<void> | undefined

  constructor(options: CollectorOptions) {
    const { settings, clock, accessLog } = options
    this.#options = options
    this.#connections = new Connections(accessLog !== null)
    this.#desk = {
      clock,
      cors: new Cors(settings.corsOrigins),
      accessLog: accessLog === null ? null : new AccessLog(clock, accessLog),
      requestTimeoutMs: settings.requestTimeoutMs,
      closing: false,
      requests: 0,
      inFlight: 0,
      statuses: new Map(),
    }
    this.#intake = new Intake({ ...options, desk: this.#desk })
    this.#budget = new ByteBudget(settings.bodiesBytesMax)
    this.#unknownPaths = new UnknownPaths(settings.unknownPathsMax)
    this.#handler = new RequestHandler({
      ...options,
      desk: this.#desk,
      intake: this.#intake,
      budget: this.#budget,
      unknownPaths: this.#unknownPaths,
      routes: buildRoutes(options.definition, settings),
      counters: () => this.counters(),
    })
    this.#server = this.#createServer(settings)
    this.#plain = this.#createPlain(this.#server)
  }

  #createServer(settings: Settings): Server {
    const { requestTimeoutMs } = settings
    const server = createServer({
      // node:http counts the target among the header bytes; the fragment of a route counts the headers alone.
      maxHeaderSize: settings.headerBytesMax + settings.urlBytesMax,
      keepAliveTimeout: settings.keepAliveTimeoutMs,
      requestTimeout: requestTimeoutMs,
      headersTimeout: requestTimeoutMs,
      connectionsCheckingInterval: Math.ceil(Math.min(5_000, requestTimeoutMs / 4)),
    })
    server.maxConnections = settings.connectionsMax
    // All headers are read, so that too many are refused and not cut off in silence.
    server.maxHeadersCount = 0
    const answer =
      (expectsContinue: boolean) => (request: IncomingMessage, response: ServerResponse) => {
        const connection = this.#connections.get(request.socket)
        this.#handler.handle(
          new HttpExchange(this.#desk, request, response, connection, expectsContinue),
        )
      }
    server.on('drop', () => {
      this.#connectionsDropped += 1
    })
    server.on('request', answer(false))
    server.on('checkContinue', answer(true))
    server.on('checkExpectation', answer(false))
    server.on('clientError', (error, socket) =>
      answerBadRequest(error, socket, this.#connections, this.#desk),
    )
    return server
  }

  /** Connections begin as plain ones; node:http's own listener gets those that turn out to be more. */
  #createPlain(server: Server): PlainConnections {
    const [listener] = server.listeners('connection')
    if (listener === undefined) throw new QuestlogError('INTERNAL', 'node:http does not listen')
    server.removeAllListeners('connection')
    const plain = new PlainConnections({
      desk: this.#desk,
      settings: this.#options.settings,
      handler: this.#handler,
      giveToHttp: (socket) => Reflect.apply(listener, server, [socket]),
      onTimeout: (error, { socket }) =>
        answerBadRequest(error, socket, this.#connections, this.#desk),
    })
    server.on('connection', (socket) => plain.open(this.#connections.add(socket)))
    return plain
  }

  listen(host: string, port: number): Promise<number> {
    const server = this.#server
    return new Promise((resolve, reject) => {
      const refuse = (error: Error) =>
        reject(
          systemErrorCode(error) === 'EADDRINUSE'
            ? new QuestlogError(
                'PORT_BUSY',
                `port ${port} of ${host} is taken`,
                { host, port },
                { cause: error },
              )
            : asQuestlogError(error),
        )
      server.once('error', refuse)
      server.listen(port, host, () => {
        server.off('error', refuse)
        server.on('error', (error) =>
          this.#options.logger.error('collector server failed', { error }),
        )
        resolve((server.address() as AddressInfo).port) // a TCP server that listens
      })
    })
  }

  replaceDefinition(definition: Definition): void {
    this.#handler.routes = buildRoutes(definition, this.#options.settings)
    for (const event of definition.events) {
      for (const { path } of event.routes) this.#unknownPaths.forget(path)
    }
  }

  unknownPaths(): readonly { path: string; count: number }[] {
    return this.#unknownPaths.list()
  }

  counters(): CollectorCounters {
    return {
      requests: this.#desk.requests,
      kept: this.#intake.kept,
      refused: Object.fromEntries(this.#intake.refused),
      answers: Object.fromEntries(this.#desk.statuses),
      unknownPathRequests: this.#unknownPaths.total,
      connections: this.#connections.size,
      connectionsDropped: this.#connectionsDropped,
      requestsInFlight: this.#desk.inFlight,
      bodyBytesHeld: this.#budget.held,
    }
  }

  close(): Promise<void> {
    this.#closed ??= this.#drain()
    return this.#closed
  }

  async #drain(): Promise<void> {
    const { clock, settings } = this.#options
    this.#desk.closing = true
    const stopped = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    const deadlineMs = clock.monotonicMs() + settings.drainTimeoutMs
    for (;;) {
      this.#connections.destroyIdle()
      if (this.#connections.size === 0 || clock.monotonicMs() >= deadlineMs) break
      await clock.sleep(drainPollMs)
    }
    this.#connections.destroyAll()
    await stopped
    await this.#plain.close()
  }
}
