"""What every script prints: a line `=name<TAB>json` for each thing that it found out."""

import json


def result(name, value):
    print("=%s\t%s" % (name, json.dumps(value)), flush=True)


def error_name(call):
    """The name of the exception that a call raises; None when it raises none."""
    try:
        call()
    except Exception as error:  # the name is what is compared
        return type(error).__name__
    return None
