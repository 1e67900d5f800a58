import {
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rmdir,
  stat,
  statfs,
  unlink,
  link,
  type FileHandle,
} from 'node:fs/promises'
import {
  closeSync,
  constants,
  fdatasync,
  fstatSync,
  fsync,
  open as openFile,
  openSync,
  readSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { promisify } from 'node:util'
import { systemErrorCode } from './errors.ts'

/** A file that only grows, with one owner. */
export interface AppendFile {
  readonly path: string
  /** Bytes in the file, those not yet synced included. */
  readonly size: number
  /** Writes all of `bytes` at the end. After an error the size on disk is unknown: the owner truncates or gives the file up. */
  append(bytes: Uint8Array): Promise<void>
  /** Makes everything appended before the call durable (fdatasync). An error is final: after it nothing is known about the unsynced bytes. */
  sync(): Promise<void>
  /** Cuts the file to `size` bytes and makes that durable. */
  truncate(size: number): Promise<void>
  close(): Promise<void>
}

/** A file that is read at any position, also while another process appends to it. */
export interface ReadFile {
  /** Up to `length` bytes from `position`; fewer at the end of the file. They may lie in `into`, if it is given and as long. */
  read(position: number, length: number, into?: Buffer): Promise<Buffer>
  size(): Promise<number>
  close(): Promise<void>
}

/** A small file that one process overwrites in place and others read. Not durable; a reader checks a checksum and reads again. */
export interface SharedFile {
  write(bytes: Uint8Array): void
  /** The bytes as they are now, valid until the next read; empty when the file does not exist. */
  read(): Buffer
  close(): void
}

/** The file system behind a small interface, so that tests can make it fail, tear and forget. Paths are absolute. */
export interface Files {
  /** Opens for appending, creates it if it is missing. The name is durable only after `syncFolder`. */
  openAppend(path: string): Promise<AppendFile>
  openRead(path: string): Promise<ReadFile>
  openShared(path: string, mode: 'write' | 'read'): SharedFile
  readAll(path: string): Promise<Buffer>
  /** Creates a new file with these bytes and syncs it; EEXIST if there is one. `named` is called, if it succeeds so far, when the name is there: a sync of the folder need not wait for that of the bytes. */
  writeNew(path: string, bytes: Uint8Array, named?: () => void): Promise<void>
  /** Syncs a file that something else wrote. */
  syncFile(path: string): Promise<void>
  /** Makes the names in a folder durable. */
  syncFolder(path: string): Promise<void>
  /** Gives a file a second name; EEXIST if that is taken. The only atomic create-if-absent with content that POSIX has. */
  link(existing: string, path: string): Promise<void>
  rename(from: string, to: string): Promise<void>
  unlink(path: string): Promise<void>
  /** Creates a folder and its parents, and makes their names durable. */
  makeFolder(path: string): Promise<void>
  /** Removes an empty folder; its name is gone for certain after `syncFolder` of the one above. ENOTEMPTY when something is in it. */
  removeFolder(path: string): Promise<void>
  /** Names in a folder, sorted; empty when it does not exist. */
  list(path: string): Promise<string[]>
  /** Size in bytes, or undefined when there is no such file. */
  sizeOf(path: string): Promise<number | undefined>
  /** When the content was last changed, wall-clock milliseconds as the file system has them; undefined when there is no such file. */
  modifiedMs(path: string): Promise<number | undefined>
  /** Bytes that a file in this folder could still take, without what the system keeps for its administrator. */
  freeBytes(path: string): Promise<number>
}

const fdatasyncAsync = promisify(fdatasync)
const fsyncAsync = promisify(fsync)
const openAsync = promisify(openFile)

class RealAppendFile implements AppendFile {
  readonly path: string
  readonly #handle: FileHandle
  #size: number

  constructor(path: string, handle: FileHandle, size: number) {
    this.path = path
    this.#handle = handle
    this.#size = size
  }

  get size(): number {
    return this.#size
  }

  /** Writes in the calling thread: a page-cache write of a batch is shorter than a trip through the thread pool. */
  async append(bytes: Uint8Array): Promise<void> {
    writeWhole(this.#handle.fd, bytes, this.#size)
    this.#size += bytes.length
  }

  async sync(): Promise<void> {
    await fdatasyncAsync(this.#handle.fd)
  }

  async truncate(size: number): Promise<void> {
    await this.#handle.truncate(size)
    await this.#handle.sync()
    this.#size = size
  }

  async close(): Promise<void> {
    await this.#handle.close()
  }
}

function writeWhole(fd: number, bytes: Uint8Array, position: number): void {
  for (let written = 0; written < bytes.length;)
    written += writeSync(fd, bytes, written, bytes.length - written, position + written)
}

function openRealShared(path: string, mode: 'write' | 'read'): SharedFile {
  let fd = mode === 'write' ? openSync(path, createOrOpen) : undefined
  let buffer = Buffer.allocUnsafe(4096)
  return {
    write(bytes) {
      if (fd === undefined) throw new Error(`${path} is open for reading only`)
      writeSync(fd, bytes, 0, bytes.length, 0)
    },
    read() {
      fd ??= openIfThere(path)
      if (fd === undefined) return Buffer.alloc(0)
      for (;;) {
        const length = readSync(fd, buffer, 0, buffer.length, 0)
        if (length < buffer.length) return buffer.subarray(0, length)
        buffer = Buffer.allocUnsafe(buffer.length * 2)
      }
    },
    close() {
      if (fd !== undefined) closeSync(fd)
      fd = undefined
    },
  }
}

function openIfThere(path: string): number | undefined {
  try {
    return openSync(path, 'r')
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined
    throw error
  }
}

async function openRealRead(path: string): Promise<ReadFile> {
  const handle = await open(path, 'r')
  return {
    async read(position, length, into) {
      const bytes = into ?? Buffer.allocUnsafe(length)
      const { bytesRead } = await handle.read(bytes, 0, length, position)
      return bytes.subarray(0, bytesRead)
    },
    size: async () => (await handle.stat()).size,
    close: () => handle.close(),
  }
}

/** Only the sync itself goes through the thread pool: opening and closing are shorter than a trip there, and a busy machine makes each trip long. */
async function syncPath(path: string): Promise<void> {
  const fd = openSync(path, 'r')
  try {
    await fsyncAsync(fd)
  } finally {
    closeSync(fd)
  }
}

/** More bytes than these are copied to the page cache by the thread pool. */
const writtenAtOnceMax = 256 * 1024

async function writeNewLarge(path: string, bytes: Uint8Array, named?: () => void): Promise<void> {
  const handle = await open(path, 'wx')
  named?.()
  try {
    await handle.writeFile(bytes)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** The folder and those above it, without the root. */
function* foldersAbove(path: string): Generator<string> {
  for (let folder = path; folder !== dirname(folder); folder = dirname(folder)) yield folder
}

/** For reading and writing at any place; `a` would write at the end only, and `r+` needs a file. */
const createOrOpen = constants.O_RDWR | constants.O_CREAT

/** Folders that were made here and whose names may not be durable yet: who finds one there, after a sync that failed or before it has ended, must not build on it. */
const unsyncedFolders = new Set<string>()

/** The machine's own file system. */
export const realFiles: Files = {
  async openAppend(path) {
    const handle = await open(path, createOrOpen)
    return new RealAppendFile(path, handle, fstatSync(handle.fd).size)
  },
  openRead: openRealRead,
  openShared: openRealShared,
  readAll: (path) => readFile(path),
  async writeNew(path, bytes, named) {
    if (bytes.length > writtenAtOnceMax) return writeNewLarge(path, bytes, named)
    const fd = await openAsync(path, 'wx') // a new name may wait for the file system's journal
    named?.()
    try {
      writeWhole(fd, bytes, 0)
      await fsyncAsync(fd)
    } finally {
      closeSync(fd)
    }
  },
  syncFile: syncPath,
  syncFolder: syncPath,
  link,
  rename,
  unlink,
  async makeFolder(path) {
    const first = await mkdir(path, { recursive: true })
    if (first !== undefined)
      for (const folder of foldersAbove(path)) {
        unsyncedFolders.add(folder)
        if (folder === first) break
      }
    if (unsyncedFolders.size === 0) return
    for (const folder of foldersAbove(path)) {
      if (!unsyncedFolders.has(folder)) continue
      await syncPath(dirname(folder))
      unsyncedFolders.delete(folder)
    }
  },
  removeFolder: rmdir,
  async list(path) {
    try {
      return (await readdir(path)).sort()
    } catch (error) {
      if (systemErrorCode(error) === 'ENOENT') return []
      throw error
    }
  },
  async sizeOf(path) {
    try {
      return (await stat(path)).size
    } catch (error) {
      if (systemErrorCode(error) === 'ENOENT') return undefined
      throw error
    }
  },
  async modifiedMs(path) {
    try {
      return (await stat(path)).mtimeMs
    } catch (error) {
      if (systemErrorCode(error) === 'ENOENT') return undefined
      throw error
    }
  },
  async freeBytes(path) {
    const { bavail, bsize } = await statfs(path)
    return bavail * bsize
  },
}

/** Replaces a small file as a whole: a new file, synced, renamed over it, the folder synced. A reader sees the old or the new bytes. */
export async function replaceFile(files: Files, path: string, bytes: Uint8Array): Promise<void> {
  const temporary = `${path}.new`
  if ((await files.sizeOf(temporary)) !== undefined) await files.unlink(temporary)
  await files.writeNew(temporary, bytes)
  await files.rename(temporary, path)
  await files.syncFolder(dirname(path))
}
