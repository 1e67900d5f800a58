import { dirname } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { AppendFile, Files, ReadFile, SharedFile } from '../../src/core/files.ts'
import { seededRandom, type Random } from './random.ts'

/** What the code under test asks of the disk; every one is counted and is a point at which a crash can happen. */
export type FileOperation =
  | 'create'
  | 'append'
  | 'sync'
  | 'truncate'
  | 'read'
  | 'shared'
  | 'name'
  | 'syncFolder'

export interface SimulatedFilesOptions {
  readonly seed: number
  /** Gives the error code with which an operation fails, or undefined. */
  readonly fault?: (operation: FileOperation, path: string) => string | undefined
  /** Bytes that fit on the disk. */
  readonly capacityBytes?: number
  /** The wall clock of the machine, for the times of files. */
  readonly nowMs?: () => number
}

interface Inode {
  /** What the running machine sees. */
  content: Buffer
  /** What is on the disk for certain. */
  durable: Buffer
  modifiedMs: number
  /** Written since the last sync. */
  pending: { position: number; bytes: Buffer }[]
}

/** Names that one atomic operation changes; undefined = removed. */
type NameChange = ReadonlyMap<string, Inode | undefined>

/** The piece of a write that is lost or kept as a whole when the power fails. */
const tornPieceBytes = 32

/**
 * A file system in memory with the faults of a real one. After `crash()` only synced bytes and names are there for certain: of the rest any pieces may be lost. After `kill()`
 * everything written is there. A failed sync loses its bytes for good although the running machine still shows them. Same seed, same calls: same run.
 */
export class SimulatedFiles implements Files {
  fault: NonNullable<SimulatedFilesOptions['fault']>
  capacityBytes: number
  /** Operations so far. */
  operations = 0
  /** The operation at which the machine stops: it happens in part, it and all later ones throw. */
  stopAt = Infinity
  readonly #nowMs: () => number
  readonly #random: Random
  readonly #folders = new Set<string>(['/'])
  readonly #durableNames = new Map<string, Inode>()
  #names = new Map<string, Inode>()
  #pendingNames: { folder: string; change: NameChange }[] = []
  #sharedHistory = new Map<Inode, Buffer[]>()
  #run = 0

  constructor(options: SimulatedFilesOptions) {
    this.#random = seededRandom(options.seed)
    this.fault = options.fault ?? (() => undefined)
    this.capacityBytes = options.capacityBytes ?? Infinity
    this.#nowMs = options.nowMs ?? (() => 0)
  }

  get stopped(): boolean {
    return this.operations >= this.stopAt
  }

  /** The power fails: open files are dead, unsynced bytes and names survive by chance. */
  crash(): void {
    for (const folder of this.#folders) {
      const changes = this.#pendingNames.filter((pending) => pending.folder === folder)
      const kept = this.#random.below(changes.length + 1) // metadata reaches a disk in order
      for (const { change } of changes.slice(0, kept)) applyNames(this.#durableNames, change)
    }
    this.#names = new Map(this.#durableNames)
    for (const inode of new Set(this.#names.values())) this.#tear(inode)
    this.kill()
    this.#pendingNames = []
  }

  /** The process dies, the machine goes on: open files are dead, everything written is there. */
  kill(): void {
    this.#run++
    this.stopAt = Infinity
  }

  /** Changes a byte on the disk, as rot does. */
  flip(path: string, position: number): void {
    const inode = this.#inode(path)
    for (const bytes of new Set([inode.content, inode.durable]))
      if (position < bytes.length) bytes[position] = (bytes[position] ?? 0) ^ 0x10
  }

  /** Puts these bytes in the place of a file, synced. */
  overwrite(path: string, bytes: Uint8Array): void {
    const inode: Inode = {
      content: Buffer.from(bytes),
      durable: Buffer.from(bytes),
      modifiedMs: this.#nowMs(),
      pending: [],
    }
    this.#names.set(path, inode)
    this.#durableNames.set(path, inode)
  }

  #tear(inode: Inode): void {
    const history = this.#sharedHistory.get(inode)
    if (history !== undefined) {
      inode.content = Buffer.from(history[this.#random.below(history.length)] ?? [])
      if (this.#random.chance(0.3))
        inode.content = inode.content.subarray(0, this.#random.below(inode.content.length + 1))
      return
    }
    const mood = this.#random.pick([0, 0.5, 0.9, 1])
    let content = inode.durable
    for (const { position, bytes } of inode.pending)
      for (let at = 0; at < bytes.length; at += tornPieceBytes)
        if (this.#random.chance(mood))
          content = written(content, position + at, bytes.subarray(at, at + tornPieceBytes))
    inode.content = Buffer.from(content)
    inode.durable = content
    inode.pending = []
  }

  /** Counts an operation; throws when the machine has stopped or the file was opened in an earlier run. Says whether the machine stops in the middle of it, and which error is due. */
  #begin(operation: FileOperation, path: string, run: number) {
    if (run !== this.#run || this.stopped) throw new Error(`stopped before ${operation} ${path}`)
    this.operations++
    return { stopping: this.stopped, code: this.fault(operation, path) }
  }

  /** An operation that is done or not done. */
  #step(operation: FileOperation, path: string, run = this.#run): void {
    const { stopping, code } = this.#begin(operation, path, run)
    if (stopping) throw new Error(`stopped in ${operation} ${path}`)
    if (code !== undefined) throw systemError(code, operation, path)
  }

  #inode(path: string): Inode {
    const inode = this.#names.get(path)
    if (inode === undefined) throw systemError('ENOENT', 'open', path)
    return inode
  }

  #changeNames(operation: FileOperation, path: string, change: NameChange): void {
    const { stopping, code } = this.#begin(operation, path, this.#run)
    if ((!stopping && code === undefined) || this.#random.chance(0.5)) {
      applyNames(this.#names, change)
      this.#pendingNames.push({ folder: dirname(path), change })
    }
    if (stopping) throw new Error(`stopped in ${operation} ${path}`)
    if (code !== undefined) throw systemError(code, operation, path)
  }

  #usedBytes(): number {
    let bytes = 0
    for (const inode of new Set(this.#names.values())) bytes += inode.content.length
    return bytes
  }

  async #append(inode: Inode, path: string, at: number, bytes: Uint8Array, run: number) {
    const { stopping, code } = this.#begin('append', path, run)
    const room = code === undefined ? Math.max(0, this.capacityBytes - this.#usedBytes()) : 0
    const most = Math.min(bytes.length, room)
    const length = stopping ? this.#random.below(most + 1) : most
    const part = Buffer.from(bytes.subarray(0, length))
    inode.content = written(inode.content, at, part)
    inode.pending.push({ position: at, bytes: part })
    inode.modifiedMs = this.#nowMs()
    if (stopping) throw new Error(`stopped in append ${path}`)
    if (most < bytes.length) throw systemError(code ?? 'ENOSPC', 'append', path)
  }

  async #sync(inode: Inode, path: string, run: number): Promise<void> {
    const writes = new Set(inode.pending)
    const { stopping, code } = this.#begin('sync', path, run)
    for (let turns = this.#random.below(3); turns > 0; turns--) await nextTurn()
    if (stopping || run !== this.#run) throw new Error(`stopped in sync ${path}`)
    inode.pending = inode.pending.filter((write) => !writes.has(write))
    if (code !== undefined) throw systemError(code, 'sync', path) // the bytes stay in memory only
    for (const { position, bytes } of writes)
      inode.durable = written(inode.durable, position, bytes)
  }

  async openAppend(path: string): Promise<AppendFile> {
    const run = this.#run
    if (!this.#names.has(path)) {
      this.#requireFolder(path)
      this.#changeNames('create', path, new Map([[path, newInode(this.#nowMs())]]))
    }
    const inode = this.#inode(path)
    let size = inode.content.length
    return {
      path,
      get size() {
        return size
      },
      append: async (bytes) => {
        await this.#append(inode, path, size, bytes, run)
        size += bytes.length
      },
      sync: () => this.#sync(inode, path, run),
      truncate: async (to) => {
        this.#step('truncate', path, run)
        inode.content = Buffer.from(inode.content.subarray(0, to))
        inode.durable = Buffer.from(inode.durable.subarray(0, to))
        inode.pending = inode.pending
          .filter((write) => write.position < to)
          .map(({ position, bytes }) => ({ position, bytes: bytes.subarray(0, to - position) }))
        size = to
        await this.#sync(inode, path, run)
      },
      close: async () => {},
    }
  }

  async openRead(path: string): Promise<ReadFile> {
    const inode = this.#inode(path)
    const run = this.#run
    return {
      read: async (position, length) => {
        this.#step('read', path, run)
        return Buffer.from(inode.content.subarray(position, position + length))
      },
      size: async () => inode.content.length,
      close: async () => {},
    }
  }

  openShared(path: string, mode: 'write' | 'read'): SharedFile {
    const run = this.#run
    if (mode === 'write' && !this.#names.has(path)) {
      this.#requireFolder(path)
      const inode = newInode(this.#nowMs())
      this.#sharedHistory.set(inode, [Buffer.alloc(0)])
      this.#changeNames('create', path, new Map([[path, inode]]))
    }
    return {
      write: (bytes) => {
        const inode = this.#inode(path)
        const { stopping, code } = this.#begin('shared', path, run)
        if (code !== undefined) throw systemError(code, 'write', path)
        const length = stopping ? this.#random.below(bytes.length + 1) : bytes.length
        inode.content = written(inode.content, 0, bytes.subarray(0, length))
        const history = this.#sharedHistory.get(inode) ?? []
        history.push(inode.content)
        if (history.length > 6) history.shift()
        if (stopping) throw new Error(`stopped in write ${path}`)
      },
      read: () => Buffer.from(this.#names.get(path)?.content ?? []),
      close: () => {},
    }
  }

  async readAll(path: string): Promise<Buffer> {
    this.#step('read', path)
    return Buffer.from(this.#inode(path).content)
  }

  async writeNew(path: string, bytes: Uint8Array, named?: () => void): Promise<void> {
    if (this.#names.has(path)) throw systemError('EEXIST', 'open', path)
    const file = await this.openAppend(path)
    named?.()
    await file.append(bytes)
    await file.sync()
  }

  async syncFile(path: string): Promise<void> {
    await this.#sync(this.#inode(path), path, this.#run)
  }

  async syncFolder(path: string): Promise<void> {
    this.#step('syncFolder', path)
    for (const { folder, change } of this.#pendingNames)
      if (folder === path) applyNames(this.#durableNames, change)
    this.#pendingNames = this.#pendingNames.filter((pending) => pending.folder !== path)
  }

  async link(existing: string, path: string): Promise<void> {
    if (this.#names.has(path)) throw systemError('EEXIST', 'link', path)
    this.#changeNames('name', path, new Map([[path, this.#inode(existing)]]))
  }

  async rename(from: string, to: string): Promise<void> {
    const change = new Map<string, Inode | undefined>([[to, this.#inode(from)]])
    if (from !== to) change.set(from, undefined)
    this.#changeNames('name', to, change)
  }

  async unlink(path: string): Promise<void> {
    this.#inode(path)
    this.#changeNames('name', path, new Map([[path, undefined]]))
  }

  async makeFolder(path: string): Promise<void> {
    for (let folder = path; folder !== dirname(folder); folder = dirname(folder))
      this.#folders.add(folder)
  }

  async removeFolder(path: string): Promise<void> {
    if (!this.#folders.has(path)) throw systemError('ENOENT', 'rmdir', path)
    if ((await this.list(path)).length > 0) throw systemError('ENOTEMPTY', 'rmdir', path)
    this.#step('name', path)
    this.#folders.delete(path)
  }

  async list(path: string): Promise<string[]> {
    const names = new Set<string>()
    for (const other of [...this.#names.keys(), ...this.#folders]) {
      if (!other.startsWith(`${path}/`)) continue
      const end = other.indexOf('/', path.length + 1)
      names.add(other.slice(path.length + 1, end === -1 ? undefined : end))
    }
    return [...names].sort()
  }

  async sizeOf(path: string): Promise<number | undefined> {
    return this.#names.get(path)?.content.length
  }

  async modifiedMs(path: string): Promise<number | undefined> {
    return this.#names.get(path)?.modifiedMs
  }

  async freeBytes(): Promise<number> {
    return Math.max(0, this.capacityBytes - this.#usedBytes())
  }

  /** Every path there is now, for a look from outside. */
  paths(): string[] {
    return [...this.#names.keys()].sort()
  }

  #requireFolder(path: string): void {
    if (!this.#folders.has(dirname(path))) throw systemError('ENOENT', 'open', path)
  }
}

function newInode(modifiedMs: number): Inode {
  return { content: Buffer.alloc(0), durable: Buffer.alloc(0), modifiedMs, pending: [] }
}

function applyNames(names: Map<string, Inode>, change: NameChange): void {
  for (const [path, inode] of change)
    if (inode === undefined) names.delete(path)
    else names.set(path, inode)
}

/** `content` with `bytes` at a position; a hole before them reads as zeros. */
function written(content: Buffer, position: number, bytes: Uint8Array): Buffer {
  const result = Buffer.alloc(Math.max(content.length, position + bytes.length))
  content.copy(result)
  result.set(bytes, position)
  return result
}

function systemError(code: string, operation: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${operation} '${path}'`), { code })
}
