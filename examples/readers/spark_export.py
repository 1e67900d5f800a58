"""Spark on an export, as the write-ups' notebook reads it: spark-submit spark_export.py questlog-data/exports/tmp/purchases"""
import sys

from pyspark.sql import SparkSession

from spark_summary import show_spark

spark = (
    SparkSession.builder.appName("readers")
    .config("spark.ui.enabled", "false")
    .config("spark.sql.session.timeZone", "UTC")
    .getOrCreate()
)
purchases = spark.read.parquet(sys.argv[1])
purchases.show()
purchases.createOrReplaceTempView("purchases")
one_host = spark.sql("select * from purchases where Host = 'user1.comcast.com'")
print("user1.comcast.com", one_host.count())
print(one_host.toPandas().describe())
show_spark(purchases)
