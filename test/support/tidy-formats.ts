import type { DiskFormat } from './tidy-docs.ts'

/** Every kind of file in a data folder that questlog writes and reads again. */
export const diskFormats: readonly DiskFormat[] = [
  {
    what: 'segments',
    source: 'src/log/segment.ts',
    page: 'docs/internals/log-format.md',
    heading: /segment/i,
  },
  {
    what: 'record batches',
    source: 'src/log/record-batch.ts',
    page: 'docs/internals/log-format.md',
    heading: /record batch/i,
  },
  {
    what: 'indexes',
    source: 'src/log/segment-index.ts',
    page: 'docs/internals/log-format.md',
    heading: /index/i,
  },
  {
    what: 'topics',
    source: 'src/log/meta.ts',
    page: 'docs/internals/log-format.md',
    heading: /meta/i,
  },
  {
    what: 'log starts',
    source: 'src/log/log-start.ts',
    page: 'docs/internals/log-format.md',
    heading: /start file/i,
  },
  {
    what: 'state of Kafka clients',
    source: 'src/log/state-file.ts',
    page: 'docs/internals/log-format.md',
    heading: /state files/i,
  },
  {
    what: 'consumer groups',
    source: 'src/kafka/groups/group-store.ts',
    page: 'docs/internals/log-format.md',
    heading: /groups file/i,
  },
  {
    what: 'aborted transactions',
    source: 'src/log/aborted.ts',
    page: 'docs/internals/log-format.md',
    heading: /index of aborted transactions/i,
  },
  {
    what: 'producer snapshots',
    source: 'src/log/producer-snapshot.ts',
    page: 'docs/internals/log-format.md',
    heading: /producer snapshot/i,
  },
  {
    what: 'the watermark',
    source: 'src/log/watermark.ts',
    page: 'docs/internals/log-format.md',
    heading: /watermark/i,
  },
  {
    what: 'table metadata',
    source: 'src/lake/metadata.ts',
    page: 'docs/internals/lake-format.md',
    heading: /metadata/i,
  },
  {
    what: 'manifests',
    source: 'src/lake/manifest.ts',
    page: 'docs/internals/lake-format.md',
    heading: /manifest/i,
  },
  {
    what: 'manifest lists',
    source: 'src/lake/manifest-list.ts',
    page: 'docs/internals/lake-format.md',
    heading: /manifest/i,
  },
  {
    what: 'Avro containers',
    source: 'src/lake/avro-container.ts',
    page: 'docs/internals/lake-format.md',
    heading: /manifest|avro/i,
  },
  {
    what: 'data files',
    source: 'src/lake/parquet.ts',
    page: 'docs/internals/lake-format.md',
    heading: /data file|parquet/i,
  },
  {
    what: 'published folders',
    source: 'src/app/export-versions.ts',
    page: 'docs/internals/lake-format.md',
    heading: /published folders/i,
  },
  {
    what: 'offsets of a table',
    source: 'src/lake/offsets.ts',
    page: 'docs/internals/stream-format.md',
    heading: /offsets of a table/i,
  },
  {
    what: 'offsets of dead letters',
    source: 'src/stream/set-aside-offsets.ts',
    page: 'docs/internals/stream-format.md',
    heading: /set aside/i,
  },
  {
    what: 'the ledger',
    source: 'src/stream/ledger.ts',
    page: 'docs/internals/stream-format.md',
    heading: /ledger/i,
  },
  {
    what: 'progress',
    source: 'src/stream/progress.ts',
    page: 'docs/internals/stream-format.md',
    heading: /progress/i,
  },
  {
    what: 'definitions',
    source: 'src/plan/store.ts',
    page: 'docs/internals/definition-format.md',
    heading: /definitions on disk/i,
  },
  {
    what: 'the running instance',
    source: 'src/app/instance.ts',
    page: 'docs/internals/run-folder.md',
    heading: /instance/i,
  },
  {
    what: 'backups',
    source: 'src/app/backup-file.ts',
    page: 'docs/internals/backup-format.md',
    heading: /backup\.json/i,
  },
]
