"""PySpark's Kafka source. Arguments: jars, bootstrap server, topic, folder, FIRST, TOTAL.

Batch: what is there, by earliest and latest, and from offset 4 on. Then a stream: Parquet with a checkpoint, until FIRST records are written;
then another query with the same checkpoint until TOTAL are.
"""

import json
import sys
import time

from pyspark.sql import SparkSession
from results import result

jars, bootstrap, topic, folder, first, total = sys.argv[1:7]
spark = (
    SparkSession.builder.master("local[2]")
    .config("spark.jars", jars)
    .config("spark.ui.enabled", "false")
    .config("spark.ui.showConsoleProgress", "false")
    .config("spark.sql.shuffle.partitions", "1")
    .config("spark.driver.memory", "1g")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.driver.host", "127.0.0.1")
    .getOrCreate()
)
spark.sparkContext.setLogLevel("ERROR")


def options(reader):
    return reader.format("kafka").option("kafka.bootstrap.servers", bootstrap).option("subscribe", topic).option("kafka.max.partition.fetch.bytes", "5242880")


def batch():
    everything = options(spark.read).option("startingOffsets", "earliest").option("endingOffsets", "latest").load()
    result("schema", ["%s %s" % (field.name, field.dataType.simpleString()) for field in everything.schema.fields])
    text = everything.selectExpr("CAST(key AS STRING) k", "CAST(value AS STRING) v", "topic", "partition", "offset", "timestampType").orderBy("offset").collect()
    result("rows", [[row.k, row.v, row.topic, row.partition, row.offset, row.timestampType] for row in text])
    result("shown", everything.orderBy("offset")._jdf.showString(1, 20, False).split("\n")[3])
    ranged = options(spark.read).option("startingOffsets", json.dumps({topic: {"0": 4}})).option("endingOffsets", "latest").load()
    result("from-4", [row.offset for row in ranged.orderBy("offset").collect()])
    between = options(spark.read).option("startingOffsets", json.dumps({topic: {"0": 1}})).option("endingOffsets", json.dumps({topic: {"0": 3}})).load()
    result("from-1-to-3", sorted(row.offset for row in between.collect()))


def stream(first, total):
    source = options(spark.readStream).option("startingOffsets", "earliest").option("failOnDataLoss", "true").load()
    for wanted in (first, total):
        query = (
            source.selectExpr("CAST(value AS STRING) AS value", "partition", "offset")
            .writeStream.format("parquet")
            .option("path", folder + "/rows")
            .option("checkpointLocation", folder + "/checkpoint")
            .trigger(processingTime="200 milliseconds")
            .start()
        )
        deadline = time.time() + 600
        while written() < wanted and query.isActive and time.time() < deadline:
            time.sleep(0.2)
        if query.exception() is not None:
            raise query.exception()
        query.stop()
        result("written-%d" % wanted, written() >= wanted)
    rows = spark.read.parquet(folder + "/rows")
    result("distinct", rows.select("partition", "offset").distinct().count())
    result("rows_written", rows.count())
    result("last", rows.agg({"offset": "max"}).collect()[0][0])


def written():
    try:
        return spark.read.parquet(folder + "/rows").count()
    except Exception:  # nothing was written yet
        return 0


batch()
stream(int(first), int(total))
spark.stop()
