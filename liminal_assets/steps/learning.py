"""The rows that a model learns from: read, ordered, checked; the same rows give the same model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from liminal_assets.errors import StepError
from liminal_assets.language.datasets import Dataset, Partitions
from liminal_assets.language.diagnostics import Location, did_you_mean
from liminal_assets.language.features import Feature
from liminal_assets.language.loading import Project
from liminal_assets.language.models import Model
from liminal_assets.language.partitions import window_of
from liminal_assets.storage.forms import engine_errors, identifier
from liminal_assets.storage.sessions import session
from liminal_assets.storage.tables import Table, TableStore, content_version

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

    from liminal_assets.steps.metrics import Task

__all__ = ["LearningRows", "learning_rows", "partitions_until", "read_features", "target_values"]


@dataclass(frozen=True)
class LearningRows:
    """Rows with a target, in an order that doesn't depend on how they were written.

    Attributes:
        frame: all their columns, the target included.
        keys: the columns that name a row.
        timestamp: the column that says which moment a row describes.
        version: a hash of their content.
        left_out: rows without a target.
        partitions: the feature's partitions that they come from.
        until: the last partition that was allowed.
    """

    frame: pd.DataFrame = field(repr=False)
    keys: tuple[str, ...] = ()
    timestamp: str | None = None
    version: str = ""
    left_out: int = 0
    partitions: tuple[str, ...] = ()
    until: str | None = None

    @property
    def reserved(self) -> tuple[str, ...]:
        """The columns that no model learns from unless it lists them."""
        return (*self.keys, *([self.timestamp] if self.timestamp else []))


def read_features(
    project: Project, model: Model, until: str | None = None
) -> tuple[Table, tuple[str, ...]]:
    """The feature's existing rows, and the partitions that they come from.

    Args:
        until: the last partition to read, as if later ones weren't known yet.

    Raises:
        StepError: there are none.
    """
    store = TableStore(project)
    there = store.partitions(model.features)
    chosen = partitions_until(project, model, there, until)
    if there and not chosen:
        raise StepError(
            f"{model.features} has no rows up to {until}",
            location=_at(project, model, "features"),
            hint=f"its first partition is {there[0]}",
        )
    try:
        return store.read(model.features, chosen if there else None), tuple(chosen)
    except StepError as error:
        raise StepError(
            error.message, location=_at(project, model, "features"), hint=error.hint
        ) from None


def partitions_until(
    project: Project, model: Model, partitions: Sequence[str], until: str | None
) -> list[str]:
    """Those partitions that end when ``until`` ends, or before; all without it.

    A key of other partitions than the feature's (a day, where the feature is cut by months)
    counts by the moment at which it ends.
    """
    if until is None:
        return list(partitions)
    cut = project.partitions.get(model.features)
    if cut is not None and cut.values:
        order = list(cut.values)
        last = order.index(until) if until in order else len(order)
        return [key for key in partitions if key in order and order.index(key) <= last]
    if cut is None:
        return list(partitions)
    end = _end_of(project, until) if not _is_key(cut, until) else window_of(cut, until)[1]
    return [key for key in partitions if end is None or window_of(cut, key)[1] <= end]


def _is_key(cut: Partitions, key: str) -> bool:
    try:
        window_of(cut, key)
    except ValueError:
        return False
    return True


def _end_of(project: Project, key: str) -> str | None:
    """When a partition of any of the project's other blocks ends."""
    cuts = [cut for cut in project.partitions.values() if cut is not None and cut.every]
    return next((window_of(cut, key)[1] for cut in cuts if _is_key(cut, key)), None)


def learning_rows(
    project: Project,
    model: Model,
    rows: Any,
    *,
    partitions: Sequence[str] = (),
    until: str | None = None,
) -> LearningRows:
    """Rows that have a target, within the model's window, in a fixed order.

    Args:
        rows: a :class:`Table`, or rows in any form.

    Raises:
        StepError: the target isn't there, or too few rows have one.
    """
    table = rows if isinstance(rows, Table) else Table.from_rows(rows, model.features)
    block = project.blocks.get(model.features)
    keys = block.entity if isinstance(block, Feature) else ()
    timestamp = block.timestamp if isinstance(block, Feature | Dataset) else None
    timestamp = timestamp or (model.split.column if model.split.by == "time" else None)
    at = _at(project, model)
    with (
        session(private=table.filesystem is not None) as connection,
        engine_errors(f"read the rows of {model.features}", location=at),
    ):
        relation = table.relation(connection)
        _check_columns(project, model, relation.columns, timestamp)
        known = relation.filter(f"{identifier(model.target)} IS NOT NULL")
        left_out = _count(relation) - _count(known)
        if model.window:
            known = _newest(known, timestamp or "", model.window)
        first = [*([timestamp] if timestamp in relation.columns else []), *keys]
        rest = [name for name in relation.columns if name not in first]
        count, version = content_version(known)
        if count < model.min_rows:
            raise _too_few(project, model, count)
        frame = known.order(", ".join(map(identifier, [*first, *rest]))).df()
    return LearningRows(
        frame=frame,
        keys=tuple(keys),
        timestamp=timestamp,
        version=version,
        left_out=left_out,
        partitions=tuple(partitions),
        until=until,
    )


def _check_columns(
    project: Project, model: Model, columns: Sequence[str], timestamp: str | None
) -> None:
    if model.target not in columns:
        raise StepError(
            f"{model.features} has no column {model.target!r} to predict",
            location=_at(project, model, "target"),
            hint=did_you_mean(model.target, columns),
        )
    if model.window and timestamp not in columns:
        raise StepError(
            f"'window' needs a timestamp, and {model.features} has none",
            location=_at(project, model, "window"),
            hint="set the feature's timestamp",
        )


def _count(relation: duckdb.DuckDBPyRelation) -> int:
    return int(relation.aggregate("count(*)").fetchall()[0][0])


def _newest(
    relation: duckdb.DuckDBPyRelation, timestamp: str, window: timedelta
) -> duckdb.DuckDBPyRelation:
    """The rows no older than ``window``, counted from the newest."""
    moment = f"CAST({identifier(timestamp)} AS TIMESTAMP)"
    ((newest,),) = relation.aggregate(f"max({moment})").fetchall()
    if newest is None:
        return relation
    return relation.filter(f"{moment} > TIMESTAMP '{newest - window}'")


def _too_few(project: Project, model: Model, count: int) -> StepError:
    if count == 0:
        return StepError(
            f"no row of {model.features} has a {model.target!r}",
            location=_at(project, model, "target"),
            hint="is the column filled, and are the labels there already?",
        )
    return StepError(
        f"{model.model} has {count:,} rows to learn from and needs {model.min_rows:,}",
        location=_at(project, model, "min_rows" if model.min_rows != 50 else "features"),
        hint="materialise more partitions, or lower min_rows",
    )


def target_values(project: Project, model: Model, values: pd.Series, task: Task) -> pd.Series:
    """The target as the estimator gets it: floats, or labels of one type.

    Raises:
        StepError: a number was expected and isn't one, there is one class only, or classes are
            wanted of a number that goes on and on.
    """
    import numpy as np
    import pandas as pd

    at = _at(project, model, "target")
    if task == "regression":
        numbers = pd.to_numeric(values.astype(object), errors="coerce").astype(float)
        wrong = ~np.isfinite(numbers)
        if wrong.any():
            raise StepError(
                f"the target {model.target!r} holds {_example(values[wrong])}, which is no number "
                "to predict",
                location=at,
                hint="a classifier predicts classes; or mend the column",
            )
        return numbers
    labels = _labels(values)
    if labels is None:
        raise StepError(
            f"the target {model.target!r} holds fractions, such as {_example(values)}: these are "
            "no classes",
            location=at,
            hint="a regressor predicts numbers; or make classes of them in the feature",
        )
    if labels.nunique() < 2:
        raise StepError(
            f"the target {model.target!r} has one class only, {_example(labels)}",
            location=at,
            hint="there must be rows of two classes at least to learn from",
        )
    return labels


def _example(values: pd.Series) -> str:
    value = values.iloc[0]
    return repr(value.item() if hasattr(value, "item") else value)


def _labels(values: pd.Series) -> pd.Series | None:
    """Labels as booleans, integers or texts; None for fractions."""
    import numpy as np
    from pandas.api import types

    kind = values.dtype
    if isinstance(kind, types.CategoricalDtype):
        values = values.astype(kind.categories.dtype)
        kind = values.dtype
    if types.is_bool_dtype(kind):
        return values.astype(bool)
    if types.is_numeric_dtype(kind):
        numbers = values.to_numpy(dtype=float)
        whole = bool(np.isfinite(numbers).all() and (numbers == np.floor(numbers)).all())
        return values.astype("int64") if whole else None
    inferred = types.infer_dtype(values, skipna=True)
    if inferred == "boolean":
        return values.astype(bool)
    if inferred == "integer":
        return values.astype("int64")
    return values.astype(str).astype(object)


def _at(project: Project, model: Model, *path: str) -> Location | None:
    return project.locate(model, *path) if model.location else None
