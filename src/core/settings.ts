import { QuestlogError } from './errors.ts'

/** One setting: its default, how a text becomes a value, and what it is for. */
interface SettingRow<T> {
  readonly default: T
  readonly parse: (text: string) => T | undefined
  readonly expects: string
  readonly doc: string
}

const whole = (min: number, max: number, standard: number, doc: string): SettingRow<number> => ({
  default: standard,
  parse: (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
    return value >= min && value <= max ? value : undefined
  },
  expects: `a whole number from ${min} to ${max}`,
  doc,
})

const choice = <const T extends string>(
  values: readonly T[],
  standard: T,
  doc: string,
): SettingRow<T> => ({
  default: standard,
  parse: (text) => values.find((value) => value === text),
  expects: `one of ${values.join(', ')}`,
  doc,
})

const list = (doc: string): SettingRow<readonly string[]> => ({
  default: [],
  parse: (text) =>
    text
      .split(',')
      .map((item) => item.trim())
      .filter((item) => item !== ''),
  expects: 'a list, comma-separated',
  doc,
})

const KiB = 1024
const MiB = 1024 * KiB
const GiB = 1024 * MiB

/** Every limit and choice of the running system. The environment name is `QUESTLOG_` and the key in capitals with underscores. */
export const settingRows = {
  // Collector
  bodyBytesMax: whole(1, GiB, 8 * MiB, 'Largest request body as sent, bytes.'),
  decompressedBytesMax: whole(1, GiB, 32 * MiB, 'Largest request body after decompression, bytes.'),
  headerCountMax: whole(1, 2000, 100, 'Most headers of a request.'),
  headerBytesMax: whole(256, MiB, 16 * KiB, 'Most bytes of all headers of a request.'),
  urlBytesMax: whole(64, 64 * KiB, 8 * KiB, 'Longest request target, bytes.'),
  jsonDepthMax: whole(2, 1000, 64, 'Deepest nesting of an event.'),
  jsonValuesMax: whole(
    10,
    10_000_000,
    50_000,
    'Most values of an event that comes over HTTP, those of nested objects and lists included.',
  ),
  eventsPerRequestMax: whole(1, 1_000_000, 20_000, 'Most events of one request.'),
  connectionsMax: whole(1, 100_000, 2_000, 'Most open connections of the collector.'),
  requestsMax: whole(
    1,
    1_000_000,
    10_000,
    'Most requests that the collector works on at once; more are answered 503.',
  ),
  bodiesBytesMax: whole(
    MiB,
    64 * GiB,
    256 * MiB,
    'Most bytes of request bodies that are held at once; more is answered 503.',
  ),
  requestTimeoutMs: whole(
    100,
    600_000,
    30_000,
    'A request must have arrived whole within this time.',
  ),
  keepAliveTimeoutMs: whole(100, 600_000, 5_000, 'An idle connection is closed after this time.'),
  corsOrigins: list('Origins that browsers may send events from; * for any.'),
  writeKeys: list('If any are given, every event needs one of these keys.'),
  unknownPathsMax: whole(
    1,
    100_000,
    1_000,
    'Most distinct unknown paths that are counted by name.',
  ),
  // Log
  durability: choice(
    ['fsync', 'os'],
    'fsync',
    'When an append is acknowledged: after fdatasync, or after write().',
  ),
  osSyncIntervalMs: whole(
    10,
    60_000,
    1_000,
    'With durability os: how often written bytes are synced.',
  ),
  segmentBytesMax: whole(4 * KiB, GiB, 128 * MiB, 'A segment file is closed at this size, bytes.'),
  messageBytesMax: whole(
    1 * KiB,
    100 * MiB,
    5_242_880,
    'Largest record batch of a topic without a limit of its own, bytes.',
  ),
  pendingBytesMax: whole(
    64 * KiB,
    GiB,
    64 * MiB,
    'Most bytes of a partition that wait for their sync; more is answered 503.',
  ),
  producersMax: whole(
    1,
    1_000_000,
    10_000,
    'Most idempotent producers that a partition knows; beyond it those that were silent longest are forgotten.',
  ),
  producerIdleMaxMs: whole(
    60_000,
    31_536_000_000,
    604_800_000,
    'An idempotent producer that was silent for longer is forgotten.',
  ),
  backlogBytesMax: whole(
    64 * KiB,
    1024 * GiB,
    8 * GiB,
    'Most bytes of log that wait for the tables; more is answered 429. A topic of which they take nothing counts for its own events alone.',
  ),
  backlogBytesHeld: whole(
    64 * KiB,
    1024 * GiB,
    32 * MiB,
    'From so many bytes of log that wait for the tables on, bodies of events are read later, by up to 100 ms: who waits for the answers sends as fast as the tables take.',
  ),
  retentionCheckIntervalMs: whole(
    10,
    3_600_000,
    10_000,
    'How often the log looks for segments that retention removes.',
  ),
  freeBytesWarn: whole(
    0,
    1024 * 1024 * GiB,
    GiB,
    'When the disk of the data folder has less room than this, bytes, `questlog ps` says so.',
  ),
  // Kafka broker
  brokerConnectionsMax: whole(1, 100_000, 1_000, 'Most open connections of Kafka clients.'),
  brokerRequestBytesMax: whole(
    1 * KiB,
    GiB,
    100 * MiB,
    'Largest Produce request of a Kafka client, bytes; other requests may have 4 MiB of it.',
  ),
  brokerInFlightBytesMax: whole(
    MiB,
    64 * GiB,
    256 * MiB,
    'Most bytes of requests and answers of Kafka clients that are held at once, half of them for answers to Fetch; what goes beyond it waits.',
  ),
  brokerRequestsPerConnectionMax: whole(
    1,
    10_000,
    64,
    'Most requests of one Kafka connection that are worked on at once; more are not read yet.',
  ),
  brokerIdleTimeoutMs: whole(
    100,
    86_400_000,
    600_000,
    'A Kafka connection without requests is closed after this time.',
  ),
  autoCreateTopics: choice(
    ['true', 'false'],
    'true',
    'Whether a Kafka client that asks for a topic that does not exist, and allows it, makes that topic, with one partition.',
  ),
  // Consumer groups
  groupsMax: whole(1, 1_000_000, 10_000, 'Most consumer groups, those without members included.'),
  groupMembersMax: whole(1, 100_000, 1_000, 'Most members of a consumer group.'),
  groupBytesMax: whole(
    64 * KiB,
    4 * GiB,
    64 * MiB,
    'Most bytes of subscriptions and assignments of the members of all consumer groups.',
  ),
  groupInitialRebalanceDelayMs: whole(
    0,
    60_000,
    500,
    'How long the first members of a consumer group wait for others, so that they share the partitions at once.',
  ),
  groupSessionTimeoutMinMs: whole(
    1,
    86_400_000,
    6_000,
    'Shortest session timeout that a member of a consumer group may ask for.',
  ),
  groupSessionTimeoutMaxMs: whole(
    1,
    86_400_000,
    1_800_000,
    'Longest session timeout that a member of a consumer group may ask for.',
  ),
  offsetMetadataBytesMax: whole(
    0,
    32_767,
    4_096,
    'Longest text that a client may keep beside a committed offset, bytes.',
  ),
  offsetsRetentionMs: whole(
    1_000,
    Number.MAX_SAFE_INTEGER,
    604_800_000,
    'Committed offsets of a consumer group are removed when it had no members for this time.',
  ),
  // Transactions of Kafka clients
  transactionTimeoutMaxMs: whole(
    1_000,
    900_000,
    900_000,
    'Longest time that a transaction may ask to stay open; then it is aborted. Tables do not see what comes after an open transaction.',
  ),
  transactionPartitionsMax: whole(
    1,
    100_000,
    10_000,
    'Most partitions and groups of one transaction.',
  ),
  transactionalIdsMax: whole(1, 1_000_000, 10_000, 'Most transactional ids that are known.'),
  transactionalIdRetentionMs: whole(
    1_000,
    Number.MAX_SAFE_INTEGER,
    604_800_000,
    'A transactional id that was not used for this time is forgotten.',
  ),
  // Stream and lake
  pollIntervalMs: whole(1, 10_000, 20, 'How often the stream looks for new records.'),
  pollIntervalMsMax: whole(
    1,
    10_000,
    200,
    'While no statement waits, the stream rests after a micro-batch three times as long as that took, nine times when there was none for a second, at most this long.',
  ),
  batchBytesMax: whole(64 * KiB, 256 * MiB, 8 * MiB, 'Most bytes of a micro-batch.'),
  freshBytesMax: whole(
    64 * KiB,
    4 * GiB,
    64 * MiB,
    'Fresh rows of a table are committed at this size, bytes of log.',
  ),
  commitRetryDelayMs: whole(
    10,
    600_000,
    1_000,
    'First delay before a failed commit is tried again; doubled each time, up to a minute.',
  ),
  publishIntervalMs: whole(
    50,
    3_600_000,
    500,
    "How often the folders of tables with format 'hive' are brought up to date with their commits.",
  ),
  // Maintenance of tables
  maintenanceIntervalMs: whole(
    100,
    86_400_000,
    10_000,
    'How often the tables are looked over for small files, old snapshots and files that nothing names.',
  ),
  compactionBytesMax: whole(
    64 * KiB,
    4 * GiB,
    128 * MiB,
    'Data files are merged up to this size, bytes; a day of many such files takes larger ones.',
  ),
  compactionMemoryMiB: whole(64, 65_536, 256, 'Memory that merging data files may use, MiB.'),
  liveFilesMax: whole(
    10,
    10_000,
    50,
    'Most data files of a table, one more for each closed day; more are merged whatever their size.',
  ),
  snapshotAgeMsMin: whole(
    0,
    31_536_000_000,
    3_600_000,
    'The files of a snapshot stay for this long after a newer one took its place: a reader that has just opened the table needs them.',
  ),
  snapshotCountMin: whole(1, 500, 10, 'The newest snapshots that stay, however old.'),
  snapshotCountMax: whole(
    1,
    10_000,
    500,
    'Most snapshots that a table names, also of younger ones: each makes every commit a little longer.',
  ),
  orphanAgeMsMin: whole(
    60_000,
    31_536_000_000,
    86_400_000,
    'A file in the folder of a table that nothing names is removed at this age.',
  ),
  // SQL
  queryConcurrencyMax: whole(1, 64, 8, 'Most statements that run at once.'),
  queryQueueMax: whole(
    0,
    10_000,
    100,
    'Most statements that wait for their turn; more are answered 429.',
  ),
  queryTurnsMax: whole(
    0,
    64,
    0,
    'Of the statements that run, so many begin at once; 0 = as many as there are processors.',
  ),
  queryTurnMs: whole(
    1,
    10_000,
    20,
    'A statement that takes longer lets the next one begin beside it.',
  ),
  queryTimeoutMs: whole(100, 86_400_000, 300_000, 'A statement is cancelled after this time.'),
  catchUpTimeoutMs: whole(
    10,
    600_000,
    10_000,
    'A statement waits this long for what was answered before it.',
  ),
  sqlBytesMax: whole(1 * KiB, 64 * MiB, MiB, 'Longest statement, bytes.'),
  duckdbMemoryMiB: whole(64, 1_048_576, 2048, 'Memory that DuckDB may use, MiB.'),
  duckdbTempMiB: whole(0, 10_485_760, 20_480, 'Disk that DuckDB may use for temporary files, MiB.'),
  duckdbThreads: whole(
    0,
    256,
    0,
    'Threads of DuckDB; 0 = one less than the machine has cores, at least 1: ingest needs one.',
  ),
  // Processes
  drainTimeoutMs: whole(100, 600_000, 30_000, 'A process that is asked to stop has this long.'),
  restartDelayMs: whole(
    0,
    60_000,
    100,
    'First delay before a dead process is started again; doubled each time, up to 5 s.',
  ),
} as const

/** The effective settings: one value for each row. */
export type Settings = {
  readonly [Name in keyof typeof settingRows]: (typeof settingRows)[Name] extends SettingRow<
    infer T
  >
    ? T
    : never
}
export type SettingName = keyof Settings

/** `bodyBytesMax` → `QUESTLOG_BODY_BYTES_MAX`. */
export function environmentName(name: string): string {
  return `QUESTLOG_${name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`
}

/** The names of all settings, in the order of the table. */
export function settingNames(): SettingName[] {
  return Object.keys(settingRows) as SettingName[] // keys of a const object
}

/** Defaults, overridden by `overrides` (the definition file), overridden by the environment. A wrong value names the setting, the text and the rule. */
export function resolveSettings(
  overrides: Readonly<Record<string, unknown>> = {},
  environment: Readonly<Record<string, string | undefined>> = {},
): Settings {
  const settings: Record<string, unknown> = {}
  for (const name of settingNames()) settings[name] = settingRows[name].default
  for (const [name, value] of Object.entries(overrides)) {
    if (!(name in settingRows))
      throw new QuestlogError('SETTING_INVALID', `there is no setting ${name}`, { setting: name })
    settings[name] = parseSetting(
      name as SettingName,
      Array.isArray(value) ? value.join(',') : String(value),
    ) // checked above
  }
  for (const name of settingNames()) {
    const text = environment[environmentName(name)]
    if (text !== undefined) settings[name] = parseSetting(name, text)
  }
  return settings as unknown as Settings // every row was filled above
}

function parseSetting(name: SettingName, text: string): unknown {
  const row = settingRows[name]
  const value = row.parse(text)
  if (value === undefined)
    throw new QuestlogError(
      'SETTING_INVALID',
      `setting ${name} is "${text}", but must be ${row.expects}`,
      { setting: name },
    )
  return value
}
