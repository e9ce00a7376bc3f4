"""One side: ``ours`` is :func:`liminal_assets.steps.drift`, ``scipy`` the same by hand with NumPy
and SciPy. Both read the Parquet files; imports aren't counted."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.drift.rows import COLUMNS, tables


def ours(method: Any, reference: Path, window: Path) -> dict[str, float]:
    """The distances by the package."""
    from liminal_assets.steps.drift import drift
    from liminal_assets.storage.tables import Table

    before, now = (Table(file.stem, (str(file),)) for file in (reference, window))
    report = drift(before, now, method=method)
    return {column.column: column.distance or 0.0 for column in report.columns}


def scipy(method: str, reference: Path, window: Path) -> dict[str, float]:
    """The distances as one would write them in a notebook."""
    import numpy as np
    import pandas as pd
    from scipy.spatial.distance import jensenshannon
    from scipy.stats import ks_2samp, wasserstein_distance
    from scipy.stats.contingency import association

    before, now = pd.read_parquet(reference), pd.read_parquet(window)
    found = {}
    for column in COLUMNS:
        a, b = before[column].to_numpy(), now[column].to_numpy()
        if method == "ks":
            found[column] = ks_2samp(a, b, method="asymp").statistic
        elif method == "wasserstein":
            found[column] = wasserstein_distance(a, b) / a.std()
        else:
            edges = np.quantile(a, np.linspace(0, 1, 11))
            edges[0], edges[-1] = -np.inf, np.inf
            p, q = np.histogram(a, edges)[0], np.histogram(b, edges)[0]
            if method == "chi2":
                found[column] = association(np.array([p, q]), method="cramer")
            elif method == "jensen_shannon":
                found[column] = jensenshannon(p, q, base=2)
            else:
                p, q = np.maximum(p, 0.5) / p.sum(), np.maximum(q, 0.5) / q.sum()
                found[column] = np.sum((q - p) * np.log(q / p))
    return {column: float(value) for column, value in found.items()}


def main() -> None:
    """Prints seconds by the clock and of processors, peak megabytes and the distances."""
    side, method, rows = sys.argv[1:]
    files = tables(int(rows))
    measure = ours if side == "ours" else scipy
    small = tables(1000)
    measure(method, *small)  # imports what it needs
    used = resource.getrusage(resource.RUSAGE_SELF)
    started, before = time.perf_counter(), used.ru_utime + used.ru_stime
    distances = measure(method, *files)
    seconds = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime - before
    print(
        json.dumps(
            {
                "seconds": seconds,
                "cpu": cpu,
                "peak_mb": used.ru_maxrss / 1024,
                "distances": distances,
            }
        )
    )


if __name__ == "__main__":
    main()
