"""Mistakes in models that take imports to know, each at its line with a hint."""

from __future__ import annotations

from pathlib import Path

import pytest

import liminal_assets as la
from liminal_assets.steps.model_mistakes import model_mistakes

HEAD = """\
name: shop
datasets: [{dataset: raw, fetch: {file: raw.csv}}]
features: [{feature: f, from: raw, entity: id}]
models:
  - model: m
    features: f
    target: y
"""
CODE = """\
from sklearn.linear_model import LogisticRegression
def build(strength): return LogisticRegression(C=strength)
def anything(**params): return LogisticRegression(**params)
def path(): return 'no estimator'
"""
LOGISTIC = "    estimator: sklearn.linear_model.LogisticRegression\n"
TUNE = "    tune: {trials: 1, metric: f1, space: "


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (LOGISTIC, []),
        (
            "    estimator: sklearn.linear_model.LogisticRegresion\n",
            [
                "8:16: estimator: sklearn.linear_model has no class 'LogisticRegresion' (did "
                "you mean 'LogisticRegression'?)"
            ],
        ),
        (
            LOGISTIC + "    params: {C: 1, max_itr: 3}\n",
            [
                "9:20: unknown-parameter: LogisticRegression has no parameter 'max_itr' (did "
                "you mean 'max_iter'?)"
            ],
        ),
        (
            LOGISTIC + "    evaluate: {metrics: [f1, roc_auk]}\n",
            ["9:30: unknown-metric: no metric is called 'roc_auk' (did you mean 'roc_auc'?)"],
        ),
        (
            LOGISTIC + "    validate: [{metric: rmse, at_most: 1}]\n",
            [
                "9:25: unknown-metric: 'rmse' is no metric of classification (such as roc_auc, "
                "pr_auc, f1, accuracy, log_loss, brier)"
            ],
        ),
        (
            LOGISTIC + TUNE + "{CC: {low: 1, high: 2}, C: {low: 1, high: 2}}}\n",
            [
                "9:43: unknown-parameter: LogisticRegression has no parameter 'CC' to search "
                "for (did you mean 'C'?)"
            ],
        ),
        (
            LOGISTIC + TUNE + "{prepare__numeric__scal: {choices: [none]}}}\n",
            [
                "9:43: unknown-parameter: there is no preparation 'numeric__scal' (did you "
                "mean 'numeric__scale'?)"
            ],
        ),
        (
            LOGISTIC + TUNE + "{prepare__numeric__scale: {choices: [none, big]}}}\n",
            ["9:68: invalid-value: 'big' is no value of prepare: numeric: scale"],
        ),
        ("    python: own:build\n    params: {strength: 1}\n", []),
        ("    python: own:anything\n    params: {C: 1}\n", []),
        (
            "    python: own:build\n    params: {strenth: 1}\n",
            [
                "9:14: unknown-parameter: own:build has no parameter 'strenth' (did you mean "
                "'strength'?)"
            ],
        ),
        (
            "    python: own:build\n",
            ["8:13: estimator: own:build needs a parameter 'strength' (give it under params)"],
        ),
        (
            "    python: own:biuld\n",
            ["8:13: estimator: own has no function 'biuld' (did you mean 'build'?)"],
        ),
        (
            "    python: own:path\n",
            [
                "8:13: estimator: own:path makes str, which is no estimator (an estimator has "
                "'fit' and 'predict', as scikit-learn's have)"
            ],
        ),
        (
            "    estimator: sklearn.preprocessing.StandardScaler\n",
            [
                "8:16: estimator: sklearn.preprocessing.StandardScaler makes StandardScaler, "
                "which is no estimator (an estimator has 'fit' and 'predict', as "
                "scikit-learn's have)"
            ],
        ),
    ],
    ids=lambda value: value.strip().replace("\n", ";") if isinstance(value, str) else "",
)
def test_a_mistake_is_found_at_its_line(text: str, found: list[str], tmp_path: Path) -> None:
    (tmp_path / "liminal.yml").write_text(HEAD + text)
    (tmp_path / "own.py").write_text(CODE)
    mistakes = model_mistakes(la.load_project(tmp_path))
    assert [str(mistake).removeprefix(f"{tmp_path}/liminal.yml:") for mistake in mistakes] == found


def test_all_mistakes_are_found_at_once(tmp_path: Path) -> None:
    (tmp_path / "liminal.yml").write_text(
        HEAD
        + LOGISTIC
        + "    params: {CC: 1}\n"
        + "    evaluate: {metrics: [nope]}\n"
        + TUNE
        + "{XX: {low: 1, high: 2}}}\n"
    )
    codes = [mistake.code for mistake in model_mistakes(la.load_project(tmp_path))]
    assert codes == ["unknown-parameter", "unknown-metric", "unknown-parameter"]
