import { join } from 'node:path'
import type { Files } from '../core/files.ts'

const segmentPattern = /^\d{20}\.log$/
const folderPattern = /^(.+)-\d+$/

/** `<log>/meta`. */
export function metaPath(logFolder: string): string {
  return join(logFolder, 'meta')
}

/** `<log>/watermark`. */
export function watermarkPath(logFolder: string): string {
  return join(logFolder, 'watermark')
}

/** `<log>/groups`: consumer groups and their offsets. */
export function groupsPath(logFolder: string): string {
  return join(logFolder, 'groups')
}

/** `<log>/transactions`: what the coordinator of transactions knows. */
export function transactionsPath(logFolder: string): string {
  return join(logFolder, 'transactions')
}

/** `<log>/<topic>-<partition>`. */
export function partitionFolder(logFolder: string, topic: string, partition: number): string {
  return join(logFolder, `${topic}-${partition}`)
}

/** The topic that a folder name belongs to; undefined when it is none of a partition. */
export function topicOfFolder(name: string): string | undefined {
  return folderPattern.exec(name)?.[1]
}

/** `<folder>/<base offset, 20 digits>.log`. */
export function segmentPath(folder: string, baseOffset: number): string {
  return join(folder, `${String(baseOffset).padStart(20, '0')}.log`)
}

/** Path of the index of a segment. */
export function indexPath(segment: string): string {
  return segment.replace(/\.log$/, '.index')
}

/** `<folder>/start`. */
export function startPath(folder: string): string {
  return join(folder, 'start')
}

/** Base offset of a segment or index by its name; Infinity for any other file. */
export function baseOffsetOf(name: string): number {
  return /^\d{20}\.(log|index)$/.test(name) ? Number(name.slice(0, 20)) : Infinity
}

/** Base offsets of the segments in a folder, ascending. */
export async function listSegments(files: Files, folder: string): Promise<number[]> {
  const names = await files.list(folder)
  return names.filter((name) => segmentPattern.test(name)).map((name) => Number(name.slice(0, 20)))
}

/** Of the base offsets of segments, ascending, those of segments that end at or below a start: the next one begins there or before. */
export function belowStart(bases: readonly number[], startOffset: number): readonly number[] {
  const first = bases.findLastIndex((base) => base <= startOffset)
  return bases.slice(0, Math.max(0, first))
}

/** `<folder>/<offset, 20 digits>.snapshot`. */
export function snapshotPath(folder: string, offset: number): string {
  return join(folder, `${String(offset).padStart(20, '0')}.snapshot`)
}

/** Offsets of the producer snapshots in a folder, ascending. */
export async function listSnapshots(files: Files, folder: string): Promise<number[]> {
  const names = await files.list(folder)
  return names
    .filter((name) => /^\d{20}\.snapshot$/.test(name))
    .map((name) => Number(name.slice(0, 20)))
}

/** `<folder>/aborted`. */
export function abortedPath(folder: string): string {
  return join(folder, 'aborted')
}
