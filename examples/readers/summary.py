"""What every reader prints of a table: how many rows it has, and of each column how many values, the smallest, the largest and, of numbers, the sum."""
import datetime
import json
import os

import pyarrow as pa
import pyarrow.compute as pc


def show(rows: pa.Table) -> None:
    """Prints `count N`, then a line of JSON. With ROWS=FILE in the environment it also writes every row into that file, one a line."""
    print("count", rows.num_rows)
    columns = {name: summarize(rows[name]) for name in rows.column_names}
    print(json.dumps({"rows": rows.num_rows, "columns": columns}))
    if os.environ.get("ROWS"):
        with open(os.environ["ROWS"], "w", encoding="utf-8") as file:
            file.writelines(json.dumps(plain(row)) + "\n" for row in rows.to_pylist())


def summarize(column: pa.ChunkedArray) -> dict:
    if pa.types.is_dictionary(column.type):  # partition columns
        column = column.cast(column.type.value_type)
    values = len(column) - column.null_count
    if pa.types.is_nested(column.type):
        return {"values": values}
    ends = pc.min_max(column).as_py()
    summary = {"values": values, "min": text(ends["min"]), "max": text(ends["max"])}
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        summary["sum"] = text(pc.sum(column).as_py())
    return summary


def text(value) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, datetime.datetime):
        moment = value.astimezone(datetime.timezone.utc) if value.tzinfo else value
        return moment.strftime("%Y-%m-%d %H:%M:%S.%f")
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def plain(value):
    """A value as JSON has it. A map, which pyarrow gives as pairs, becomes an object."""
    if isinstance(value, list):
        if value and all(isinstance(item, tuple) for item in value):
            return {key: plain(item) for key, item in value}
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value if isinstance(value, (bool, int, float)) else text(value)
