"""Compiled estimators that are made of others answer as scikit-learn's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn import ensemble, linear_model, svm, tree
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV, TunedThresholdClassifierCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.semi_supervised import SelfTrainingClassifier

from liminal_assets.steps.compile import UnsupportedError, compile_pipeline
from liminal_assets.steps.transformers import signed_expm1, signed_log1p
from liminal_assets_tests.steps.compile.parity import (
    FULL,
    NUMBERS,
    fit,
    inputs,
    named,
    proved,
    table,
    targets,
)

LOGISTIC = linear_model.LogisticRegression()
TREE = tree.DecisionTreeClassifier(max_depth=3)
BOOSTER = ensemble.HistGradientBoostingClassifier(max_iter=4, min_samples_leaf=4)
FOREST = ensemble.RandomForestClassifier(5, max_depth=4)
RIDGE = linear_model.Ridge()
THREE = [("linear", LOGISTIC), ("tree", TREE), ("bayes", GaussianNB())]
MACHINES = [("linear", linear_model.RidgeClassifier()), ("tree", TREE), ("machine", svm.SVC())]
VALUES = [("linear", RIDGE), ("forest", ensemble.RandomForestRegressor(4))]

CLASSIFIERS = [
    ensemble.VotingClassifier(THREE, voting="soft"),
    ensemble.VotingClassifier(THREE, voting="soft", weights=[1, 2, 0.5]),
    ensemble.VotingClassifier(MACHINES),
    ensemble.VotingClassifier(MACHINES, weights=[0.1, 0.2, 0.3]),
    ensemble.StackingClassifier(MACHINES, cv=2),
    ensemble.StackingClassifier(THREE[:2], BOOSTER, cv=2, passthrough=True),
    ensemble.StackingClassifier(MACHINES[:2], cv=2, stack_method="predict"),
    ensemble.StackingClassifier(
        [("votes", ensemble.VotingClassifier(THREE, voting="soft")), ("forest", FOREST)], cv=2
    ),
    CalibratedClassifierCV(svm.LinearSVC(), cv=2),
    CalibratedClassifierCV(svm.SVC(), cv=2, ensemble=False),
    CalibratedClassifierCV(FOREST, cv=2, method="isotonic"),
    CalibratedClassifierCV(BOOSTER, cv=2, method="isotonic", ensemble=False),
    CalibratedClassifierCV(LOGISTIC, cv=2, method="temperature"),
    CalibratedClassifierCV(FOREST, cv=2, method="temperature"),
    CalibratedClassifierCV(ensemble.AdaBoostClassifier(n_estimators=4), cv=2),
    ensemble.BaggingClassifier(n_estimators=5, max_features=2),
    ensemble.BaggingClassifier(LOGISTIC, n_estimators=3, max_features=2),
    ensemble.BaggingClassifier(linear_model.RidgeClassifier(), n_estimators=3),
    # few rows: some members never see every class
    ensemble.BaggingClassifier(n_estimators=5, max_samples=3, random_state=0),
    ensemble.BaggingClassifier(linear_model.Perceptron(), 4, max_samples=4, random_state=3),
    ensemble.AdaBoostClassifier(n_estimators=5),
    ensemble.AdaBoostClassifier(LOGISTIC, n_estimators=3),
    OneVsRestClassifier(LOGISTIC),
    OneVsRestClassifier(TREE),
    OneVsRestClassifier(svm.LinearSVC()),
    SelfTrainingClassifier(LOGISTIC),
    GridSearchCV(TREE, {"max_depth": [1, 3]}, cv=2),
]
REGRESSORS = [
    ensemble.VotingRegressor(VALUES),
    ensemble.VotingRegressor(VALUES, weights=[1, 3]),
    ensemble.StackingRegressor(VALUES, cv=2),
    ensemble.StackingRegressor(VALUES, ensemble.RandomForestRegressor(4), cv=2, passthrough=True),
    ensemble.BaggingRegressor(n_estimators=4, max_features=2),
    ensemble.BaggingRegressor(RIDGE, n_estimators=3, max_features=2),
    ensemble.AdaBoostRegressor(n_estimators=5),
    ensemble.AdaBoostRegressor(RIDGE, n_estimators=3),
]
TARGETS = [
    FunctionTransformer(signed_log1p, signed_expm1),
    FunctionTransformer(np.arcsinh, np.sinh, validate=True),
    StandardScaler(),
    MinMaxScaler(),
    MaxAbsScaler(),
    RobustScaler(with_centering=False),
    make_pipeline(PowerTransformer(), MinMaxScaler()),
    QuantileTransformer(n_quantiles=20),
    QuantileTransformer(n_quantiles=20, output_distribution="normal"),
]


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("estimator", CLASSIFIERS, ids=named)
def test_classifiers_of_others(estimator: Any, classes: int) -> None:
    seed = CLASSIFIERS.index(estimator)
    frame = table(seed)
    labels = targets(frame, classes, seed)
    if (seed + classes) % 2:
        labels = np.array(["no", "maybe", "yes"], object)[labels]
    proved(estimator.fit(inputs(frame, FULL), labels), seed, FULL)


@pytest.mark.parametrize("estimator", REGRESSORS, ids=named)
def test_regressors_of_others(estimator: Any) -> None:
    proved(fit(estimator, 4, 0, signature=FULL), 4, FULL)


@pytest.mark.parametrize("transformer", TARGETS, ids=named)
def test_transformed_targets(transformer: Any) -> None:
    estimator = TransformedTargetRegressor(RIDGE, transformer=transformer)
    proved(fit(estimator, 6, 0, signature=FULL), 6, FULL)


def test_a_target_on_the_box_cox_scale() -> None:
    frame = table(7)
    estimator = TransformedTargetRegressor(RIDGE, transformer=PowerTransformer("box-cox"))
    pipeline = estimator.fit(inputs(frame, FULL), np.exp(targets(frame, 0, 7)))
    proved(pipeline, 7, FULL)


def test_members_that_are_pipelines_on_columns_of_their_own() -> None:
    words = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["color", "size"]), ("drop", NUMBERS)
    )
    numbers = make_column_transformer((SimpleImputer(), NUMBERS))
    members = [("words", make_pipeline(words, LOGISTIC)), ("numbers", make_pipeline(numbers, TREE))]
    votes = ensemble.VotingClassifier(members, voting="soft")
    proved(fit(votes, 8, 3), 8)
    frozen = FrozenEstimator(fit(members[1][1], 8))
    calibrated = fit(CalibratedClassifierCV(frozen, method="isotonic"), 8)
    proved(fit(TunedThresholdClassifierCV(calibrated, cv="prefit", refit=False), 8), 8)


def test_what_an_ensemble_is_made_of_must_be_known() -> None:
    members = [("known", LOGISTIC), ("unknown", svm.SVC(kernel=lambda one, other: one @ other.T))]
    pipeline = fit(ensemble.VotingClassifier(members), 0, signature=FULL)
    with pytest.raises(UnsupportedError, match="a kernel of its own"):
        compile_pipeline(pipeline, FULL)
