"""Sends the numbers from 0 on as records, whatever happens to the broker meanwhile. Arguments: bootstrap server, topic, how many, `idempotent` or `plain`.

Prints a line `delivered N` after every thousandth answer. Each line of standard input is a number that it does not go beyond until the next line comes; after
the last line there is no bound.
"""

import sys
import threading
import time

from confluent_kafka import Producer
from results import result

bootstrap, topic, count, kind = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
delivered = 0
failed = []


def on_delivery(error, message):
    global delivered
    if error is not None:
        failed.append([error.name(), int(message.value())])
        return
    delivered += 1
    if delivered % 1000 == 0:
        print("delivered", delivered, flush=True)


bound = 0


def read_bounds():
    global bound
    for line in sys.stdin:
        bound = int(line)
    bound = count


threading.Thread(target=read_bounds, daemon=True).start()
producer = Producer(
    {
        "bootstrap.servers": bootstrap,
        "enable.idempotence": kind == "idempotent",
        "acks": "all",
        "linger.ms": 2,
        "batch.num.messages": 100,
        # So that it can't run far ahead of what is answered.
        "queue.buffering.max.messages": 1000,
        "message.timeout.ms": 300000,
        "reconnect.backoff.ms": 20,
        "reconnect.backoff.max.ms": 200,
        "retry.backoff.ms": 20,
    }
)
for n in range(count):
    while n >= bound:
        producer.poll(0.01)
    while True:
        try:
            producer.produce(topic, str(n), on_delivery=on_delivery)
            break
        except BufferError:
            producer.poll(0.1)
    producer.poll(0)
    # About 4,000 a second, so that who watches can act between them.
    if n % 20 == 0:
        time.sleep(0.005)
left = producer.flush(300)
result("delivered", delivered)
result("failed", failed[:10])
result("left", left)
