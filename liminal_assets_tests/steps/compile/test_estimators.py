"""Compiled estimators answer as scikit-learn's: those of which one fit in ``test_reference`` is
not enough."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn import ensemble, linear_model, naive_bayes, svm, tree
from sklearn.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)
from sklearn.dummy import DummyClassifier
from sklearn.impute import SimpleImputer
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from liminal_assets.serving.model import PipelinePredictor
from liminal_assets.steps.compile import UnsupportedError, compile_pipeline
from liminal_assets.steps.signature import Field, Signature
from liminal_assets_tests.steps.compile.parity import (
    FULL,
    NUMERIC,
    fit,
    form_of,
    inputs,
    named,
    proved,
    table,
    targets,
)

CLASSIFIERS = [
    linear_model.LogisticRegression(),
    linear_model.SGDClassifier(loss="log_loss"),
    linear_model.SGDClassifier(loss="modified_huber"),
    linear_model.SGDClassifier(),
    linear_model.RidgeClassifier(),
    svm.LinearSVC(),
    svm.SVC(),
    svm.SVC(kernel="linear", break_ties=True),
    svm.SVC(kernel="poly"),
    svm.NuSVC(nu=0.2, kernel="sigmoid"),
    LinearDiscriminantAnalysis(),
    QuadraticDiscriminantAnalysis(reg_param=0.1),
    naive_bayes.GaussianNB(),
    naive_bayes.BernoulliNB(),
    MLPClassifier((5, 4), max_iter=15, random_state=0),
    MLPClassifier((5,), activation="tanh", max_iter=15, random_state=0),
    MLPClassifier((5,), activation="logistic", max_iter=15, random_state=0),
    tree.DecisionTreeClassifier(max_depth=4),
    tree.DecisionTreeClassifier(max_leaf_nodes=2),
    ensemble.RandomForestClassifier(7),
    ensemble.ExtraTreesClassifier(7, max_depth=4),
    ensemble.GradientBoostingClassifier(n_estimators=5),
    ensemble.HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=4),
]
REGRESSORS = [
    linear_model.Ridge(),
    linear_model.RANSACRegressor(random_state=0),
    svm.SVR(),
    MLPRegressor(hidden_layer_sizes=(5, 4), max_iter=15, random_state=0),
    tree.DecisionTreeRegressor(max_depth=5),
    ensemble.RandomForestRegressor(6),
    ensemble.ExtraTreesRegressor(6),
    ensemble.GradientBoostingRegressor(n_estimators=6),
    ensemble.HistGradientBoostingRegressor(max_iter=6, min_samples_leaf=4),
]


# of two classes as scikit-learn makes them by default, test_reference tells
@pytest.mark.parametrize(
    ("estimator", "classes"),
    [(estimator, 3) for estimator in CLASSIFIERS]
    + [(estimator, 2) for estimator in CLASSIFIERS if not str(estimator).endswith("()")],
    ids=named,
)
def test_classifiers(estimator: Any, classes: int) -> None:
    # words in one half of the cases, numbers in the other
    seed = CLASSIFIERS.index(estimator)
    frame = table(seed)
    labels = targets(frame, classes, seed)
    if (seed + classes) % 2:
        labels = np.array(["no", "maybe", "yes"])[labels]
    proved(estimator.fit(inputs(frame, FULL), labels), seed, FULL)


@pytest.mark.parametrize("estimator", REGRESSORS, ids=named)
def test_regressors(estimator: Any) -> None:
    seed = REGRESSORS.index(estimator)
    proved(fit(estimator, seed, 0, signature=FULL), seed, FULL)


LOGARITHMS = [
    linear_model.PoissonRegressor(),
    linear_model.GammaRegressor(),
    linear_model.TweedieRegressor(power=1.5),
    linear_model.TweedieRegressor(power=0),
    MLPRegressor("poisson", (4,), max_iter=15, random_state=0),
    ensemble.HistGradientBoostingRegressor("poisson", max_iter=4, min_samples_leaf=4),
]


@pytest.mark.parametrize("estimator", LOGARITHMS, ids=named)
def test_regressions_of_logarithms(estimator: Any) -> None:
    frame = table(3)
    values = np.exp(targets(frame, 0, 3))
    proved(estimator.fit(inputs(frame, FULL), values), 3, FULL)


@pytest.mark.parametrize("estimator", [naive_bayes.ComplementNB(), naive_bayes.MultinomialNB()])
def test_naive_bayes_of_counts(estimator: Any) -> None:
    pipeline = make_pipeline(SimpleImputer(), MinMaxScaler(clip=True), estimator)
    proved(fit(pipeline, 2, 3, signature=NUMERIC), 2, NUMERIC)


@pytest.mark.parametrize("kind", ["Classifier", "Regressor"])
def test_forests_take_missing_values_as_scikit_learn_does(kind: str) -> None:
    estimator = getattr(ensemble, f"RandomForest{kind}")(5, max_depth=5)
    pipeline = make_pipeline(estimator)
    proved(fit(pipeline, 5, 2 if kind == "Classifier" else 0, signature=NUMERIC), 5, NUMERIC)


def test_numbers_at_the_thresholds_of_trees() -> None:
    frame = table(1, nulls=False)
    booster = ensemble.HistGradientBoostingClassifier(max_iter=8, min_samples_leaf=3)
    booster.fit(frame[["a", "b"]].round(1), targets(frame, 2, 1))
    doubles = Signature((Field("a", "double"), Field("b", "double")))
    nodes = np.concatenate([p.nodes for (p,) in booster._predictors])
    cuts = nodes["num_threshold"][nodes["is_leaf"] == 0]
    near = np.concatenate([cuts, np.nextafter(cuts, np.inf), np.nextafter(cuts, -np.inf)])
    rows = {"a": near.tolist(), "b": near[::-1].tolist()}
    got = form_of(booster, doubles)[1](rows, len(near))
    expected = PipelinePredictor(booster, doubles)(rows, len(near))
    assert got.prediction.tolist() == expected.prediction.tolist()
    difference = got.probabilities["probability"] - expected.probabilities["probability"]
    assert np.abs(difference).max() < 1e-12


UNKNOWN = {
    "probabilities of LIBSVM": svm.SVC(probability=True),
    "between two classes": svm.SVC(decision_function_shape="ovo"),
    "an initial estimator of its own": ensemble.GradientBoostingClassifier(
        n_estimators=2, init=tree.DecisionTreeClassifier(max_depth=1)
    ),
    "answers by chance": DummyClassifier(strategy="uniform"),
}


@pytest.mark.parametrize("reason", UNKNOWN)
def test_what_is_not_known_is_not_compiled(reason: str) -> None:
    pipeline = fit(UNKNOWN[reason], 0, 3, signature=FULL)
    with pytest.raises(UnsupportedError, match=reason):
        compile_pipeline(pipeline, FULL)
