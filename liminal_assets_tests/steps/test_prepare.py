"""Prepare: the block inside the fitted pipeline, every option, whatever it is asked in serving."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

import liminal_assets as la
from liminal_assets.language.loading import Project
from liminal_assets.language.models import Model, Prepare
from liminal_assets.steps.prepare import Roles, pipeline_of, roles_of, with_values
from liminal_assets.steps.transformers import (
    MISSING,
    RARE,
    Categories,
    Clip,
    Factors,
    Numbers,
    as_text,
)

ROLES = Roles(numeric=("amount", "age"), categorical=("shop",))


def frame(rows: int = 60) -> pd.DataFrame:
    random = np.random.default_rng(0)
    made = pd.DataFrame(
        {
            "amount": random.lognormal(size=rows),
            "age": random.integers(18, 80, rows).astype(float),
            "shop": random.choice(["north", "south", "east"], rows),
        }
    )
    made.loc[::7, "age"] = None
    made.loc[::9, "shop"] = None
    return made


def target(rows: int = 60) -> np.ndarray:
    return (np.arange(rows) % 2).astype(int)


def prepared(said: dict[str, Any], rows: pd.DataFrame | None = None) -> Any:
    rows = frame() if rows is None else rows
    pipeline = pipeline_of(Prepare.model_validate(said), ROLES, LogisticRegression())
    pipeline.fit(rows, target(len(rows)))
    return pipeline


NUMERIC = [
    *({"impute": how} for how in ("mean", "median", "most_frequent", 0, -1.5)),
    {"indicator": True},
    {"clip": [0.05, 0.95]},
    *({"transform": how} for how in ("yeo_johnson", "quantile", "log1p", "none")),
    *({"scale": how} for how in ("standard", "minmax", "robust", "maxabs", "none")),
    {
        "impute": "mean",
        "indicator": True,
        "clip": [0, 0.9],
        "transform": "log1p",
        "scale": "robust",
    },
]
CATEGORICAL = [
    *({"encode": how} for how in ("ordinal", "one_hot", "target")),
    {"impute": "most_frequent"},
    {"impute": "unknown"},
    {"min_frequency": 25},
    {"min_frequency": 0.3, "encode": "ordinal"},
    {"max_categories": 2, "encode": "target"},
]


OPTIONS = [*({"numeric": said} for said in NUMERIC), *({"categorical": c} for c in CATEGORICAL)]


@pytest.mark.filterwarnings("ignore:n_quantiles")
@pytest.mark.parametrize("part", OPTIONS, ids=str)
def test_every_option_gives_finite_numbers_and_answers_anything(part: dict[str, Any]) -> None:
    pipeline = prepared(part)
    assert np.isfinite(pipeline[:-1].transform(frame())).all()
    odd = pd.DataFrame(
        {"shop": ["never seen", None, "north"], "age": [None, 5, 1e12], "amount": [None, "x", True]}
    )
    assert np.isfinite(pipeline.predict_proba(odd)).all()


def test_answers_do_not_depend_on_order_or_further_columns() -> None:
    pipeline = prepared({})
    rows = frame()
    expected = pipeline.predict_proba(rows)
    turned = rows[["shop", "age", "amount"]].assign(further=1)
    np.testing.assert_array_equal(pipeline.predict_proba(turned), expected)


def test_answers_do_not_depend_on_the_types_that_json_brings() -> None:
    pipeline = prepared({})
    rows = frame()
    rows["amount"] = rows["amount"].round(0)
    expected = pipeline.predict_proba(rows)
    json_like = pd.DataFrame(
        [
            {
                "amount": int(row.amount),
                "age": None if np.isnan(row.age) else int(row.age),
                "shop": row.shop if isinstance(row.shop, str) else None,
            }
            for row in rows.itertuples()
        ],
        dtype=object,
    )
    np.testing.assert_array_equal(pipeline.predict_proba(json_like), expected)


def test_a_column_that_is_not_there_counts_as_null() -> None:
    pipeline = prepared({})
    rows = frame()
    np.testing.assert_array_equal(
        pipeline.predict_proba(rows.drop(columns="age")),
        pipeline.predict_proba(rows.assign(age=None)),
    )


def test_nulls_are_filled_as_said() -> None:
    pipeline = prepared({"numeric": {"impute": -7}})
    matrix = pipeline[:-1].transform(pd.DataFrame([{"amount": None, "age": None, "shop": "east"}]))
    assert list(matrix[0, :2]) == [-7, -7]


def test_an_indicator_says_where_nulls_were() -> None:
    pipeline = prepared({"numeric": {"indicator": True, "scale": "standard"}})
    names = list(pipeline[:-1].get_feature_names_out())
    assert [name for name in names if "missing" in name and "shop" not in name] == [
        "missing__missingindicator_age"
    ]
    matrix = pipeline[:-1].transform(frame())
    column = matrix[:, names.index("missing__missingindicator_age")]
    np.testing.assert_array_equal(column, frame()["age"].isna())


def test_clip_holds_numbers_within_learned_quantiles() -> None:
    numbers = np.arange(101.0).reshape(-1, 1)
    clip = Clip(0.1, 0.9).fit(numbers)
    held = clip.transform([[-1000.0], [50.0], [np.nan], [1000.0]])
    np.testing.assert_array_equal(held, [[10.0], [50.0], [np.nan], [90.0]])


def test_log1p_is_defined_for_negative_numbers() -> None:
    pipeline = prepared({"numeric": {"transform": "log1p"}})
    matrix = pipeline[:-1].transform(pd.DataFrame([{"amount": -1, "age": 1, "shop": "east"}]))
    assert list(matrix[0, :2]) == pytest.approx([-np.log(2), np.log(2)])


def test_rare_categories_become_one_and_unseen_ones_join_them() -> None:
    rows = pd.DataFrame({"c": ["a"] * 5 + ["b"] * 3 + ["x", "y"]})
    categories = Categories(min_frequency=2).fit(rows)
    seen = categories.transform(pd.DataFrame({"c": ["a", "b", "x", "never", None]}))
    assert seen[:, 0].tolist() == ["a", "b", RARE, RARE, RARE]


def test_at_most_so_many_categories_the_rare_one_included() -> None:
    rows = pd.DataFrame({"c": ["a"] * 5 + ["b"] * 3 + ["x", "y"]})
    kept = Categories(max_categories=2).fit(rows).transform(rows)
    assert set(kept[:, 0]) == {"a", RARE}


def test_without_rare_ones_an_unseen_category_stays_itself() -> None:
    rows = pd.DataFrame({"c": ["a", "b", None]})
    kept = Categories().fit(rows).transform(pd.DataFrame({"c": ["b", "never", None]}))
    assert kept[:, 0].tolist() == ["b", "never", MISSING]


@pytest.mark.parametrize(
    ("value", "text"),
    [(3, "3"), (3.0, "3"), (np.float64(3), "3"), (2.5, "2.5"), (True, "True"), ("3", "3")],
    ids=repr,
)
def test_a_category_has_one_name_whatever_type_it_came_in(value: Any, text: str) -> None:
    assert as_text(value) == text


@pytest.mark.parametrize(
    ("values", "numbers"),
    [
        ([1, None, 2.5], [1, np.nan, 2.5]),
        ([True, None, False], [1, np.nan, 0]),
        (["1.5", "x", None], [1.5, np.nan, np.nan]),
        ([Decimal("1.5"), None], [1.5, np.nan]),
        ([np.inf, -np.inf, 1.0], [np.nan, np.nan, 1.0]),
        (pd.array([1, None], dtype="Int32"), [1, np.nan]),
        (pd.array([True, None], dtype="boolean"), [1, np.nan]),
        (pd.Categorical([1, 2]), [1, 2]),
        (pd.to_datetime(["2024-01-01"]), [np.nan]),
    ],
    ids=str,
)
def test_numbers_reads_what_a_column_may_hold(values: Any, numbers: list[float]) -> None:
    rows = pd.DataFrame({"x": pd.Series(values)})
    np.testing.assert_array_equal(Numbers().fit(rows).transform(rows)[:, 0], numbers)


def test_categories_go_to_the_estimator_as_pandas_categories() -> None:
    pipeline = pipeline_of(
        Prepare.model_validate({"categorical": {"encode": "none"}}),
        ROLES,
        HistGradientBoostingClassifier(max_iter=2, min_samples_leaf=2, random_state=0),
    ).fit(frame(), target())
    given = pipeline[:-1].transform(frame())
    assert str(given["categorical__shop"].dtype) == "category"
    assert list(given["categorical__shop"].cat.categories) == ["east", "north", "south"]
    assert pipeline[-1].is_categorical_.tolist() == [False, False, True]
    odd = pd.DataFrame([{"amount": 1, "age": None, "shop": "never seen"}], dtype=object)
    assert np.isfinite(pipeline.predict_proba(odd)).all()


def test_factors_keep_the_categories_of_training() -> None:
    factors = Factors().fit(pd.DataFrame({"c": ["b", "a", None]}))
    made = factors.transform(pd.DataFrame({"c": ["a", "never"]}))
    assert made["c"].isna().tolist() == [False, True]


class Remembers(BaseEstimator):
    def fit(self, X: Any, y: Any) -> Remembers:  # noqa: N803
        self.seen_ = X
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X: Any) -> Any:  # noqa: N803
        return X


def test_passthrough_reaches_the_estimator_untouched() -> None:
    roles = Roles(passthrough=("amount",))
    pipeline = pipeline_of(Prepare(), roles, Remembers()).fit(frame(), target())
    np.testing.assert_array_equal(np.asarray(pipeline[-1].seen_)[:, 0], frame()["amount"])
    answered = pipeline.predict(pd.DataFrame({"amount": [5, None]}, dtype=object))
    np.testing.assert_array_equal(np.asarray(answered, dtype=float)[:, 0], [5, np.nan])


@pytest.fixture
def model() -> Any:
    def make(**columns: Any) -> Model:
        return Model.model_validate(
            {
                "model": "m",
                "features": "f",
                "target": "y",
                "columns": columns,
                "estimator": "sklearn.linear_model.LogisticRegression",
            }
        )

    return make


TYPED = pd.DataFrame(
    {
        "id": [1, 2],
        "y": [0, 1],
        "whole": [1, 2],
        "yes": [True, False],
        "text": ["a", "b"],
        "kind": pd.Categorical(["a", "b"]),
    }
)


def test_columns_without_a_role_take_one_by_their_type(model: Any) -> None:
    roles = roles_of(Project.of("p", check=False), model(drop=["kind"]), TYPED, ["id"])
    assert roles == Roles(("whole", "yes"), ("text",))


def test_listed_roles_win(model: Any) -> None:
    said = model(categorical=["whole"], numeric=["id"], passthrough=["yes"])
    roles = roles_of(Project.of("p", check=False), said, TYPED, ["id"])
    assert roles == Roles(("id",), ("whole", "text", "kind"), ("yes",))


def test_a_wrong_column_name_is_guessed(model: Any) -> None:
    with pytest.raises(la.StepError, match="no column 'wole'") as raised:
        roles_of(Project.of("p", check=False), model(numeric=["wole"]), TYPED, [])
    assert raised.value.hint == "did you mean 'whole'?"


@pytest.mark.parametrize(
    "values",
    [pd.to_datetime(["2024-01-01", "2024-01-02"]), [[1], [2]], [b"a", b"b"]],
    ids=["moments", "lists", "bytes"],
)
def test_types_without_a_role_say_what_to_do(model: Any, values: Any) -> None:
    with pytest.raises(la.StepError, match=r"the column 'odd' .* has no role of its own") as raised:
        roles_of(Project.of("p", check=False), model(), TYPED.assign(odd=values), [])
    assert "columns: drop" in str(raised.value)


def test_a_search_reaches_the_preparation_by_path() -> None:
    changed = with_values(
        Prepare(), {"numeric__scale": "standard", "categorical__encode": "target"}
    )
    assert (changed.numeric.scale, changed.categorical.encode) == ("standard", "target")
