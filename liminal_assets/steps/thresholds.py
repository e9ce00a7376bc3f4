"""A monitor's calibrated thresholds: computed once per reference, number of rows and settings."""

from __future__ import annotations

import hashlib
import json
import math
import uuid
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from liminal_assets.errors import StepError
from liminal_assets.language.alarm_rates import (
    alarm_mistake,
    window_interval,
    window_length,
)
from liminal_assets.language.loading import Project
from liminal_assets.language.monitors import Drift, Monitor
from liminal_assets.steps.drift import CELLS_AT_ONCE, Comparison, comparisons
from liminal_assets.steps.windows import WatchedRows, moment_column
from liminal_assets.storage.forms import engine_errors, identifier
from liminal_assets.storage.sessions import session
from liminal_assets.storage.tables import content_version

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb
    import numpy as np

    from liminal_assets.steps.calibration import Calibration
    from liminal_assets.steps.null_columns import NullColumn
    from liminal_assets.steps.resampling import Floats, Groups, Integers

__all__ = ["calibrated", "row_bucket"]

_LOOKS = 8
"""How often a sliding window is looked at while all of its rows change."""
_GRID, _COARSE_GRID = 128, 48
_MANY_COLUMNS = 100
_MOST_CATEGORIES = 50
_PARTS = 8
_FORMAT = 1
"""Changes when equal settings would give other thresholds."""


def row_bucket(rows: int) -> int:
    """The number of rows that thresholds are found for: up to 9 % fewer, so that windows of nearly
    equal size share them; for fewer rows they are a little larger.

    >>> row_bucket(1000), row_bucket(1040)
    (939, 1024)
    """
    return int(2 ** (math.floor(_PARTS * math.log2(rows)) / _PARTS))


def calibrated(
    project: Project,
    block: Monitor,
    watched: WatchedRows,
    columns: Sequence[str],
    codes: Sequence[str],
) -> Calibration | None:
    """The thresholds of a window's columns; None where the monitor asks for no rate of alarms, or
    there is too little to judge.

    Raises:
        StepError: the rate makes no sense for the windows, or the reference can't be read.
    """
    import numpy as np

    from liminal_assets.steps.calibration import calibrate

    drift, alarms, reference = block.drift, block.alarms, watched.reference
    length, interval = window_length(project, block), window_interval(project, block)
    if drift is None or alarms is None or reference is None:
        return None
    if mistake := alarm_mistake(project, block):
        at = project.locate(block, "alarms", "at_most")
        raise StepError(mistake[0], location=at, hint=mistake[1])
    compared = comparisons(reference, watched.rows, drift, columns, codes)
    little = watched.rows.rows < block.min_rows or not reference.rows or not compared
    if length is None or interval is None or little:
        return None
    # a partition is looked at once, a window that slides all the time
    looks = _LOOKS if watched.served and block.partitions is None else 1
    rows = row_bucket(watched.rows.rows)
    remote = reference.filesystem is not None
    with session(private=remote) as connection, engine_errors("calibrate thresholds"):
        relation = reference.relation(connection)
        moment = moment_column(project, block)
        moment = moment if moment in relation.columns else None
        names = [task.column for task in compared]
        shown = ", ".join(map(identifier, dict.fromkeys([*names, *([moment] if moment else [])])))
        _, version = content_version(relation.project(shown))
        said = [
            version,
            rows,
            looks,
            drift.bins,
            drift.threshold_given,
            length,
            interval,
            *compared,
        ]
        place = _place(project, block, [alarms.model_dump(mode="json"), *map(repr, said)])
        if (kept := _kept(place)) is not None:
            return kept
        total = int(relation.aggregate("count(*)").fetchall()[0][0])
        random = np.random.default_rng(alarms.seed)
        groups = _groups(relation, moment, total, rows, length, random)
        null = list(_null_columns(drift, relation, compared, groups, total))
        found = calibrate(
            null,
            groups,
            window_rows=rows,
            reference_rows=total,
            per_window=alarms.at_most.within(interval),
            at_most=str(alarms.at_most),
            looks=looks,
            given={task.column: task.threshold for task in compared if _given(drift, task)},
            seed=alarms.seed,
        )
    _keep(place, found)
    return found


def _given(spec: Drift, task: Comparison) -> bool:
    own = spec.columns.get(task.column)
    return spec.threshold_given or (own is not None and own.threshold is not None)


def _groups(
    relation: duckdb.DuckDBPyRelation,
    moment: str | None,
    total: int,
    rows: int,
    length: Any,
    random: np.random.Generator,
) -> Groups:
    from liminal_assets.steps.bins import numbers
    from liminal_assets.steps.resampling import row_groups, time_groups

    found = None
    if moment is not None:
        seconds = numbers(relation, [moment], moments=[moment])[moment]
        found = time_groups(seconds, rows, length, random)
    return found or row_groups(total, rows, random)


def _null_columns(
    spec: Drift,
    relation: duckdb.DuckDBPyRelation,
    compared: Sequence[Comparison],
    groups: Groups,
    total: int,
) -> Iterator[NullColumn]:
    from liminal_assets.steps.bins import numbers
    from liminal_assets.steps.null_columns import category_column, number_column

    grid = _GRID if len(compared) <= _MANY_COLUMNS else _COARSE_GRID
    for task in compared:
        if task.kind == "categorical":
            places, labels, new = _categories(relation, task.column)
            yield category_column(task.column, task.method, places, labels, groups, new=new)
    ordered = [task for task in compared if task.kind != "categorical"]
    size = max(1, CELLS_AT_ONCE // max(total, 1))
    for start in range(0, len(ordered), size):
        chunk = ordered[start : start + size]
        moments = [task.column for task in chunk if task.kind == "moment"]
        values: dict[str, Floats] = numbers(
            relation, [task.column for task in chunk], moments=moments
        )
        for task in chunk:
            found = values.pop(task.column)
            yield number_column(task.column, task.method, found, groups, bins=spec.bins, grid=grid)


def _categories(
    relation: duckdb.DuckDBPyRelation, column: str
) -> tuple[Integers, list[str], float]:
    """Each row's category by its place, the categories as drift bins them, and the share of values
    to expect that the reference lacks: that of those it has once (I. J. Good 1953)."""
    import numpy as np
    import pyarrow as pa

    from liminal_assets.steps.bins import MISSING, OTHER

    texts = relation.project(f"CAST({identifier(column)} AS VARCHAR) AS value").to_arrow_table()
    encoded = texts["value"].combine_chunks().dictionary_encode()
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    names = encoded.dictionary.to_pylist()
    codes = encoded.indices.fill_null(len(names)).to_numpy(zero_copy_only=False).astype(np.int64)
    counts = np.bincount(codes, minlength=len(names) + 1)
    order = sorted(range(len(names)), key=lambda at: (-int(counts[at]), names[at]))
    shown = order[:_MOST_CATEGORIES]
    place = np.full(len(names) + 1, len(shown), np.int64)
    place[shown] = np.arange(len(shown))
    place[len(names)] = len(shown) + 1
    new = float((counts[:-1] == 1).sum()) / max(len(codes), 1)
    return place[codes], [*(names[at] for at in shown), OTHER, MISSING], new


def _place(project: Project, block: Monitor, settings: Sequence[Any]) -> Path:
    key = hashlib.sha256(json.dumps([_FORMAT, *settings]).encode()).hexdigest()[:24]
    return project.state / "calibrations" / project.name / block.name / f"{key}.json"


def _kept(place: Path) -> Calibration | None:
    from liminal_assets.steps.calibration import Calibration

    try:
        return Calibration.from_dict(json.loads(place.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        # none yet, or one that a crash or another version left: it is found again
        return None


def _keep(place: Path, found: Calibration) -> None:
    with engine_errors("keep the calibrated thresholds"):
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = place.with_name(f".{uuid.uuid4().hex}.draft")
        draft.write_text(json.dumps(found.as_dict()), encoding="utf-8")
        draft.replace(place)
