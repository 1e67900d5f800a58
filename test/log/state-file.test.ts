import { isDeepStrictEqual } from 'node:util'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { QuestlogError } from '../../src/core/errors.ts'
import { decodeState, StateFile } from '../../src/log/state-file.ts'
import { seededRandom, type Random } from '../support/random.ts'
import { SimulatedFiles } from '../support/simulated-files.ts'
import { codeOf } from './support.ts'

const folder = '/data/log'
const path = `${folder}/groups`

type Changes = Map<string, unknown>

async function newDisk(seed = 1): Promise<SimulatedFiles> {
  const files = new SimulatedFiles({ seed })
  await files.makeFolder(folder)
  return files
}

function open(files: SimulatedFiles): Promise<StateFile> {
  return StateFile.open({ files, path })
}

async function held(files: SimulatedFiles): Promise<Record<string, unknown>> {
  const state = await open(files)
  const found = Object.fromEntries(state.entries())
  await state.close()
  return found
}

const one = (key: string, value: unknown): Changes => new Map([[key, value]])

function apply(state: Record<string, unknown>, changes: Changes): Record<string, unknown> {
  const next = { ...state }
  for (const [key, value] of changes)
    if (value === undefined) delete next[key]
    else next[key] = value
  return next
}

describe('state file', () => {
  test('what was put is there after a start, what was removed is not', async () => {
    const files = await newDisk()
    const state = await open(files)
    await state.put(one('a', { members: [1, 2], text: 'ü"\n\0' }))
    await state.put(
      new Map<string, unknown>([
        ['b', 2],
        ['c', null],
      ]),
    )
    await state.put(one('b', undefined))
    expect(state.get('a')).toEqual({ members: [1, 2], text: 'ü"\n\0' })
    expect(state.get('b')).toBeUndefined()
    await state.close()
    expect(await held(files)).toEqual({ a: { members: [1, 2], text: 'ü"\n\0' }, c: null })
  })

  test('there is no file until something is put', async () => {
    const files = await newDisk()
    const state = await open(files)
    await state.put(new Map())
    await state.close()
    expect(files.paths()).toEqual([])
  })

  test('any JSON value under any key comes back as it was', async () => {
    const values = fc.dictionary(fc.string(), fc.jsonValue(), { maxKeys: 5 })
    await fc.assert(
      fc.asyncProperty(fc.array(values, { maxLength: 5 }), async (puts) => {
        const files = await newDisk()
        const state = await open(files)
        let expected: Record<string, unknown> = Object.create(null)
        for (const put of puts) {
          await state.put(new Map(Object.entries(put)))
          expected = apply(expected, new Map(Object.entries(put)))
        }
        await state.close()
        const again = await open(files)
        expect(new Map(again.entries())).toEqual(
          new Map(Object.entries(JSON.parse(JSON.stringify(expected)) as object)),
        )
        await again.close()
      }),
      { numRuns: 50 },
    )
  })

  test('puts that come at the same time share one sync, and keep their order', async () => {
    const files = await newDisk()
    const state = await open(files)
    await state.put(one('first', 0))
    let syncs = 0
    files.fault = (operation) => {
      if (operation === 'sync') syncs++
      return undefined
    }
    await Promise.all(Array.from({ length: 100 }, (_, n) => state.put(one('key', n))))
    expect(syncs).toBe(1)
    expect(state.get('key')).toBe(99)
    await state.close()
  })

  test('a crash at any moment loses nothing that was resolved, and leaves the changes in order and whole', async () => {
    for (let seed = 1; seed <= 100; seed++) {
      const problem = await crashHistory(seed)
      if (problem !== undefined) throw new Error(`seed ${seed}: ${problem}`)
    }
  })

  test('a file that has grown several times beyond what it holds is written anew', async () => {
    const files = await newDisk()
    const state = await open(files)
    const big = 'x'.repeat(1000)
    let largest = 0
    for (let n = 0; n < 400; n++) {
      await state.put(one(`key-${n % 3}`, `${n} ${big}`))
      largest = Math.max(largest, (await files.sizeOf(path)) ?? 0)
    }
    await state.close()
    expect(largest).toBeGreaterThan(60_000)
    expect(largest).toBeLessThan(70_000)
    expect(Object.keys(await held(files))).toEqual(['key-0', 'key-1', 'key-2'])
  })

  test('a torn end is cut off at any byte', async () => {
    const files = await newDisk()
    const state = await open(files)
    for (let n = 0; n < 3; n++) await state.put(one(`key-${n}`, n))
    await state.close()
    const whole = await files.readAll(path)
    const entryBytes = Buffer.byteLength('[["key-2",2]]') + 8
    for (let cut = 1; cut < entryBytes; cut++) {
      files.overwrite(path, whole.subarray(0, whole.length - cut))
      expect(await held(files)).toEqual({ 'key-0': 0, 'key-1': 1 })
    }
  })

  test('a bad byte in the middle refuses to open, and says what to do', async () => {
    const files = await newDisk()
    const state = await open(files)
    for (let n = 0; n < 3; n++) await state.put(one(`key-${n}`, n))
    await state.close()
    const whole = await files.readAll(path)
    const entryBytes = Buffer.byteLength('[["key-2",2]]') + 8
    for (let at = 0; at < whole.length - entryBytes; at++) {
      files.overwrite(path, whole)
      files.flip(path, at)
      const error = await open(files).catch((thrown: unknown) => thrown)
      if (!(error instanceof QuestlogError)) throw new Error(`byte ${at} was not noticed`)
      expect(at >= 4 && at < 8 ? 'FORMAT_UNKNOWN' : 'LOG_DAMAGED').toBe(error.code)
      if (error.code === 'LOG_DAMAGED') expect(error.hint).toMatch(/from a backup/)
    }
  })

  test('bytes that look like an entry inside a value are a value', async () => {
    const files = await newDisk()
    const state = await open(files)
    await state.put(one('a', 1))
    const entry = (await files.readAll(path)).subarray(8).toString('latin1')
    await state.put(one('nested', entry))
    await state.close()
    const whole = await files.readAll(path)
    files.overwrite(path, whole.subarray(0, whole.length - 1))
    expect(await held(files)).toEqual({ a: 1 })
  })

  test('a full disk refuses a put and keeps what there is; with room it goes on', async () => {
    const files = await newDisk()
    const state = await open(files)
    await state.put(one('a', 1))
    files.capacityBytes = 60
    expect(await codeOf(state.put(one('b', 'x'.repeat(100))))).toBe('OVERLOADED')
    expect(state.get('b')).toBeUndefined()
    await state.put(one('c', 3))
    files.capacityBytes = Infinity
    await state.put(one('b', 2))
    await state.close()
    expect(await held(files)).toEqual({ a: 1, b: 2, c: 3 })
  })

  test('a full disk does not keep it from opening', async () => {
    const files = await newDisk()
    const state = await open(files)
    await state.put(one('a', 1))
    await state.close()
    files.capacityBytes = 0
    expect(await held(files)).toEqual({ a: 1 })
    expect(files.paths()).toEqual([path])
  })

  test('after a failed sync nothing more is taken until the next start', async () => {
    const files = await newDisk()
    const state = await open(files)
    await state.put(one('a', 1))
    files.fault = (operation) => (operation === 'sync' ? 'EIO' : undefined)
    expect(await codeOf(state.put(one('a', 2)))).toBe('OUTCOME_UNKNOWN')
    files.fault = () => undefined
    expect(await codeOf(state.put(one('a', 3)))).toBe('PARTITION_OFFLINE')
    expect(state.get('a')).toBe(1)
    await state.close()
    expect([1, 2]).toContain((await held(files))['a'])
  })

  test('a put too large to keep is refused, and one after close', async () => {
    const files = await newDisk()
    const state = await open(files)
    expect(await codeOf(state.put(one('a', 'x'.repeat(2 ** 24))))).toBe('REQUEST_TOO_LARGE')
    await state.close()
    expect(await codeOf(state.put(one('a', 1)))).toBe('SHUTTING_DOWN')
    await state.close()
  })

  test('arbitrary bytes are refused or read without a crash', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (array) => {
        const bytes = Buffer.concat([Buffer.from('QLKV\0\0\0\x01'), array])
        expect(decodeState(bytes, path).goodBytes).toBe(8)
      }),
    )
  })
})

/** Lives of one file with stops at any operation; gives what is wrong. */
async function crashHistory(seed: number): Promise<string | undefined> {
  const random = seededRandom(seed)
  const files = await newDisk(seed)
  let base: Record<string, unknown> = {}
  for (let life = 0; life < 6; life++) {
    files.stopAt = files.operations + 1 + random.below(40)
    const puts: { changes: Changes; resolved: boolean }[] = []
    try {
      const state = await open(files)
      const before = Object.fromEntries(state.entries())
      if (!isDeepStrictEqual(before, base)) return 'the opened state is not the one before'
      await putUntilStopped(state, files, random, puts)
    } catch {
      // stopped while opening
    }
    if (random.chance(0.5)) files.crash()
    else files.kill()
    const after = await held(files)
    const states = [base]
    for (const { changes } of puts) states.push(apply(states.at(-1) ?? {}, changes))
    const atLeast = puts.findLastIndex(({ resolved }) => resolved) + 1
    const found = states.findIndex((each, at) => at >= atLeast && isDeepStrictEqual(each, after))
    if (found === -1)
      return `${JSON.stringify(after)} is none of the states after put ${atLeast} of ${puts.length}`
    base = after
  }
  return undefined
}

async function putUntilStopped(
  state: StateFile,
  files: SimulatedFiles,
  random: Random,
  puts: { changes: Changes; resolved: boolean }[],
): Promise<void> {
  const running: Promise<void>[] = []
  while (!files.stopped) {
    const changes: Changes = new Map()
    for (let count = 1 + random.below(3); count > 0; count--)
      changes.set(
        `key-${random.below(5)}`,
        random.chance(0.2)
          ? undefined
          : 'v'.repeat(random.chance(0.1) ? 30_000 : 20) + random.below(999),
      )
    const put = { changes, resolved: false }
    puts.push(put)
    const work = state.put(changes).then(
      () => void (put.resolved = true),
      () => {},
    )
    running.push(work)
    if (random.chance(0.5)) await work
  }
  await Promise.all(running)
}
