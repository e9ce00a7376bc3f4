"""Two tables of twenty number columns, the second a little away from the first."""

from __future__ import annotations

import tempfile
from pathlib import Path

__all__ = ["COLUMNS", "ROWS", "tables"]

ROWS = 1_000_000
COLUMNS = tuple(f"x{number}" for number in range(20))


def tables(rows: int) -> tuple[Path, Path]:
    """The Parquet files of the reference and of the window, made once."""
    folder = Path(tempfile.gettempdir()) / f"liminal-benchmark-drift-{rows}"
    folder.mkdir(exist_ok=True)
    files = []
    for place, name in enumerate(("reference", "window")):
        file = folder / f"{name}.parquet"
        files.append(file)
        if file.exists():
            continue
        import duckdb

        # sums of uniform numbers by a hash: near normal, and the same on every machine
        numbers = ", ".join(
            "("
            + " + ".join(
                f"(hash(i, '{name}{column}{part}') % 1000003) / 1000003.0" for part in range(4)
            )
            + f" + {place * number / 100})::DOUBLE AS {column}"
            for number, column in enumerate(COLUMNS)
        )
        draft = file.with_suffix(".draft")
        duckdb.sql(f"COPY (SELECT {numbers} FROM range({rows}) t(i)) TO '{draft}' (FORMAT parquet)")
        draft.rename(file)
    return files[0], files[1]
