import { expect, test } from 'vitest'
import { kafkaErrors } from '../../../src/kafka/error-codes.ts'
import { Group, type GroupRules } from '../../../src/kafka/groups/group.ts'
import { earlierGroup, recordOf } from '../../../src/kafka/groups/group-record.ts'
import type { GroupProtocol, JoinAnswer, SyncAnswer } from '../../../src/kafka/groups/member.ts'
import { seededRandom, type Random } from '../../support/random.ts'

const sessionTimeoutMs = 6_000
const rebalanceTimeoutMs = 9_000
const heartbeatIntervalMs = 2_000
const chaosMs = 120_000
const calmMs = 8 * (sessionTimeoutMs + rebalanceTimeoutMs)

/** A consumer as clients are written: joins, syncs, heartbeats, starts over when it is told to. May be slow, may die at any time. */
class Player {
  readonly name: string
  readonly instanceId: string | null
  readonly #history: History
  readonly #isOld: boolean
  memberId = ''
  generationId = -1
  protocols: readonly GroupProtocol[]
  assignment: string | undefined
  isAlive = true
  /** A request of its, or an answer to it, was last under way at this time. */
  lastContactMs = 0
  owedAnswers = 0
  /** Answers to older requests are for nobody. */
  #round = 0

  constructor(history: History, name: string, instanceId: string | null) {
    this.#history = history
    this.name = name
    this.instanceId = instanceId
    this.#isOld = history.random.chance(0.3)
    this.protocols = this.#choose()
  }

  #choose(): readonly GroupProtocol[] {
    const names = this.#history.random.pick([['range'], ['range', 'sticky'], ['sticky', 'range']])
    const version = this.#history.random.below(1_000)
    return names.map((name) => ({ name, metadata: Buffer.from(`${this.name} ${version}`) }))
  }

  get claim() {
    const { memberId, generationId, instanceId } = this
    return { memberId, generationId, groupInstanceId: instanceId }
  }

  join(): void {
    if (!this.isAlive) return
    this.assignment = undefined
    const round = ++this.#round
    const { history, answer } = this.#request((given: JoinAnswer) => {
      if (given.errorCode === kafkaErrors.none) history.checkJoined(this, given)
      if (round === this.#round) this.#afterJoin(given)
    })
    const input = {
      memberId: this.memberId,
      newMemberId: history.newId(this.name),
      groupInstanceId: this.instanceId,
      clientId: this.name,
      clientHost: '/127.0.0.1',
      sessionTimeoutMs,
      rebalanceTimeoutMs,
      protocolType: 'consumer',
      protocols: this.protocols,
      needsMemberId: !this.#isOld,
      canSkipAssignment: !this.#isOld,
      answer,
    }
    history.group.join(input, history.nowMs)
  }

  #afterJoin(answer: JoinAnswer): void {
    if (answer.errorCode === kafkaErrors.memberIdRequired) {
      this.memberId = answer.memberId
      this.#soon(() => this.join())
    } else if (answer.errorCode === kafkaErrors.none) {
      this.memberId = answer.memberId
      this.generationId = answer.generationId
      const round = this.#round
      this.#soon(() => {
        if (round === this.#round) this.#sync(answer)
      })
    } else this.#startOver(answer.errorCode)
  }

  #sync(joined: JoinAnswer): void {
    if (!this.isAlive) return
    const round = ++this.#round
    const leads = joined.leader === this.memberId && !joined.skipAssignment
    const assignments = joined.members.map((member): [string, Buffer] => [
      member.memberId,
      Buffer.from(`${joined.generationId}:${member.groupInstanceId ?? member.memberId}`),
    ])
    const { history, answer } = this.#request((given: SyncAnswer) => {
      if (given.errorCode === kafkaErrors.none) history.checkSynced(this, joined, given)
      if (round !== this.#round) return
      if (given.errorCode !== kafkaErrors.none) return this.#startOver(given.errorCode)
      this.assignment = given.assignment.toString()
      this.#soon(() => this.#heartbeat(round))
    })
    history.group.sync(
      {
        ...this.claim,
        protocolType: 'consumer',
        protocolName: joined.protocolName,
        assignments: new Map(leads ? assignments : []),
        answer,
      },
      history.nowMs,
    )
  }

  #heartbeat(round: number): void {
    if (!this.isAlive || round !== this.#round) return
    const history = this.#history
    this.lastContactMs = history.nowMs
    if (history.random.chance(0.3)) history.checkCommit(this)
    const errorCode = history.group.heartbeat(this.claim, history.nowMs)
    if (errorCode !== kafkaErrors.none) this.#startOver(errorCode)
    else this.#later(() => this.#heartbeat(round))
  }

  /** Its subscription changes, or it only believes that its request was lost. */
  restless(): void {
    if (this.#history.random.chance(0.6)) this.protocols = this.#choose()
    this.join()
  }

  leave(): void {
    if (this.isAlive && this.memberId !== '')
      this.#history.group.leave(this.memberId, this.instanceId, this.#history.nowMs)
    this.isAlive = false
  }

  #startOver(errorCode: number): void {
    if (errorCode === kafkaErrors.fencedInstanceId) this.isAlive = false
    const { unknownMemberId, illegalGeneration } = kafkaErrors
    if (errorCode === unknownMemberId || errorCode === illegalGeneration) this.memberId = ''
    this.#soon(() => this.join())
  }

  /** Every request is answered once. */
  #request<Answer>(take: (answer: Answer) => void) {
    const history = this.#history
    let isAnswered = false
    this.owedAnswers++
    this.lastContactMs = history.nowMs
    const answer = (given: Answer) => {
      if (isAnswered) throw new Error(`${this.name} was answered twice`)
      isAnswered = true
      this.owedAnswers--
      this.lastContactMs = history.nowMs
      take(given)
    }
    return { history, answer }
  }

  #soon(work: () => void): void {
    const { random } = this.#history
    const isSlow = this.#history.isChaos && random.chance(0.05)
    this.#history.at(isSlow ? random.below(2 * rebalanceTimeoutMs) : random.below(50), work)
  }

  #later(work: () => void): void {
    const { random } = this.#history
    const isPaused = this.#history.isChaos && random.chance(0.03)
    this.#history.at(isPaused ? random.below(3 * sessionTimeoutMs) : heartbeatIntervalMs, work)
  }
}

/** One seeded life of a group. */
class History {
  readonly random: Random
  readonly #rules: GroupRules
  group: Group
  /** What is on the disk. */
  #record = ''
  nowMs = 0
  readonly #players: Player[] = []
  /** Generation → the protocol that its members were told. */
  readonly #generations = new Map<number, string | null>()
  readonly #byName = new Map<string, Player>()
  readonly #taken = new Map<string, string>()
  #events: { readonly atMs: number; readonly work: () => void }[] = []
  #ids = 0
  /** Generations that became stable. */
  stableGenerations = new Set<number>()

  constructor(seed: number) {
    this.random = seededRandom(seed)
    this.#rules = {
      membersMax: 50,
      initialRebalanceDelayMs: this.random.pick([0, 500, 3_000]),
      newMemberJoinTimeoutMs: 30_000,
    }
    this.group = new Group('g', this.#rules)
  }

  get isChaos(): boolean {
    return this.nowMs < chaosMs
  }

  newId(name: string): string {
    return `${name}#${++this.#ids}`
  }

  at(delayMs: number, work: () => void): void {
    this.#events.push({ atMs: this.nowMs + delayMs, work })
  }

  run(): void {
    this.at(0, () => this.#disturb())
    this.#runUntil(chaosMs + calmMs)
    this.#checkCalm()
    for (const player of this.#players) player.leave()
    this.#runUntil(this.nowMs + calmMs)
    expect(this.group).toMatchObject({ state: 'Empty', bytes: 0, deadlineMs: Infinity })
    expect(this.#players.filter(({ owedAnswers }) => owedAnswers > 0)).toEqual([])
  }

  #runUntil(untilMs: number): void {
    for (;;) {
      const next = this.#events.reduce<number>((first, { atMs }) => Math.min(first, atMs), Infinity)
      const atMs = Math.min(next, this.group.deadlineMs)
      if (atMs > untilMs) break
      this.nowMs = Math.max(this.nowMs, atMs)
      const { group } = this
      const { settlements } = group
      if (this.group.deadlineMs <= this.nowMs) this.group.tick(this.nowMs)
      else {
        const index = this.#events.findIndex((event) => event.atMs === next)
        this.#events.splice(index, 1)[0]?.work()
      }
      if (this.group === group && group.settlements > settlements)
        this.#record = JSON.stringify(recordOf(group, this.nowMs))
      this.#checkDead()
    }
    this.nowMs = untilMs
  }

  #disturb(): void {
    if (!this.isChaos) return
    const alive = this.#players.filter(({ isAlive }) => isAlive)
    const victim = alive[this.random.below(alive.length)]
    const what = this.random.next()
    if (victim === undefined || (what < 0.3 && alive.length < 6)) this.#start(this.#newInstance())
    else if (what < 0.5) victim.isAlive = false
    else if (what < 0.6) victim.leave()
    else if (what < 0.75) victim.restless()
    else if (what < 0.85) this.#restart()
    else if (victim.instanceId !== null) this.#start(victim.instanceId)
    this.at(this.random.below(4_000), () => this.#disturb())
  }

  /** The coordinator dies and is started again with what it has kept: nothing that anybody acts on is forgotten. */
  #restart(): void {
    this.group.close(kafkaErrors.coordinatorNotAvailable)
    const earlier =
      this.#record === '' ? undefined : earlierGroup(JSON.parse(this.#record), this.nowMs, 0)
    this.group = new Group('g', this.#rules, earlier)
    for (const player of this.#players)
      player.lastContactMs = Math.max(player.lastContactMs, this.nowMs)
    // A generation in which nobody has a part yet may come again with other members.
    for (const generation of this.#generations.keys())
      if (generation > this.group.generationId) this.#generations.delete(generation)
  }

  #newInstance(): string | null {
    return this.random.chance(0.4) ? `instance-${this.#players.length}` : null
  }

  #start(instanceId: string | null): void {
    const player = new Player(this, `p${this.#players.length}`, instanceId)
    this.#players.push(player)
    this.#byName.set(player.name, player)
    player.join()
  }

  /** All members of a generation are told the same, and each can do what was chosen. */
  checkJoined(player: Player, answer: JoinAnswer): void {
    const { generationId, protocolName } = answer
    expect(generationId).toBe(this.group.generationId)
    expect(player.protocols.map(({ name }) => name)).toContain(protocolName)
    const known = this.#generations.get(generationId)
    if (known === undefined) {
      expect(generationId).toBeGreaterThan(Math.max(0, ...this.#generations.keys()))
      this.#generations.set(generationId, protocolName)
    } else expect(protocolName).toBe(known)
  }

  /** Each gets what the leader of its own generation meant for it, and nobody else does. */
  checkSynced(player: Player, joined: JoinAnswer, answer: SyncAnswer): void {
    expect(this.group.state).toBe('Stable')
    expect(joined.generationId).toBe(this.group.generationId)
    const assignment = answer.assignment.toString()
    const wanted = `${joined.generationId}:${player.instanceId ?? joined.memberId}`
    expect(assignment).toBe(wanted)
    const owner = player.instanceId ?? player.name
    expect(this.#taken.get(assignment) ?? owner).toBe(owner)
    this.#taken.set(assignment, owner)
    this.stableGenerations.add(joined.generationId)
  }

  /** Only a member of the present generation may commit. */
  checkCommit(player: Player): void {
    const { claim } = player
    const isMember = this.group.members().some(({ id }) => id === claim.memberId)
    const isOfNow = isMember && claim.generationId === this.group.generationId
    const errorCode = this.group.commit(claim, false, this.nowMs)
    expect(errorCode === kafkaErrors.none).toBe(
      isOfNow && this.group.state !== 'CompletingRebalance',
    )
  }

  /** A member that nothing was heard of for its session timeout is gone, unless the group owes it an answer. */
  #checkDead(): void {
    for (const { id } of this.group.members()) {
      const owner = this.#byName.get(id.slice(0, id.indexOf('#')))
      if (owner === undefined) throw new Error(`nobody is ${id}`)
      const silentMs = this.nowMs - owner.lastContactMs
      if (owner.owedAnswers === 0 && silentMs > sessionTimeoutMs)
        throw new Error(`${id} is a member after ${silentMs} ms of silence`)
    }
  }

  /** When nothing happens any more, those who live share the group. */
  #checkCalm(): void {
    const alive = this.#players.filter(({ isAlive }) => isAlive)
    expect(this.group.state).toBe(alive.length === 0 ? 'Empty' : 'Stable')
    expect(
      this.group
        .members()
        .map(({ id }) => id)
        .sort(),
    ).toEqual(alive.map(({ memberId }) => memberId).sort())
    for (const player of alive) {
      expect(player.generationId).toBe(this.group.generationId)
      expect(player.assignment).toBeDefined()
    }
  }
}

test('members that come, go, stall and die share one generation at a time, and the living end up with all of it', () => {
  let stable = 0
  const seeds = Array.from({ length: 40 }, (_, index) => index + 1)
  for (const seed of seeds) {
    const history = new History(seed)
    try {
      history.run()
    } catch (error) {
      throw new Error(`seed ${seed} at ${history.nowMs} ms`, { cause: error })
    }
    stable += history.stableGenerations.size
  }
  // Had nothing become stable, nothing was tried.
  expect(stable).toBeGreaterThan(seeds.length * 5)
})
