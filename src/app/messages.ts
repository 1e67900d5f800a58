import { asQuestlogError, QuestlogError } from '../core/errors.ts'
import type { Topic } from '../log/record.ts'
import type { TableWork, TableWorkDone } from '../stream/maintenance.ts'
import type { ExportRequest, ExportResult } from './export.ts'
import type {
  IngestStatus,
  LakeStatus,
  PlainError,
  TopicChange,
  TopicDeletion,
  TopicSpec,
} from './roles.ts'

/** Requests of the supervisor to a child: parameters and result of each. */
export interface ChildRequests {
  /** Applies definition `version`. */
  activate: { parameters: { version: number }; result: null }
  status: { parameters: Record<never, never>; result: IngestStatus | LakeStatus }
  /** Drains and answers with lines for the screen; then the child exits 0. */
  stop: { parameters: Record<never, never>; result: { lines: readonly string[] } }
  createTopic: { parameters: TopicSpec; result: Topic }
  listTopics: { parameters: Record<never, never>; result: readonly Topic[] }
  alterTopic: { parameters: TopicChange; result: Topic }
  deleteTopic: { parameters: TopicDeletion; result: null }
  maintainTable: { parameters: TableWork; result: TableWorkDone }
  exportRows: { parameters: ExportRequest; result: ExportResult }
}

export type ChildRequestName = keyof ChildRequests

/** One-way messages of a child. */
export type ChildNotice =
  /** It serves on this port, and Kafka clients on the other (null = not). */
  | { readonly notice: 'ready'; readonly port: number; readonly brokerPort: number | null }
  /** One line for the screen. */
  | { readonly notice: 'event'; readonly text: string }
  /** It can't start; it exits after this. */
  | { readonly notice: 'failed'; readonly error: PlainError }

export interface RequestMessage {
  readonly id: number
  readonly request: ChildRequestName
  readonly parameters: unknown
}

export type ResponseMessage =
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly error: PlainError }

export type RequestHandlers = {
  readonly [Name in ChildRequestName]: (
    parameters: ChildRequests[Name]['parameters'],
  ) => Promise<ChildRequests[Name]['result']>
}

export function toPlainError(error: unknown): PlainError {
  const { code, message, facts, hint } = asQuestlogError(error)
  return { code, message, facts, hint }
}

export function fromPlainError(plain: PlainError): QuestlogError {
  return new QuestlogError(plain.code, plain.message, plain.facts, { hint: plain.hint })
}

/** The asking side: numbers requests, matches answers, and rejects what is open when the other side is gone. */
export class Requester {
  readonly #send: (message: RequestMessage) => void
  readonly #open = new Map<
    number,
    { resolve: (result: unknown) => void; reject: (error: QuestlogError) => void }
  >()
  #lastId = 0
  #closed: QuestlogError | undefined

  constructor(send: (message: RequestMessage) => void) {
    this.#send = send
  }

  /** Rejects with the child's error, or NOT_RUNNING when no answer comes in `timeoutMs`. */
  request<Name extends ChildRequestName>(
    request: Name,
    parameters: ChildRequests[Name]['parameters'],
    timeoutMs: number,
  ): Promise<ChildRequests[Name]['result']> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed)
    const id = ++this.#lastId
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#open.delete(id)
        reject(
          new QuestlogError('NOT_RUNNING', `no answer to ${request} within ${timeoutMs} ms`, {}),
        )
      }, timeoutMs)
      this.#open.set(id, {
        resolve: (result) => {
          clearTimeout(timer)
          resolve(result as ChildRequests[Name]['result']) // the child answers what its handler type says
        },
        reject: (error) => {
          clearTimeout(timer)
          reject(error)
        },
      })
      this.#send({ id, request, parameters })
    })
  }

  /** Takes one message of the child; false when it is no answer. */
  receive(message: unknown): boolean {
    if (!isResponse(message)) return false
    const open = this.#open.get(message.id)
    this.#open.delete(message.id)
    if ('error' in message) open?.reject(fromPlainError(message.error))
    else open?.resolve(message.result)
    return true
  }

  close(reason: string): void {
    const error = new QuestlogError('NOT_RUNNING', reason)
    this.#closed ??= error
    for (const open of this.#open.values()) open.reject(error)
    this.#open.clear()
  }
}

/** The answering side: runs the handler of a request and sends its answer; anything else is ignored. */
export async function answerRequest(
  message: unknown,
  handlers: RequestHandlers,
  send: (message: ResponseMessage) => void,
): Promise<void> {
  if (!isRequest(message)) return
  const { id, request, parameters } = message
  // The parameters were typed where they were sent: both ends are the same version of this program.
  const handler = handlers[request] as (parameters: unknown) => Promise<unknown>
  try {
    send({ id, result: await handler(parameters) })
  } catch (error) {
    send({ id, error: toPlainError(error) })
  }
}

export function isNotice(message: unknown): message is ChildNotice {
  return typeof message === 'object' && message !== null && 'notice' in message
}

function isRequest(message: unknown): message is RequestMessage {
  return typeof message === 'object' && message !== null && 'id' in message && 'request' in message
}

function isResponse(message: unknown): message is ResponseMessage {
  return (
    typeof message === 'object' &&
    message !== null &&
    'id' in message &&
    ('result' in message || 'error' in message)
  )
}
