"""The tasks of the pipeline: put your own in their place."""

import json
import math
import os
import sys
from pathlib import Path

STORE = Path(os.environ["STORE"])


def measure() -> None:
    """One worker's share: workers know their number and how many there are."""
    worker, workers = int(os.environ["LIMINAL_SPLIT_ID"]), int(os.environ["LIMINAL_NUM_SPLITS"])
    values = [20 + 2 * math.sin(number) for number in range(worker, 100, workers)]
    (STORE / f"measured_{worker}.json").write_text(json.dumps(values))
    print(f"worker {worker} of {workers} measured {len(values)} values")


def summarise() -> None:
    """Joins all shares."""
    files = sorted(STORE.glob("measured_*.json"))
    values = [value for file in files for value in json.loads(file.read_text())]
    mean = round(sum(values) / len(values), 2)
    (STORE / "summary.json").write_text(json.dumps({"values": len(values), "mean": mean}))
    print(f"{len(values)} values, {mean} on average")


if __name__ == "__main__":
    {"measure": measure, "summarise": summarise}[sys.argv[1]]()
