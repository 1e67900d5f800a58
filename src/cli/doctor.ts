import { dirname, join } from 'node:path'
import {
  checkClock,
  checkData,
  checkLeftovers,
  checkNode,
  checkNotes,
  checkSpace,
  checkSyncs,
  finding,
  type Finding,
} from '../app/doctor.ts'
import { readInstances } from '../app/instance.ts'
import { formatPath } from '../app/words.ts'
import type { Clock } from '../core/clock.ts'
import { asQuestlogError } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import { exists, findPortHolder, type PortHolder } from '../core/host.ts'
import { resolveSettings } from '../core/settings.ts'
import { checkDefinition } from './check.ts'
import { findFreePort } from './port-advice.ts'

export interface DoctorOptions {
  readonly files: Files
  readonly clock: Clock
  /** Data folder, absolute; need not exist. */
  readonly data: string
  /** Definition file, absolute. */
  readonly config: string
  readonly environment: NodeJS.ProcessEnv
  /** `process.versions.node` */
  readonly nodeVersion: string
}

/** Ports that `up` takes when none are given. */
const standardPorts = [
  { name: 'collector', port: 5000 },
  { name: 'broker', port: 9092 },
  { name: 'sql', port: 8080 },
] as const

/** Looks at everything that a start depends on. Changes nothing but a small file that it writes, syncs and removes. */
export async function examine(options: DoctorOptions): Promise<readonly Finding[]> {
  const { files, clock, data, config, environment } = options
  const disk = nearestFolder(data)
  const { freeBytesWarn } = resolveSettings({}, environment)
  return [
    checkNode(options.nodeVersion),
    await checkConfig(config),
    checkData(data),
    checkNotes(data, environment),
    await checkLeftovers(files, data),
    ...(await checkPorts(data)),
    await checkSyncs(files, clock, disk),
    await checkSpace(files, disk, freeBytesWarn),
    await checkClock(clock),
  ]
}

/** The folder itself, or the one in which it would be made. */
function nearestFolder(path: string): string {
  return exists(path) || dirname(path) === path ? path : nearestFolder(dirname(path))
}

async function checkConfig(config: string): Promise<Finding> {
  const shown = formatPath(config, process.cwd())
  if (!exists(config))
    return finding('config', 'look', `there is no ${shown}`, 'write one with `questlog init`')
  try {
    await checkDefinition(config)
    return finding('config', 'ok', `${shown} is valid`)
  } catch (error) {
    const [first = ''] = asQuestlogError(error).message.split('\n')
    return finding('config', 'bad', first, `see \`questlog check ${shown}\``)
  }
}

async function checkPorts(data: string): Promise<Finding[]> {
  const own = readInstances(data)
  const found: Finding[] = []
  for (const { name, port } of standardPorts) {
    const used = own.map(({ endpoints }) => endpoints[name]).find((address) => address !== null)
    found.push(
      used === undefined
        ? judgePort(name, port, await findFreePort(port, '127.0.0.1'), findPortHolder(port))
        : finding('port', 'ok', `${name}: runs on ${used}`),
    )
  }
  return found
}

/** `free` is the first free port from `port` on; 0 when none was found. */
export function judgePort(
  name: string,
  port: number,
  free: number,
  holder: PortHolder | undefined,
): Finding {
  if (free === port) return finding('port', 'ok', `${name}: ${port} is free`)
  const who = holder === undefined ? 'another program' : `pid ${holder.pid} (${holder.program})`
  return finding(
    'port',
    'look',
    `${name}: ${port} is held by ${who}`,
    `stop it, or start with \`questlog up --${name}-port ${free}\``,
  )
}

/** A line for each finding, and what to do below it. */
export function findingLines(findings: readonly Finding[]): string[] {
  const width = Math.max(...findings.map(({ name }) => name.length))
  return findings.flatMap(({ name, level, text, advice }) => [
    `${level.padEnd(4)}  ${name.padEnd(width)}  ${text}`,
    ...(advice === null ? [] : [`${' '.repeat(width + 8)}${advice}`]),
  ])
}

/** `questlog doctor --json`: a contract, described in docs/reference/cli.md. */
export function findingsJson(findings: readonly Finding[]): string {
  return JSON.stringify({
    healthy: isHealthy(findings),
    findings: findings.map(({ name, level, text, advice }) => ({ name, level, text, advice })),
  })
}

export function isHealthy(findings: readonly Finding[]): boolean {
  return findings.every(({ level }) => level !== 'bad')
}

/** The data folder that is meant, and the definition file: those of the running instance where one runs. */
export function definitionOf(data: string, config: string | undefined, standard: string): string {
  return config ?? readInstances(data)[0]?.config ?? join(process.cwd(), standard)
}
