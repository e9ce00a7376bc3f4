"""Drift of 20 columns × 1 million rows beside SciPy by hand, and Evidently:
``python -m benchmarks.drift``."""

from __future__ import annotations

import argparse

from benchmarks.drift.rows import COLUMNS, ROWS, tables
from benchmarks.sides import compare, median, ratio, run_side

METHODS = ("psi", "chi2", "jensen_shannon", "ks", "wasserstein")
EVIDENTLY = ("psi", "jensen_shannon", "ks", "wasserstein")
"""Its chi² is for categories only."""
GOAL = 2.0


def main() -> None:
    """Prints medians, the ratio round by round, and how far the distances are apart."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--evidently", metavar="PYTHON", help="an interpreter that has Evidently")
    asked = parser.parse_args()
    tables(asked.rows)
    print(f"drift of {len(COLUMNS)} columns, {asked.rows:,} rows each side; goal {GOAL:g} s")
    for method in asked.methods:
        found = compare(
            "benchmarks.drift.side", ["scipy", "ours"], method, str(asked.rows), rounds=asked.rounds
        )
        for side, answers in found.items():
            print(
                f"  {method:14} {side:5}: {median(answers, 'seconds'):6.2f} s, "
                f"{median(answers, 'cpu'):6.2f} s of processors, "
                f"peak {median(answers, 'peak_mb'):5.0f} MB"
            )
        apart = max(
            abs(found["ours"][0]["distances"][column] - found["scipy"][0]["distances"][column])
            for column in COLUMNS
        )
        if asked.evidently and method in EVIDENTLY:
            theirs = run_side(
                "benchmarks.drift.evidently", method, str(asked.rows), python=asked.evidently
            )
            times = theirs["seconds"] / median(found["ours"], "seconds")
            print(
                f"  {method:14} evidently {theirs['version']}: {theirs['seconds']:.1f} s, "
                f"peak {theirs['peak_mb']:.0f} MB; ours is {times:.0f} × as fast"
            )
        times = 1 / ratio(found["ours"], found["scipy"], "seconds")
        work = 1 / ratio(found["ours"], found["scipy"], "cpu")
        print(f"  {method:14} {times:.1f} × as fast ({work:.1f} × by processors), ", end="")
        print(f"at most {apart:.1e} apart")


if __name__ == "__main__":
    main()
