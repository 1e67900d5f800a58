"""kafka-python 2.0 and 3: producer, consumer, group and admin. Arguments: bootstrap server, prefix of the topics."""

import sys
import time

import kafka
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewPartitions, NewTopic
from results import error_name, result

bootstrap, prefix = sys.argv[1], sys.argv[2]
is_3 = kafka.__version__.startswith("3.")
# 2.0 gives up on a broker that does not answer within two seconds.
common = {"bootstrap_servers": bootstrap} if is_3 else {"bootstrap_servers": bootstrap, "api_version_auto_timeout_ms": 60000}
# Nothing is expected to take long; a slow machine may.
patience_s = 60
result("version", kafka.__version__.split(".")[0])

# The admin client: topics.
topic = prefix + "-records"
admin = KafkaAdminClient(**common)
spec = NewTopic(name=topic, num_partitions=2, replication_factor=1, topic_configs={"max.message.bytes": "5242880"})
admin.create_topics([spec])
result("again", error_name(lambda: admin.create_topics([spec])))
result("listed", topic in admin.list_topics())
described = admin.describe_topics([topic])[0]
# 3.x names the fields as the protocol does, and sorts nothing.
partitions = described["partitions"]
result("partitions", sorted((p.get("partition_index", p.get("partition")), p.get("leader_id", p.get("leader"))) for p in partitions))

# A producer in each codec, keys, headers and timestamps.
metadata = []
for codec in [None, "gzip", "snappy", "lz4", "zstd"]:
    producer = KafkaProducer(**common, compression_type=codec, acks="all", linger_ms=5)
    sent = [
        producer.send(
            topic,
            key=b"k%d" % n,
            value=("%s %d" % (codec, n)).encode(),
            partition=0,
            timestamp_ms=1600000000000 + n,
            headers=[("codec", str(codec).encode()), ("empty", b"")],
        )
        for n in range(20)
    ]
    metadata += [future.get(timeout=patience_s) for future in sent]
    producer.close()
result("offsets", [m.offset for m in metadata])
result("send", [metadata[0].topic == topic, metadata[0].partition, metadata[0].timestamp])

first = KafkaProducer(**common, acks=1)
result("acks-1", first.send(topic, value=b"one", partition=1).get(timeout=patience_s).offset)
first.close()
silent = KafkaProducer(**common, acks=0)
silent.send(topic, value=b"two", partition=1).get(timeout=patience_s)
silent.flush()
silent.close()

# A consumer without a group: assign, seek, offsets by name and by time.
consumer = KafkaConsumer(**common, consumer_timeout_ms=1000 * patience_s, enable_auto_commit=False)
zero, one = TopicPartition(topic, 0), TopicPartition(topic, 1)


def read(count):
    got = []
    for record in consumer:
        got.append(record)
        if len(got) == count:
            break
    return got


consumer.assign([zero])
consumer.seek_to_beginning(zero)
got = read(100)
result("values", [r.value.decode() for r in got] == ["%s %d" % (c, n) for c in [None, "gzip", "snappy", "lz4", "zstd"] for n in range(20)])
result("read-offsets", [r.offset for r in got] == list(range(100)))
result("record", [got[21].key.decode(), got[21].timestamp, got[21].timestamp_type, [[k, v.decode()] for k, v in got[21].headers]])
result("partitions-for", sorted(consumer.partitions_for_topic(topic)))
result("beginning", list(consumer.beginning_offsets([zero, one]).values()))
deadline = time.time() + patience_s
while consumer.end_offsets([one])[one] < 2 and time.time() < deadline:
    time.sleep(0.05)  # acks=0 has no answer to wait for
result("end", list(consumer.end_offsets([zero, one]).values()))
found = consumer.offsets_for_times({zero: 1600000000005, one: 4102444800000})
result("for-time", [found[zero].offset, found[zero].timestamp, found[one] is None])
consumer.seek(zero, 97)
result("from-97", [r.value.decode() for r in read(3)])
consumer.close()

# A group: everything once, then nothing; the commit is the end.
group = prefix + "-group"


def in_group(wanted):
    """Reads so many records, and what comes in three seconds more."""
    member = KafkaConsumer(topic, **common, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False)
    count = 0
    deadline = time.time() + patience_s
    while (len(member.assignment()) < 2 or count < wanted) and time.time() < deadline:
        count += sum(len(records) for records in member.poll(timeout_ms=200).values())
    deadline = time.time() + 3
    while time.time() < deadline:
        count += sum(len(records) for records in member.poll(timeout_ms=200).values())
    member.commit()
    committed = [member.committed(zero), member.committed(one)]
    member.close()
    return count, committed


result("group-first", in_group(102))
result("group-again", in_group(0))

# The admin client: groups, configs, partitions.
if is_3:
    result("groups", group in [g["group_id"] for g in admin.list_groups()])
    described = admin.describe_groups([group])[group]
    result("group-state", described["group_state"])
    offsets = admin.list_group_offsets([group])[group]
    result("group-offsets", sorted((tp.partition, o.offset) for tp, o in offsets.items()))
else:
    result("groups", group in [g[0] for g in admin.list_consumer_groups()])
    result("group-state", admin.describe_consumer_groups([group])[0].state)
    offsets = admin.list_consumer_group_offsets(group)
    result("group-offsets", sorted((tp.partition, o.offset) for tp, o in offsets.items()))


def config(name):
    answer = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    if is_3:
        return answer["topic"][topic][name]["value"]
    return {entry[0]: entry[1] for entry in answer[0].resources[0][4]}[name]


result("config", config("max.message.bytes"))
admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": "999999999999"})])
result("config-altered", config("retention.ms"))
admin.create_partitions({topic: NewPartitions(4)})
result("partitions-after", len(admin.describe_topics([topic])[0]["partitions"]))
(admin.delete_groups if is_3 else admin.delete_consumer_groups)([group])
result("groups-after", group in str(admin.list_groups() if is_3 else admin.list_consumer_groups()))
admin.delete_topics([topic])
deadline = time.time() + patience_s
while topic in admin.list_topics() and time.time() < deadline:
    time.sleep(0.05)  # Kafka deletes after it has answered
result("deleted", topic not in admin.list_topics())
result("delete-unknown", error_name(lambda: admin.delete_topics([topic])))
admin.close()
