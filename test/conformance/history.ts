/** What one client did or saw, in the order in which it happened to that client. */
export type Operation =
  /** A producer's record, with the answer: `unknown` when it has none. */
  | {
      readonly kind: 'send'
      readonly producer: string
      readonly value: string
      readonly partition: number
      readonly outcome: 'acknowledged' | 'refused' | 'unknown'
      /** Of an acknowledged record. */
      readonly offset?: number
      /** The transaction that it belongs to. */
      readonly transaction?: string
    }
  /** How a transaction ended, as its producer was told; `unknown` when it was not. */
  | {
      readonly kind: 'end'
      readonly transaction: string
      readonly outcome: 'commit' | 'abort' | 'unknown'
    }
  /** A consumer begins to read a partition at an offset, or, with null, where its group has committed: what follows comes from there on. */
  | {
      readonly kind: 'assign'
      readonly consumer: string
      readonly partition: number
      readonly offset: number | null
    }
  | {
      readonly kind: 'poll'
      readonly consumer: string
      readonly partition: number
      readonly offset: number
      readonly value: string
    }

type Send = Extract<Operation, { kind: 'send' }>
type Poll = Extract<Operation, { kind: 'poll' }>

/** One thing that must not be, in words, under its name. */
export interface Anomaly {
  readonly name:
    | 'lost'
    | 'unseen'
    | 'duplicate'
    | 'inconsistent offset'
    | 'non-monotonic poll'
    | 'skipped'
    | 'aborted read'
    | 'refused read'
    | 'torn transaction'
    | 'order'
    | 'never sent'
  readonly what: string
}

export interface HistoryOptions {
  /** Producers whose records may be there twice: they are not idempotent. */
  readonly mayRepeat: ReadonlySet<string>
  /** The consumer that read everything, committed, from the first offset to the last, when all was over. */
  readonly last: string
}

/**
 * Looks for what a log must not do in what its clients did and saw: consumers read committed records only.
 *
 * - lost: an acknowledged record that the last reader passed over; unseen: one that lies beyond the end that it saw
 * - duplicate: a value at two offsets; inconsistent offset: two values at one offset, or another offset than was answered
 * - non-monotonic poll: a consumer goes back; skipped: it passes over a record that others see
 * - aborted read: a record of an aborted transaction; torn transaction: one of which only a part is there; refused read: a record that was said not to be kept
 * - order: two records of a producer are there in another order than they were sent; never sent: a value that no producer has sent
 */
export function findAnomalies(
  operations: readonly Operation[],
  { mayRepeat, last }: HistoryOptions,
): Anomaly[] {
  const sends = operations.filter((each) => each.kind === 'send')
  const polls = operations.filter((each) => each.kind === 'poll')
  const final = polls.filter(({ consumer }) => consumer === last)
  const sentBy = new Map(sends.map((send) => [send.value, send]))
  const ends = new Map(
    operations.filter((each) => each.kind === 'end').map((end) => [end.transaction, end.outcome]),
  )
  return [
    ...checkPlaces(sends, polls),
    ...checkPolls(operations, final),
    ...checkKept(sends, ends, final),
    ...checkSources(polls, sentBy, ends),
    ...checkTransactions(sends, ends, final),
    ...checkRepeats(final, sentBy, mayRepeat),
    ...checkOrder(final, sends, mayRepeat),
  ]
}

const placeOf = ({ partition, offset }: { partition: number; offset?: number | undefined }) =>
  `${partition}/${offset}`

/** One offset holds one value, for everyone and for ever. */
function checkPlaces(sends: readonly Send[], polls: readonly Poll[]): Anomaly[] {
  const values = new Map<string, string>()
  const found = new Map<string, Anomaly>()
  const answered = sends.filter(({ outcome }) => outcome === 'acknowledged')
  for (const each of [...answered, ...polls]) {
    const place = placeOf(each)
    const known = values.get(place)
    if (known !== undefined && known !== each.value)
      found.set(place, {
        name: 'inconsistent offset',
        what: `${place} holds ${known} and ${each.value}`,
      })
    values.set(place, known ?? each.value)
  }
  return [...found.values()]
}

/** From where it begins, a consumer moves on, and passes over nothing. */
function checkPolls(operations: readonly Operation[], final: readonly Poll[]): Anomaly[] {
  const offsets = new Map<number, number[]>()
  for (const { partition, offset } of final)
    offsets.set(partition, [...(offsets.get(partition) ?? []), offset])
  const ranks = new Map(
    [...offsets].map(([partition, all]) => [partition, all.toSorted((a, b) => a - b)]),
  )
  const anomalies: Anomaly[] = []
  const nexts = new Map<string, number>()
  for (const each of operations) {
    if (each.kind !== 'assign' && each.kind !== 'poll') continue
    const key = `${each.consumer} in partition ${each.partition}`
    const next = nexts.get(key)
    if (each.kind === 'poll') {
      const place = `${key}: ${each.offset} (${each.value})`
      if (next !== undefined && each.offset < next)
        anomalies.push({ name: 'non-monotonic poll', what: `${place} after ${next - 1}` })
      const all = ranks.get(each.partition) ?? []
      const passed = next === undefined ? [] : between(all, next, each.offset)
      if (passed.length > 0)
        anomalies.push({ name: 'skipped', what: `${place} came before ${passed.join(', ')}` })
    }
    if (each.offset === null) nexts.delete(key)
    else nexts.set(key, each.kind === 'poll' ? each.offset + 1 : each.offset)
  }
  return anomalies
}

/** Those of an ascending list from `from` on and below `to`. */
function between(ascending: readonly number[], from: number, to: number): readonly number[] {
  let low = 0
  for (let high = ascending.length; low < high;) {
    const middle = (low + high) >> 1
    if ((ascending[middle] ?? 0) < from) low = middle + 1
    else high = middle
  }
  const found: number[] = []
  for (let at = low; (ascending[at] ?? to) < to; at++) found.push(ascending[at] ?? 0)
  return found
}

type Ends = ReadonlyMap<string, 'commit' | 'abort' | 'unknown'>

/** What was acknowledged, in no transaction or in one that was committed, is there. */
function checkKept(sends: readonly Send[], ends: Ends, final: readonly Poll[]): Anomaly[] {
  const seen = new Set(final.map(({ value }) => value))
  const last = new Map<number, number>()
  for (const { partition, offset } of final)
    last.set(partition, Math.max(offset, last.get(partition) ?? -1))
  return sends
    .filter(({ outcome, transaction }) => {
      if (outcome !== 'acknowledged') return false
      return transaction === undefined || ends.get(transaction) === 'commit'
    })
    .filter(({ value }) => !seen.has(value))
    .map((send) => ({
      name: (send.offset ?? 0) < (last.get(send.partition) ?? -1) ? 'lost' : 'unseen',
      what: `${send.value} of ${send.producer}, acknowledged at ${placeOf(send)}`,
    }))
}

/** What is read was sent, and neither refused nor aborted. */
function checkSources(
  polls: readonly Poll[],
  sentBy: ReadonlyMap<string, Send>,
  ends: Ends,
): Anomaly[] {
  return polls.flatMap((poll): Anomaly[] => {
    const send = sentBy.get(poll.value)
    const what = `${poll.value} at ${placeOf(poll)}, read by ${poll.consumer}`
    if (send === undefined) return [{ name: 'never sent', what }]
    if (send.transaction !== undefined && ends.get(send.transaction) === 'abort')
      return [{ name: 'aborted read', what }]
    return send.outcome === 'refused' ? [{ name: 'refused read', what }] : []
  })
}

/** A transaction of unknown end is there whole or not at all. */
function checkTransactions(sends: readonly Send[], ends: Ends, final: readonly Poll[]): Anomaly[] {
  const seen = new Set(final.map(({ value }) => value))
  return [...ends].flatMap(([transaction, outcome]): Anomaly[] => {
    if (outcome !== 'unknown') return []
    const own = sends.filter((send) => send.transaction === transaction)
    const there = own.filter(({ value }) => seen.has(value))
    // A record that was not acknowledged need not belong to it.
    const must = own.filter(({ outcome: sent }) => sent === 'acknowledged')
    const isTorn = there.length > 0 && must.some(({ value }) => !seen.has(value))
    const what = `${transaction}: ${there.length} of ${own.length} records`
    return isTorn ? [{ name: 'torn transaction', what }] : []
  })
}

function checkRepeats(
  final: readonly Poll[],
  sentBy: ReadonlyMap<string, Send>,
  mayRepeat: ReadonlySet<string>,
): Anomaly[] {
  const places = new Map<string, string[]>()
  for (const poll of final)
    places.set(poll.value, [...(places.get(poll.value) ?? []), placeOf(poll)])
  return [...places]
    .filter(([value, all]) => all.length > 1 && !mayRepeat.has(sentBy.get(value)?.producer ?? ''))
    .map(([value, all]) => ({ name: 'duplicate', what: `${value} at ${all.join(' and ')}` }))
}

/** In a partition, the records of a producer lie in the order in which they were sent. */
function checkOrder(
  final: readonly Poll[],
  sends: readonly Send[],
  mayRepeat: ReadonlySet<string>,
): Anomaly[] {
  const ranks = new Map(sends.map((send, rank) => [send.value, { rank, send }]))
  const latest = new Map<string, { rank: number; value: string }>()
  return final.flatMap((poll): Anomaly[] => {
    const found = ranks.get(poll.value)
    if (found === undefined || mayRepeat.has(found.send.producer)) return []
    const key = `${found.send.producer} in partition ${poll.partition}`
    const before = latest.get(key)
    latest.set(key, { rank: found.rank, value: poll.value })
    if (before === undefined || before.rank < found.rank) return []
    return [{ name: 'order', what: `${key}: ${poll.value} after ${before.value}` }]
  })
}
