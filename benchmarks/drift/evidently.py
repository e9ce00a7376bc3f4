"""Evidently's drift preset on the same Parquet files, in an environment of its own: the distances
of all columns, and no page. Imports aren't counted."""

from __future__ import annotations

import json
import resource
import sys
import time
from importlib.metadata import version

from benchmarks.drift.rows import COLUMNS, tables

NAMES = {"jensen_shannon": "jensenshannon"}


def measure(method: str, rows: int) -> list[float]:
    """The preset's value for each column."""
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    before, now = (pd.read_parquet(file) for file in tables(rows))
    columns = DataDefinition(numerical_columns=list(COLUMNS))
    report = Report([DataDriftPreset(num_method=NAMES.get(method, method))])
    done = report.run(
        Dataset.from_pandas(now, data_definition=columns),
        Dataset.from_pandas(before, data_definition=columns),
    )
    values = {
        item["metric_id"] if "metric_id" in item else item["metric_name"]: item["value"]
        for item in done.dict()["metrics"]
    }
    return [float(value) for name, value in values.items() if name.startswith("ValueDrift(column=")]


def main() -> None:
    """Prints seconds by the clock and peak megabytes."""
    method, rows = sys.argv[1:]
    measure(method, 1000)
    started = time.perf_counter()
    found = measure(method, int(rows))
    seconds = time.perf_counter() - started
    if len(found) != len(COLUMNS):
        raise SystemExit(f"{len(found)} of {len(COLUMNS)} columns were measured")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak_mb": peak, "version": version("evidently")}))


if __name__ == "__main__":
    main()
