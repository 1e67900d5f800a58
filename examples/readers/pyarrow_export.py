"""pyarrow on an export, partitioned ones too: python pyarrow_export.py questlog-data/exports/tmp/by_host"""
import sys

import pyarrow.dataset

from summary import show

show(pyarrow.dataset.dataset(sys.argv[1], format="parquet", partitioning="hive").to_table())
