import { QuestlogError } from '../core/errors.ts'
import { formatMetrics, type HealthReport, type Metric } from '../core/metrics.ts'
import type { Settings } from '../core/settings.ts'
import { collectorMetrics, type CollectorCounters } from './collector-metrics.ts'
import { jsonType, type Desk, type Exchange } from './exchange.ts'
import type { HttpExchange } from './http-exchange.ts'
import { decodePath, splitFields, splitTarget } from './fields.ts'
import type { Intake } from './intake.ts'
import { postBulk, postRoute, type PostOptions } from './post.ts'
import { prepareFields } from './prepared.ts'
import {
  allowedMethods,
  bulkPath,
  servicePrefix,
  type CollectorRoute,
  type RouteTable,
} from './routes.ts'
import type { UnknownPaths } from './unknown-paths.ts'

export interface RequestHandlerOptions extends PostOptions {
  readonly settings: Settings
  readonly intake: Intake
  readonly desk: Desk
  readonly unknownPaths: UnknownPaths
  readonly routes: RouteTable
  readonly health: () => HealthReport
  readonly metrics: () => readonly Metric[]
  readonly counters: () => CollectorCounters
}

const metricsType = 'text/plain; version=0.0.4; charset=utf-8'
const noFields: readonly string[] = []

/** Decides what each request is. */
export class RequestHandler {
  /** Read once a request, so that each request sees one definition. */
  routes: RouteTable
  readonly #options: RequestHandlerOptions

  constructor(options: RequestHandlerOptions) {
    this.#options = options
    this.routes = options.routes
  }

  /** Answers a request, now or later. Never throws. */
  handle(exchange: HttpExchange): void {
    try {
      this.#dispatch(exchange)
    } catch (error) {
      this.#options.intake.refuse(exchange, error)
    }
  }

  /** Answers a GET whose route is known, as `handle` would. Never throws. */
  handleGet(exchange: Exchange, route: CollectorRoute, query: string): void {
    try {
      this.#checkRoom()
      this.#get(exchange, route, query)
    } catch (error) {
      this.#options.intake.refuse(exchange, error)
    }
  }

  #checkRoom(): void {
    const { settings, desk } = this.#options
    if (desk.inFlight > settings.requestsMax)
      throw new QuestlogError(
        'OVERLOADED',
        `as many requests as requestsMax, ${settings.requestsMax}, wait for their answers`,
      )
  }

  #dispatch(exchange: HttpExchange): void {
    const { routes } = this
    const { settings } = this.#options
    const target = exchange.request.url ?? '/'
    if (target.length > settings.urlBytesMax)
      throw new QuestlogError(
        'REQUEST_TOO_LARGE',
        `the request target has ${target.length} bytes, urlBytesMax is ${settings.urlBytesMax}`,
      )
    this.#checkRoom()
    const { path, query } = splitTarget(target)
    const route = exchange.request.method === 'GET' ? routes.get.get(path) : undefined
    if (route !== undefined) this.#get(exchange, route, query)
    else if (path.startsWith(servicePrefix)) this.#service(exchange, path)
    else this.#other(exchange, routes, path, query)
  }

  /** A GET on a route: one event. Without parameters it is made once for each set of headers. */
  #get(exchange: Exchange, route: CollectorRoute, query: string): void {
    const { intake } = this.#options
    const fragment = route.fragments.get(exchange)
    const fields = query === '' ? noFields : splitFields(query)
    intake.admit(fragment, fields, route.plan.definition.topic)
    let event = fields.length === 0 ? fragment.bare : undefined
    if (event === undefined) {
      event = prepareFields(route.plan, fragment, fields)
      if (fields.length === 0) fragment.bare = event
    }
    void intake.appendOne(exchange, route, fragment, intake.checked(event)) // never rejects; counted in desk.inFlight
  }

  /** Everything but a GET on the exact path of a route. */
  #other(exchange: HttpExchange, routes: RouteTable, path: string, query: string): void {
    const { intake, unknownPaths } = this.#options
    const { method } = exchange.request
    if (method === 'OPTIONS' && path === '*')
      return this.#allow(exchange, 'GET, HEAD, POST, OPTIONS')
    const known = findPath(routes, path)
    if (known === undefined) {
      unknownPaths.count(path)
      throw new QuestlogError('ROUTE_UNKNOWN', `there is no route ${path.slice(0, 200)}`)
    }
    const route = routes.get.get(known)
    const postTo = routes.post.get(known)
    if (method === 'GET' && route !== undefined) return this.#get(exchange, route, query)
    if (method === 'HEAD' && route !== undefined)
      return exchange.send(200, intake.replyHeaders(route), '')
    if (method === 'POST' && (postTo !== undefined || known === bulkPath)) {
      const done =
        postTo === undefined
          ? postBulk(this.#options, exchange, routes, query)
          : postRoute(this.#options, exchange, postTo, query)
      done.catch((error: unknown) => intake.refuse(exchange, error))
      return
    }
    const allow = allowedMethods(routes, known) ?? ''
    if (method === 'OPTIONS') return this.#allow(exchange, allow)
    const error = new QuestlogError('METHOD_NOT_ALLOWED', `${known} takes ${allow}`)
    intake.refuse(exchange, error, ['Allow', allow])
  }

  #allow(exchange: HttpExchange, allow: string): void {
    const { cors } = this.#options.desk
    exchange.send(204, ['Allow', allow, ...cors.preflightHeaders(exchange.origin, allow)], '')
  }

  /** Health, readiness and metrics: for machines that ask often, so without a line in the access log. */
  #service(exchange: HttpExchange, path: string): void {
    const { intake, health, metrics, counters } = this.#options
    const { method } = exchange.request
    exchange.logged = false
    const name = path.slice(servicePrefix.length)
    if (name !== 'health' && name !== 'ready' && name !== 'metrics')
      throw new QuestlogError(
        'ROUTE_UNKNOWN',
        `there is no ${path.slice(0, 200)}`,
        {},
        { hint: `ask ${servicePrefix}health, ${servicePrefix}ready or ${servicePrefix}metrics` },
      )
    if (method !== 'GET' && method !== 'HEAD') {
      const error = new QuestlogError('METHOD_NOT_ALLOWED', `${path} takes GET, HEAD`)
      return intake.refuse(exchange, error, ['Allow', 'GET, HEAD'])
    }
    if (name === 'health') return exchange.sendText(200, jsonType, '{"status":"ok"}\n')
    if (name === 'metrics') {
      const text = formatMetrics([...collectorMetrics(counters()), ...metrics()])
      return exchange.sendText(200, metricsType, text)
    }
    const report = health()
    const body = `${JSON.stringify(report)}\n`
    exchange.sendText(report.ready ? 200 : 503, jsonType, body)
  }
}

/** The path as the definition writes it; the client may have percent-escaped characters of it. */
function findPath(routes: RouteTable, path: string): string | undefined {
  if (path === bulkPath || allowedMethods(routes, path) !== undefined) return path
  if (!path.includes('%')) return undefined
  const decoded = decodePath(path)
  return allowedMethods(routes, decoded) === undefined ? undefined : decoded
}
