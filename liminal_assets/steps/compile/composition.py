"""Converters of what is made of several steps: pipelines and column transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from liminal_assets.steps.compile.converters import (
    convert_estimator,
    convert_transformer,
    estimator,
    transformer,
)
from liminal_assets.steps.compile.encoders import is_encoder, may_precede, tabulated
from liminal_assets.steps.compile.preparation import weighted
from liminal_assets.steps.compile.values import (
    Columns,
    Matrix,
    Node,
    UnsupportedError,
    joined,
    numbers,
)

__all__ = ["converted"]


def converted(fitted: Any, value: Columns | Matrix) -> Matrix | Columns:
    """What a fitted transformer makes of a value; ``passthrough`` makes nothing."""
    if isinstance(fitted, str) or fitted is None:
        return value
    return convert_transformer(fitted, value)


def chained(steps: Sequence[Any], value: Columns | Matrix) -> Matrix | Columns:
    """What fitted steps make of a value; those from a column to its encoder become one."""
    rest = [step for step in steps if step is not None and not isinstance(step, str)]
    while rest:
        ends = next((end for end, step in enumerate(rest) if not may_precede(step)), len(rest))
        if isinstance(value, Columns) and ends < len(rest) and is_encoder(rest[ends]):
            value = tabulated(rest[: ends + 1], value)
            rest = rest[ends + 1 :]
        else:
            value = convert_transformer(rest.pop(0), value)
    return value


@transformer("sklearn.Pipeline")
def _steps(fitted: Any, value: Columns | Matrix) -> Matrix | Columns:
    return chained([step for _, step in fitted.steps], value)


@transformer("sklearn.ColumnTransformer")
def _columns(fitted: Any, value: Columns | Matrix) -> Matrix:
    parts = []
    for name, part, _ in fitted.transformers_:
        places = np.asarray(fitted._transformer_to_input_indices[name], int)
        if part == "drop" or not len(places):
            continue
        made = numbers(converted(part, _some(value, places)))
        parts.append(weighted(made, (fitted.transformer_weights or {}).get(name)))
    if not parts:
        raise UnsupportedError("a ColumnTransformer without columns")
    return joined(value, parts)


@transformer("sklearn.FeatureUnion")
def _union(fitted: Any, value: Columns | Matrix) -> Matrix:
    parts = []
    for name, part in fitted.transformer_list:
        if part == "drop":
            continue
        made = value if part == "passthrough" else converted(part, value)
        parts.append(weighted(numbers(made), (fitted.transformer_weights or {}).get(name)))
    if not parts:
        raise UnsupportedError("a FeatureUnion without parts")
    return joined(value, parts)


def _some(value: Columns | Matrix, places: np.ndarray) -> Columns | Matrix:
    if isinstance(value, Columns):
        return Columns(value.signature, tuple(value.names[place] for place in places))
    labels = {
        new: value.labels[old] for new, old in enumerate(places.tolist()) if old in value.labels
    }
    taken = value.stepped({"op": "take", "places": places}, len(places))
    return replace(taken, labels=labels, single=value.single)


@estimator("sklearn.Pipeline")
def _pipeline(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    steps = [step for _, step in fitted.steps]
    return convert_estimator(steps[-1], chained(steps[:-1], value))


@estimator("sklearn.GridSearchCV", "sklearn.RandomizedSearchCV", "sklearn.HalvingGridSearchCV")
def _search(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    return convert_estimator(fitted.best_estimator_, value)
