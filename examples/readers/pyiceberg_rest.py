"""PyIceberg through the catalog: python pyiceberg_rest.py http://127.0.0.1:8080/iceberg default.sword_purchases"""
import sys

from pyiceberg.catalog import load_catalog

from summary import show

uri, name = sys.argv[1:3]
catalog = load_catalog("questlog", type="rest", uri=uri)
show(catalog.load_table(name).scan().to_arrow())
