"""Ten expectations on a Parquet file: ours against Great Expectations on pandas.

``python -m benchmarks.checks [--rounds N] [ROWS ...]`` prints a table; both sides read the file,
in processes of their own, and must find the same.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.checks.suite import write_orders
from benchmarks.sides import compare, median, ratio

__all__ = ["main"]

SIDES = ("liminal", "pandas")


def main() -> None:
    """Compares the sides on tables of growing size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", type=int, default=[1_000_000, 5_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    print(
        "| rows | ours, s | GE, s | times faster | CPU: ours, s | GE, s | times | MB: ours | GE |"
    )
    print("|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for rows in given.rows:
            file = Path(folder) / f"orders_{rows}.parquet"
            write_orders(file, rows)
            print(_line(rows, file, given.rounds), flush=True)


def _line(rows: int, file: Path, rounds: int) -> str:
    answers = compare("benchmarks.checks.side", SIDES, str(file), rounds=rounds)
    for ours, theirs in zip(answers["liminal"], answers["pandas"], strict=True):
        _check_equal(ours["results"], theirs["results"])
    ours, theirs = answers["liminal"], answers["pandas"]
    figures = (
        f"{median(ours, 'seconds'):.2f}",
        f"{median(theirs, 'seconds'):.2f}",
        f"{ratio(theirs, ours, 'seconds'):.1f}",
        f"{median(ours, 'cpu'):.2f}",
        f"{median(theirs, 'cpu'):.2f}",
        f"{ratio(theirs, ours, 'cpu'):.1f}",
        f"{median(ours, 'megabytes'):.0f}",
        f"{median(theirs, 'megabytes'):.0f}",
    )
    return f"| {rows:,} | {' | '.join(figures)} |"


def _check_equal(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        for key in mine:
            a, b = mine[key], other[key]
            same = a == b or (isinstance(a, float) and math.isclose(a, b, rel_tol=1e-9))
            if not same:
                raise SystemExit(f"the results differ: {mine} and {other}")


if __name__ == "__main__":
    main()
