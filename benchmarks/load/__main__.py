"""Loading a code location: a ``liminal.yml`` against hand-written Dagster with the same assets.

    python -m benchmarks.load [--blocks 100 1000 5000] [--rounds 5]

Each side runs in a fresh process and is timed until the repository snapshot that a code server
sends is made: from after all imports, and, as ``imported``, from after ``import dagster``.
``plain`` is hand-written with ``@dg.asset``, ``lean``
with the cheapest form that Dagster has, ``@dg.multi_asset(specs=…)``. Before any timing the
sides' assets, dependencies, groups, kinds, owners and checks are compared: they are equal.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from benchmarks.sides import compare, median, ratio, run_side

SIDES = ("liminal", "plain", "lean")


def main() -> None:
    """Prints one line per size."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load")
    parser.add_argument("--blocks", type=int, nargs="+", default=[100, 1000, 5000])
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    print("blocks  assets  checks  liminal s", end="")
    print("  @asset s  ratio  imported  multi_asset s  ratio  imported")
    for blocks in chosen.blocks:
        _same(blocks)
        found = compare("benchmarks.load.side", SIDES, str(blocks), rounds=chosen.rounds)
        ours = found["liminal"]
        seconds = {side: median(found[side], "seconds") for side in SIDES}
        print(
            f"{blocks:6}  {ours[0]['assets']:6}  {ours[0]['checks']:6}"
            f"  {seconds['liminal']:9.2f}"
            f"  {seconds['plain']:8.2f}  {_ratios(ours, found['plain'])}"
            f"  {seconds['lean']:13.2f}  {_ratios(ours, found['lean'])}",
            flush=True,
        )


def _ratios(ours: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]) -> str:
    return f"{ratio(ours, theirs, 'seconds'):5.2f}  {ratio(ours, theirs, 'imported'):8.2f}"


def _same(blocks: int) -> None:
    digests = {
        side: run_side("benchmarks.load.side", side, str(blocks))["digest"] for side in SIDES
    }
    if len(set(digests.values())) != 1:
        raise SystemExit(f"the sides define different assets: {digests}")


if __name__ == "__main__":
    main()
