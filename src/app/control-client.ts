import { request, type IncomingMessage } from 'node:http'
import { QuestlogError } from '../core/errors.ts'
import type { Topic } from '../log/record.ts'
import type { TableWork, TableWorkDone } from '../stream/maintenance.ts'
import type { ExportRequest, ExportResult } from './export.ts'
import type { Instance } from './instance.ts'
import { fromPlainError } from './messages.ts'
import type { InstanceStatus, PlainError, TopicChange, TopicDeletion, TopicSpec } from './roles.ts'

/** `GET /status` of a running supervisor. NOT_RUNNING when nothing answers. */
export async function fetchStatus(instance: Instance): Promise<InstanceStatus> {
  return (await call(instance, 'GET', '/status')) as InstanceStatus // the same program answers
}

export async function fetchTopics(instance: Instance): Promise<readonly Topic[]> {
  return (await call(instance, 'GET', '/topics')) as readonly Topic[] // the same program answers
}

export async function requestTopic(instance: Instance, spec: TopicSpec): Promise<Topic> {
  return (await call(instance, 'POST', '/topics', spec)) as Topic // the same program answers
}

export async function requestTopicChange(instance: Instance, change: TopicChange): Promise<Topic> {
  return (await call(instance, 'POST', '/topics/alter', change)) as Topic // the same program answers
}

export async function requestTopicDeletion(
  instance: Instance,
  deletion: TopicDeletion,
): Promise<void> {
  await call(instance, 'POST', '/topics/delete', deletion)
}

export async function requestTableWork(
  instance: Instance,
  work: TableWork,
): Promise<TableWorkDone> {
  return (await call(instance, 'POST', '/tables/maintain', work)) as TableWorkDone // the same program answers
}

export async function requestExport(
  instance: Instance,
  request: ExportRequest,
): Promise<ExportResult> {
  return (await call(instance, 'POST', '/exports', request)) as ExportResult // the same program answers
}

/** Stops the instance; `write` takes its lines as they come. Resolves when everything has stopped. */
export async function requestStop(
  instance: Instance,
  write: (line: string) => void,
): Promise<void> {
  const response = await open(instance, 'POST', '/stop')
  if (response.statusCode !== 200) throw readError(await readText(response))
  for await (const line of splitLines(response)) {
    const message = JSON.parse(line) as { line?: string; error?: PlainError } // the same program answers
    if (message.error !== undefined) throw fromPlainError(message.error)
    if (message.line !== undefined) write(message.line)
  }
}

async function call(
  instance: Instance,
  method: string,
  path: string,
  body?: unknown,
): Promise<unknown> {
  const response = await open(instance, method, path, body)
  const text = await readText(response)
  if (response.statusCode !== 200) throw readError(text)
  return JSON.parse(text)
}

function open(
  instance: Instance,
  method: string,
  path: string,
  body?: unknown,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      `${instance.control}${path}`,
      { method, headers: { Authorization: `Bearer ${instance.token}` }, agent: false },
      resolve,
    )
    outgoing.on('error', (error) =>
      reject(
        new QuestlogError(
          'NOT_RUNNING',
          `the supervisor (pid ${instance.pid}) does not answer: ${error.message}`,
          { pid: instance.pid },
          { cause: error, hint: `look at it with \`ps -p ${instance.pid}\`` },
        ),
      ),
    )
    outgoing.end(body === undefined ? undefined : JSON.stringify(body))
  })
}

async function readText(response: IncomingMessage): Promise<string> {
  let text = ''
  response.setEncoding('utf8')
  for await (const chunk of response as AsyncIterable<string>) text += chunk
  return text
}

function readError(text: string): QuestlogError {
  try {
    return fromPlainError((JSON.parse(text) as { error: PlainError }).error) // the same program answers
  } catch (error) {
    return new QuestlogError(
      'INTERNAL',
      `unexpected answer: ${text.slice(0, 200)}`,
      {},
      { cause: error },
    )
  }
}

/** The lines of a response, each as soon as it is complete. */
export async function* splitLines(response: IncomingMessage): AsyncGenerator<string> {
  let rest = ''
  response.setEncoding('utf8')
  for await (const chunk of response as AsyncIterable<string>) {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop() ?? ''
    yield* lines.filter((line) => line !== '')
  }
  if (rest !== '') yield rest
}
