"""DuckDB with its iceberg extension by path: python duckdb_path.py questlog-data/lake/default/sword_purchases"""
import sys
from pathlib import Path

from duckdb_extensions import connect
from summary import show

connection = connect("avro", "iceberg")
table = Path(sys.argv[1]).resolve()
version = (table / "metadata" / "version-hint.text").read_text().strip()
metadata = f"{table}/metadata/v{version}.metadata.json"
show(connection.execute("SELECT * FROM iceberg_scan(?)", [metadata]).to_arrow_table())
