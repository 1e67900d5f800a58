import { setImmediate as nextTurn } from 'node:timers/promises'

/** What is done of a long list before others have the event loop. */
const itemsAtOnce = 100

/** Maps one item after the other, and lets the rest of the process go on meanwhile. */
export async function mapInTurns<T, R>(
  items: readonly T[],
  map: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = []
  for (const [index, item] of items.entries()) {
    if (index > 0 && index % itemsAtOnce === 0) await nextTurn()
    results.push(await map(item))
  }
  return results
}
