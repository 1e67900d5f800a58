import type { Route } from './definition.ts'
import { describeValue, formatKeyPath, isObject, type KeyPath, type Problems } from './problems.ts'

/** Which event has which route, over the whole definition. */
export class RouteTable {
  readonly #owners = new Map<string, KeyPath>()

  /** Takes the route for `path`, or returns who has it. */
  take(route: Route, path: KeyPath): KeyPath | undefined {
    const name = `${route.method} ${route.path}`
    const owner = this.#owners.get(name)
    if (owner === undefined) this.#owners.set(name, path)
    return owner
  }
}

/** The routes of one event: `route` is a text, a list of texts, or an object from route to reply; `reply` is for the first two. */
export function compileRoutes(
  route: unknown,
  reply: unknown,
  path: KeyPath,
  table: RouteTable,
  problems: Problems,
): Route[] {
  const routePath = [...path, 'route']
  const replyPath = [...path, 'reply']
  const answer = problems.text(reply, '', replyPath)
  if (isObject(route)) {
    if (reply !== undefined)
      problems.add(replyPath, 'each route has a reply of its own here', 'remove this reply')
    return Object.entries(route).flatMap(([text, own]) => {
      const place = [...routePath, text]
      return compileRoute(text, problems.text(own, '', place), place, table, problems)
    })
  }
  if (route === undefined) {
    if (reply !== undefined)
      problems.add(
        replyPath,
        'there is no route to reply on',
        "add route: 'GET /…', or remove reply",
      )
    return []
  }
  if (Array.isArray(route))
    return route.flatMap((text: unknown, index) =>
      compileRoute(text, answer, [...routePath, index], table, problems),
    )
  return compileRoute(route, answer, routePath, table, problems)
}

function compileRoute(
  text: unknown,
  reply: string,
  path: KeyPath,
  table: RouteTable,
  problems: Problems,
): Route[] {
  const match = typeof text === 'string' ? /^(\S+) (.*)$/s.exec(text) : null
  if (match === null) {
    problems.add(
      path,
      `is ${describeValue(text)}, but must be a method and a path`,
      "write 'GET /path' or 'POST /path'",
    )
    return []
  }
  const [, method = '', routePath = ''] = match
  if (method !== 'GET' && method !== 'POST') {
    const fix = `write 'GET ${routePath}' or 'POST ${routePath}'`
    problems.add(path, `the method ${describeValue(method)} is not GET or POST`, fix)
    return []
  }
  const wrong = whatIsWrongWithPath(routePath)
  if (wrong !== undefined) {
    problems.add(path, wrong.message, wrong.fix)
    return []
  }
  const route: Route = { method, path: routePath, reply }
  const owner = table.take(route, path)
  if (owner !== undefined) {
    const message = `${method} ${routePath} belongs to ${formatKeyPath(owner)} already`
    problems.add(path, message, 'remove one of the two, or change its path')
    return []
  }
  return [route]
}

interface Wrong {
  readonly message: string
  readonly fix: string
}

function whatIsWrongWithPath(path: string): Wrong | undefined {
  const shown = describeValue(path)
  if (!path.startsWith('/'))
    return { message: `the path ${shown} has no slash at its start`, fix: `write '/${path}'` }
  if (/[?#]/.test(path))
    return { message: `the path ${shown} has a query or fragment`, fix: 'parameters need no route' }
  if (!/^(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*$/.test(path))
    return {
      message: `the path ${shown} has characters that no URL path has`,
      fix: 'use letters, digits and - . _ ~, others percent-encoded (encodeURI(path))',
    }
  const segments = path.split('/')
  if (segments.some((segment) => segment === '.' || segment === '..'))
    return { message: `the path ${shown} has . or .. in it`, fix: 'write the path without them' }
  if (segments.some((segment) => segment.startsWith(':') || segment.includes('*')))
    return {
      message: `the path ${shown} has a placeholder, but paths are exact`,
      fix: 'send the value as a parameter: GET /path?name=value',
    }
  if (segments[1] === '_questlog' || segments[1] === 'events')
    return {
      message: `/${segments[1]} belongs to questlog itself`,
      fix: 'choose another path; POST /events takes every declared event already',
    }
  return undefined
}
