import { Group, type GroupRules } from '../../../src/kafka/groups/group.ts'
import type { JoinAnswer, JoinInput, SyncAnswer } from '../../../src/kafka/groups/member.ts'

export const sessionTimeoutMs = 10_000
export const rebalanceTimeoutMs = 60_000

/** A group with a clock and clients that remember what they were told. */
export class GroupBench {
  readonly group: Group
  nowMs = 0
  #ids = 0

  constructor(rules: Partial<GroupRules> = {}) {
    this.group = new Group('g', {
      membersMax: 100,
      initialRebalanceDelayMs: 0,
      newMemberJoinTimeoutMs: 300_000,
      ...rules,
    })
  }

  /** Time goes on; what is due happens when it is due. */
  advance(byMs: number): void {
    const untilMs = this.nowMs + byMs
    while (this.group.deadlineMs <= untilMs) {
      this.nowMs = Math.max(this.nowMs, this.group.deadlineMs)
      this.group.tick(this.nowMs)
    }
    this.nowMs = untilMs
  }

  client(name: string, options: Partial<JoinInput> = {}): Client {
    return new Client(this, name, options)
  }

  newId(name: string): string {
    return `${name}-${++this.#ids}`
  }

  /** Clients that have joined and synced: a stable group, led by the first. */
  stable<const Names extends readonly string[]>(
    ...names: Names
  ): { [Index in keyof Names]: Client } {
    const clients = names.map((name) => this.client(name))
    for (const [index, client] of clients.entries()) {
      client.joinFully()
      for (const earlier of clients.slice(0, index)) earlier.join()
      for (const member of clients.slice(0, index + 1).reverse()) member.sync()
    }
    if (this.group.state !== 'Stable') throw new Error(`the group is ${this.group.state}`)
    return clients as { [Index in keyof Names]: Client } // one for each name
  }
}

/** One client of a group. */
export class Client {
  readonly #bench: GroupBench
  readonly name: string
  readonly #options: Partial<JoinInput>
  memberId = ''
  generationId = -1
  joined: JoinAnswer | undefined
  synced: SyncAnswer | undefined

  constructor(bench: GroupBench, name: string, options: Partial<JoinInput>) {
    this.#bench = bench
    this.name = name
    this.#options = options
  }

  get claim() {
    const { memberId, generationId } = this
    return { memberId, generationId, groupInstanceId: this.#options.groupInstanceId ?? null }
  }

  join(options: Partial<JoinInput> = {}): JoinAnswer | undefined {
    this.joined = undefined
    const { group, nowMs } = this.#bench
    const input: JoinInput = {
      memberId: this.memberId,
      newMemberId: this.#bench.newId(this.name),
      groupInstanceId: null,
      clientId: this.name,
      clientHost: '/127.0.0.1',
      sessionTimeoutMs,
      rebalanceTimeoutMs,
      protocolType: 'consumer',
      protocols: [{ name: 'range', metadata: Buffer.from(this.name) }],
      needsMemberId: true,
      canSkipAssignment: true,
      ...this.#options,
      answer: (answer) => {
        this.joined = answer
        if (answer.errorCode === 0 || answer.errorCode === 79) this.memberId = answer.memberId
        if (answer.errorCode === 0) this.generationId = answer.generationId
      },
      ...options,
    }
    group.join(input, nowMs)
    return this.joined
  }

  /** Joins, and again with the id that it was given. */
  joinFully(): JoinAnswer | undefined {
    return this.join()?.errorCode === 79 ? this.join() : this.joined
  }

  /** The leader assigns to each member `<generation>:<member id>`. */
  sync(): SyncAnswer | undefined {
    this.synced = undefined
    const { group, nowMs } = this.#bench
    const members = this.joined?.members ?? []
    group.sync(
      {
        ...this.claim,
        protocolType: 'consumer',
        protocolName: null,
        assignments: new Map(
          members.map(({ memberId }) => [
            memberId,
            Buffer.from(`${this.generationId}:${memberId}`),
          ]),
        ),
        answer: (answer) => {
          this.synced = answer
        },
      },
      nowMs,
    )
    return this.synced
  }

  heartbeat(): number {
    return this.#bench.group.heartbeat(this.claim, this.#bench.nowMs)
  }

  leave(): number {
    return this.#bench.group.leave(this.memberId, null, this.#bench.nowMs)
  }

  get assignment(): string | undefined {
    return this.synced?.assignment.toString()
  }
}
