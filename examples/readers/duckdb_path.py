"""DuckDB with its iceberg extension by path: python duckdb_path.py questlog-data/lake/default/sword_purchases

The extension comes from PyPI (duckdb-extension-iceberg, duckdb-extension-avro, of the same version as duckdb), so nothing is downloaded when the script runs."""
import sys
from pathlib import Path

import duckdb
import duckdb_extension_avro
import duckdb_extension_iceberg

from summary import show

connection = duckdb.connect(config={"allow_unsigned_extensions": "false"})
for package in (duckdb_extension_avro, duckdb_extension_iceberg):
    for file in Path(package.__file__).parent.rglob(f"v{duckdb.__version__}/*.duckdb_extension"):
        connection.load_extension(str(file))
table = Path(sys.argv[1]).resolve()
version = (table / "metadata" / "version-hint.text").read_text().strip()
metadata = f"{table}/metadata/v{version}.metadata.json"
connection.execute("SET TimeZone = 'UTC'")
show(connection.execute("SELECT * FROM iceberg_scan(?)", [metadata]).to_arrow_table())
