"""Random rows and fitted pipelines, and the proof that a compiled form answers as its pipeline."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from liminal_assets.serving.forms.compiled import Compiled
from liminal_assets.serving.model import PipelinePredictor
from liminal_assets.steps.compile import compile_pipeline
from liminal_assets.steps.compile.certificate import Certificate, certify
from liminal_assets.steps.scores import Scores
from liminal_assets.steps.signature import Field, Signature

NUMBERS = ["a", "b", "n"]
WORDS = ["color", "size"]
SIGNATURE = Signature(
    (
        Field("a", "double", required=False),
        Field("b", "double", required=False),
        Field("n", "long"),
        Field("color", "string", required=False),
        Field("size", "long"),
        Field("new", "boolean"),
    )
)
NUMERIC = Signature(tuple(Field(name, "double", required=False) for name in NUMBERS))
"""Of what needs no column transformer and no frame of several types: most of a pipeline's time."""
FULL = Signature(tuple(Field(name, "double") for name in NUMBERS))
"""Of what needs no imputer either."""
_ALONE = 1
"""Rows that the pipeline is asked one by one, of those held out and of those at the edges."""
_FITTED_ROWS, _ASKED_ROWS = 80, 40

seeds = st.integers(0, 30)
few = settings(
    max_examples=2,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@cache
def table(seed: int, *, rows: int = _FITTED_ROWS, nulls: bool = True) -> pd.DataFrame:
    """Rows to learn from or to ask about; not to be written to."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "a": random.normal(3, 10, rows),
            "b": random.choice([0.0, 0.5, 1.0, -2.0], rows),
            "n": random.integers(-5, 6, rows),
            "color": random.choice(
                ["red", "blue", "green", "rare one"], rows, p=[0.5, 0.3, 0.17, 0.03]
            ),
            "size": random.integers(0, 4, rows),
            "new": random.random(rows) < 0.4,
        }
    ).astype({"color": object})
    if nulls:
        frame.loc[random.random(rows) < 0.15, "a"] = np.nan
        frame.loc[random.random(rows) < 0.15, "color"] = None
    return frame


def targets(frame: pd.DataFrame, classes: int, seed: int) -> np.ndarray:
    """Labels of as many classes, or values if there are none."""
    random = np.random.default_rng(seed)
    score = frame["b"].to_numpy() + frame["n"].to_numpy() / 3 + random.normal(0, 1, len(frame))
    if classes == 0:
        return score
    return np.searchsorted(np.quantile(score, np.arange(1, classes) / classes), score)


def fit(pipeline: Any, seed: int, classes: int = 2, *, signature: Signature = SIGNATURE) -> Any:
    frame = table(seed)
    return pipeline.fit(inputs(frame, signature), targets(frame, classes, seed))


def inputs(frame: pd.DataFrame, signature: Signature) -> pd.DataFrame:
    """The columns of a signature."""
    columns = frame[list(signature.names)]
    if not signature.all_double:
        return columns
    return columns.astype(float).fillna(0.0) if signature is FULL else columns.astype(float)


def form_of(pipeline: Any, signature: Signature = SIGNATURE) -> tuple[str, Compiled]:
    """A fitted pipeline's compiled form, read again from its files."""
    description = compile_pipeline(pipeline, signature)
    with tempfile.TemporaryDirectory() as folder:
        description.write(Path(folder))
        return description.form, Compiled(
            json.loads(json.dumps(description.said)), Path(folder), signature.names
        )


def proved(
    pipeline: Any, seed: int, signature: Signature = SIGNATURE, rows: pd.DataFrame | None = None
) -> Certificate:
    """The certificate of a fitted pipeline's compiled form."""
    name, form = form_of(pipeline, signature)
    rows = table(seed + 1, rows=_ASKED_ROWS) if rows is None else rows
    known = [signature.sample(row) for row in inputs(rows, signature).to_dict("records")]
    itself = _Remembered(PipelinePredictor(pipeline, signature))
    _alone(form, itself, known)
    return certify(name, form, itself, signature, known, alone=_ALONE)


class _Remembered:
    """A pipeline that isn't asked the same twice."""

    def __init__(self, itself: PipelinePredictor) -> None:
        self._itself = itself
        self._answers: dict[str, Scores] = {}

    def __call__(self, columns: Mapping[str, Sequence[Any]], rows: int) -> Scores:
        asked = str(columns)
        if asked not in self._answers:
            self._answers[asked] = self._itself(columns, rows)
        return self._answers[asked]


def _alone(form: Compiled, itself: _Remembered, known: Sequence[Mapping[str, Any]]) -> None:
    """A form answers each row alone as the pipeline answers it among others, which is faster."""
    together = {name: [row[name] for row in known] for name in known[0]}
    try:
        expected = itself(together, len(known))
    except ValueError:
        return
    for place, row in enumerate(known):
        got = form({name: [value] for name, value in row.items()}, 1)
        for name, column in expected.columns.items():
            one, other = column[place], got.columns[name][0]
            if isinstance(one, float):
                assert other == pytest.approx(one, rel=1e-9, abs=1e-9, nan_ok=True), (name, row)
            else:
                assert other == one, (name, row)


def numeric(*steps: Any) -> Any:
    """Steps on the columns of numbers alone."""
    return make_column_transformer((make_pipeline(*steps), NUMBERS))


def scaled(estimator: Any) -> Any:
    """An estimator after imputed and scaled numbers, for :data:`NUMERIC`."""
    return make_pipeline(SimpleImputer(), StandardScaler(), estimator)


def named(estimator: Any) -> str:
    """The name of a test: the same in every process, so without addresses of functions."""
    return re.sub(r"\s+(at 0x[0-9a-f]+)?", "", str(estimator))[:60]
