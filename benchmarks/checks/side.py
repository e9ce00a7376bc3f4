"""One side: reads the Parquet file, checks it, prints what it found and how long that took."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.checks.suite import EXPECTATIONS

__all__ = ["main"]

_COMPARED = ("unexpected_count", "element_count", "missing_count", "observed_value")


def liminal(path: Path) -> list[dict[str, Any]]:
    """As the asset's step does it."""
    from liminal_assets.steps.checks import check_rows
    from liminal_assets.storage.tables import Table

    outcomes = check_rows(Table("orders", (str(path),)), EXPECTATIONS)
    return [
        {"success": outcome.passed, **{key: outcome.metadata.get(key) for key in _COMPARED}}
        for outcome in outcomes
    ]


def pandas(path: Path) -> list[dict[str, Any]]:
    """As Great Expectations' documentation does it: a suite on a data frame."""
    import great_expectations as gx
    import pandas as pd
    from great_expectations.expectations import core

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    frame = pd.read_parquet(path)
    asset = context.data_sources.add_pandas("pandas").add_dataframe_asset("orders")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    suite = gx.ExpectationSuite("orders")
    for index, said in enumerate(EXPECTATIONS):
        ((name, arguments),) = said.items()
        kind = getattr(core, "".join(word.capitalize() for word in name.split("_")))
        # a suite is validated in an order of its own
        suite.add_expectation(kind(**arguments, meta={"index": index}))
    results = batch.validate(suite, result_format="BASIC").results
    results.sort(key=lambda result: result.expectation_config.meta["index"])
    return [
        {"success": result.success, **{key: result.result.get(key) for key in _COMPARED}}
        for result in results
    ]


def main(side: str, path: str) -> None:
    """Prints seconds (of the wall, of the processors, of the imports), peak MB, and results."""
    started = time.perf_counter()
    if side == "liminal":
        import great_expectations.expectations.core

        import liminal_assets.integrations.expectations.suite
        import liminal_assets.steps.checks
        import liminal_assets.storage.tables  # noqa: F401

        check = liminal
    else:
        import great_expectations  # noqa: F401
        import pandas as pd  # noqa: F401

        check = pandas
    imported, before = time.perf_counter(), time.process_time()
    results = check(Path(path))
    done, after = time.perf_counter(), time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures = {
        "seconds": done - imported,
        "cpu": after - before,
        "import": imported - started,
        "megabytes": peak,
    }
    print(json.dumps({**figures, "results": results}, default=float))


if __name__ == "__main__":
    main(*sys.argv[1:])
