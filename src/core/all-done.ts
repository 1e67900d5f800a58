/** As Promise.all, but ends when all have ended: after an error nothing of them goes on behind its back. Throws the first error of the list. */
export async function allDone<T extends readonly unknown[]>(
  work: readonly [...T],
): Promise<{ -readonly [K in keyof T]: Awaited<T[K]> }> {
  await Promise.allSettled(work)
  return Promise.all(work)
}
