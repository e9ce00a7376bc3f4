"""Converters of other libraries' estimators, from an installed distribution."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

from liminal_assets.steps.compile import UnsupportedError, compile_pipeline
from liminal_assets.steps.compile.certificate import DifferentError
from liminal_assets_tests.steps.compile.parity import NUMERIC, fit, proved

MODELS = """
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin

class Halved(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        return self

    def __sklearn_is_fitted__(self):
        return True

    def transform(self, X):
        return np.asarray(X, float) / 2

class Logistic(ClassifierMixin, BaseEstimator):
    def __init__(self, way="right"):
        self.way = way

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.slopes_ = np.nan_to_num(np.corrcoef(X, y, rowvar=False)[-1, :-1])
        return self

    def decision_function(self, X):
        return X @ self.slopes_ - 0.25

    def predict_proba(self, X):
        share = 1 / (1 + np.exp(-np.clip(self.decision_function(X), -500, 500)))
        return np.column_stack([1 - share, share])

    def predict(self, X):
        return self.classes_[(self.decision_function(X) > 0).astype(int)]
"""
COMPILED = """
import numpy as np
from liminal_assets.steps.compile import UnsupportedError
from liminal_assets.steps.compile.linear import classes_of, probable
from liminal_assets.steps.compile.preparation import checked
from liminal_assets.steps.compile.values import numbers

def halved(fitted, value):
    return numbers(value).then("center", center=None, scale=np.array([2.0]))

def logistic(fitted, value):
    if fitted.way == "unknown":
        raise UnsupportedError("this way of it")
    bias = {"right": -0.25, "wrong": -0.24}[fitted.way]
    slopes = fitted.slopes_[:, None]
    computed = {"op": "linear", "weights": slopes, "intercept": np.array([bias])}
    return checked(value, missing=False), probable(classes_of(fitted), computed, "logistic")
"""
POINTS = """
[liminal_assets.compilers]
other_models.Halved = other_compilers:halved
other_models.Logistic = other_compilers:logistic
"""


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    info = tmp_path / "other-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    (tmp_path / "other_models.py").write_text(MODELS)
    (tmp_path / "other_compilers.py").write_text(COMPILED)
    monkeypatch.syspath_prepend(tmp_path)
    modules = __import__("sys").modules
    yield importlib.import_module("other_models")
    for name in ("other_models", "other_compilers"):
        modules.pop(name, None)


def fitted(models: Any, way: str = "right") -> Any:
    steps = (SimpleImputer(), models.Halved(), models.Logistic(way))
    return fit(make_pipeline(*steps), 3, signature=NUMERIC)


def test_a_library_compiles_its_own_estimators(models: Any) -> None:
    assert proved(fitted(models), 3, NUMERIC).form == "numpy"


def test_what_a_library_compiles_wrongly_gets_no_certificate(models: Any) -> None:
    with pytest.raises((DifferentError, AssertionError), match="probability"):
        proved(fitted(models, "wrong"), 3, NUMERIC)


def test_a_library_may_decline(models: Any) -> None:
    with pytest.raises(UnsupportedError, match="this way of it"):
        compile_pipeline(fitted(models, "unknown"), NUMERIC)


def test_a_mistake_of_a_library_leaves_the_pipeline_as_it_is(models: Any) -> None:
    with pytest.raises(UnsupportedError, match="KeyError: 'typo'"):
        compile_pipeline(fitted(models, "typo"), NUMERIC)
