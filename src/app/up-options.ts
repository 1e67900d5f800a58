import { join } from 'node:path'
import { QuestlogError } from '../core/errors.ts'
import { readTextIfThere, requireWritableFolder } from '../core/host.ts'
import type { Address, PlainError, RoleName } from './roles.ts'

/** `run/supervisor.log` goes on in a new file when it is larger at a start. */
export const logBytesMax = 8 * 1024 * 1024

/** What `questlog up` was asked for. Plain data: it crosses to the detached process as JSON. */
export interface UpOptions {
  /** Data folder, absolute. */
  readonly data: string
  /** Definition file, absolute. */
  readonly config: string
  /** The folder that paths on the screen are relative to. */
  readonly cwd: string
  readonly host: string
  readonly insecure: boolean
  /** 0 = a free one. */
  readonly collectorPort: number
  readonly brokerPort: number
  readonly sqlPort: number
  /** What Kafka clients are told to connect to; null = the address that they have reached. */
  readonly advertised: Address | null
  /** Both, or one alone. */
  readonly roles: readonly RoleName[]
  readonly repair: boolean
  readonly version: string
}

/** A detached `up` tells how its start ended with one message. */
export type StartMessage = { readonly started: readonly string[] } | { readonly failed: PlainError }

/** HOST_REFUSED, DEFINITION_INVALID, DATA_UNUSABLE: what can be said before anything is started. */
export function checkOptions({ host, insecure, data, config }: UpOptions): void {
  if (!isLoopback(host) && !insecure)
    throw new QuestlogError(
      'HOST_REFUSED',
      `${host} can be reached from other machines, and nothing on these ports asks for a password`,
      { host },
    )
  if (readTextIfThere(config) === undefined)
    throw new QuestlogError(
      'DEFINITION_INVALID',
      `there is no definition file ${config}`,
      { file: config },
      { hint: 'write one with `questlog init`, or name yours with --config FILE' },
    )
  try {
    requireWritableFolder(data)
  } catch (error) {
    throw new QuestlogError(
      'DATA_UNUSABLE',
      `the data folder ${data} can't be written: ${error instanceof Error ? error.message : String(error)}`,
      { data },
      { cause: error },
    )
  }
}

/** 127.0.0.0/8, ::1 and localhost. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(?:\.\d{1,3}){3}$/.test(host)
}

export function runLogPath(data: string): string {
  return join(data, 'run', 'supervisor.log')
}
