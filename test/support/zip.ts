import { inflateRawSync } from 'node:zlib'

const endMark = 0x06054b50
const deflated = 8

/** The files of a zip archive (a jar is one) whose names fit, as text. Zip64 and encryption are not read. */
export function readZipTexts(archive: Buffer, wanted: RegExp): Map<string, string> {
  const texts = new Map<string, string>()
  let end = archive.length - 22
  while (end >= 0 && archive.readUInt32LE(end) !== endMark) end--
  if (end < 0) throw new Error('no zip archive')
  let at = archive.readUInt32LE(end + 16)
  for (let left = archive.readUInt16LE(end + 10); left > 0; left--) {
    const [nameBytes, extraBytes, commentBytes] = [28, 30, 32].map((place) =>
      archive.readUInt16LE(at + place),
    ) as [number, number, number]
    const name = archive.toString('utf8', at + 46, at + 46 + nameBytes)
    if (wanted.test(name)) {
      const local = archive.readUInt32LE(at + 42)
      const start = local + 30 + archive.readUInt16LE(local + 26) + archive.readUInt16LE(local + 28)
      const bytes = archive.subarray(start, start + archive.readUInt32LE(at + 20))
      const isDeflated = archive.readUInt16LE(at + 10) === deflated
      texts.set(name, (isDeflated ? inflateRawSync(bytes) : bytes).toString('utf8'))
    }
    at += 46 + nameBytes + extraBytes + commentBytes
  }
  return texts
}
