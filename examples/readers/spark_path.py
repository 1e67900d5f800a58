"""Spark by path, also while questlog is stopped: spark-submit --jars iceberg-spark-runtime-4.1_2.13-1.11.0.jar spark_path.py questlog-data/lake default.sword_purchases"""
import os
import sys
from pathlib import Path

from pyspark.sql import SparkSession

from spark_summary import show_spark

lake, name = sys.argv[1:3]
builder = SparkSession.builder.appName("readers").config("spark.ui.enabled", "false")
for key, value in {
    "spark.jars": os.environ.get("ICEBERG_JAR", ""),
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
    "spark.sql.catalog.lake": "org.apache.iceberg.spark.SparkCatalog",
    "spark.sql.catalog.lake.type": "hadoop",
    "spark.sql.catalog.lake.warehouse": Path(lake).resolve().as_uri(),
}.items():
    builder = builder.config(key, value)
show_spark(builder.getOrCreate().table(f"lake.{name}"))
