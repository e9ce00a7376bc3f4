"""Every compiled form answers as its pipeline: random data, random options, rows at the edges."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn import ensemble, feature_selection, linear_model, svm, tree
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
    TargetEncoder,
)

from liminal_assets.language.models import Prepare
from liminal_assets.serving.forms.compiled import Compiled
from liminal_assets.serving.model import PipelinePredictor
from liminal_assets.steps.compile import UnsupportedError, compile_pipeline, encoders
from liminal_assets.steps.compile.certificate import Certificate, DifferentError, certify
from liminal_assets.steps.prepare import Roles, pipeline_of
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
seeds = st.integers(0, 10_000)
few = settings(
    max_examples=2,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def table(seed: int, *, rows: int = 60, nulls: bool = True) -> pd.DataFrame:
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
    random = np.random.default_rng(seed)
    score = frame["b"].to_numpy() + frame["n"].to_numpy() / 3 + random.normal(0, 1, len(frame))
    if classes == 0:
        return score
    return np.searchsorted(np.quantile(score, np.arange(1, classes) / classes), score)


def proved(pipeline: Any, seed: int, signature: Signature = SIGNATURE) -> Certificate:
    """The certificate of a fitted pipeline's compiled form, read again from its files."""
    description = compile_pipeline(pipeline, signature)
    with tempfile.TemporaryDirectory() as folder:
        description.write(Path(folder))
        form = Compiled(json.loads(json.dumps(description.said)), Path(folder))
        known = [signature.sample(row) for row in table(seed + 1, rows=25).to_dict("records")]
        itself = PipelinePredictor(pipeline, signature)
        return certify(description.form, form, itself, signature, known, alone=8)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def numeric(*steps: Any) -> Any:
    return make_column_transformer((make_pipeline(*steps), NUMBERS))


def fit(pipeline: Any, seed: int, classes: int = 2) -> Any:
    frame = table(seed)
    return pipeline.fit(frame, targets(frame, classes, seed))


STEPS = {
    "standard": [SimpleImputer(), StandardScaler()],
    "without mean": [SimpleImputer(), StandardScaler(with_mean=False)],
    "minmax clip": [MinMaxScaler(clip=True), SimpleImputer(strategy="median")],
    "maxabs": [MaxAbsScaler(), SimpleImputer(strategy="most_frequent")],
    "robust": [RobustScaler(), SimpleImputer(strategy="constant", fill_value=-1.0)],
    "indicator": [SimpleImputer(add_indicator=True), StandardScaler()],
    "yeo-johnson": [PowerTransformer(), SimpleImputer()],
    "box-cox": [FunctionTransformer(np.exp), SimpleImputer(), PowerTransformer("box-cox")],
    "quantile": [QuantileTransformer(n_quantiles=20), SimpleImputer()],
    "quantile normal": [
        QuantileTransformer(n_quantiles=20, output_distribution="normal"),
        SimpleImputer(),
    ],
    "function": [SimpleImputer(), FunctionTransformer(np.cbrt), FunctionTransformer()],
    "bins": [SimpleImputer(), KBinsDiscretizer(3, encode="onehot-dense")],
    "bins ordinal": [SimpleImputer(), KBinsDiscretizer(4, encode="ordinal", strategy="uniform")],
    "polynomial": [SimpleImputer(), StandardScaler(), PolynomialFeatures(2)],
    "normalizer": [SimpleImputer(), Normalizer()],
    "pca": [SimpleImputer(), StandardScaler(), PCA(2, whiten=True)],
    "selected": [SimpleImputer(), feature_selection.SelectKBest(k=2)],
    "union": [SimpleImputer(), make_union(StandardScaler(), MinMaxScaler())],
}


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS.keys())
@few
@given(seed=seeds)
def test_steps_of_numbers(steps: list[Any], seed: int) -> None:
    pipeline = make_pipeline(numeric(*steps), linear_model.LogisticRegression())
    assert proved(fit(pipeline, seed), seed).form == "numpy"


ENCODERS = {
    "one-hot": [OneHotEncoder(handle_unknown="ignore")],
    "one-hot drop": [OneHotEncoder(drop="if_binary", handle_unknown="ignore")],
    "one-hot first": [SimpleImputer(strategy="most_frequent"), OneHotEncoder(drop="first")],
    "one-hot rare": [OneHotEncoder(min_frequency=5, handle_unknown="infrequent_if_exist")],
    "ordinal": [
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
        SimpleImputer(),
    ],
    "ordinal refusing": [OrdinalEncoder(encoded_missing_value=-2)],
    "target": [TargetEncoder(random_state=0, cv=2)],
    "constant": [SimpleImputer(strategy="constant", fill_value="none"), OneHotEncoder()],
}


@pytest.mark.parametrize("steps", ENCODERS.values(), ids=ENCODERS.keys())
@few
@given(seed=seeds, classes=st.sampled_from([2, 3]))
def test_encoders_of_categories(steps: list[Any], seed: int, classes: int) -> None:
    columns = ["color"] if isinstance(steps[0], SimpleImputer) else [*WORDS, "new"]
    encoded = make_column_transformer(
        (make_pipeline(*steps), columns), (SimpleImputer(), NUMBERS), sparse_threshold=0
    )
    pipeline = make_pipeline(encoded, linear_model.LogisticRegression())
    proved(fit(pipeline, seed, classes), seed)


def test_a_category_that_is_refused_among_many_is_found_with_few_questions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []
    rows = encoders._Asked.rows
    monkeypatch.setattr(
        encoders._Asked, "rows", lambda self, some: asked.append(len(some)) or rows(self, some)
    )
    frame = pd.DataFrame({"word": [f"word {place % 500}" for place in range(1000)]}, dtype=object)
    # no row is empty, so the encoder doesn't know what the imputer makes of nulls
    words = make_pipeline(SimpleImputer(strategy="constant", fill_value="none"), OneHotEncoder())
    columns = make_column_transformer((words, ["word"]))
    pipeline = make_pipeline(columns, linear_model.LogisticRegression())
    description = compile_pipeline(pipeline.fit(frame, np.arange(1000) % 2), Signature.of(frame))
    (table_of_words,) = description.said["prepare"]["source"]["tables"]
    assert len(table_of_words["keys"]) == 500
    assert (table_of_words["unknown"], table_of_words["missing"]) == (-1, -1)
    assert len(asked) < 30


CLASSIFIERS = [
    linear_model.LogisticRegression(),
    linear_model.LogisticRegressionCV(cv=2),
    linear_model.SGDClassifier(loss="log_loss"),
    linear_model.SGDClassifier(),
    linear_model.RidgeClassifier(),
    linear_model.Perceptron(),
    svm.LinearSVC(),
    LinearDiscriminantAnalysis(),
    GaussianNB(),
    DummyClassifier(),
    tree.DecisionTreeClassifier(max_depth=4),
    tree.DecisionTreeClassifier(max_leaf_nodes=2),
    ensemble.RandomForestClassifier(7),
    ensemble.ExtraTreesClassifier(7, max_depth=4),
    ensemble.GradientBoostingClassifier(n_estimators=5),
    ensemble.HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=4),
]
REGRESSORS = [
    linear_model.LinearRegression(),
    linear_model.Ridge(),
    linear_model.Lasso(),
    linear_model.BayesianRidge(),
    linear_model.SGDRegressor(),
    svm.LinearSVR(),
    DummyRegressor(),
    tree.DecisionTreeRegressor(max_depth=5),
    ensemble.RandomForestRegressor(6),
    ensemble.ExtraTreesRegressor(6),
    ensemble.GradientBoostingRegressor(n_estimators=6),
    ensemble.HistGradientBoostingRegressor(max_iter=6, min_samples_leaf=4),
]


def named(estimator: Any) -> str:
    return str(estimator).replace(" ", "")[:48]


@pytest.mark.parametrize("estimator", CLASSIFIERS, ids=named)
@few
@given(seed=seeds, classes=st.sampled_from([2, 3]), words=st.booleans())
def test_classifiers(estimator: Any, seed: int, classes: int, words: bool) -> None:
    frame = table(seed)
    target = targets(frame, classes, seed)
    labels = np.array(["no", "maybe", "yes"])[target] if words else target
    pipeline = make_pipeline(numeric(SimpleImputer(), StandardScaler()), estimator)
    proved(pipeline.fit(frame, labels), seed)


@pytest.mark.parametrize("estimator", REGRESSORS, ids=named)
@few
@given(seed=seeds)
def test_regressors(estimator: Any, seed: int) -> None:
    pipeline = make_pipeline(numeric(SimpleImputer(), StandardScaler()), estimator)
    proved(fit(pipeline, seed, 0), seed)


@pytest.mark.parametrize("kind", ["PoissonRegressor", "GammaRegressor", "TweedieRegressor"])
def test_regressions_of_logarithms(kind: str) -> None:
    estimator = getattr(linear_model, kind)(**({"power": 1.5} if kind[0] == "T" else {}))
    frame = table(3)
    pipeline = make_pipeline(numeric(SimpleImputer(), StandardScaler()), estimator)
    proved(pipeline.fit(frame, np.exp(targets(frame, 0, 3))), 3)


@few
@given(seed=seeds, classes=st.sampled_from([0, 2, 3]))
def test_missing_values_and_categories_of_a_booster(seed: int, classes: int) -> None:
    frame = table(seed, rows=150)
    kind = (
        ensemble.HistGradientBoostingClassifier
        if classes
        else ensemble.HistGradientBoostingRegressor
    )
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
    columns = make_column_transformer((codes, WORDS), ("passthrough", NUMBERS))
    booster = kind(max_iter=6, min_samples_leaf=3, categorical_features=[0, 1], random_state=0)
    pipeline = make_pipeline(columns, booster).fit(frame, targets(frame, classes, seed))
    assert proved(pipeline, seed).form == "onnxruntime"


@pytest.mark.parametrize("kind", ["Classifier", "Regressor"])
def test_forests_take_missing_values_as_scikit_learn_does(kind: str) -> None:
    estimator = getattr(ensemble, f"RandomForest{kind}")(5, max_depth=5)
    pipeline = make_pipeline(make_column_transformer(("passthrough", NUMBERS)), estimator)
    proved(fit(pipeline, 5, 2 if kind == "Classifier" else 0), 5)


def test_numbers_at_the_thresholds_of_trees() -> None:
    frame = table(1, nulls=False)[["a", "b"]].round(1)
    booster = ensemble.HistGradientBoostingClassifier(max_iter=8, min_samples_leaf=3)
    pipeline = make_pipeline(make_column_transformer(("passthrough", ["a", "b"])), booster)
    pipeline.fit(frame, targets(table(1, nulls=False), 2, 1))
    doubles = Signature((Field("a", "double"), Field("b", "double")))
    description = compile_pipeline(pipeline, doubles)
    nodes = np.concatenate([p.nodes for (p,) in booster._predictors])
    cuts = nodes["num_threshold"][nodes["is_leaf"] == 0]
    near = np.concatenate([cuts, np.nextafter(cuts, np.inf), np.nextafter(cuts, -np.inf)])
    rows = {"a": near.tolist(), "b": near[::-1].tolist()}
    with tempfile.TemporaryDirectory() as folder:
        description.write(Path(folder))
        got = Compiled(description.said, Path(folder))(rows, len(near))
    expected = PipelinePredictor(pipeline, doubles)(rows, len(near))
    assert got.prediction.tolist() == expected.prediction.tolist()
    difference = got.probabilities["probability"] - expected.probabilities["probability"]
    assert np.abs(difference).max() < 1e-12


numeric_options = st.fixed_dictionaries(
    {
        "impute": st.sampled_from(["median", "mean", "most_frequent", 0.5]),
        "indicator": st.booleans(),
        "clip": st.sampled_from([None, (0.05, 0.95)]),
        "transform": st.sampled_from(["none", "yeo_johnson", "quantile", "log1p"]),
        "scale": st.sampled_from(["none", "standard", "minmax", "robust", "maxabs"]),
    }
)
categorical_options = st.fixed_dictionaries(
    {
        "encode": st.sampled_from(["ordinal", "one_hot", "target"]),
        "impute": st.sampled_from(["none", "most_frequent", "other"]),
        "min_frequency": st.sampled_from([None, 3, 0.2]),
        "max_categories": st.sampled_from([None, 3]),
    }
)


def prepared(said: dict[str, Any], estimator: Any, seed: int, classes: int) -> Pipeline:
    roles = Roles(("a", "n"), ("color", "size", "new"), ("b",))
    pipeline = pipeline_of(Prepare.model_validate(said), roles, estimator)
    return fit(pipeline, seed, classes)


@settings(few, max_examples=8)
@given(
    numeric=numeric_options,
    categorical=categorical_options,
    estimator=st.sampled_from([linear_model.LogisticRegression(), CLASSIFIERS[-1]]),
    seed=seeds,
    classes=st.sampled_from([2, 3]),
)
def test_preparations_of_the_language(
    numeric: Any, categorical: Any, estimator: Any, seed: int, classes: int
) -> None:
    said = {"numeric": numeric, "categorical": categorical}
    proved(prepared(said, estimator, seed, classes), seed)


def test_categories_that_the_estimator_takes_itself() -> None:
    booster = ensemble.HistGradientBoostingClassifier(
        max_iter=6, min_samples_leaf=3, categorical_features="from_dtype"
    )
    said = {"numeric": {"impute": "none"}, "categorical": {"encode": "none"}}
    assert proved(prepared(said, booster, 2, 2), 2).form == "onnxruntime"


def test_the_threshold_of_a_label() -> None:
    inner = linear_model.LogisticRegression()
    threshold = FixedThresholdClassifier(
        inner, threshold=0.3, pos_label=1, response_method="predict_proba"
    )
    proved(prepared({}, threshold, 2, 2), 2)


@pytest.mark.parametrize("change", [1e-6, 0.2, np.nan], ids=["a little", "much", "no number"])
def test_a_form_that_was_tampered_with_gets_no_certificate(change: float) -> None:
    pipeline = fit(make_pipeline(numeric(SimpleImputer()), linear_model.LogisticRegression()), 1)
    description = compile_pipeline(pipeline, SIGNATURE)
    name = description.said["answer"]["computed"]["intercept"]["array"]
    # not in place: the array is the pipeline's own
    doctored = {**description.arrays, name: description.arrays[name] + change}
    description = replace(description, arrays=doctored)
    with tempfile.TemporaryDirectory() as folder:
        description.write(Path(folder))
        form = Compiled(description.said, Path(folder))
    itself = PipelinePredictor(pipeline, SIGNATURE)
    with pytest.raises(DifferentError, match=r"the pipeline's|alone has no answer"):
        certify("numpy", form, itself, SIGNATURE, [SIGNATURE.sample(table(2).iloc[0].to_dict())])


UNKNOWN = {
    "estimator": make_pipeline(numeric(SimpleImputer()), svm.SVC()),
    "transformer": make_pipeline(
        numeric(SimpleImputer(), FunctionTransformer(lambda x: x + 1)), linear_model.Ridge()
    ),
    "indicator": make_pipeline(
        make_union(SimpleImputer(), MissingIndicator(error_on_new=True)), linear_model.Ridge()
    ),
}


@pytest.mark.parametrize("pipeline", UNKNOWN.values(), ids=UNKNOWN.keys())
def test_what_is_not_known_is_not_compiled(pipeline: Any) -> None:
    frame = table(0)[NUMBERS]
    pipeline.fit(frame, targets(table(0), 2, 0))
    with pytest.raises(UnsupportedError):
        compile_pipeline(pipeline, Signature.of(frame))
