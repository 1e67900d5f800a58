import type { CommandDef } from 'citty'

/** A command: its words, one line about it, and its code, loaded when it is called. `run` answers with the exit code. */
export interface CommandRow {
  readonly words: readonly string[]
  readonly summary: string
  readonly load: () => Promise<CommandDef>
}

interface CommandGroup {
  readonly title: string
  readonly rows: readonly CommandRow[]
}

/** A command keeps the types of its own arguments; the list forgets them. */
function row(words: string, summary: string, load: () => Promise<unknown>): CommandRow {
  return { words: words.split(' '), summary, load: async () => (await load()) as CommandDef } // made by defineCommand
}

/** All commands, in the order of the overview. */
export const commandGroups: readonly CommandGroup[] = [
  {
    title: 'Run',
    rows: [
      row(
        'init',
        'write a commented questlog.config.ts',
        async () => (await import('./commands/init.ts')).initCommand,
      ),
      row(
        'check',
        'say what the definition file declares, or what is wrong and where',
        async () => (await import('./commands/check.ts')).checkCommand,
      ),
      row(
        'up',
        'start everything (-d: in the background)',
        async () => (await import('./commands/up.ts')).upCommand,
      ),
      row(
        'ps',
        'what runs, and where every event is',
        async () => (await import('./commands/ps.ts')).psCommand,
      ),
      row(
        'logs',
        'what the processes say of themselves',
        async () => (await import('./commands/logs.ts')).logsCommand,
      ),
      row(
        'down',
        'stop; nothing is deleted',
        async () => (await import('./commands/down.ts')).downCommand,
      ),
    ],
  },
  {
    title: 'Ask',
    rows: [
      row(
        'sql',
        'ask the tables; everything answered before is included',
        async () => (await import('./commands/sql.ts')).sqlCommand,
      ),
      row(
        'tail',
        'print the events of a topic, and follow it',
        async () => (await import('./commands/tail.ts')).tailCommand,
      ),
      row(
        'produce',
        'send records to a topic: lines, or the elements of a JSON array',
        async () => (await import('./commands/produce.ts')).produceCommand,
      ),
      row(
        'where',
        'where one answered event is',
        async () => (await import('./commands/where.ts')).whereCommand,
      ),
      row(
        'audit',
        'count everything again, from the log and the tables',
        async () => (await import('./commands/audit.ts')).auditCommand,
      ),
    ],
  },
  {
    title: 'Topics',
    rows: [
      row(
        'topics create',
        'create a topic',
        async () => (await import('./commands/topics-create.ts')).topicsCreateCommand,
      ),
      row(
        'topics list',
        'the names of all topics',
        async () => (await import('./commands/topics-list.ts')).topicsListCommand,
      ),
      row(
        'topics describe',
        'partitions and configs of topics',
        async () => (await import('./commands/topics-describe.ts')).topicsDescribeCommand,
      ),
      row(
        'topics alter',
        'change configs of a topic, or add partitions',
        async () => (await import('./commands/topics-alter.ts')).topicsAlterCommand,
      ),
      row(
        'topics delete',
        'delete a topic and its records',
        async () => (await import('./commands/topics-delete.ts')).topicsDeleteCommand,
      ),
      row(
        'groups list',
        'the names of all consumer groups',
        async () => (await import('./commands/groups-list.ts')).groupsListCommand,
      ),
      row(
        'groups describe',
        'how far a group has read, and who is in it',
        async () => (await import('./commands/groups-describe.ts')).groupsDescribeCommand,
      ),
      row(
        'groups reset',
        'let a group go on at another offset',
        async () => (await import('./commands/groups-reset.ts')).groupsResetCommand,
      ),
      row(
        'groups delete',
        'forget a group and its offsets',
        async () => (await import('./commands/groups-delete.ts')).groupsDeleteCommand,
      ),
      row(
        'log verify',
        'read every segment of the log and check it',
        async () => (await import('./commands/log-verify.ts')).logVerifyCommand,
      ),
    ],
  },
  {
    title: 'Tables',
    rows: [
      row(
        'tables list',
        'the tables: rows, files, snapshots',
        async () => (await import('./commands/tables-list.ts')).tablesListCommand,
      ),
      row(
        'tables describe',
        'columns and types of a table; -o spark for the tree of printSchema()',
        async () => (await import('./commands/tables-describe.ts')).tablesDescribeCommand,
      ),
      row(
        'tables files',
        'the data files of a table',
        async () => (await import('./commands/tables-files.ts')).tablesFilesCommand,
      ),
      row(
        'tables snapshots',
        'the snapshots that can be read',
        async () => (await import('./commands/tables-snapshots.ts')).tablesSnapshotsCommand,
      ),
      row(
        'tables compact',
        'merge the data files of a table',
        async () => (await import('./commands/tables-compact.ts')).tablesCompactCommand,
      ),
      row(
        'tables expire',
        'give up old snapshots, and remove what only they need',
        async () => (await import('./commands/tables-expire.ts')).tablesExpireCommand,
      ),
    ],
  },
  {
    title: 'Keep',
    rows: [
      row(
        'backup',
        'copy log, tables and definitions, also while it runs',
        async () => (await import('./commands/backup.ts')).backupCommand,
      ),
      row(
        'restore',
        'make a data folder of a backup',
        async () => (await import('./commands/restore.ts')).restoreCommand,
      ),
      row(
        'doctor',
        'look at everything that a start depends on',
        async () => (await import('./commands/doctor.ts')).doctorCommand,
      ),
    ],
  },
  {
    title: 'Hand over',
    rows: [
      row(
        'export',
        'write a table or the rows of a SELECT as a folder of Parquet files',
        async () => (await import('./commands/export.ts')).exportCommand,
      ),
      row(
        'tables ddl',
        'the statement that lets Hive, Spark, Trino or DuckDB read an export',
        async () => (await import('./commands/tables-ddl.ts')).tablesDdlCommand,
      ),
      row(
        'fs -ls',
        'list exports as hadoop fs does',
        async () => (await import('./commands/fs-ls.ts')).fsListCommand,
      ),
      row(
        'fs -du',
        'how much room they take',
        async () => (await import('./commands/fs-du.ts')).fsUsageCommand,
      ),
      row(
        'fs -cat',
        'print a file',
        async () => (await import('./commands/fs-cat.ts')).fsCatCommand,
      ),
      row(
        'fs -head',
        'print the first kilobyte of a file',
        async () => (await import('./commands/fs-head.ts')).fsHeadCommand,
      ),
      row(
        'fs -get',
        'copy a file or folder out',
        async () => (await import('./commands/fs-get.ts')).fsGetCommand,
      ),
    ],
  },
  {
    title: 'By the names of other tools, with their usual flags',
    rows: [
      row(
        'kcat',
        'consume, produce and list as kcat does',
        async () => (await import('./commands/kcat.ts')).kcatCommand,
      ),
      row('kafkacat', 'the same', async () => (await import('./commands/kcat.ts')).kcatCommand),
      row(
        'kafka-topics',
        'topics as kafka-topics.sh has them',
        async () => (await import('./commands/kafka-topics.ts')).kafkaTopicsCommand,
      ),
      row(
        'hadoop fs -ls',
        'the same',
        async () => (await import('./commands/fs-ls.ts')).fsListCommand,
      ),
      row(
        'hadoop fs -du',
        'the same',
        async () => (await import('./commands/fs-du.ts')).fsUsageCommand,
      ),
      row(
        'hadoop fs -cat',
        'the same',
        async () => (await import('./commands/fs-cat.ts')).fsCatCommand,
      ),
      row(
        'hadoop fs -head',
        'the same',
        async () => (await import('./commands/fs-head.ts')).fsHeadCommand,
      ),
      row(
        'hadoop fs -get',
        'the same',
        async () => (await import('./commands/fs-get.ts')).fsGetCommand,
      ),
    ],
  },
  {
    title: 'About',
    rows: [
      row(
        'version',
        'the version of this program',
        async () => (await import('./commands/version.ts')).versionCommand,
      ),
    ],
  },
]

/** The command that a command line begins with, and the words after it. */
export function findCommand(argv: readonly string[]): {
  row: CommandRow | undefined
  rest: readonly string[]
} {
  const found = commandGroups
    .flatMap(({ rows }) => rows)
    .find(({ words }) => words.every((word, index) => argv[index] === word))
  return { row: found, rest: argv.slice(found?.words.length ?? 0) }
}
