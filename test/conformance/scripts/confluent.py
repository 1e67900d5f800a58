"""confluent-kafka (librdkafka): idempotence, transactions, groups of each assignor, admin. Arguments: bootstrap server, prefix of the topics."""

import sys
import time

from confluent_kafka import Consumer, IsolationLevel, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic, OffsetSpec, ResourceType
from results import result

bootstrap, prefix = sys.argv[1], sys.argv[2]
common = {"bootstrap.servers": bootstrap}
# Nothing is expected to take long; a slow machine may.
patience = 60
topic = prefix + "-records"


def outcome(future):
    """None, or the name of the error that a future of the admin client or a call gives."""
    try:
        future.result(patience) if hasattr(future, "result") else future()
    except KafkaException as error:
        return error.args[0].name()
    return None


# Topics.
admin = AdminClient(common)
spec = NewTopic(topic, num_partitions=2, replication_factor=1, config={"max.message.bytes": "6000000"})
result("create", outcome(admin.create_topics([spec])[topic]))
result("again", outcome(admin.create_topics([spec])[topic]))
result("bad-name", outcome(admin.create_topics([NewTopic("nosuch!", 1, 1)])["nosuch!"]))
found = admin.list_topics(topic, timeout=patience).topics[topic]
result("partitions", [[p.id, p.leader, p.replicas, p.isrs] for p in found.partitions.values()])
result("brokers", [broker.id for broker in admin.list_topics(timeout=patience).brokers.values()])

# Records in each codec, from an idempotent producer.
delivered = []


def on_delivery(error, message):
    delivered.append([None if error is None else error.name(), message.partition(), message.offset()])


for codec in ["none", "gzip", "snappy", "lz4", "zstd"]:
    producer = Producer({**common, "enable.idempotence": True, "compression.type": codec, "linger.ms": 20})
    for n in range(20):
        producer.produce(topic, "%s %d" % (codec, n), key="k%d" % n, partition=0, headers={"codec": codec}, timestamp=1600000000000 + n, on_delivery=on_delivery)
    producer.flush(patience)
result("delivered", delivered == [[None, 0, n] for n in range(100)])
large = Producer({**common, "message.max.bytes": 6000000, "compression.type": "none"})
large.produce(topic, b"z" * 5000000, partition=1, on_delivery=lambda error, message: result("large", [error and error.name(), message.offset()]))
large.flush(patience)
too_large = Producer({**common, "message.max.bytes": 10000000})
too_large.produce(topic, b"z" * 6500000, partition=1, on_delivery=lambda error, message: result("too-large", error and error.name()))
too_large.flush(patience)


# A consumer that assigns itself.
def consume(partition, offset, count, **config):
    consumer = Consumer({**common, "group.id": prefix + "-alone", "enable.partition.eof": True, "enable.auto.commit": False, **config})
    consumer.assign([TopicPartition(topic, partition, offset)])
    got, deadline = [], time.time() + patience
    while len(got) < count and time.time() < deadline:
        message = consumer.poll(0.2)
        if message is None:
            continue
        if message.error():
            break  # the end of the partition
        got.append(message)
    consumer.close()
    return got


got = consume(0, 0, 1000)
result("values", [m.value().decode() for m in got] == ["%s %d" % (c, n) for c in ["none", "gzip", "snappy", "lz4", "zstd"] for n in range(20)])
result("record", [got[21].key().decode(), list(got[21].timestamp()), [[k, v.decode()] for k, v in got[21].headers()], got[21].offset()])
result("large-read", [len(m.value()) for m in consume(1, 0, 1, **{"fetch.message.max.bytes": 1000})])
consumer = Consumer({**common, "group.id": prefix + "-alone"})
result("watermarks", list(consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=patience)))
result("for-time", [t.offset for t in consumer.offsets_for_times([TopicPartition(topic, 0, 1600000000005)], timeout=patience)])
consumer.close()
specs = {TopicPartition(topic, 0): OffsetSpec.latest(), TopicPartition(topic, 1): OffsetSpec.earliest()}
result("list-offsets", [future.result(patience).offset for future in admin.list_offsets(specs).values()])
result("max-timestamp", [future.result(patience).offset for future in admin.list_offsets({TopicPartition(topic, 0): OffsetSpec.max_timestamp()}).values()])

# Transactions: what is committed is read, what is aborted is not, and an older producer is fenced.
transactional = prefix + "-transactions"
admin.create_topics([NewTopic(transactional, 1, 1)])[transactional].result(patience)


def transaction(values, commit):
    producer.begin_transaction()
    for value in values:
        producer.produce(transactional, value)
    producer.flush(patience)
    (producer.commit_transaction if commit else producer.abort_transaction)(patience)


producer = Producer({**common, "transactional.id": prefix + "-id"})
producer.init_transactions(patience)
transaction(["kept 1", "kept 2"], True)
transaction(["dropped 1", "dropped 2"], False)
transaction(["kept 3"], True)


def read_all(isolation):
    reader = Consumer({**common, "group.id": prefix + "-reader", "enable.partition.eof": True, "isolation.level": isolation})
    reader.assign([TopicPartition(transactional, 0, 0)])
    values, deadline = [], time.time() + patience
    while time.time() < deadline:
        message = reader.poll(0.2)
        if message is not None and message.error():
            break
        if message is not None:
            values.append([message.offset(), message.value().decode()])
    reader.close()
    return values


result("committed", read_all("read_committed"))
result("uncommitted", read_all("read_uncommitted"))
# One that is open hides what follows it from those who read what is committed.
producer.begin_transaction()
producer.produce(transactional, "open")
producer.flush(patience)
plain = Producer(common)
plain.produce(transactional, "after")
plain.flush(patience)
result("while-open", [value for _, value in read_all("read_committed")][-1])
stable = {TopicPartition(transactional, 0): OffsetSpec.latest()}
levels = (IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED)
result("ends-while-open", [list(admin.list_offsets(stable, isolation_level=level).values())[0].result(patience).offset for level in levels])
newer = Producer({**common, "transactional.id": prefix + "-id"})
newer.init_transactions(patience)
result("fenced", outcome(lambda: producer.commit_transaction(patience)))
result("after-fencing", [value for _, value in read_all("read_committed")][-2:])

# Read, work, write, with the offsets in the transaction.
source = Consumer({**common, "group.id": prefix + "-work", "auto.offset.reset": "earliest", "enable.auto.commit": False})
source.subscribe([topic])
read, deadline = [], time.time() + patience
while len(read) < 101 and time.time() < deadline:
    message = source.poll(0.2)
    if message is not None and not message.error():
        read.append(message)
newer.begin_transaction()
newer.produce(transactional, "worked on %d" % len(read))
newer.send_offsets_to_transaction(source.position(source.assignment()), source.consumer_group_metadata(), patience)
newer.commit_transaction(patience)
result("offsets-in-transaction", [t.offset for t in source.committed([TopicPartition(topic, 0), TopicPartition(topic, 1)], timeout=patience)])
source.close()


# Groups: two members share four partitions; when one leaves, the other has them all.
def shared(assignor):
    name = "%s-%s" % (prefix, assignor)
    admin.create_topics([NewTopic(name, 4, 1)])[name].result(patience)
    members = []
    for n in range(2):
        members.append(Consumer({**common, "group.id": name, "partition.assignment.strategy": assignor, "session.timeout.ms": 30000}))
        members[n].subscribe([name])
    counts = poll_until(members, lambda: [len(member.assignment()) for member in members], [2, 2])
    both = sorted(tp.partition for member in members for tp in member.assignment())
    members[0].close()
    rest = poll_until(members[1:], lambda: [len(members[1].assignment())], [4])
    members[1].close()
    return [counts, both, rest]


def poll_until(members, ask, wanted):
    deadline = time.time() + patience
    while ask() != wanted and time.time() < deadline:
        for member in members:
            member.poll(0.1)
    return ask()


for assignor in ["range", "roundrobin", "cooperative-sticky"]:
    result(assignor, shared(assignor))


# A static member that comes back within its session has its partitions again, and the others notice nothing.
def static():
    name = prefix + "-static"
    admin.create_topics([NewTopic(name, 4, 1)])[name].result(patience)
    assignments = []

    def member(n):
        consumer = Consumer({**common, "group.id": name, "group.instance.id": "instance %d" % n, "session.timeout.ms": 60000})
        consumer.subscribe([name], on_assign=lambda _, given: assignments.append(n))
        return consumer

    members = [member(0), member(1)]
    poll_until(members, lambda: [len(each.assignment()) for each in members], [2, 2])
    before = sorted(tp.partition for tp in members[0].assignment())
    members[0].close()
    noticed = assignments.count(1)
    members[0] = member(0)
    poll_until(members, lambda: len(members[0].assignment()), 2)
    same = sorted(tp.partition for tp in members[0].assignment()) == before
    unmoved = assignments.count(1) == noticed
    for each in members:
        each.close()
    return [same, unmoved]


result("static", static())
group = "%s-range" % prefix
result("group-listed", group in [g.group_id for g in admin.list_consumer_groups().result(patience).valid])
described = admin.describe_consumer_groups([group])[group].result(patience)
result("group-described", [described.state.name, len(described.members)])
result("group-deleted", outcome(admin.delete_consumer_groups([group])[group]))

# Configs, partitions, records.
resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[ConfigEntry("retention.ms", "999999999999", incremental_operation=AlterConfigOpType.SET)])
result("alter", outcome(admin.incremental_alter_configs([resource])[resource]))
asked = ConfigResource(ResourceType.TOPIC, topic)
configs = admin.describe_configs([asked])[asked].result(patience)
result("configs", [configs["max.message.bytes"].value, configs["retention.ms"].value, configs["cleanup.policy"].value])
wrong = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[ConfigEntry("retention.ms", "soon", incremental_operation=AlterConfigOpType.SET)])
result("alter-wrong", outcome(admin.incremental_alter_configs([wrong])[wrong]))
result("grow", outcome(admin.create_partitions([NewPartitions(topic, 3)])[topic]))
result("shrink", outcome(admin.create_partitions([NewPartitions(topic, 1)])[topic]))
deleted = admin.delete_records([TopicPartition(topic, 0, 50)])
result("delete-records", [future.result(patience).low_watermark for future in deleted.values()])
result("from-50", [m.offset() for m in consume(0, 50, 1)])
cluster = admin.describe_cluster().result(patience)
result("cluster", [[node.id for node in cluster.nodes], cluster.controller.id])
result("delete-topic", outcome(admin.delete_topics([transactional])[transactional]))
result("delete-unknown", outcome(admin.delete_topics([prefix + "-none"])[prefix + "-none"]))
