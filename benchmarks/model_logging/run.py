"""Logging and registering a model: with the requirements told, and inferred by MLflow.

    python -m benchmarks.model_logging.run

Goals: less than 1.5 s (1 s at best) for all that a training leaves in MLflow.
"""

from __future__ import annotations

from benchmarks.sides import compare, median, ratio

__all__ = ["main"]

ROUNDS = 3


def main() -> None:
    """Compares both sides, each in fresh processes."""
    answers = compare("benchmarks.model_logging.side", ["told", "inferred"], rounds=ROUNDS)
    ours, theirs = answers["told"], answers["inferred"]
    keys = ("first", "first_cpu", "later", "later_cpu")
    print(f"{'':12}" + "".join(f"{key.replace('_', ' '):>12}" for key in keys) + "   seconds")
    for name, side in (("told", ours), ("inferred", theirs)):
        print(f"{name:12}" + "".join(f"{median(side, key):12.2f}" for key in keys))
    print(f"{'ratio':12}" + "".join(f"{ratio(theirs, ours, key):11.1f}x" for key in keys))


if __name__ == "__main__":
    main()
