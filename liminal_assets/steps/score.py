"""Inference: rows in, predictions out; in memory, or streamed in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any

from liminal_assets.errors import StepError
from liminal_assets.language.diagnostics import did_you_mean
from liminal_assets.steps.scores import Scores
from liminal_assets.steps.signature import SQL_TYPES, Signature
from liminal_assets.storage.forms import engine_errors

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import pandas as pd
    import pyarrow as pa

__all__ = ["CHUNK_ROWS", "ScoreStream", "Scorer", "model_errors", "score"]

CHUNK_ROWS = 100_000
"""Rows scored at a time: larger chunks take more memory and no less time."""

_ARGMAX = {
    "sklearn.ensemble._forest.ExtraTreesClassifier",
    "sklearn.ensemble._forest.RandomForestClassifier",
    "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingClassifier",
    "sklearn.linear_model._logistic.LogisticRegression",
    "sklearn.tree._classes.DecisionTreeClassifier",
}
"""Classifiers whose ``predict`` is the class of the largest probability, or of the largest of
scores that a non-decreasing function makes probabilities of: where one probability is the
largest, it says the label."""


class Scorer:
    """A fitted pipeline that is asked for labels and probabilities at once.

    Equal to ``pipeline.predict(frame)`` and ``pipeline.predict_proba(frame)``, but prepares the
    rows once, and leaves out the second pass where the probabilities say the label.
    """

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline
        self._prepare, self._final = _parts(pipeline)
        kind = type(self._final)
        self._by_argmax = f"{kind.__module__}.{kind.__qualname__}" in _ARGMAX

    @cached_property
    def classes(self) -> tuple[Any, ...]:
        """The labels of a classifier with probabilities, as Python values."""
        if not hasattr(self._final, "predict_proba"):
            return ()
        return tuple(self._final.classes_.tolist())

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns of its answers."""
        if len(self.classes) == 2:
            return ("prediction", "probability")
        return ("prediction", *(f"probability_{label}" for label in self.classes))

    def __call__(self, frame: pd.DataFrame | np.ndarray[Any, Any]) -> Scores:
        """Labels and probabilities of rows, in a form that the pipeline takes."""
        rows: Any = frame
        for step in self._prepare:
            rows = step.transform(rows)
        if not self.classes:
            return Scores(_flat(self._final.predict(rows)), {})
        probabilities = self._final.predict_proba(rows)
        labels = self._labels(probabilities) if self._by_argmax else None
        if labels is None:
            labels = _flat(self._final.predict(rows))
        if len(self.classes) == 2:
            return Scores(labels, {"probability": probabilities[:, 1]})
        names = self.columns[1:]
        return Scores(labels, {name: probabilities[:, i] for i, name in enumerate(names)})

    def none(self) -> Scores:
        """The answers to no rows: columns of the right types."""
        import numpy as np

        labels = getattr(self._final, "classes_", np.empty(0))[:0]
        return Scores(labels, {name: np.empty(0) for name in self.columns[1:]})

    def _labels(self, probabilities: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
        """The labels that probabilities leave no doubt of; None if any is in doubt."""
        largest = probabilities.max(axis=1, keepdims=True)
        if ((probabilities == largest).sum(axis=1) != 1).any():
            return None
        labels: np.ndarray[Any, Any] = self._final.classes_[probabilities.argmax(axis=1)]
        return labels


def score(pipeline: Any, rows: pd.DataFrame, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Rows with the model's answer beside them.

    >>> scored = la.steps.score(pipeline, frame)
    >>> scored[["prediction", "probability"]]

    Args:
        pipeline: a fitted scikit-learn pipeline or estimator.
        rows: a pandas frame with at least its input columns; others are kept.
        columns: the input columns; default: those that it learned from, else all.

    Returns:
        A new frame: the rows, ``prediction`` and ``probability`` (two classes) or
        ``probability_<class>``.

    Raises:
        StepError: an input column is missing, or the model can't answer.
    """
    if columns is None:
        learned = getattr(pipeline, "feature_names_in_", None)
        columns = list(rows.columns) if learned is None else list(learned)
    _all_there(columns, list(rows.columns))
    with model_errors():
        scores = Scorer(pipeline)(rows[list(columns)])
    return rows.assign(**scores.columns)


class ScoreStream:
    """Rows of a relation scored chunk by chunk, as an Arrow stream.

    Args:
        pipeline: the fitted pipeline.
        signature: its inputs; columns of other types are cast to them.
        relation: the rows; columns that are neither inputs nor kept are left out.
        keep: other columns to keep (entity, timestamp), first in the result.
        model_version: written beside each row.
        own_id: that of the scoring: rows get ``<own_id>-<row>`` as ``prediction_id``.
        where: ``location`` and ``hint`` of a :class:`StepError`.
    """

    def __init__(
        self,
        pipeline: Any,
        signature: Signature,
        relation: duckdb.DuckDBPyRelation,
        *,
        keep: Sequence[str] = (),
        model_version: str = "",
        own_id: str | None = None,
        chunk_rows: int = CHUNK_ROWS,
        where: Mapping[str, Any] | None = None,
    ) -> None:
        self._where = dict(where or {})
        _all_there(signature.names, relation.columns, self._where)
        self._signature = signature
        self._scorer = Scorer(pipeline)
        own = {*self._scorer.columns, "model_version", "scored_at", "prediction_id"}
        there = [name for name in dict.fromkeys(keep) if name in relation.columns]
        self._keep = [name for name in there if name not in own]
        self._version = model_version
        self._own_id = own_id
        self._numbered = 0
        self._chunk_rows = chunk_rows
        self._relation = relation
        self._failure: BaseException | None = None
        self._moment = datetime.now(timezone.utc)

    def reader(self) -> pa.RecordBatchReader:
        """The scored rows, computed while they are read.

        Ask :meth:`check` afterwards: the engine that reads hides what went wrong here.
        """
        import pyarrow as pa

        batches = self._batches()
        first = next(batches)
        return pa.RecordBatchReader.from_batches(first.schema, self._guarded(first, batches))

    def check(self) -> None:
        """Raises what stopped the stream, if anything did."""
        if self._failure is not None:
            raise self._failure

    def _guarded(
        self, first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]
    ) -> Iterator[pa.RecordBatch]:
        yield first
        try:
            for batch in rest:
                yield batch.cast(first.schema)
        except BaseException as error:
            self._failure = error
            raise

    def _batches(self) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        with engine_errors("read the rows to score", **self._where):
            selected = self._relation.select(*self._selected())
            reader = selected.to_arrow_reader(self._chunk_rows)
        empty = True
        while True:
            with engine_errors("read the rows to score", **self._where):
                chunk = next(iter(reader), None)
            if chunk is None:
                break
            if chunk.num_rows:
                empty = False
                yield self._scored(chunk)
        if empty:
            schema = selected.limit(0).to_arrow_table().schema
            yield self._with_answers(pa.RecordBatch.from_pylist([], schema), self._scorer.none())

    def _selected(self) -> list[duckdb.Expression]:
        """The inputs in the signature's types, and the kept columns as they are."""
        import duckdb

        inputs = [
            duckdb.ColumnExpression(field.name).cast(kind).alias(field.name)
            if (kind := SQL_TYPES.get(field.type))
            else duckdb.ColumnExpression(field.name)
            for field in self._signature.fields
        ]
        kept = [name for name in self._keep if name not in self._signature.names]
        return [*inputs, *map(duckdb.ColumnExpression, kept)]

    def _scored(self, chunk: pa.RecordBatch) -> pa.RecordBatch:
        with model_errors(self._where):
            scores = self._scorer(self._signature.frame_of(chunk))
        finite = scores.finite()
        if not finite.all():
            raise StepError(
                f"the model has no finite answer for {int((~finite).sum())} of "
                f"{chunk.num_rows} rows",
                **self._where,
            )
        return self._with_answers(chunk, scores)

    def _with_answers(self, chunk: pa.RecordBatch, scores: Scores) -> pa.RecordBatch:
        import pyarrow as pa

        names = dict.fromkeys([*self._keep, *self._signature.names])
        columns: dict[str, Any] = {name: chunk.column(name) for name in names}
        columns.update({name: pa.array(values) for name, values in scores.columns.items()})
        columns["model_version"] = pa.repeat(self._version, chunk.num_rows)
        columns["scored_at"] = pa.repeat(
            pa.scalar(self._moment, pa.timestamp("us", "UTC")), chunk.num_rows
        )
        if self._own_id:
            columns["prediction_id"] = self._ids(self._own_id, chunk.num_rows)
        return pa.RecordBatch.from_pydict(columns)

    def _ids(self, own: str, rows: int) -> pa.Array:
        import pyarrow as pa
        import pyarrow.compute as pc

        numbers = pa.array(range(self._numbered, self._numbered + rows), pa.int64())
        self._numbered += rows
        return pc.binary_join_element_wise(own, numbers.cast(pa.string()), "-")


@contextmanager
def model_errors(where: Mapping[str, Any] | None = None) -> Iterator[None]:
    """What a fitted pipeline raises, as one :class:`StepError`."""
    try:
        yield
    except StepError:
        raise
    except Exception as error:
        first = str(error).strip().split("\n")[0]
        raise StepError(
            f"the model can't answer: {type(error).__name__}: {first}", **(where or {})
        ) from error


def _parts(pipeline: Any) -> tuple[tuple[Any, ...], Any]:
    """The fitted preparation steps and the model after them, as ``Pipeline.predict`` uses them."""
    import sklearn
    from sklearn.pipeline import Pipeline

    routed = sklearn.get_config()["enable_metadata_routing"]
    if type(pipeline) is not Pipeline or routed or not hasattr(pipeline.steps[-1][1], "predict"):
        return (), pipeline
    steps = [step for _, step in pipeline.steps[:-1] if step not in (None, "passthrough")]
    return tuple(steps), pipeline.steps[-1][1]


def _flat(values: Any) -> np.ndarray[Any, Any]:
    import numpy as np

    array = np.asarray(values)
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def _all_there(
    needed: Sequence[str], there: Sequence[str], where: Mapping[str, Any] | None = None
) -> None:
    missing = [name for name in needed if name not in there]
    if missing:
        shown = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
        hint = did_you_mean(missing[0], there)
        raise StepError(
            f"the rows lack the model's column{'s' if len(missing) > 1 else ''} {shown}",
            **{"hint": hint, **(where or {})},
        )
