const high = 2 ** 32

/** Writes a 64-bit big-endian integer. Exact for safe integers, which is enough for offsets and times. */
export function writeInt64(target: Buffer, at: number, value: number): void {
  target.writeInt32BE(Math.floor(value / high), at)
  target.writeUInt32BE(value >>> 0, at + 4)
}

/** Reads a 64-bit big-endian integer. Beyond 2^53 the result is not a safe integer; callers that read foreign bytes check that. */
export function readInt64(bytes: Buffer, at: number): number {
  return bytes.readInt32BE(at) * high + bytes.readUInt32BE(at + 4)
}
