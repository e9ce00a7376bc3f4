"""Packaging: a pipeline is written so that it loads elsewhere, safely where that is possible."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin

import liminal_assets as la
from liminal_assets.language.loading import Project
from liminal_assets.steps.packaging import (
    code_of,
    requirements_of,
    serialization_of,
    signature_of,
    typed_inputs,
)

ROWS = 120


def rows() -> pd.DataFrame:
    random = np.random.default_rng(2)
    made = pd.DataFrame(
        {
            "size": random.normal(size=ROWS),
            "count": np.arange(ROWS),
            "maybe": pd.array(np.arange(ROWS), dtype="Int32"),
            "yes": random.random(ROWS) > 0.5,
            "kind": random.choice(["a", "b"], ROWS),
        }
    )
    made.loc[::7, "maybe"] = pd.NA
    made["y"] = made["size"] > 0
    return made


def train(**said: Any) -> Any:
    keys = {"target": "y", "estimator": "sklearn.linear_model.LogisticRegression", **said}
    return la.steps.train(rows(), **keys)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"prepare": {"numeric": {"clip": [0.1, 0.9], "transform": "log1p", "indicator": True}}},
        {"prepare": {"numeric": {"transform": "yeo_johnson"}, "categorical": {"encode": "target"}}},
        {"estimator": "sklearn.ensemble.RandomForestClassifier", "params": {"n_estimators": 3}},
        {"evaluate": {"threshold": 0.4}},
        {
            "estimator": "sklearn.ensemble.HistGradientBoostingClassifier",
            "params": {"max_iter": 3},
            "prepare": {"categorical": {"encode": "none"}},
        },
    ],
    ids=["default", "clip", "target", "forest", "threshold", "booster"],
)
def test_pipelines_of_known_types_are_written_by_skops_and_come_back_equal(
    said: dict[str, Any],
) -> None:
    import skops.io

    trained = train(**said)
    serialization = serialization_of(trained.pipeline)
    assert serialization.name == "skops"
    back = skops.io.loads(skops.io.dumps(trained.pipeline), trusted=serialization.trusted)
    expected = trained.pipeline.predict_proba(trained.inputs)
    np.testing.assert_array_equal(back.predict_proba(trained.inputs), expected)


class Own(ClassifierMixin, BaseEstimator):
    """A type that isn't scikit-learn's."""

    def fit(self, X: Any, y: Any) -> Own:  # noqa: N803
        self.classes_ = np.unique(y)
        return self

    def predict(self, X: Any) -> Any:  # noqa: N803
        return np.full(len(X), True)


def test_other_types_go_through_cloudpickle() -> None:
    trained = train(
        estimator=f"{__name__}.Own", evaluate={"metrics": ["accuracy"]}, columns={"drop": ["kind"]}
    )
    assert serialization_of(trained.pipeline).name == "cloudpickle"


def test_requirements_are_pinned_to_what_is_installed(tmp_path: Path) -> None:
    project = Project.of("p", tmp_path, check=False)
    (tmp_path / "own.py").write_text(
        "import optuna, json\nfrom sklearn.linear_model import Ridge\ndef build(): return Ridge()\n"
    )
    frame = rows().assign(y=lambda f: f["size"] * 2)
    trained = la.steps.train(frame, target="y", python="own:build", project=project)
    found = dict(line.split("==") for line in requirements_of(project, trained, "skops"))
    assert {"scikit-learn", "numpy", "pandas", "scipy", "mlflow", "skops", "optuna"} <= set(found)
    assert found["pandas"] == pd.__version__
    assert "json" not in found


def test_the_modules_of_the_project_are_kept_with_their_packages(tmp_path: Path) -> None:
    package = tmp_path / "own" / "deep"
    package.mkdir(parents=True)
    (tmp_path / "own" / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "model.py").write_text("from own.helper import x\nfrom . import near\n")
    (package / "near.py").touch()
    (package / "unused.py").touch()
    (tmp_path / "own" / "helper.py").write_text("x = 1\n")
    project = Project.of("p", tmp_path, check=False)
    model = train().model.model_copy(update={"estimator": None, "python": "own.deep.model:build"})
    with code_of(project, model) as paths:
        (top,) = map(Path, paths)
        found = {path.relative_to(top.parent).as_posix() for path in top.rglob("*.py")}
    assert found == {
        "own/__init__.py",
        "own/helper.py",
        "own/deep/__init__.py",
        "own/deep/model.py",
        "own/deep/near.py",
    }


def test_a_model_without_code_of_its_own_keeps_none(tmp_path: Path) -> None:
    with code_of(Project.of("p", tmp_path, check=False), train().model) as paths:
        assert paths == []


def test_the_signature_has_doubles_where_nulls_make_them() -> None:
    trained = train(prepare={"numeric": {"impute": "none"}}, columns={"drop": ["maybe"]})
    strict = {c.name: (c.type.name, c.required) for c in signature_of(trained).inputs}
    assert strict == {
        "size": ("double", True),
        "count": ("long", True),
        "yes": ("boolean", True),
        "kind": ("string", False),
    }
    lenient = {c.name: (c.type.name, c.required) for c in signature_of(train()).inputs}
    assert lenient["maybe"] == ("double", False)
    assert lenient["size"] == ("double", False)


def test_an_example_has_the_types_of_the_signature() -> None:
    example = typed_inputs(train(), 3)
    assert example["maybe"].dtype == "float64"
    assert example["count"].dtype == "int64"
