"""Data steps over ten million rows beside DuckDB by hand: ``python -m benchmarks.data``."""

from __future__ import annotations

import argparse

from benchmarks.data.rows import ROWS, sales
from benchmarks.sides import compare, median, ratio


def main() -> None:
    """Prints a table of medians and of the ratio round by round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    sales(asked.rows)
    print(f"{asked.rows:,} rows: drop duplicates, fill, join, aggregate; Parquet to Parquet")
    for steps in ("one", "two"):
        found = compare(
            "benchmarks.data.side", ["plain", "ours"], steps, str(asked.rows), rounds=asked.rounds
        )
        for side, answers in found.items():
            seconds, cpu = median(answers, "seconds"), median(answers, "cpu")
            peak = median(answers, "peak_mb")
            print(
                f"  {steps} step(s), {side:5}: {seconds:6.2f} s, {cpu:6.2f} s of processors, "
                f"peak {peak:6.0f} MB"
            )
        for key, of in (("seconds", "the clock"), ("cpu", "processors")):
            speed = 1 / ratio(found["ours"], found["plain"], key)
            print(f"  {steps} step(s): ours runs at {speed:.0%} of DuckDB's speed by {of}")


if __name__ == "__main__":
    main()
