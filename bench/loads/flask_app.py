"""The routes of the example in Flask, as a web API is usually begun: the event is a line of JSON in a file, handed to the
operating system and not synced; no log, no tables. Arguments: port, file."""

import json
import sys

from flask import Flask, request

app = Flask(__name__)
log = open(sys.argv[2], "a", encoding="utf-8")


def keep(event_type):
    event = {"event_type": event_type}
    event.update(request.args)
    event.update(request.headers)
    log.write(json.dumps(event) + "\n")
    log.flush()


@app.route("/")
def default_response():
    keep("default")
    return "This is the default response!\n"


@app.route("/purchase_a_sword")
def purchase_a_sword():
    keep("purchase_sword")
    return "\nSword Purchased!\n"


@app.route("/join_guild")
def join_guild():
    keep("join_guild")
    return "\nGuild joined!\n"


@app.route("/join_the_guild")
def join_the_guild():
    keep("join_guild")
    return "You Joined the Guild!\n"


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(sys.argv[1]))
