"""Polars on an export: python polars_export.py questlog-data/exports/tmp/purchases"""
import sys

import polars

from summary import show

show(polars.read_parquet(f"{sys.argv[1]}/**/*.parquet").to_arrow())
