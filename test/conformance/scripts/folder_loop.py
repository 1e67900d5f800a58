"""Reads a published folder again and again while it changes: python folder_loop.py FOLDER STOP_FILE

Every read must be one commit: the rows of one log partition up to some offset, each once, and never fewer than before. A reader may find that a file is gone between listing and opening, or no file at all; then it reads again.
"""

import os
import sys

import pyarrow
import pyarrow.parquet

from results import result

folder, stop = sys.argv[1:3]
reads = again = last = 0
folders = set()
while not os.path.exists(stop):
    try:
        version = os.path.realpath(folder)
        if not os.path.exists(f"{folder}/_SUCCESS") or not any(name.endswith(".parquet") for name in os.listdir(folder)):
            continue
        offsets = sorted(pyarrow.parquet.read_table(folder, columns=["_offset"]).column(0).to_pylist())
    except FileNotFoundError:
        again += 1
        continue
    except pyarrow.ArrowInvalid as error:
        if "No match for FieldRef.Name(_offset)" not in str(error):
            raise
        again += 1
        continue
    if offsets != list(range(len(offsets))):
        raise SystemExit(f"{len(offsets)} rows with offsets up to {offsets[-1]} in {version}")
    if len(offsets) < last:
        raise SystemExit(f"{len(offsets)} rows after {last}")
    last = len(offsets)
    reads += 1
    folders.add(version)
result("reads", reads)
result("again", again)
result("versions", len(folders))
result("rows", last)
