"""Spark on a table of the stream and on one of its own, in the session of spark_readers.py."""

from pyspark.sql import SparkSession
from results import result

spark = SparkSession.builder.getOrCreate()
heroes = "questlog.default.heroes"


def one(statement):
    return spark.sql(statement).collect()[0][0]


def message(statement):
    try:
        spark.sql(statement).collect()
    except Exception as error:  # what it says is what is compared
        return str(error)
    return None


def select():
    result("tables", sorted(row.tableName for row in spark.sql("show tables in questlog.default").collect()))
    result("strong", one(f"select count(*) from {heroes} where level >= 5000000000"))
    # Columns of plain types only: a vectorized reader would take them.
    result("widened-sum", one(f"select sum(level) from {heroes}"))
    result("max", one(f"select max(gold) from {heroes}"))
    result("described", {row.col_name: row.data_type for row in spark.sql(f"describe {heroes}").collect() if row.col_name in ("level", "scores", "home", "seen")})


def time_travel():
    snapshots = [row.snapshot_id for row in spark.sql(f"select snapshot_id from {heroes}.snapshots order by committed_at").collect()]
    counts = [one(f"select count(*) from {heroes} version as of {snapshot}") for snapshot in snapshots]
    result("history-grows", counts == sorted(counts) and counts[0] < counts[-1] == 300)


def compact():
    before = one(f"select count(*) from {heroes}.files")
    row = spark.sql("call questlog.system.rewrite_data_files(table => 'default.heroes', options => map('rewrite-all', 'true'))").collect()[0]
    after = one(f"select count(*) from {heroes}.files")
    result("compacted", [row.rewritten_data_files_count == before, after < before, one(f"select count(*) from {heroes}")])


def refusals():
    versions = f"select count(*) from {heroes}.metadata_log_entries"
    before = one(versions)
    result("insert", message(f"insert into {heroes} select * from {heroes} limit 1"))
    result("delete-all", message(f"delete from {heroes}"))
    result("delete-where", message(f"delete from {heroes} where _offset < 10"))
    result("update", message(f"update {heroes} set level = 1 where _offset < 10"))
    result("overwrite", message(f"insert overwrite {heroes} select * from {heroes} where _offset < 10"))
    result("alter", message(f"alter table {heroes} add column luck int"))
    result("drop", message(f"drop table {heroes}"))
    result("unchanged", [one(versions) == before, one(f"select count(*) from {heroes}")])


def own_table():
    spark.sql("create namespace questlog.spark_lab")
    mine = "questlog.spark_lab.mine"
    spark.sql(f"create table {mine} (id bigint, name string) using iceberg partitioned by (bucket(4, id))")
    spark.sql(f"insert into {mine} values (1, 'a'), (9223372036854775807, 'ü'), (null, null)")
    spark.sql(f"alter table {mine} add column extra int")
    spark.sql(f"update {mine} set extra = 7 where id = 1")
    spark.sql(f"delete from {mine} where id is null")
    result("own", [list(row) for row in spark.sql(f"select * from {mine} order by id").collect()])
    spark.sql(f"create table questlog.spark_lab.copy using iceberg as select Host, count(*) as n from questlog.default.sword_purchases group by Host")
    result("own-copy", [list(row) for row in spark.sql("select * from questlog.spark_lab.copy order by Host").collect()])
    spark.sql("drop table questlog.spark_lab.copy purge")
    spark.sql(f"drop table {mine} purge")
    spark.sql("drop namespace questlog.spark_lab")


select()
time_travel()
refusals()
compact()
own_table()
