"""Reads again and again until standard input ends: PyIceberg through the catalog, DuckDB by path, an export. Arguments: the catalog's address, the table's folder, the export.

Prints `reads N` once each reader has read N more times. At the end what went wrong, and how often each has read.
"""

import json
import sys
import threading
import time
from pathlib import Path

import duckdb
import duckdb_extension_avro
import duckdb_extension_iceberg
import pyarrow.dataset
import requests
from pyiceberg.catalog import load_catalog
from results import result

uri, table, export = sys.argv[1:4]
stopped = threading.Event()
reads = {}
failures = []


def run(name, read):
    before = 0
    while not stopped.is_set():
        try:
            seen = read()
        except (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError):
            time.sleep(0.1)  # the process was killed: nobody answers until it is back
            continue
        except Exception as error:  # the test says what went wrong
            failures.append([name, repr(error)[:2000]])
            stopped.wait(0.5)
            continue
        count, distinct = seen
        if count != distinct:
            failures.append([name, "%d rows at %d places" % seen])
        if count < before:
            failures.append([name, "%d rows after %d" % (count, before)])
        before = count
        reads[name] = reads.get(name, 0) + 1


def counted(rows):
    places = set(zip(rows["_log_partition"].to_pylist(), rows["_offset"].to_pylist()))
    return rows.num_rows, len(places)


def read_by_catalog():
    # Without a client that is kept: it would give up for good what was only away for a second.
    catalog = load_catalog("questlog", type="rest", uri=uri)
    return counted(catalog.load_table("default.events").scan(selected_fields=("_log_partition", "_offset")).to_arrow())


connection = duckdb.connect()
for package in (duckdb_extension_avro, duckdb_extension_iceberg):
    for file in Path(package.__file__).parent.rglob("v%s/*.duckdb_extension" % duckdb.__version__):
        connection.load_extension(str(file))


def read_by_path():
    metadata = Path(table) / "metadata"
    version = (metadata / "version-hint.text").read_text().strip()
    query = "SELECT count(*), count(DISTINCT (_log_partition, _offset)) FROM iceberg_scan(?)"
    return connection.execute(query, ["%s/v%s.metadata.json" % (metadata, version)]).fetchone()


def read_export():
    return counted(pyarrow.dataset.dataset(export, format="parquet").to_table(columns=["_log_partition", "_offset"]))


threads = [
    threading.Thread(target=run, args=each)
    for each in (("catalog", read_by_catalog), ("path", read_by_path), ("export", read_export))
]
for thread in threads:
    thread.start()
for line in sys.stdin:
    wanted = {name: reads.get(name, 0) + int(line) for name in ("catalog", "path", "export")}
    while any(reads.get(name, 0) < count for name, count in wanted.items()) and len(failures) < 10:
        time.sleep(0.02)
    print("reads", json.dumps(reads), flush=True)
stopped.set()
for thread in threads:
    thread.join()
result("failures", failures)
result("reads", reads)
