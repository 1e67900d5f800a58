"""PyIceberg on a table of the stream and on one of its own. Arguments: the catalog's address."""

import sys

import pyarrow as pa
from pyiceberg.catalog import load_catalog
from pyiceberg.expressions import And, EqualTo, GreaterThanOrEqual, LessThan
from pyiceberg.types import LongType
from results import error_name, result

catalog = load_catalog("questlog", type="rest", uri=sys.argv[1])
heroes = catalog.load_table("default.heroes")


def message(change):
    try:
        change()
    except Exception as error:  # what it says is what is compared
        return str(error)
    return None


def files(row_filter):
    return len(list(heroes.scan(row_filter=row_filter).plan_files()))


def filters():
    every = list(heroes.scan().plan_files())
    result("prunes", files(GreaterThanOrEqual("level", 5_000_000_000)) < len(every))
    result("prunes-all", files(EqualTo("level", 7_000_000_000)))
    one = And(EqualTo("_log_partition", 0), LessThan("_offset", 10))
    result("one-place", [files(one) < len(every), heroes.scan(row_filter=one).to_arrow().num_rows])
    rows = heroes.scan(row_filter=EqualTo("name", 'O\'Brien "the bold"'), selected_fields=("name",)).to_arrow()
    result("by-name", [rows.num_rows, rows.column_names])


def time_travel():
    counts = []
    for snapshot in heroes.history():
        counts.append(heroes.scan(snapshot_id=snapshot.snapshot_id).count())
    result("history-grows", counts == sorted(counts) and counts[0] < counts[-1] == 300)
    first = heroes.scan(snapshot_id=heroes.history()[-1].snapshot_id).to_arrow()
    result("last-snapshot", first.num_rows)


def add_column():
    with heroes.update_schema() as update:
        update.add_column("luck", LongType())


def refusals():
    result("add-column", error_name(add_column))
    result("drop", error_name(lambda: catalog.drop_table("default.heroes")))
    rows = heroes.scan(row_filter=LessThan("_offset", 10)).to_arrow()
    before = heroes.metadata_location
    result("append", message(lambda: heroes.append(rows)))
    result("overwrite", message(lambda: heroes.overwrite(rows)))
    result("delete", message(lambda: heroes.delete("_offset < 10")))
    result("delete-all", message(lambda: heroes.delete()))
    result("expire", message(lambda: heroes.maintenance.expire_snapshots().by_id(heroes.history()[0].snapshot_id).commit()))
    result("unchanged", heroes.refresh().metadata_location == before)
    result("unknown", error_name(lambda: catalog.load_table("default.nothing")))


def own_table():
    catalog.create_namespace("lab")
    rows = pa.table({"id": pa.array([1, 2**62 + 1, None], pa.int64()), "name": ["a", "b", "ü"], "tags": [["x"], [], None]})
    mine = catalog.create_table("lab.mine", schema=rows.schema)
    mine.append(rows)
    with mine.update_schema() as update:
        update.add_column("extra", LongType())
        update.rename_column("name", "title")
    mine.append(pa.table({"id": pa.array([4], pa.int64()), "title": ["d"], "tags": pa.array([["y"]]), "extra": pa.array([9], pa.int64())}))
    mine = catalog.load_table("lab.mine")
    result("own", sorted(mine.scan().to_arrow().to_pylist(), key=lambda row: str(row["title"])))
    mine.overwrite(pa.table({"id": pa.array([5], pa.int64()), "title": ["e"], "tags": pa.array([["z"]]), "extra": pa.array([1], pa.int64())}))
    result("own-overwritten", mine.scan().count())
    result("own-before", mine.scan(snapshot_id=mine.history()[0].snapshot_id).count())
    stale = catalog.load_table("lab.mine")
    mine.append(rows.slice(0, 1).rename_columns(["id", "title", "tags"]))
    with stale.update_schema() as update:
        update.add_column("late", LongType())
    result("own-columns", [field.name for field in catalog.load_table("lab.mine").schema().fields])
    catalog.rename_table("lab.mine", "lab.yours")
    result("own-names", [name[1] for name in catalog.list_tables("lab")])
    catalog.drop_table("lab.yours", purge_requested=True)
    catalog.drop_namespace("lab")
    result("namespaces", [name[0] for name in catalog.list_namespaces()])


filters()
time_travel()
refusals()
own_table()
