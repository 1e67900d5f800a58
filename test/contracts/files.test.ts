import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { systemErrorCode } from '../../src/core/errors.ts'
import { realFiles, replaceFile, type Files } from '../../src/core/files.ts'
import { SimulatedFiles } from '../support/simulated-files.ts'

const temporary = mkdtempSync(join(tmpdir(), 'questlog-files-'))
afterAll(() => rmSync(temporary, { recursive: true, force: true }))

/** What every implementation promises to code that sees only the interface: the simulated disk must not be kinder than a real one. */
describe.each<{ name: string; files: Files; root: string }>([
  { name: 'the real disk', files: realFiles, root: temporary },
  { name: 'the simulated disk', files: new SimulatedFiles({ seed: 1 }), root: '/simulated' },
])('$name', ({ name, files, root }) => {
  let count = 0
  const newFolder = async () => {
    const folder = join(root, `folder-${count++}`)
    await files.makeFolder(folder)
    return folder
  }
  const codeOf = (work: Promise<unknown>) =>
    work.then(
      () => 'nothing was thrown',
      (error: unknown) => systemErrorCode(error),
    )

  test('an appended file grows at its end, and goes on where it ended when it is opened again', async () => {
    const path = join(await newFolder(), 'a')
    const file = await files.openAppend(path)
    expect(file).toMatchObject({ path, size: 0 })
    await file.append(Buffer.from('one '))
    await file.append(Buffer.from('two '))
    await file.sync()
    expect(file.size).toBe(8)
    await file.close()
    const again = await files.openAppend(path)
    expect(again.size).toBe(8)
    await again.append(Buffer.from('three'))
    await again.close()
    expect((await files.readAll(path)).toString()).toBe('one two three')
  })

  test('a folder is removed when it is empty, not before', async () => {
    const folder = await newFolder()
    const inner = join(folder, 'inner')
    await files.makeFolder(inner)
    await files.writeNew(join(inner, 'a'), Buffer.from('1'))
    expect(await codeOf(files.removeFolder(inner))).toBe('ENOTEMPTY')
    await files.unlink(join(inner, 'a'))
    await files.removeFolder(inner)
    expect(await files.list(folder)).toEqual([])
    expect(await codeOf(files.removeFolder(inner))).toBe('ENOENT')
    await files.makeFolder(inner)
    await files.writeNew(join(inner, 'a'), Buffer.from('2'))
    expect(await files.list(inner)).toEqual(['a'])
  })

  test('a cut file ends there, and grows from there', async () => {
    const path = join(await newFolder(), 'a')
    const file = await files.openAppend(path)
    await file.append(Buffer.from('0123456789'))
    await file.truncate(4)
    expect(file.size).toBe(4)
    await file.append(Buffer.from('x'))
    await file.close()
    expect((await files.readAll(path)).toString()).toBe('0123x')
    expect(await files.sizeOf(path)).toBe(5)
  })

  test('a reader sees what is appended after it has opened the file, and less at the end', async () => {
    const path = join(await newFolder(), 'a')
    const file = await files.openAppend(path)
    await file.append(Buffer.from('01234'))
    const reader = await files.openRead(path)
    expect((await reader.read(3, 10)).toString()).toBe('34')
    await file.append(Buffer.from('56789'))
    expect((await reader.read(3, 4)).toString()).toBe('3456')
    expect((await reader.read(10, 4)).toString()).toBe('')
    expect(await reader.size()).toBe(10)
    await reader.close()
    await file.close()
  })

  test('a shared file is overwritten in place, and is empty before there is one', async () => {
    const path = join(await newFolder(), 'shared')
    const reader = files.openShared(path, 'read')
    expect(reader.read()).toHaveLength(0)
    const writer = files.openShared(path, 'write')
    writer.write(Buffer.from('first'))
    expect(reader.read().toString()).toBe('first')
    writer.write(Buffer.from('2nd'))
    expect(reader.read().toString()).toBe('2ndst')
    writer.close()
    expect(reader.read().toString()).toBe('2ndst')
    reader.close()
  })

  test('a new file, a second name and a missing file are told apart', async () => {
    const folder = await newFolder()
    const [a, b, c] = [join(folder, 'a'), join(folder, 'b'), join(folder, 'c')]
    await files.writeNew(a, Buffer.from('a'))
    expect(await codeOf(files.writeNew(a, Buffer.from('x')))).toBe('EEXIST')
    await files.link(a, b)
    expect(await codeOf(files.link(a, b))).toBe('EEXIST')
    expect(await codeOf(files.readAll(c))).toBe('ENOENT')
    expect(await codeOf(files.openRead(c))).toBe('ENOENT')
    expect(await codeOf(files.unlink(c))).toBe('ENOENT')
    expect(await codeOf(files.rename(c, a))).toBe('ENOENT')
    expect(await files.sizeOf(c)).toBeUndefined()
    expect((await files.readAll(b)).toString()).toBe('a')
  })

  test('a file tells when its content was last changed, by the clock of its file system', async () => {
    const folder = await newFolder()
    const path = join(folder, 'a')
    expect(await files.modifiedMs(path)).toBeUndefined()
    await files.writeNew(path, Buffer.from('a'))
    const first = (await files.modifiedMs(path)) ?? Number.NaN
    const wallMs = name === 'the real disk' ? Date.now() : 0
    expect(Math.abs(first - wallMs)).toBeLessThan(60_000)
    await files.link(path, join(folder, 'b'))
    expect(await files.modifiedMs(join(folder, 'b'))).toBe(first)
    const file = await files.openAppend(path)
    await file.append(Buffer.from('b'))
    await file.sync()
    await file.close()
    expect(await files.modifiedMs(path)).toBeGreaterThanOrEqual(first)
  })

  test('names are listed in order; a folder that does not exist has none', async () => {
    const folder = await newFolder()
    expect(await files.list(join(folder, 'nothing'))).toEqual([])
    for (const name of ['b', 'a', 'c']) await files.writeNew(join(folder, name), Buffer.from(name))
    await files.makeFolder(join(folder, 'd', 'e'))
    await files.makeFolder(join(folder, 'd', 'e'))
    await files.rename(join(folder, 'c'), join(folder, 'a'))
    await files.unlink(join(folder, 'b'))
    await files.syncFolder(folder)
    expect(await files.list(folder)).toEqual(['a', 'd'])
    expect((await files.readAll(join(folder, 'a'))).toString()).toBe('c')
  })

  test('a replaced file has its new bytes, also when the last try was left half-way', async () => {
    const folder = await newFolder()
    const path = join(folder, 'a')
    await replaceFile(files, path, Buffer.from('one'))
    await files.writeNew(`${path}.new`, Buffer.from('left over'))
    await replaceFile(files, path, Buffer.from('two'))
    expect((await files.readAll(path)).toString()).toBe('two')
    expect(await files.list(folder)).toEqual(['a'])
  })
})
