"""One Spark that runs scripts one after the other. Arguments: the folder of the readers, the Iceberg jar, the catalog's address, the lake folder.

Standard input has a request a line: {"script", "words", "rowsFile"}. What the script prints follows, then a line `=== done` or `=== failed`.
"""

import json
import os
import runpy
import sys
import traceback

from pyspark.sql import SparkSession

readers, jar, uri, lake = sys.argv[1:5]
sys.path.insert(0, readers)
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
iceberg = "org.apache.iceberg.spark.SparkCatalog"
spark = (
    SparkSession.builder.master("local[2]")
    .config("spark.jars", jar)
    .config("spark.ui.enabled", "false")
    .config("spark.ui.showConsoleProgress", "false")
    .config("spark.sql.shuffle.partitions", "2")
    .config("spark.sql.session.timeZone", "UTC")
    .config("spark.driver.memory", "1g")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.sql.extensions", "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions")
    .config("spark.sql.catalog.questlog", iceberg)
    .config("spark.sql.catalog.questlog.type", "rest")
    .config("spark.sql.catalog.questlog.uri", uri)
    .config("spark.sql.catalog.questlog.cache-enabled", "false")
    .config("spark.sql.catalog.lake", iceberg)
    .config("spark.sql.catalog.lake.type", "hadoop")
    .config("spark.sql.catalog.lake.warehouse", "file://" + lake)
    .getOrCreate()
)
spark.sparkContext.setLogLevel("ERROR")

for line in sys.stdin:
    request = json.loads(line)
    sys.argv = [request["script"], *request["words"]]
    os.environ["ROWS"] = request["rowsFile"]
    try:
        runpy.run_path(request["script"], run_name="__main__")
        print("=== done", flush=True)
    except BaseException:  # the test says what went wrong
        traceback.print_exc(file=sys.stdout)
        print("=== failed", flush=True)
spark.stop()
