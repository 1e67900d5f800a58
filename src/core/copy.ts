import { crc32c } from '@node-rs/crc32'
import type { Files } from './files.ts'

const chunkBytes = 1024 * 1024

/** How long a file is and what its bytes add up to. */
export interface FileSum {
  readonly bytes: number
  /** CRC-32C (Castagnoli, RFC 3720) of all bytes. */
  readonly crc32c: number
}

export const emptySum: FileSum = { bytes: 0, crc32c: 0 }

/**
 * Copies a file, or its first `bytes` bytes, to a file that does not exist yet, and syncs it; its name is durable after `syncFolder`. `done` is
 * what an earlier call copied of the same file: the copy goes on behind it. Fails when the file is shorter.
 */
export async function copyFile(
  files: Files,
  from: string,
  to: string,
  bytes?: number,
  done: FileSum = emptySum,
): Promise<FileSum> {
  const source = await files.openRead(from)
  try {
    const end = bytes ?? (await source.size())
    const target = await files.openAppend(to)
    try {
      if (target.size !== done.bytes)
        throw new Error(`${to} has ${target.size} bytes instead of ${done.bytes}`)
      let sum = done
      while (sum.bytes < end) {
        const chunk = await source.read(sum.bytes, Math.min(chunkBytes, end - sum.bytes))
        if (chunk.length === 0) throw new Error(`${from} has only ${sum.bytes} of ${end} bytes`)
        await target.append(chunk)
        sum = addChunk(sum, chunk)
      }
      await target.sync()
      return sum
    } finally {
      await target.close()
    }
  } finally {
    await source.close()
  }
}

/** Reads a whole file and adds it up. */
export async function sumFile(files: Files, path: string): Promise<FileSum> {
  const file = await files.openRead(path)
  try {
    let sum = emptySum
    for (;;) {
      const chunk = await file.read(sum.bytes, chunkBytes)
      if (chunk.length === 0) return sum
      sum = addChunk(sum, chunk)
    }
  } finally {
    await file.close()
  }
}

export function sumBytes(bytes: Uint8Array): FileSum {
  return addChunk(emptySum, bytes)
}

function addChunk(sum: FileSum, chunk: Uint8Array): FileSum {
  return { bytes: sum.bytes + chunk.length, crc32c: crc32c(chunk, sum.crc32c) }
}

/** Does the work for every item, at most `limit` at a time. After an error no further item is begun; it rejects when those under way have ended. */
export async function inParallel<T>(
  items: Iterable<T>,
  limit: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const rest = items[Symbol.iterator]()
  let failure: { error: unknown } | undefined
  const worker = async () => {
    for (let next = rest.next(); next.done !== true; next = rest.next()) {
      if (failure !== undefined) return
      try {
        await work(next.value)
      } catch (error) {
        failure ??= { error }
      }
    }
  }
  await Promise.all(Array.from({ length: limit }, worker))
  if (failure !== undefined) throw (failure as { error: unknown }).error
}
