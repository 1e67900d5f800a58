import { Agent, get } from 'node:http'

/** What became of the requests of a load: each carries its number. */
export interface LoadResult {
  readonly sent: number
  /** Numbers that were answered with 200, with the receipt of each. */
  readonly answered: ReadonlyMap<number, string>
}

export interface Load {
  /** Ends the load and waits for the answers that are due. */
  stop(): Promise<LoadResult>
  readonly answeredCount: number
}

/** Sends requests `path?number=N`, N counting up from `first`, each once, over `connections` kept-alive connections, until it is stopped. */
export function startLoad(url: string, path: string, connections: number, first = 0): Load {
  const agent = new Agent({ keepAlive: true, maxSockets: connections })
  const answered = new Map<number, string>()
  let next = first
  let stopped = false
  const client = async () => {
    while (!stopped) {
      const number = next++
      const receipt = await sendOne(agent, `${url}${path}?number=${number}`)
      if (receipt !== undefined) answered.set(number, receipt)
      // A refused connection comes back at once: without a pause there would be nothing but those.
      else await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
  const clients = Array.from({ length: connections }, client)
  return {
    async stop() {
      stopped = true
      await Promise.all(clients)
      agent.destroy()
      return { sent: next - first, answered }
    },
    get answeredCount() {
      return answered.size
    },
  }
}

/** The receipt of a 200; undefined for any other end. */
function sendOne(agent: Agent, url: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const request = get(
      url,
      { agent, headers: { Host: 'user1.comcast.com' }, timeout: 20_000 },
      (response) => {
        response.resume()
        response.once('end', () => {
          const receipt = response.headers['questlog-receipt']
          resolve(response.statusCode === 200 && typeof receipt === 'string' ? receipt : undefined)
        })
        response.once('error', () => resolve(undefined))
      },
    )
    request.once('timeout', () => request.destroy())
    request.once('error', () => resolve(undefined))
  })
}
