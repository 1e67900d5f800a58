"""Producers and consumers of each kind at once, until standard input ends, whatever happens to the broker. Each keeps what it did and saw.

Arguments: bootstrap server, topic, partitions, seed, file. The file gets one JSON object a line: the operations of history.ts.
Prints `started`, then twice a second a line `counts JSON`: how many records were acknowledged and read, how many transactions were committed and aborted.
"""

import json
import random
import sys
import threading
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

bootstrap, topic, partitions, seed, path = sys.argv[1:6]
partitions = int(partitions)
common = {
    "bootstrap.servers": bootstrap,
    "reconnect.backoff.ms": 20,
    "reconnect.backoff.max.ms": 200,
    "retry.backoff.ms": 20,
    # Shorter than a lost answer is waited for, longer than a slow machine thinks.
    "socket.timeout.ms": 20000,
    "log_level": 0,
}
admin = AdminClient(common)
admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(60)
operations = []
lock = threading.Lock()
enough = threading.Event()
stopping = threading.Event()
counts = {"acknowledged": 0, "polled": 0, "commit": 0, "abort": 0}


def count(name):
    with lock:
        counts[name] = counts.get(name, 0) + 1


def note(**operation):
    with lock:
        operations.append(operation)


class Sender:
    """A producer's records, in the order in which they were sent, each with the answer that it got."""

    def __init__(self, name, config):
        self.name, self.chance = name, random.Random("%s %s" % (seed, name))
        self.config = {**common, "acks": "all", "linger.ms": 2, "message.timeout.ms": 300000, **config}
        self.producer = Producer(self.config)
        self.sends = []

    def send(self, transaction=None):
        operation = {"kind": "send", "producer": self.name, "value": "%s-%d" % (self.name, len(self.sends)), "outcome": "unknown"}
        operation["partition"] = self.chance.randrange(partitions)
        if transaction is not None:
            operation["transaction"] = transaction
        self.sends.append(operation)

        def on_delivery(error, message):
            # What failed may have been kept all the same: the answer may have been lost.
            if error is None:
                operation.update(outcome="acknowledged", offset=message.offset())
                count("acknowledged")

        self.producer.produce(topic, operation["value"], partition=operation["partition"], on_delivery=on_delivery)

    def run(self):
        while not enough.is_set():
            try:
                self.send()
            except BufferError:
                self.sends.pop()
            self.producer.poll(0.002)
        self.producer.flush(300)


class Transactional(Sender):
    def begin(self):
        while True:
            try:
                self.producer.init_transactions(10)
                return
            except KafkaException as error:
                if not error.args[0].retriable():
                    self.producer = Producer(self.config)

    def run(self):
        self.begin()
        number = 0
        while not enough.is_set():
            name = "%s transaction %d" % (self.name, number)
            number += 1
            outcome = "unknown"
            try:
                self.producer.begin_transaction()
                for _ in range(self.chance.randrange(1, 6)):
                    self.send(name)
                outcome = self.finish("commit" if self.chance.random() < 0.6 else "abort")
            except KafkaException as error:
                outcome = self.recover(error)
            note(kind="end", transaction=name, outcome=outcome)
            count(outcome)
        # Whatever is left open is ended by who takes the id over.
        self.producer = Producer(self.config)
        self.begin()

    def finish(self, outcome):
        while True:
            try:
                (self.producer.commit_transaction if outcome == "commit" else self.producer.abort_transaction)(10)
                return outcome
            except KafkaException as error:
                if not error.args[0].retriable():
                    raise

    def recover(self, error):
        if error.args[0].txn_requires_abort():
            try:
                return self.finish("abort")
            except KafkaException:
                pass
        self.producer = Producer(self.config)
        self.begin()
        return "unknown"


def poll(consumer, name):
    message = consumer.poll(0.1)
    if message is not None and message.error() is None:
        note(kind="poll", consumer=name, partition=message.partition(), offset=message.offset(), value=message.value().decode())
        count("polled")
        return message
    return None


def committed(group, **config):
    return Consumer({**common, "group.id": "%s-%s" % (topic, group), "isolation.level": "read_committed", "auto.offset.reset": "earliest", **config})


def alone(name):
    """Reads every partition, and goes back to some offset now and then."""
    chance = random.Random("%s %s" % (seed, name))
    consumer = committed(name, **{"enable.auto.commit": False})
    seen = {}

    def assign():
        start = {p: chance.randrange(seen.get(p, 0) + 1) for p in range(partitions)}
        for partition, offset in start.items():
            note(kind="assign", consumer=name, partition=partition, offset=offset)
        consumer.assign([TopicPartition(topic, p, offset) for p, offset in start.items()])

    assign()
    while not stopping.is_set():
        message = poll(consumer, name)
        if message is not None:
            seen[message.partition()] = max(message.offset(), seen.get(message.partition(), 0))
            if chance.random() < 0.0005:
                assign()
    consumer.close()


def member(name):
    """Shares the partitions with the other members of its group."""
    consumer = committed("group", **{"session.timeout.ms": 6000, "auto.commit.interval.ms": 200})

    def on_assign(_, given):
        for each in given:
            note(kind="assign", consumer=name, partition=each.partition, offset=None)

    consumer.subscribe([topic], on_assign=on_assign)
    while not stopping.is_set():
        poll(consumer, name)
    consumer.close()


def read_all(name):
    consumer = committed(name, **{"enable.auto.commit": False, "enable.partition.eof": True})
    for partition in range(partitions):
        note(kind="assign", consumer=name, partition=partition, offset=0)
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    ended = set()
    while len(ended) < partitions:
        message = consumer.poll(0.1)
        if message is None:
            continue
        if message.error() is not None:
            # Other errors pass: a connection that was cut, for one.
            if message.error().code() == KafkaError._PARTITION_EOF:
                ended.add(message.partition())
        else:
            note(kind="poll", consumer=name, partition=message.partition(), offset=message.offset(), value=message.value().decode())
    consumer.close()


idempotent = {"enable.idempotence": True}
senders = [
    Sender("idempotent-0", idempotent),
    Sender("idempotent-1", {**idempotent, "compression.type": "lz4"}),
    Sender("plain-0", {"enable.idempotence": False}),
    Transactional("transactional-0", {"transactional.id": topic + "-0", "transaction.timeout.ms": 300000}),
    Transactional("transactional-1", {"transactional.id": topic + "-1", "transaction.timeout.ms": 300000}),
]
sending = [threading.Thread(target=sender.run) for sender in senders]
reading = [threading.Thread(target=alone, args=["alone-%d" % n]) for n in range(2)]
reading += [threading.Thread(target=member, args=["member-%d" % n]) for n in range(2)]
for thread in sending + reading:
    thread.start()
print("started", flush=True)


def tell():
    while not stopping.wait(0.5):
        with lock:
            told = json.dumps(counts)
        print("counts", told, flush=True)


telling = threading.Thread(target=tell)
telling.start()
sys.stdin.read()
enough.set()
for thread in sending:
    thread.join()
print("sent", flush=True)
time.sleep(1)
stopping.set()
for thread in [*reading, telling]:
    thread.join()
read_all("last")
with open(path, "w", encoding="utf-8") as file:
    for sender in senders:
        operations.extend(sender.sends)
    for operation in operations:
        file.write(json.dumps(operation) + "\n")
