import { SeededRandom } from './random.ts'

/** One request of a scenario. */
export interface SimRequest {
  /** From 1, in the order of sending. It goes along as `?request=N`, so that each request can be found again. */
  readonly number: number
  /** The Host header: which game server it claims to come from. */
  readonly host: string
  readonly path: string
  /** The event type that its route logs. */
  readonly type: string
}

/** How many requests of a host and type a scenario holds. */
export interface HostTypeCount {
  readonly host: string
  readonly type: string
  readonly count: number
}

const routes = [
  { path: '/', type: 'default' },
  { path: '/purchase_a_sword', type: 'purchase_sword' },
  { path: '/join_the_guild', type: 'join_guild' },
] as const

/** One round of the endless load of BEHAVIOURS row 18: requests of each host, in the order of the routes. */
const round = [
  { host: 'user1.comcast.com', counts: [10, 20, 30] },
  { host: 'user2.att.com', counts: [15, 25, 35] },
  { host: 'user3.gogov.com', counts: [20, 30, 40] },
] as const

/** Exactly what this many rounds send, by host and type. One round is 225 requests. */
export function countRounds(rounds: number): HostTypeCount[] {
  return round.flatMap(({ host, counts }) =>
    routes.map(({ type }, index) => ({ host, type, count: (counts[index] ?? 0) * rounds })),
  )
}

/** The requests of this many rounds, each round shuffled. The same seed gives the same requests in the same order. */
export function composeRounds(rounds: number, seed: number): SimRequest[] {
  const random = new SeededRandom(seed)
  const one = round.flatMap(({ host, counts }) =>
    routes.flatMap((route, index) =>
      Array.from({ length: counts[index] ?? 0 }, () => ({ host, ...route })),
    ),
  )
  return Array.from({ length: rounds }, () => random.shuffle(one))
    .flat()
    .map((request, index) => ({ number: index + 1, ...request }))
}
