"""Great Expectations on pandas, the way its documentation runs it: what ours must agree with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
import pyarrow as pa

from liminal_assets.integrations.expectations.fallback import MetricError, resolve
from liminal_assets.integrations.expectations.library import build_expectation, quiet
from liminal_assets.integrations.expectations.suite import Finding
from liminal_assets.language.datasets import Check

COMPARED = ("element_count", "missing_count", "unexpected_count", "observed_value")
COUNTED = ("unexpected_percent", "partial_missing_list", "details")


def on_pandas(rows: pa.Table, checks: Sequence[Check]) -> list[Finding]:
    """What Great Expectations' own validator finds in a data frame of the rows."""
    with quiet():
        from great_expectations.execution_engine import PandasExecutionEngine
        from great_expectations.validator.validator import Validator

        engine = PandasExecutionEngine(batch_data_dict={"rows": frame_of(rows)})
        validator = Validator(execution_engine=engine)
        validator._determine_progress_bars = lambda: False  # no progress bars
        configurations = [build_expectation(check).configuration for check in checks]
        for index, configuration in enumerate(configurations):
            configuration.meta = {"index": index}
        results = validator.graph_validate(configurations, {"result_format": "BASIC"})
    findings: dict[int, Finding] = {}
    for result in results:
        index = result.expectation_config.meta["index"]
        problem = next(iter(_problems(result.exception_info or {})), None)
        findings[index] = Finding(bool(result.success), result.result or {}, error=problem)
    return [findings[index] for index in range(len(checks))]


def _problems(information: dict[str, Any]) -> list[str]:
    parts = [information, *(value for value in information.values() if isinstance(value, dict))]
    return [str(part["exception_message"]) for part in parts if part.get("raised_exception")]


def frame_of(rows: pa.Table) -> pd.DataFrame:
    """The rows as ``pandas.read_parquet`` gives them, moments in the unit that Great
    Expectations' code is written for, decimals as the floats that they are in tables."""
    frame = rows.to_pandas()
    for field in rows.schema:
        if pa.types.is_timestamp(field.type):
            frame[field.name] = frame[field.name].dt.as_unit("ns")
        elif pa.types.is_decimal(field.type):
            frame[field.name] = frame[field.name].astype(float)
    return frame


def comparable(value: Any) -> Any:
    """A value in which equal is equal: 3 and 3.0, a moment of pandas and of Python, NaN, None.

    Sums and means of floats depend on the order in which they are added: nearly equal is equal.
    """
    if hasattr(value, "item") and type(value).__module__ == "numpy":
        value = value.item() if value.ndim == 0 else value.tolist()
    if isinstance(value, dict):
        return {key: comparable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [comparable(item) for item in value]
    if value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return Near(float(value))
    return str(value)


class Near(float):
    """A number that is equal to its like."""

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, float) and math.isclose(self, other, rel_tol=1e-9, abs_tol=1e-12)
        return same or (math.isinf(self) and float(self) == other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]


def summary(finding: Finding) -> dict[str, Any]:
    """What must be equal."""
    result = finding.result
    missing = comparable(result.get("partial_missing_list"))
    return {
        "success": finding.success,
        **{key: comparable(result.get(key)) for key in (*COMPARED, *COUNTED)},
        # Great Expectations lists a set in any order
        "partial_missing_list": sorted(missing, key=str) if missing else missing,
    }


def unexpected_positions(frame: pd.DataFrame, check: Check) -> list[int] | None:
    """Where the rows stand that Great Expectations calls unexpected; none if it can't judge."""
    with quiet():
        from great_expectations.expectations.registry import get_metric_kwargs
        from great_expectations.validator.metric_configuration import MetricConfiguration

        expectation = build_expectation(check)
        kwargs = get_metric_kwargs(
            f"{expectation.map_metric}.unexpected_count", expectation.configuration, {}
        )
    metric = MetricConfiguration(
        f"{expectation.map_metric}.condition",
        kwargs["metric_domain_kwargs"],
        kwargs["metric_value_kwargs"],
    )
    try:
        (condition, *_) = resolve(frame, [metric])[metric]
    except MetricError:
        return None
    return [int(position) for position in condition.index[condition.astype(bool)]]
