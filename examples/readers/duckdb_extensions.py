"""DuckDB with extensions that come from PyPI (duckdb-extension-iceberg and others, of the same version as duckdb), so that nothing is downloaded when a script runs."""
from importlib import import_module
from pathlib import Path

import duckdb


def connect(*extensions: str) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"allow_unsigned_extensions": "false"})
    for name in extensions:
        package = import_module(f"duckdb_extension_{name}")
        for file in Path(package.__file__).parent.rglob(f"v{duckdb.__version__}/*.duckdb_extension"):
            connection.load_extension(str(file))
    connection.execute("SET TimeZone = 'UTC'")
    return connection
