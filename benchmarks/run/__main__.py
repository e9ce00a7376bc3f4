"""A whole small run: a ``liminal.yml`` against hand-written Dagster doing the same work.

    python -m benchmarks.run [--rounds 5]

80,000 rows of CSV are fetched, cleaned, checked by four expectations, made into features, learned
from, evaluated with plots and permutation importance, logged and registered in MLflow, reloaded
and compared, promoted, scored and watched for drift. Each side runs in a fresh process, in
process, on an ephemeral instance, imports included.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.sides import compare, median, ratio, run_side

SIDES = ("liminal", "plain")


def main() -> None:
    """Prints the seconds of each side and step, and the ratio."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "shop"
        run_side("benchmarks.run.side", "prepare", str(folder))
        found = compare("benchmarks.run.side", SIDES, str(folder), rounds=chosen.rounds)
    for side in SIDES:
        print(f"{side:8} {median(found[side], 'seconds'):6.2f} s")
        for step in found[side][0]["steps"]:
            seconds = median([answer["steps"] for answer in found[side]], step)
            print(f"    {step:32} {seconds:6.2f} s")
    print(f"ratio    {ratio(found['liminal'], found['plain'], 'seconds'):6.2f}")


if __name__ == "__main__":
    main()
