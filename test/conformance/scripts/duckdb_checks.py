"""DuckDB on tables of the stream and on one of its own, through the catalog. Arguments: the folder of the readers, the catalog's address."""

import sys

sys.path.insert(0, sys.argv[1])
from duckdb_extensions import connect
from results import result

connection = connect("avro", "httpfs", "iceberg")
connection.execute(f"ATTACH '' AS q (TYPE iceberg, ENDPOINT '{sys.argv[2]}', AUTHORIZATION_TYPE 'none')")
heroes = "q.default.heroes"


def rows(statement):
    return connection.execute(statement).fetchall()


def message(statement):
    try:
        connection.execute(statement)
    except Exception as error:  # what it says is what is compared
        return str(error)
    return None


def select():
    result("tables", [list(row) for row in rows("select schema, name from (show all tables) where database = 'q' order by all")])
    result("strong", rows(f"select count(*) from {heroes} where level >= 5000000000")[0][0])
    result("max", rows(f"select max(gold) from {heroes}")[0][0])


def time_travel():
    snapshots = [row[0] for row in rows(f"select snapshot_id from iceberg_snapshots({heroes}) order by sequence_number")]
    counts = [rows(f"select count(*) from {heroes} at (version => {snapshot})")[0][0] for snapshot in snapshots]
    result("history-grows", counts == sorted(counts) and counts[0] < counts[-1] == 300)


def refusals():
    result("insert", message(f"insert into {heroes} select * from {heroes} limit 1"))
    result("delete", message(f"delete from {heroes} where level > 0"))
    # DuckDB 1.5 itself can't update rows with maps in lists.
    result("update", message("update q.default.sword_purchases set damage = 1"))
    result("alter", message(f"alter table {heroes} add column luck int"))
    result("drop", message(f"drop table {heroes}"))
    result("rows-after", rows(f"select count(*) from {heroes}")[0][0])


def own_table():
    connection.execute("create schema q.duck_lab")
    mine = "q.duck_lab.mine"
    connection.execute(f"create table {mine} (id bigint, name varchar, tags varchar[])")
    connection.execute(f"insert into {mine} values (1, 'a', ['x']), (9223372036854775807, 'ü', []), (null, null, null)")
    connection.execute(f"update {mine} set name = 'A' where id = 1")
    connection.execute(f"delete from {mine} where id is null")
    result("own", [list(row) for row in rows(f"select * from {mine} order by id")])
    connection.execute(f"drop table {mine}")
    connection.execute("drop schema q.duck_lab")
    result("schemas", [row[0] for row in rows("select schema_name from duckdb_schemas() where database_name = 'q' order by all")])


select()
time_travel()
refusals()
own_table()
