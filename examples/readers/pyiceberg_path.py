"""PyIceberg by path, also while questlog is stopped: python pyiceberg_path.py questlog-data/lake/default/sword_purchases"""
import sys
from pathlib import Path

from pyiceberg.table import StaticTable

from summary import show

metadata = Path(sys.argv[1]).resolve() / "metadata"
version = (metadata / "version-hint.text").read_text().strip()
show(StaticTable.from_metadata(f"file://{metadata}/v{version}.metadata.json").scan().to_arrow())
