"""Reports of steps → Dagster's check results and metadata."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import dagster as dg

from liminal_assets.factories.common import asset_key
from liminal_assets.language.loading import Project
from liminal_assets.steps.report import Markdown, Outcome, Plot, Records, Severity, Svg

__all__ = ["check_result", "check_spec", "metadata_of", "outcome_result"]

_WHOLE = 1e6
"""From here on six digits would take away more than a fraction."""


def check_spec(
    project: Project,
    asset: str,
    name: str,
    *,
    severity: Severity = "error",
    blocking: bool | None = None,
    description: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> dg.AssetCheckSpec:
    """The asset check of a block's asset.

    Args:
        blocking: whether a failure stops what is downstream; default: for severity ``error``.
    """
    return dg.AssetCheckSpec(
        name,
        asset=asset_key(project, asset),
        description=description,
        blocking=severity == "error" if blocking is None else blocking,
        metadata=metadata,
    )


def check_result(
    project: Project, asset: str, outcome: Outcome, partition: str | None = None
) -> dg.AssetCheckResult:
    """What a check of a block found, as Dagster records it."""
    return outcome_result(asset_key(project, asset), outcome, partition)


def outcome_result(
    key: dg.AssetKey, outcome: Outcome, partition: str | None = None
) -> dg.AssetCheckResult:
    """What a check of any asset found, as Dagster records it."""
    partitioned = {"partition": partition} if partition is not None else {}
    severity = dg.AssetCheckSeverity
    return dg.AssetCheckResult(
        passed=outcome.passed,
        asset_key=key,
        check_name=outcome.name,
        severity=severity.WARN if outcome.severity == "warning" else severity.ERROR,
        description=outcome.description,
        metadata=metadata_of({**partitioned, **outcome.metadata}),
    )


def metadata_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a report as Dagster metadata; None is left out."""
    return {key: _value(value) for key, value in values.items() if value is not None}


def _value(value: Any) -> Any:
    if isinstance(value, Markdown):
        return dg.MetadataValue.md(value)
    if isinstance(value, Plot):
        return _picture(value.title, "png", value.png)
    if isinstance(value, Svg):
        return _picture(value.title, "svg+xml", value.text.encode())
    if isinstance(value, Records):
        return _table(value)
    if isinstance(value, bool | int | str | dg.MetadataValue):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, datetime):
        return dg.MetadataValue.timestamp(value) if value.tzinfo else value.isoformat(sep=" ")
    if isinstance(value, date):
        return value.isoformat()
    return dg.MetadataValue.json(_plain(value))


def _picture(title: str, kind: str, content: bytes) -> dg.MarkdownMetadataValue:
    encoded = base64.b64encode(content).decode()
    return dg.MetadataValue.md(f"![{title}](data:image/{kind};base64,{encoded})")


def _table(records: Records) -> Any:
    rows = [{key: _shown(cell) for key, cell in row.items()} for row in records.rows]
    if not rows:
        return "no rows"
    columns = [dg.TableColumn(name, _column_type(rows, name)) for name in rows[0]]
    return dg.MetadataValue.table(
        [dg.TableRecord(row) for row in rows], schema=dg.TableSchema(columns)
    )


def _column_type(rows: list[dict[str, Any]], name: str) -> str:
    kinds = {type(row[name]) for row in rows if row[name] is not None}
    names = {bool: "bool", int: "int", float: "float"}
    return names.get(kinds.pop(), "string") if len(kinds) == 1 else "string"


def _shown(value: Any) -> str | int | float | bool | None:
    """A cell as people read it: a fraction with six digits that count."""
    cell = _cell(value)
    if isinstance(cell, float) and abs(cell) < _WHOLE:
        return float(f"{cell:.6g}")
    return cell


def _cell(value: Any) -> str | int | float | bool | None:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _plain(value: Any) -> Any:
    """A value that JSON can hold: NaN and infinities, which it can't, become text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return _cell(value)
