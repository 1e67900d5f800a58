/** The partition of a key, chosen as Kafka's default partitioner does, so that clients of a real Kafka and questlog agree. */
export function partitionForKey(key: Uint8Array, partitions: number): number {
  return (murmur2(key) & 0x7fffffff) % partitions
}

/** 32-bit murmur2 with Kafka's seed (public-domain algorithm by Austin Appleby); a signed integer. */
export function murmur2(bytes: Uint8Array): number {
  const multiplier = 0x5bd1e995
  let hash = 0x9747b28c ^ bytes.length
  const at = (index: number) => bytes[index] ?? 0
  const whole = bytes.length & ~3
  for (let index = 0; index < whole; index += 4) {
    let word = at(index) | (at(index + 1) << 8) | (at(index + 2) << 16) | (at(index + 3) << 24)
    word = Math.imul(word, multiplier)
    word ^= word >>> 24
    hash = Math.imul(hash, multiplier) ^ Math.imul(word, multiplier)
  }
  const rest = bytes.length - whole
  if (rest > 0) {
    hash ^= at(whole) | (at(whole + 1) << 8) | (at(whole + 2) << 16)
    hash = Math.imul(hash, multiplier)
  }
  hash ^= hash >>> 13
  hash = Math.imul(hash, multiplier)
  return hash ^ (hash >>> 15)
}
