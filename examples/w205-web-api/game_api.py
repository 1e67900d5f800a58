"""The game's web API of the write-ups in Flask, with Kafka behind it: each request is an event on the topic `events`.

It needs no change for questlog, which takes the place of the broker. See README.md beside this file.
"""

import json
import os

from flask import Flask, request
from kafka import KafkaProducer

app = Flask(__name__)
producer = KafkaProducer(bootstrap_servers=os.environ.get("KAFKA_SERVERS", "kafka:29092"), acks="all")


def log_to_kafka(event_type, **fields):
    """Resolves once the event is kept: an answer that a player has seen is on the log."""
    event = dict(request.args)
    event.update(request.headers)
    event.update(fields, event_type=event_type)
    producer.send("events", json.dumps(event).encode()).get(timeout=10)


@app.route("/")
def default_response():
    log_to_kafka("default")
    return "This is the default response!\n"


@app.route("/purchase_a_sword")
def purchase_a_sword():
    log_to_kafka("purchase_sword")
    return "\nSword Purchased!\n"


@app.route("/purchase_a_knife")
def purchase_a_knife():
    log_to_kafka("purchase_knife", description="very sharp knife")
    return "Knife Purchased!\n"


@app.route("/join_guild")
def join_guild():
    log_to_kafka("join_guild")
    return "\nGuild joined!\n"
