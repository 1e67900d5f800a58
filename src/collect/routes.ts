import { QuestlogError } from '../core/errors.ts'
import type { Definition, Route } from '../plan/definition.ts'
import { planEvent, type EventPlan } from './event-plan.ts'
import { NameSet } from './name-set.ts'
import { FragmentCache, type HeaderLimits } from './header-fragment.ts'

/** Takes events of every declared type; each carries its own event_type. */
export const bulkPath = '/events'
/** Paths that start so are questlog's own. */
export const servicePrefix = '/_questlog/'

/** One path of one event for one method, with everything that its requests need. */
export interface CollectorRoute {
  readonly plan: EventPlan
  readonly reply: string
  /** Byte length of the reply. */
  readonly replyBytes: string
  readonly fragments: FragmentCache
}

/** What a definition means to the collector. Replaced as a whole, so that each request sees one definition. */
export interface RouteTable {
  readonly get: ReadonlyMap<string, CollectorRoute>
  readonly post: ReadonlyMap<string, CollectorRoute>
  /** Declared events by event_type. */
  readonly plans: ReadonlyMap<string, EventPlan>
  /** The topics of the declared events, each once. */
  readonly topics: readonly string[]
  /** Header fragments of requests to `/events`, whose events carry everything themselves. */
  readonly bulk: FragmentCache
}

/**
 * A route that is declared for GET takes POST as well, unless the definition gives POST on that path to another event.
 * @throws DEFINITION_INVALID when a path is questlog's own or declared twice for one method
 */
export function buildRoutes(definition: Definition, limits: HeaderLimits): RouteTable {
  const get = new Map<string, CollectorRoute>()
  const post = new Map<string, CollectorRoute>()
  const postOfGet = new Map<string, CollectorRoute>()
  const plans = new Map<string, EventPlan>()
  for (const event of definition.events) {
    const plan = planEvent(event)
    plans.set(event.type, plan)
    for (const route of event.routes) {
      const routes = route.method === 'GET' ? get : post
      checkPath(route, routes.has(route.path))
      routes.set(route.path, makeRoute(plan, route, route.method, limits))
      if (route.method === 'GET') postOfGet.set(route.path, makeRoute(plan, route, 'POST', limits))
    }
  }
  for (const [path, route] of postOfGet)
    if (!post.has(path) && path !== bulkPath) post.set(path, route)
  const bulk = new FragmentCache({
    merge: false,
    method: 'POST',
    serverNames: new NameSet([]),
    limits,
  })
  const topics = [...new Set(definition.events.map((event) => event.topic))]
  return { get, post, plans, topics, bulk }
}

/** The value of an Allow header; undefined when the path is unknown. */
export function allowedMethods(table: RouteTable, path: string): string | undefined {
  const methods: string[] = []
  if (table.get.has(path)) methods.push('GET', 'HEAD')
  if (path === bulkPath || table.post.has(path)) methods.push('POST')
  return methods.length === 0 ? undefined : [...methods, 'OPTIONS'].join(', ')
}

function makeRoute(
  plan: EventPlan,
  route: Route,
  method: 'GET' | 'POST',
  limits: HeaderLimits,
): CollectorRoute {
  const fragments = new FragmentCache({
    merge: plan.definition.headers,
    method,
    serverNames: plan.serverNames,
    limits,
  })
  return {
    plan,
    reply: route.reply,
    replyBytes: String(Buffer.byteLength(route.reply)),
    fragments,
  }
}

function checkPath({ method, path }: Route, taken: boolean): void {
  const facts = { method, path }
  if (path.startsWith(servicePrefix) || (method === 'POST' && path === bulkPath))
    throw new QuestlogError('DEFINITION_INVALID', `${method} ${path} is questlog's own`, facts, {
      hint: 'choose another path for the route',
    })
  if (taken)
    throw new QuestlogError('DEFINITION_INVALID', `${method} ${path} is declared twice`, facts)
}
