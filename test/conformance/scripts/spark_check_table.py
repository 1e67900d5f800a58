"""Runs the statements that `questlog tables ddl` prints, and counts: spark_check_table.py STATEMENTS TABLE COLUMN"""

import sys

from pyspark.sql import SparkSession

from results import result

statements, table, column = sys.argv[1:4]
spark = SparkSession.builder.getOrCreate()
for statement in statements.split(";\n"):
    if statement.strip():
        spark.sql(statement)
row = spark.sql(f"select count(*), sum(_offset), count({column}) from {table}").first()
result("seen", list(row))
