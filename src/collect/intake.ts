import { asQuestlogError, QuestlogError, type ErrorCode } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import type { Settings } from '../core/settings.ts'
import type { Appended, Topic } from '../log/record.ts'
import { formatResults, resultsHeaders, resultsStatus } from './answers.ts'
import type { Outcome } from './body-events.ts'
import { appendAll, formatReceipt, type EventSink } from './event-sink.ts'
import { jsonType, type Desk, type Exchange } from './exchange.ts'
import type { HeaderFragment } from './header-fragment.ts'
import { checkSize, writeKeyParameter, type PreparedEvent } from './prepared.ts'
import type { CollectorRoute } from './routes.ts'
import { WriteKeys } from './write-keys.ts'

export interface IntakeOptions {
  readonly log: EventSink
  readonly settings: Settings
  readonly logger: Logger
  readonly backlogBytes: (topic: string | null) => number
  readonly desk: Desk
}

const replyType = 'text/html; charset=utf-8'
/** What a topic's `max.message.bytes` is called among its configs. */
const sizeConfig = 'max.message.bytes'

/** The way of prepared events to the log, and of answers back. */
export class Intake {
  /** Events that were acknowledged. */
  kept = 0
  /** Refused events and requests by error code. */
  readonly refused = new Map<ErrorCode, number>()
  readonly #options: IntakeOptions
  readonly #keys: WriteKeys
  readonly #sizeLimits = new WeakMap<Topic, number>()

  constructor(options: IntakeOptions) {
    this.#options = options
    this.#keys = new WriteKeys(options.settings.writeKeys)
  }

  /**
   * Whether events of this request are taken at all, decided before a body is read. `fields` are the parameters of the query; null = of any topic.
   * @throws REQUEST_TOO_LARGE, SHUTTING_DOWN, UNAUTHORIZED, BEHIND
   */
  admit(fragment: HeaderFragment, fields: readonly string[], topic: string | null): void {
    const { desk } = this.#options
    if (fragment.problem !== null) throw fragment.problem
    if (desk.closing) throw new QuestlogError('SHUTTING_DOWN', 'the collector is stopping')
    if (this.#keys.required) this.#checkKey(fragment, fields)
    this.#requireLevel(topic)
  }

  #requireLevel(topic: string | null): void {
    const { settings, backlogBytes } = this.#options
    const backlog = backlogBytes(topic)
    if (backlog <= settings.backlogBytesMax) return
    throw new QuestlogError(
      'BEHIND',
      `${Math.round(backlog)} bytes of log wait for the tables, backlogBytesMax is ${settings.backlogBytesMax}`,
      { backlogBytes: Math.round(backlog), backlogBytesMax: settings.backlogBytesMax },
    )
  }

  /** Gives back each event of one request that was admitted for any topic. @throws BEHIND, EVENT_TOO_LARGE when its topic does not take it */
  admitter(): (event: PreparedEvent) => PreparedEvent {
    const level = new Set<string>()
    return (event) => {
      if (!level.has(event.topic)) this.#requireLevel(event.topic)
      level.add(event.topic)
      return this.checked(event)
    }
  }

  /** The event again. @throws EVENT_TOO_LARGE when its topic does not take it */
  checked(event: PreparedEvent): PreparedEvent {
    checkSize(event, this.#bytesMaxOf(event.topic))
    return event
  }

  /** An event with more bytes fits none of these topics. */
  bytesMax(topics: readonly string[]): number {
    const { messageBytesMax } = this.#options.settings
    return topics.reduce((most, topic) => Math.max(most, this.#bytesMaxOf(topic)), messageBytesMax)
  }

  #bytesMaxOf(name: string): number {
    const topic = this.#options.log.topic(name)
    let bytesMax = topic === undefined ? undefined : this.#sizeLimits.get(topic)
    if (bytesMax === undefined) {
      bytesMax = Number(topic?.configs[sizeConfig] ?? this.#options.settings.messageBytesMax)
      if (topic !== undefined) this.#sizeLimits.set(topic, bytesMax)
    }
    return bytesMax
  }

  /** Appends one event and answers with the reply of its route. Never rejects. */
  async appendOne(
    exchange: Exchange,
    route: CollectorRoute,
    fragment: HeaderFragment,
    event: PreparedEvent,
  ): Promise<void> {
    try {
      const appended = await this.#options.log.append(event.topic, event.key, event.records)
      this.#reply(exchange, route, fragment, appended)
    } catch (error) {
      this.refuse(exchange, error)
    }
  }

  /** Appends the events of a body and answers with a result for each. */
  async appendMany(exchange: Exchange, outcomes: readonly Outcome[]): Promise<void> {
    const results = await appendAll(this.#options.log, outcomes, (error) => this.#toError(error))
    for (const result of results) {
      if ('error' in result) this.#countRefusal(result.error)
      else this.kept += 1
    }
    exchange.sendText(
      resultsStatus(results),
      jsonType,
      formatResults(results),
      resultsHeaders(results),
    )
  }

  /** Answers with an error; whatever is not one of ours is logged as a bug. */
  refuse(exchange: Exchange, error: unknown, headers: readonly string[] = []): void {
    const known = this.#toError(error)
    this.#countRefusal(known)
    exchange.refuse(known, headers)
  }

  /** Header lines of a route's reply: as Flask's, and never cached on the way. */
  replyHeaders(route: CollectorRoute): string[] {
    return [
      'Content-Type',
      replyType,
      'Content-Length',
      route.replyBytes,
      'Cache-Control',
      'no-store',
    ]
  }

  #reply(
    exchange: Exchange,
    route: CollectorRoute,
    fragment: HeaderFragment,
    appended: Appended,
  ): void {
    this.kept += 1
    const headers = this.replyHeaders(route)
    headers.push('Questlog-Receipt', formatReceipt(appended, 0))
    const { cors } = this.#options.desk
    if (cors.enabled) headers.push(...cors.answerHeaders(fragment.origin))
    exchange.send(200, headers, route.reply)
  }

  #checkKey(fragment: HeaderFragment, fields: readonly string[]): void {
    let parameter: string | undefined
    for (let index = 0; index + 1 < fields.length; index += 2)
      if (fields[index] === writeKeyParameter) parameter ??= fields[index + 1]
    if (!this.#keys.accept(fragment.authorization, fragment.writeKey, parameter))
      throw new QuestlogError('UNAUTHORIZED', 'the request has no valid write key')
  }

  #toError(error: unknown): QuestlogError {
    const known = asQuestlogError(error)
    if (known.code === 'INTERNAL') this.#options.logger.error('request failed', { error })
    return known
  }

  #countRefusal({ code }: QuestlogError): void {
    this.refused.set(code, (this.refused.get(code) ?? 0) + 1)
  }
}
