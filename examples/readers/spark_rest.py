"""Spark through the catalog: spark-submit --jars iceberg-spark-runtime-4.1_2.13-1.11.0.jar spark_rest.py http://127.0.0.1:8080/iceberg default.sword_purchases"""
import os
import sys

from pyspark.sql import SparkSession

from spark_summary import show_spark

uri, name = sys.argv[1:3]
builder = SparkSession.builder.appName("readers").config("spark.ui.enabled", "false")
for key, value in {
    "spark.jars": os.environ.get("ICEBERG_JAR", ""),
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
    "spark.sql.catalog.questlog": "org.apache.iceberg.spark.SparkCatalog",
    "spark.sql.catalog.questlog.type": "rest",
    "spark.sql.catalog.questlog.uri": uri,
    "spark.sql.catalog.questlog.cache-enabled": "false",
}.items():
    builder = builder.config(key, value)
spark = builder.getOrCreate()
show_spark(spark.table(f"questlog.{name}"))
