"""A version of a model that answers checked columns: nothing here knows of JSON or sockets."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol

from liminal_assets.errors import StepError
from liminal_assets.serving.errors import Problem, RequestError
from liminal_assets.serving.features.completion import FeatureSource
from liminal_assets.serving.forms import load_form
from liminal_assets.serving.protocols.records import Rows
from liminal_assets.serving.releases.release import Release
from liminal_assets.serving.validation import validated
from liminal_assets.steps.score import Scorer, model_errors
from liminal_assets.steps.scores import Scores
from liminal_assets.steps.signature import FieldType, Signature

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PipelinePredictor", "Predictor", "ServedModel"]

_INVALID = (ValueError, TypeError, OverflowError, FloatingPointError)
"""What scikit-learn raises for values that a model can't take."""

SLOW_SECONDS = 0.0005
"""A model that takes longer for one row answers in a thread of its own. That costs some 0.1 ms; the
event loop stays free for others, and a busy machine lets a process that often waits go first."""


_ALONE = 50
"""Rows at the edges that a form is asked about one by one when a server starts with a pipeline:
half a second for 100 boosted trees."""
_KNOWN = 300
"""Rows that it is asked about then."""

_TIMED_CALLS = 3
"""The fastest of some calls: others may have waited for a core."""


class Predictor(Protocol):
    """Something that answers columns: the pipeline itself, or a form that was proved equal."""

    def __call__(self, columns: Mapping[str, Sequence[Any]], rows: int) -> Scores: ...


_ELEMENTWISE = {
    f"sklearn.preprocessing._data.{name}"
    for name in ("MaxAbsScaler", "MinMaxScaler", "RobustScaler", "StandardScaler")
}
"""First steps that compute every number by itself, and so the same of a matrix as of a frame."""


class PipelinePredictor:
    """The fitted pipeline on a pandas frame, as in training; on the matrix that is in that frame
    where scikit-learn would only take it out again.
    """

    def __init__(self, pipeline: Any, signature: Signature) -> None:
        nameless = _nameless(pipeline) if signature.all_double else None
        self._scorer = Scorer(nameless or pipeline)
        self._form = signature.frame if nameless is None else signature.matrix

    def __call__(self, columns: Mapping[str, Sequence[Any]], rows: int) -> Scores:
        """The answers to ``rows`` rows of checked values."""
        return self._scorer(self._form(columns, rows))


def _nameless(pipeline: Any) -> Any:
    """The pipeline without the column names that its first step would compare; None where the
    step uses them, or hands them on."""
    from sklearn.pipeline import Pipeline

    if type(pipeline) is not Pipeline or len(pipeline.steps) < 2:
        return None
    (name, first), *rest = pipeline.steps
    kind = f"{type(first).__module__}.{type(first).__qualname__}"
    if kind not in _ELEMENTWISE or hasattr(first, "_sklearn_output_config"):
        return None
    bare = copy(first)
    vars(bare).pop("feature_names_in_", None)
    return Pipeline([(name, bare), *rest])


@dataclass(frozen=True)
class ServedModel:
    """One version in memory, ready to answer.

    Attributes:
        name: the registered model, ``<project>.<model>``.
        version: its version, as text.
        signature: what it takes.
        predictor: what answers.
        run_id: the MLflow run that made it.
        example: a row that it can answer: shown in the documentation, and asked before the
            version takes over.
        loaded_at: when it was loaded (UTC).
        label_type: the type of its predictions, and so of the truth.
        slow: whether one row takes so long that a thread should answer it.
        form: which form of the model answers.
        certificate: what shows that the form answers as the pipeline does.
        features: where what a row leaves out can be looked up.
    """

    name: str
    version: str
    signature: Signature
    predictor: Predictor
    run_id: str | None = None
    example: Mapping[str, Any] = field(default_factory=dict)
    loaded_at: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    label_type: FieldType = "any"
    slow: bool = False
    form: str = "pipeline"
    certificate: Mapping[str, Any] = field(default_factory=dict)
    features: FeatureSource | None = None

    @cached_property
    def reading(self) -> Signature:
        """By which rows are read. Nothing is looked up for a version that doesn't say by which
        specification its rows were made, but what a row leaves out isn't null either."""
        source = self.features
        never = source is not None and source.specification is None
        return self.signature.storing(source.entity) if source and never else self.signature

    @classmethod
    def from_release(cls, release: Release) -> ServedModel:
        """A release that has answered its example.

        Raises:
            StepError: it can't be loaded, or can't answer.
        """
        example = {name: [value] for name, value in release.example.items()}
        row = validated(Rows(example, 1), release.signature)
        return cls._asked(
            load_form(release),
            release.signature,
            {name: row[name][0] for name in release.signature.names},
            name=release.name,
            version=release.version,
            run_id=release.run_id,
            form=release.form,
            certificate=release.certificate,
            features=FeatureSource.of(release.features),
        )

    @classmethod
    def of(
        cls,
        pipeline: Any,
        signature: Signature,
        *,
        name: str,
        version: str,
        run_id: str | None = None,
        example: Mapping[str, Any] | None = None,
        known: pd.DataFrame | None = None,
        form: Literal["auto", "pipeline"] = "auto",
    ) -> ServedModel:
        """A fitted pipeline, compiled where that is proved, that has answered its example.

        Args:
            example: a row; what it lacks is made up.
            known: rows that a compiled form is asked about; default: the example.
            form: ``pipeline`` where nothing is to be compiled.

        Raises:
            StepError: it can't answer.
        """
        row = signature.sample(example)
        predictor: Predictor = PipelinePredictor(pipeline, signature)
        said: dict[str, Any] = {"name": name, "version": version, "run_id": run_id}
        # the pipeline first, for what is wrong with it is told better
        itself = cls._asked(predictor, signature, row, **said)
        if form == "pipeline":
            return itself
        from liminal_assets.serving.compiling import compiled_form, uncompiled

        refused: dict[str, str] = {}
        held: list[Any] = [] if known is None else known.head(_KNOWN).to_dict("records")
        rows = [signature.sample(one) for one in held] or [row]
        made = compiled_form(pipeline, signature, rows, refused, alone=_ALONE)
        if made is None:
            return replace(itself, certificate=uncompiled(refused))
        said |= {"form": made.name, "certificate": made.certificate}
        return cls._asked(made.predictor, signature, row, **said)

    @classmethod
    def _asked(
        cls, predictor: Predictor, signature: Signature, row: Mapping[str, Any], **said: Any
    ) -> ServedModel:
        columns = {column: [value] for column, value in row.items()}
        with model_errors():
            scores = predictor(columns, 1)
            seconds = min(_seconds(predictor, columns) for _ in range(_TIMED_CALLS))
        if len(scores.prediction) != 1 or not scores.all_finite():
            raise StepError("the model has no finite answer for its example row")
        return cls(
            **said,
            signature=signature,
            predictor=predictor,
            example={**{field.name: None for field in signature.carried}, **row},
            label_type=_LABELS.get(type(scores.prediction.tolist()[0]), "any"),
            slow=seconds > SLOW_SECONDS,
        )

    def predict(self, columns: Mapping[str, Sequence[Any]], rows: int) -> Scores:
        """The answers to checked rows.

        Raises:
            RequestError: 422 if the model has no answer for these values.
        """
        try:
            scores = self.predictor(columns, rows)
        except _INVALID as error:
            raise _refused(error) from error
        if not scores.all_finite():
            raise _not_finite((~scores.finite()).nonzero()[0])
        return scores

    @cached_property
    def _single(self) -> Callable[[Sequence[Any]], dict[str, Any]]:
        """What answers one row: the predictor's own ``single``, if it has one."""
        own: Callable[[Sequence[Any]], dict[str, Any]] | None
        own = getattr(self.predictor, "single", None)
        return own or self._by_columns

    def _by_columns(self, values: Sequence[Any]) -> dict[str, Any]:
        names = self.signature.known
        columns = {name: [value] for name, value in zip(names, values, strict=False)}
        scores = self.predictor(columns, 1)
        return {name: column.item() for name, column in scores.columns.items()}

    def predict_one(self, values: Sequence[Any]) -> dict[str, Any]:
        """The answer to one row by column, as Python's values.

        Args:
            values: checked ones, in the order of the signature.

        Raises:
            RequestError: 422 if the model has no answer for these values.
        """
        try:
            said = self._single(values)
        except _INVALID as error:
            raise _refused(error) from error
        for value in said.values():
            if type(value) is float and not math.isfinite(value):
                raise _not_finite([0])
        return said


def _refused(error: Exception) -> RequestError:
    first = str(error).strip().split("\n")[0][:200]
    return RequestError(422, "no_answer", f"the model can't answer these values: {first}")


def _not_finite(rows: Iterable[int]) -> RequestError:
    said = "the model has no finite answer for this row"
    return RequestError(422, "no_answer", said, [Problem(int(r), "prediction", said) for r in rows])


_LABELS: Mapping[type, FieldType] = {
    bool: "boolean",
    int: "long",
    float: "double",
    str: "string",
}


def _seconds(predictor: Predictor, columns: Mapping[str, Sequence[Any]]) -> float:
    started = time.perf_counter()
    predictor(columns, 1)
    return time.perf_counter() - started
