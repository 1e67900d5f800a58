"""Tables of DuckDB and PyIceberg in the catalog. Arguments: write or read, the folder of the readers, the catalog's address."""

import sys

import pyarrow as pa
from pyiceberg.catalog import load_catalog

mode, readers, uri = sys.argv[1:4]
sys.path.insert(0, readers)
from duckdb_extensions import connect
from results import result

connection = connect("avro", "httpfs", "iceberg")
connection.execute(f"ATTACH '' AS q (TYPE iceberg, ENDPOINT '{uri}', AUTHORIZATION_TYPE 'none')")
catalog = load_catalog("questlog", type="rest", uri=uri)


def write():
    """DuckDB leaves files of position deletes, which name data files by their paths."""
    connection.execute("create schema q.lab")
    connection.execute("create table q.lab.old (id bigint, name varchar)")
    connection.execute("insert into q.lab.old select range, 'n' || range from range(100)")
    connection.execute("delete from q.lab.old where id % 3 = 0")
    connection.execute("update q.lab.old set name = 'changed' where id = 50")
    catalog.rename_table("lab.old", "lab.kept")
    mine = catalog.create_table("lab.mine", schema=pa.schema([("id", pa.int64())]))
    for id in (1, 2):
        mine.append(pa.table({"id": [id]}))


def read():
    kept = "q.lab.kept"
    result("duckdb", list(connection.execute(f"select count(*), sum(id)::bigint, count(*) filter (name = 'changed') from {kept}").fetchone()))
    rows = catalog.load_table("lab.kept").scan().to_arrow()
    result("pyiceberg", [rows.num_rows, sum(rows["id"].to_pylist()), rows["name"].to_pylist().count("changed")])
    mine = catalog.load_table("lab.mine")
    result("past", [mine.scan(snapshot_id=entry.snapshot_id).count() for entry in mine.history()])
    connection.execute(f"insert into {kept} values (1000, 'later')")
    mine.append(pa.table({"id": [3]}))
    result("goes-on", [catalog.load_table("lab.kept").scan().count(), catalog.load_table("lab.mine").scan().count()])


write() if mode == "write" else read()
