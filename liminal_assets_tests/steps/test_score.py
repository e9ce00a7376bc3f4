"""Scoring: equal to the pipeline's own answers, in memory and as a stream of chunks."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

import liminal_assets as la
from liminal_assets.steps.score import Scorer, ScoreStream
from liminal_assets.steps.signature import Field, Signature

COLUMNS = ["a", "b", "c"]


def rows(count: int = 400, seed: int = 0) -> pd.DataFrame:
    # few different values, so that probabilities tie
    values = np.random.default_rng(seed).integers(-2, 3, (count, 3)).astype(float)
    return pd.DataFrame(values, columns=COLUMNS)


def labels(frame: pd.DataFrame, kind: str) -> Any:
    total = frame["a"] + frame["b"] * frame["c"]
    if kind == "numbers":
        return total.to_numpy()
    if kind == "two words":
        return np.where(total > 0, "yes", "no")
    return np.select([total > 1, total < -1], ["high", "low"], "middle")


CLASSIFIERS = [
    HistGradientBoostingClassifier(max_iter=3),
    RandomForestClassifier(n_estimators=4, random_state=0),
    ExtraTreesClassifier(n_estimators=4, random_state=0),
    DecisionTreeClassifier(max_depth=2),
    LogisticRegression(),
    KNeighborsClassifier(4),
    DummyClassifier(strategy="prior"),
]


@pytest.mark.parametrize("kind", ["two words", "three words"])
@pytest.mark.parametrize("model", CLASSIFIERS, ids=lambda model: type(model).__name__)
def test_scores_are_exactly_the_pipelines_answers(model: Any, kind: str) -> None:
    frame = rows()
    pipeline = make_pipeline(StandardScaler(), model).fit(frame, labels(frame, kind))
    scores = Scorer(pipeline)(frame)
    assert scores.prediction.tolist() == pipeline.predict(frame).tolist()
    probabilities = pipeline.predict_proba(frame)
    if kind == "two words":
        assert list(scores.probabilities) == ["probability"]
        assert (scores.probabilities["probability"] == probabilities[:, 1]).all()
    else:
        names = ["probability_high", "probability_low", "probability_middle"]
        assert list(scores.probabilities) == names
        for position, name in enumerate(names):
            assert (scores.probabilities[name] == probabilities[:, position]).all()


@pytest.mark.parametrize("shift", [0.0, 5e-324, 1e-17, -1e-17], ids=str)
def test_a_tie_is_broken_as_the_model_breaks_it(shift: float) -> None:
    frame = rows()
    model = LogisticRegression().fit(frame, labels(frame, "two words"))
    model.coef_[:] = 0
    model.intercept_[:] = shift
    assert Scorer(model)(frame).prediction.tolist() == model.predict(frame).tolist()


@pytest.mark.parametrize(
    "model",
    [LinearRegression(), HistGradientBoostingRegressor(max_iter=3), RidgeClassifier()],
    ids=lambda model: type(model).__name__,
)
def test_a_model_without_probabilities_has_only_predictions(model: Any) -> None:
    frame = rows()
    kind = "two words" if isinstance(model, RidgeClassifier) else "numbers"
    model.fit(frame, labels(frame, kind))
    scores = Scorer(model)(frame)
    assert list(scores.columns) == ["prediction"]
    assert scores.prediction.tolist() == model.predict(frame).tolist()


def test_score_puts_the_answers_beside_the_rows() -> None:
    frame = rows(50).assign(id=range(50))
    pipeline = LogisticRegression().fit(frame[COLUMNS], labels(frame, "two words"))
    scored = la.steps.score(pipeline, frame)
    assert list(scored.columns) == ["a", "b", "c", "id", "prediction", "probability"]
    assert scored["id"].tolist() == list(range(50))
    assert "prediction" not in frame


def test_score_names_the_columns_that_are_missing() -> None:
    frame = rows(50)
    pipeline = LogisticRegression().fit(frame, labels(frame, "two words"))
    with pytest.raises(la.StepError, match="the rows lack the model's columns b, c"):
        la.steps.score(pipeline, frame[["a"]])


def mixed(count: int) -> duckdb.DuckDBPyRelation:
    return duckdb.connect().sql(
        f"""SELECT i AS id, i % 13 - 6 AS whole, (i % 7)::FLOAT / 2 AS half,
            CASE WHEN i % 5 > 0 THEN 'w' || i % 3 END AS word, i % 2 = 0 AS even,
            CASE WHEN i % 11 > 0 THEN (i % 10)::DECIMAL(8, 2) END AS price,
            TIMESTAMP '2026-01-01' + INTERVAL 1 MINUTE * i AS at
        FROM range({count}) AS rows(i)"""
    )


SIGNATURE = Signature(
    (
        Field("whole", "double"),
        Field("half", "double"),
        Field("word", "string", required=False),
        Field("even", "boolean"),
        Field("price", "double", required=False),
    )
)


def mixed_pipeline() -> Pipeline:
    frame = SIGNATURE.frame_of(selected(mixed(300)))
    return make_pipeline(
        make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore"), ["word", "even"]), remainder="passthrough"
        ),
        HistGradientBoostingClassifier(max_iter=5),
    ).fit(frame, frame["whole"] + frame["half"] > 1)


def selected(relation: duckdb.DuckDBPyRelation) -> pa.Table:
    return relation.project(
        "whole::DOUBLE whole, half::DOUBLE half, word, even, price::DOUBLE price"
    ).to_arrow_table()


@pytest.mark.parametrize("chunk_rows", [1, 7, 100, 5000])
def test_a_stream_of_chunks_scores_as_the_pipeline_does_at_once(chunk_rows: int) -> None:
    pipeline = mixed_pipeline()
    count = 40 if chunk_rows == 1 else 3000
    stream = ScoreStream(
        pipeline,
        SIGNATURE,
        mixed(count),
        keep=["id", "at"],
        model_version="3",
        chunk_rows=chunk_rows,
    )
    scored = stream.reader().read_all()
    assert scored.schema.names == [
        "id", "at", *SIGNATURE.names, "prediction", "probability", "model_version", "scored_at",
    ]  # fmt: skip
    frame = SIGNATURE.frame_of(selected(mixed(count)))
    assert scored["id"].to_pylist() == list(range(count))
    assert scored["prediction"].to_pylist() == pipeline.predict(frame).tolist()
    assert scored["probability"].to_pylist() == pipeline.predict_proba(frame)[:, 1].tolist()
    assert set(scored["model_version"].to_pylist()) == {"3"}


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        pytest.param("SELECT 1 AS whole", "rows lack the model's columns half, w", id="columns"),
        pytest.param(
            "SELECT 'x' AS whole, 1.0 AS half, 'a' AS word, true AS even, 1 AS price",
            "cannot read the rows to score: .*'x'",
            id="types",
        ),
    ],
)  # fmt: skip
def test_rows_that_cannot_be_scored_are_one_clear_message(sql: str, message: str) -> None:
    with pytest.raises(la.StepError, match=message):
        ScoreStream(mixed_pipeline(), SIGNATURE, duckdb.connect().sql(sql)).reader().read_all()


def test_no_rows_have_no_answers_of_the_same_types() -> None:
    pipeline = mixed_pipeline()
    some, none = (
        ScoreStream(pipeline, SIGNATURE, mixed(rows), keep=["id"]).reader().read_all()
        for rows in (10, 0)
    )
    assert none.num_rows == 0
    assert none.schema == some.schema


def test_what_stops_a_stream_in_its_middle_is_told_by_check() -> None:
    class Fragile:
        def predict(self, frame: pd.DataFrame) -> Any:
            if frame["whole"].iloc[0] == -6 + 100 % 13:
                raise ValueError("no such luck")
            return np.ones(len(frame))

    stream = ScoreStream(Fragile(), SIGNATURE, mixed(200), chunk_rows=100)
    reader = stream.reader()
    with pytest.raises(la.StepError):
        reader.read_all()
    with pytest.raises(la.StepError, match="the model can't answer: ValueError: no such luck"):
        stream.check()


def test_a_model_without_a_finite_answer_is_an_error() -> None:
    frame = SIGNATURE.frame_of(selected(mixed(10)))[["whole"]]
    model = LinearRegression().fit(frame, frame["whole"] * 1e100)
    signature = Signature((Field("whole", "double"),))
    rows = duckdb.connect().sql("SELECT unnest([1e300, 1.0]) AS whole")
    with pytest.raises(la.StepError, match="no finite answer for 1 of 2 rows"):
        ScoreStream(model, signature, rows).reader().read_all()


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(allow_nan=False, allow_infinity=False),
            st.integers(-(2**31), 2**31 - 1),
            st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
            st.none() | st.booleans(),
            st.none() | st.integers(-(2**53), 2**53),
            st.none() | st.datetimes(),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_a_row_makes_the_same_frame_from_a_request_as_from_a_table(values: list[Any]) -> None:
    signature = Signature(
        (
            Field("number", "double"),
            Field("small", "integer"),
            Field("word", "string", required=False),
            Field("truth", "boolean", required=False),
            Field("large", "long", required=False),
            Field("moment", "datetime", required=False),
        )
    )
    columns = {field.name: [row[i] for row in values] for i, field in enumerate(signature.fields)}
    types = [pa.float64(), pa.int32(), pa.string(), pa.bool_(), pa.int64(), pa.timestamp("us")]
    table = pa.table(
        [pa.array(said, kind) for said, kind in zip(columns.values(), types, strict=True)],
        names=list(columns),
    )
    served = signature.frame(columns, len(values))
    stored = signature.frame_of(table)
    pd.testing.assert_frame_equal(served, stored, check_exact=True)
