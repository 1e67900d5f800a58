"""pandas on an export: python pandas_export.py questlog-data/exports/tmp/purchases

With pyarrow's types a whole number stays one beside a null; otherwise pandas makes doubles of such a column, which hold no more than 53 bits."""
import sys

import pandas
import pyarrow

from summary import show

frame = pandas.read_parquet(sys.argv[1], dtype_backend="pyarrow")
show(pyarrow.Table.from_pandas(frame, preserve_index=False))
