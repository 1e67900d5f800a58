"""DuckDB with its iceberg extension through the catalog: python duckdb_rest.py http://127.0.0.1:8080/iceberg default.sword_purchases"""
import sys

from duckdb_extensions import connect
from summary import show

uri, name = sys.argv[1:3]
connection = connect("avro", "httpfs", "iceberg")
connection.execute(f"ATTACH '' AS questlog (TYPE iceberg, ENDPOINT '{uri}', AUTHORIZATION_TYPE 'none')")
show(connection.execute(f"SELECT * FROM questlog.{name}").to_arrow_table())
