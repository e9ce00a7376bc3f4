"""Train: any estimator and target, deterministic, and one message for whatever is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import liminal_assets as la
from liminal_assets.language.loading import Project
from liminal_assets.steps.learning import learning_rows, partitions_until

LOGISTIC = "sklearn.linear_model.LogisticRegression"
ROWS = 300


@pytest.fixture
def rows() -> pd.DataFrame:
    random = np.random.default_rng(3)
    made = pd.DataFrame(
        {
            "id": np.arange(ROWS),
            "at": pd.date_range("2024-01-01", periods=ROWS, freq="h"),
            "x": random.normal(size=ROWS),
            "z": random.normal(size=ROWS),
            "kind": random.choice(["a", "b", "c"], ROWS),
        }
    )
    made["y"] = made["x"] + random.normal(size=ROWS) > 0
    return made


def train(rows: Any, **said: Any) -> Any:
    keys = {"target": "y", "estimator": LOGISTIC, "columns": {"drop": ["id", "at"]}, **said}
    return la.steps.train(rows, **keys)


TARGETS = {
    "booleans": lambda y: y,
    "integers": lambda y: y.astype(int),
    "texts": lambda y: np.where(y, "late", "early"),
    "floats that are whole": lambda y: y.astype(float),
    "categories": lambda y: pd.Categorical(np.where(y, "late", "early")),
    "booleans with nulls": lambda y: y.astype(object).where(np.arange(ROWS) % 10 > 0, None),
}


@pytest.mark.parametrize("kind", TARGETS)
def test_targets_of_every_type_are_learned(rows: pd.DataFrame, kind: str) -> None:
    trained = train(rows.assign(y=TARGETS[kind](rows["y"])))
    assert trained.metrics["roc_auc"] > 0.7
    assert set(trained.pipeline.predict(rows)) == set(trained.classes)
    assert len(trained.classes) == 2


@pytest.mark.parametrize(
    ("estimator", "params"),
    [
        ("sklearn.ensemble.HistGradientBoostingClassifier", {"max_iter": 5}),
        ("sklearn.ensemble.RandomForestClassifier", {"n_estimators": 5}),
        ("sklearn.svm.LinearSVC", {}),
        ("sklearn.naive_bayes.GaussianNB", {}),
        ("sklearn.neighbors.KNeighborsClassifier", {}),
    ],
    ids=lambda value: value.rpartition(".")[2] if isinstance(value, str) else "",
)
def test_any_classifier_can_be_named(
    rows: pd.DataFrame, estimator: str, params: dict[str, Any]
) -> None:
    metrics = {"metrics": ["roc_auc", "accuracy"]}
    trained = train(rows, estimator=estimator, params=params, evaluate=metrics)
    assert trained.task == "classification"
    assert trained.metrics["roc_auc"] > 0.6


def test_three_classes_are_learned(rows: pd.DataFrame) -> None:
    kind = np.where(rows["x"] > 0.5, "high", np.where(rows["x"] < -0.5, "low", "mid"))
    trained = train(rows.assign(y=kind))
    assert trained.classes == ("high", "low", "mid")
    assert trained.metrics["accuracy"] > 0.8
    columns = {"prediction", "probability_high", "probability_low", "probability_mid"}
    assert columns < set(trained.reference())


def test_numbers_are_learned(rows: pd.DataFrame) -> None:
    trained = train(rows.assign(y=rows["x"] * 2 + 1), estimator="sklearn.linear_model.Ridge")
    assert trained.task == "regression"
    assert trained.metrics["r2"] > 0.99
    assert trained.reference()["prediction"].dtype == float


def test_the_reference_holds_the_held_out_rows_and_the_answers(rows: pd.DataFrame) -> None:
    trained = train(rows, split={"by": "time", "column": "at", "test": 0.2})
    reference = trained.reference()
    assert len(reference) == 60
    assert reference["at"].min() > rows["at"].iloc[239]
    assert set(reference) == {*rows.columns, "prediction", "probability"}
    expected = trained.pipeline.predict_proba(reference)[:, 1]
    np.testing.assert_array_equal(reference["probability"], expected)


def test_equal_rows_and_seed_give_an_equal_model_whatever_the_order(rows: pd.DataFrame) -> None:
    said = {
        "estimator": "sklearn.ensemble.RandomForestClassifier",
        "params": {"n_estimators": 8},
        "evaluate": {"cross_validate": 3},
    }
    one = train(rows, **said)
    other = train(rows.sample(frac=1, random_state=1), **said)
    assert one.metrics == other.metrics
    assert one.folds == other.folds
    np.testing.assert_array_equal(
        one.pipeline.predict_proba(rows), other.pipeline.predict_proba(rows)
    )
    assert one.pipeline[-1].random_state == 0
    assert one.pipeline[-1].n_jobs is None


def test_a_threshold_moves_the_labels_and_their_metrics(rows: pd.DataFrame) -> None:
    usual = train(rows)
    careful = train(rows, evaluate={"threshold": 0.8})
    assert careful.metrics["roc_auc"] == pytest.approx(usual.metrics["roc_auc"])
    assert careful.pipeline.predict(rows).sum() < usual.pipeline.predict(rows).sum()
    probabilities = careful.pipeline.predict_proba(rows)[:, 1]
    np.testing.assert_array_equal(careful.pipeline.predict(rows), probabilities >= 0.8)


def test_refit_learns_from_all_rows_and_keeps_the_honest_metrics(rows: pd.DataFrame) -> None:
    usual, refitted = train(rows), train(rows, refit=True)
    assert refitted.metrics == usual.metrics
    assert (usual.learned_from, refitted.learned_from) == (ROWS * 0.8, ROWS)
    assert refitted.pipeline[-1].coef_.tolist() != usual.pipeline[-1].coef_.tolist()


def test_cross_validation_gives_each_metric_per_fold(rows: pd.DataFrame) -> None:
    trained = train(rows, evaluate={"metrics": ["roc_auc", "brier"], "cross_validate": 4})
    assert {name: len(values) for name, values in trained.folds.items()} == {
        "roc_auc": 4,
        "brier": 4,
    }


def test_rows_without_a_target_are_left_out(rows: pd.DataFrame) -> None:
    rows["y"] = rows["y"].astype(object).where(rows["id"] % 3 > 0, None)
    trained = train(rows)
    assert trained.rows.left_out == 100
    assert trained.learned_from + len(trained.held_out) == 200


def test_a_function_of_the_project_builds_the_estimator(rows: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "building.py").write_text(
        "from sklearn.linear_model import LogisticRegression\n"
        "def build(strength, solver='lbfgs'):\n"
        "    return LogisticRegression(C=1 / strength, solver=solver)\n"
    )
    said = {"python": "building:build", "estimator": None, "params": {"strength": 4}}
    trained = train(rows, project=Project.of("p", tmp_path, check=False), **said)
    assert trained.pipeline[-1].C == 0.25


def test_a_window_keeps_the_newest_rows(rows: pd.DataFrame) -> None:
    said = {"window": "100h", "split": {"by": "time", "column": "at"}}
    trained = train(rows, **said)
    assert len(trained.rows.frame) == 100
    assert trained.rows.frame["at"].min() == rows["at"].iloc[200]


def test_columns_that_may_be_null_are_found(rows: pd.DataFrame) -> None:
    assert train(rows).nullable == {"x", "z", "kind"}
    strict = train(rows, prepare={"numeric": {"impute": "none"}})
    assert strict.nullable == {"kind"}


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no target": ({"target": "yy"}, r"no column 'yy' to predict.*did you mean 'y'"),
    "an unknown class": ({"estimator": "sklearn.svm.SVCC"}, "no class 'SVCC'.*'SVC'"),
    "an unknown module": ({"estimator": "sklern.svm.SVC"}, "no module 'sklern"),
    "no module": ({"estimator": "Ridge"}, "no class that can be imported.*sklearn.linear_model"),
    "no estimator": ({"estimator": "pathlib.Path"}, "no estimator"),
    "an unknown parameter": ({"params": {"c": 1}}, r"no parameter 'c'"),
    "a wrong value": ({"params": {"C": -1}}, "fitting .* raised InvalidParameterError"),
    "an unknown metric": ({"evaluate": {"metrics": ["auk"]}}, "no metric is called 'auk'"),
    "a metric of another task": (
        {"evaluate": {"metrics": ["rmse"]}},
        "no metric of",
    ),
    "an unknown column": ({"columns": {"numeric": ["xx"]}}, "no column 'xx'"),
    "text as numbers": (
        {"columns": {"numeric": ["kind"], "drop": ["at"]}},
        "column 'kind'",
    ),
    "a moment": ({"columns": {}}, "the column 'at' .* no role of its own"),
    "no columns": (
        {"columns": {"drop": ["id", "at", "x", "z", "kind"]}},
        "no column to learn",
    ),
    "too few rows": ({"min_rows": 1000}, "300 rows to learn from and needs 1,000"),
    "a window without a timestamp": ({"window": "1d"}, "'window' needs a timestamp"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_one_message(rows: pd.DataFrame, what: str) -> None:
    said, message = WRONG[what]
    with pytest.raises(la.StepError, match=f"(?s){message}"):
        train(rows, **said)


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "one class": ({"y": True}, "one class only, True"),
    "no labels": ({"y": None}, "no row of rows has a 'y'"),
    "fractions as classes": ({"y": np.linspace(0, 1, ROWS)}, "fractions, such as"),
    "an all-null column": ({"x": None}, "the column 'x' of rows is all null"),
    "infinite values": ({"x": [np.inf, *range(ROWS - 1)]}, "'x' of rows has 1 infinite values"),
    "a column named as the answer": ({"prediction": 1}, "what the model's answer is called"),
    "categories by the thousand": (
        {"kind": [f"k{i}" for i in range(ROWS)]},
        "one-hot encoding of 'kind' would make 300 columns",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_rows_are_one_message(
    rows: pd.DataFrame, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liminal_assets.steps.prepare.one_hot_limit", 200)
    columns, message = BROKEN[what]
    with pytest.raises(la.StepError, match=message):
        train(rows.assign(**columns))


def test_a_regressor_does_not_take_labels(rows: pd.DataFrame) -> None:
    labels = np.where(rows["y"], "late", "early")
    with pytest.raises(la.StepError, match="which is no number to predict"):
        train(rows.assign(y=labels), estimator="sklearn.linear_model.Ridge")


def test_a_split_that_leaves_one_class_is_said(rows: pd.DataFrame) -> None:
    rows["y"] = rows["id"] >= 290
    with pytest.raises(la.StepError, match="the rows to learn from have one class only"):
        train(rows, split={"by": "time", "column": "at"})


def test_mistakes_are_told_at_their_line(tmp_path: Path, rows: pd.DataFrame) -> None:
    (tmp_path / "liminal.yml").write_text(
        "name: shop\n"
        "datasets: [{dataset: raw, fetch: {file: raw.csv}}]\n"
        "features: [{feature: f, from: raw, entity: id, timestamp: at}]\n"
        "models:\n"
        "  - model: m\n"
        "    features: f\n"
        "    target: y\n"
        f"    estimator: {LOGISTIC}\n"
        "    columns:\n"
        "      numeric: [xx]\n"
    )
    project = la.load_project(tmp_path)
    model = project.spec.models[0]
    with pytest.raises(la.StepError) as raised:
        la.steps.train(learning_rows(project, model, rows), model, project=project)
    assert raised.value.location is not None
    assert raised.value.location.line == 10


MONTHS = ["2024-01", "2024-02", "2024-03"]


@pytest.mark.parametrize(
    ("until", "chosen"),
    [
        (None, MONTHS),
        ("2024-02", MONTHS[:2]),
        ("2023-12", []),
        ("2024-02-29", MONTHS[:2]),
        ("2024-02-28", MONTHS[:1]),
        ("2030-01", MONTHS),
    ],
)
def test_a_run_of_a_partition_learns_from_what_was_known_by_its_end(
    until: str | None, chosen: list[str]
) -> None:
    monthly = {"every": "month", "start": "2024-01-01"}
    daily = {"every": "day", "start": "2024-01-01"}
    project = Project.of(
        "p",
        datasets=[
            {"dataset": "raw", "fetch": {"file": "raw.csv"}, "partitions": monthly},
            {"dataset": "days", "fetch": {"file": "raw.csv"}, "partitions": daily},
        ],
        features=[{"feature": "f", "from": "raw", "entity": "id"}],
        models=[{"model": "m", "features": "f", "target": "y", "estimator": LOGISTIC}],
    )
    assert partitions_until(project, project.spec.models[0], MONTHS, until) == chosen


def test_listed_partitions_count_in_their_order() -> None:
    project = Project.of(
        "p",
        datasets=[{"dataset": "raw", "fetch": {"file": "x"}, "partitions": {"values": ["b", "a"]}}],
        features=[{"feature": "f", "from": "raw", "entity": "id"}],
        models=[{"model": "m", "features": "f", "target": "y", "estimator": LOGISTIC}],
    )
    assert partitions_until(project, project.spec.models[0], ["a", "b"], "b") == ["b"]


@pytest.mark.slow
def test_the_steps_of_a_notebook_need_neither_dagster_nor_mlflow() -> None:
    code = (
        "import sys, pandas as pd, liminal_assets as la\n"
        "rows = pd.DataFrame({'x': range(100), 'y': [i % 3 == 0 for i in range(100)]})\n"
        f"trained = la.steps.train(rows, target='y', estimator={LOGISTIC!r},\n"
        "    validate=[{'metric': 'roc_auc', 'at_least': 0.0}, {'integrity': True}])\n"
        "outcomes = la.steps.validate(trained, la.steps.evaluate(trained))\n"
        "print([o.passed for o in outcomes], {'dagster', 'mlflow'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "[True, True] set()\n", done.stderr
