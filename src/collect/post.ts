import type { Clock } from '../core/clock.ts'
import { QuestlogError } from '../core/errors.ts'
import type { Settings } from '../core/settings.ts'
import { checkContentLength, holdBody, readBody, readEncoding } from './body.ts'
import {
  eventTooLarge,
  looksLikeJson,
  readEvents,
  readFormat,
  type BodyFormat,
} from './body-events.ts'
import type { ByteBudget } from './byte-budget.ts'
import { tooManyValues } from './clean-event.ts'
import type { EventPlan } from './event-plan.ts'
import { splitFields } from './fields.ts'
import type { HttpExchange } from './http-exchange.ts'
import type { Intake } from './intake.ts'
import type { ObjectShape } from './object-shape.ts'
import { prepareFields, prepareJson, prepareWhole, type PreparedEvent } from './prepared.ts'
import type { CollectorRoute, RouteTable } from './routes.ts'

export interface PostOptions {
  readonly settings: Settings
  readonly intake: Intake
  readonly budget: ByteBudget
  readonly clock: Clock
  readonly bodyDelayMs: () => number
}

const noFields: readonly string[] = []
const typeName = Buffer.from('event_type')

/** A POST to `/events`: each event has its own event_type. */
export async function postBulk(
  options: PostOptions,
  exchange: HttpExchange,
  routes: RouteTable,
  query: string,
): Promise<void> {
  const { settings, intake } = options
  intake.admit(routes.bulk.get(exchange), splitFields(query), null)
  await withBody(options, exchange, async (body, format) => {
    if (format === 'form')
      throw new QuestlogError(
        'MEDIA_TYPE_UNSUPPORTED',
        'a form on /events: its event_type is not known',
        {},
        { hint: "post the form to the event's own route, or send JSON" },
      )
    const limits = { ...settings, eventBytesMax: intake.bytesMax(routes.topics) }
    const admitted = intake.admitter()
    const { outcomes } = await readEvents(
      body,
      format,
      limits,
      (clean) => admitted(prepareJson(findPlan(routes, clean.fields), clean, null, noFields)),
      (bytes, shape) => {
        const event = wholeEvent(routes, bytes, shape)
        return event === undefined ? undefined : admitted(event)
      },
    )
    await intake.appendMany(exchange, outcomes)
  })
}

/** A POST to the route of an event: its events have the route's type. One object or form is answered like a GET. */
export async function postRoute(
  options: PostOptions,
  exchange: HttpExchange,
  route: CollectorRoute,
  query: string,
): Promise<void> {
  const { settings, intake } = options
  const { plan } = route
  const fragment = route.fragments.get(exchange)
  const fields = splitFields(query)
  intake.admit(fragment, fields, plan.definition.topic)
  await withBody(options, exchange, async (body, format) => {
    const eventBytesMax = intake.bytesMax([plan.definition.topic])
    if (format === 'form' || (format === 'detect' && body.length === 0)) {
      checkForm(body, eventBytesMax, settings.jsonValuesMax)
      const all = [...splitFields(body.toString('latin1')), ...fields]
      const event = intake.checked(prepareFields(plan, fragment, all))
      return intake.appendOne(exchange, route, fragment, event)
    }
    const limits = { ...settings, eventBytesMax }
    const { single, outcomes } = await readEvents(body, format, limits, (clean, isSingle) => {
      const event = isSingle
        ? prepareJson(plan, clean, fragment, fields)
        : prepareJson(plan, clean, null, noFields)
      return intake.checked(event)
    })
    const [first] = outcomes
    if (!single || first === undefined) return intake.appendMany(exchange, outcomes)
    if (first instanceof Error) throw first
    return intake.appendOne(exchange, route, fragment, first)
  })
}

/** Reads the body, later while the tables are behind, and holds its share of the budget until `use` is over. */
async function withBody(
  { settings, budget, clock, bodyDelayMs }: PostOptions,
  exchange: HttpExchange,
  use: (body: Buffer, format: BodyFormat) => Promise<void>,
): Promise<void> {
  const { request, response, connection } = exchange
  const declared = readFormat(request.headers['content-type'])
  const encoding = readEncoding(request.headers['content-encoding'])
  checkContentLength(request, settings.bodyBytesMax)
  const onFail = (fail: ((error: QuestlogError) => void) | null) => {
    if (connection !== undefined) connection.failBody = fail
  }
  const delayMs = bodyDelayMs()
  if (delayMs > 0) await holdBody(request, clock, delayMs, onFail)
  if (exchange.expectsContinue) response.writeContinue()
  const lease = budget.lease()
  try {
    const body = await readBody(request, encoding, settings, lease, onFail)
    await use(body, declared === 'form' && looksLikeJson(body) ? 'detect' : declared)
  } finally {
    lease.release()
  }
}

/** @throws EVENT_TOO_LARGE, EVENT_INVALID for a form that would hold up all others */
function checkForm(body: Buffer, bytesMax: number, fieldsMax: number): void {
  if (body.length > bytesMax) throw eventTooLarge(bytesMax)
  let fields = 1
  for (let at = body.indexOf('&'); at >= 0; at = body.indexOf('&', at + 1)) fields += 1
  if (fields > fieldsMax) throw tooManyValues(fieldsMax)
}

/** An event that is kept as it was sent; undefined when there may be more to do. */
function wholeEvent(
  routes: RouteTable,
  bytes: Buffer,
  shape: ObjectShape,
): PreparedEvent | undefined {
  const member = shape.find(bytes, typeName)
  if (member < 0) return undefined
  const type = bytes.toString('utf8', shape.valueStarts[member], shape.valueEnds[member])
  // Text as it stands: with an escape it would be another one.
  const plan = type.includes('\\') ? undefined : routes.plans.get(type.slice(1, -1))
  if (plan === undefined || !type.startsWith('"')) return undefined
  return prepareWhole(plan, bytes, shape, member)
}

/** @throws EVENT_TYPE_UNKNOWN */
function findPlan(routes: RouteTable, fields: Readonly<Record<string, unknown>>): EventPlan {
  const type = Object.hasOwn(fields, 'event_type') ? fields['event_type'] : undefined
  const plan = typeof type === 'string' ? routes.plans.get(type) : undefined
  if (plan !== undefined) return plan
  const given =
    typeof type === 'string'
      ? `event_type ${JSON.stringify(type.slice(0, 100))} is not declared`
      : type === undefined
        ? 'the event has no event_type'
        : 'the event_type is not text'
  throw new QuestlogError('EVENT_TYPE_UNKNOWN', given)
}
