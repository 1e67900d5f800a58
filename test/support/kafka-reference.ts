import { apiNames, apis } from '../../src/kafka/apis.ts'

interface LeftOut {
  readonly what: string
  readonly why: string
}

/** Requests, versions and behaviours of Kafka that are not here. */
const leftOut: readonly LeftOut[] = [
  {
    what: 'Record formats 0 and 1 (clients older than Kafka 0.11; Produce 0 to 2, Fetch 0 to 3)',
    why: 'Batches are kept as they come; older formats would have to be converted both ways. Produce and Fetch are still announced from version 0: librdkafka and librdkafka-based clients leave out compression otherwise.',
  },
  {
    what: 'SaslHandshake (17), SaslAuthenticate (36), TLS, ACLs (29 to 31), delegation tokens (38 to 41), SCRAM users (50, 51)',
    why: 'The listener is meant for this machine. Put a proxy with TLS in front, or a real Kafka, when others must reach it.',
  },
  {
    what: 'ConsumerGroupHeartbeat and -Describe (68, 69; KIP-848), share groups (76 to 79, KIP-932), streams groups (88, 89; KIP-1071)',
    why: 'Clients use the classic protocol unless they are told otherwise (`group.protocol`).',
  },
  {
    what: 'DescribeTopicPartitions (75)',
    why: 'Clients ask Metadata instead when it is not offered; topics have few partitions here.',
  },
  {
    what: 'AddPartitionsToTxn 4 and 5, EndTxn 5, TxnOffsetCommit 5 and InitProducerId 6 (second part of KIP-890, KIP-939), WriteTxnMarkers (27)',
    why: 'Versions 4 and 5 of the first are for requests between brokers, as is the last. Where EndTxn 5 is not offered, clients name each partition of a transaction first, as they always did.',
  },
  {
    what: 'DescribeProducers (61), DescribeTransactions (65), ListTransactions (66)',
    why: 'Tools for hanging transactions; those end by themselves after their timeout.',
  },
  {
    what: 'Incremental fetch sessions (KIP-227)',
    why: 'They save bytes with thousands of partitions. Session id 0 tells clients to send full requests, which all do.',
  },
  {
    what: 'Replicas: ElectLeaders (43), partition reassignments (45, 46), log folders (34, 35), brokers and the Raft quorum (52 to 56, 58, 59, 62 to 64, 67, 70, 73, 80 to 82)',
    why: 'There is one node. Replication factor 1 (or -1, the default) is taken, any other is refused with error 38.',
  },
  {
    what: 'Quotas (48, 49), client telemetry (71, 72), UpdateFeatures (57), ListConfigResources (74)',
    why: 'Memory and connections are bounded by settings instead; metrics are those of questlog.',
  },
  {
    what: 'Versions above those in the table',
    why: 'They add what only a cluster, tiered storage or newer group protocols need. A client takes the newest version that both sides know.',
  },
  {
    what: 'Log compaction (`cleanup.policy=compact`)',
    why: 'The config is kept and shown, as Kafka Connect wants it, and every record stays.',
  },
]

/** docs/reference/kafka-apis.md, from the table of messages. */
export function kafkaApisPage(): string {
  const rows = apiNames
    .toSorted((one, other) => apis[one].key - apis[other].key)
    .map((name) => {
      const { key, minVersion, maxVersion, doc, kips } = apis[name]
      return `| ${key} | ${title(name)} | ${minVersion} – ${maxVersion} | ${doc} | ${kips.map(String).join(', ')} |`
    })
  return `# The Kafka protocol

What the Kafka listener answers. Names, fields and error codes are those of Kafka's own
[protocol guide](https://kafka.apache.org/protocol). Every client that asks for ApiVersions first (all current ones do) finds versions that both
know. The Kafka improvement proposals (KIP) tell which behaviours a row includes.

| key | request | versions | what it does | KIP |
|---|---|---|---|---|
${rows.join('\n')}

## Left out

| what | why |
|---|---|
${leftOut.map(({ what, why }) => `| ${what} | ${why} |`).join('\n')}
`
}

function title(name: string): string {
  return name.charAt(0).toUpperCase() + name.slice(1)
}
