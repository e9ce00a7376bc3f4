"""Split: nothing leaks from the held-out rows, and a row stays on its side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import liminal_assets as la
from liminal_assets.language.loading import Project
from liminal_assets.language.models import Model
from liminal_assets.steps.split import Fold, Splitter

ROWS = 200


def splitter(said: dict[str, Any], **options: Any) -> Splitter:
    model = Model.model_validate(
        {
            "model": "m",
            "features": "f",
            "target": "y",
            "estimator": "sklearn.linear_model.Ridge",
            "split": said,
        }
    )
    return Splitter(Project.of("p", check=False), model, **options)


@pytest.fixture
def rows() -> pd.DataFrame:
    random = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "id": np.arange(ROWS),
            "at": pd.date_range("2024-01-01", periods=ROWS // 4, freq="D").repeat(4),
            "who": random.integers(0, 20, ROWS),
            "y": random.choice(["yes", "no", "no", "no"], ROWS),
        }
    ).sample(frac=1, random_state=0, ignore_index=True)


def test_by_time_the_newest_rows_are_held_out(rows: pd.DataFrame) -> None:
    fold = splitter({"by": "time", "test": 0.25}, timestamp="at").hold_out(rows, rows["y"])
    assert rows["at"].iloc[fold.train].max() < rows["at"].iloc[fold.test].min()
    assert len(fold.test) == pytest.approx(ROWS / 4, abs=4)
    assert len(fold.train) + len(fold.test) == ROWS


def test_equal_moments_lie_on_one_side(rows: pd.DataFrame) -> None:
    fold = splitter({"by": "time", "test": 0.33}, timestamp="at").hold_out(rows, rows["y"])
    assert not set(rows["at"].iloc[fold.train]) & set(rows["at"].iloc[fold.test])


def test_a_gap_leaves_rows_out_before_the_held_out_ones(rows: pd.DataFrame) -> None:
    cut = splitter({"by": "time", "gap": "3d"}, timestamp="at")
    fold = cut.hold_out(rows, rows["y"])
    distance = rows["at"].iloc[fold.test].min() - rows["at"].iloc[fold.train].max()
    assert distance > pd.Timedelta("3d")


def test_a_group_lies_on_one_side(rows: pd.DataFrame) -> None:
    fold = splitter({"by": "group", "column": "who", "test": 0.3}).hold_out(rows, rows["y"])
    assert not set(rows["who"].iloc[fold.train]) & set(rows["who"].iloc[fold.test])
    assert len(fold.test) == pytest.approx(0.3 * ROWS, abs=ROWS * 0.1)


@pytest.mark.parametrize("test", [0.1, 0.2, 0.5])
def test_a_random_split_holds_out_the_share_asked_for(rows: pd.DataFrame, test: float) -> None:
    fold = splitter({"test": test}, keys=["id"]).hold_out(rows, rows["y"])
    assert len(fold.test) == ROWS * test


@pytest.mark.parametrize("stratify", [True, "who"])
def test_stratification_keeps_the_shares(rows: pd.DataFrame, stratify: bool | str) -> None:
    cut = splitter({"stratify": stratify, "test": 0.5}, keys=["id"])
    fold = cut.hold_out(rows, rows["y"])
    column = "y" if stratify is True else "who"
    held = rows[column].iloc[fold.test].value_counts()
    assert (held - rows[column].value_counts() / 2).abs().max() <= 0.5


def test_a_row_stays_on_its_side_when_there_are_more_rows(rows: pd.DataFrame) -> None:
    cut = splitter({"test": 0.2}, keys=["id"])
    half = rows.iloc[: ROWS // 2]
    early = set(half["id"].iloc[cut.hold_out(half, half["y"]).train])
    late = set(rows["id"].iloc[cut.hold_out(rows, rows["y"]).test])
    assert len(early & late) <= 4


def test_equal_rows_lie_on_one_side(rows: pd.DataFrame) -> None:
    twice = pd.concat([rows, rows], ignore_index=True)
    fold = splitter({"test": 0.2}).hold_out(twice, twice["y"])
    assert not set(twice["id"].iloc[fold.train]) & set(twice["id"].iloc[fold.test])


def test_seeds_cut_differently_and_each_always_alike(rows: pd.DataFrame) -> None:
    def held(seed: int) -> list[int]:
        return splitter({"seed": seed}).hold_out(rows, rows["y"]).test.tolist()

    assert held(0) == held(0)
    assert held(0) != held(1)


def pairs(folds: list[Fold]) -> list[tuple[set[int], set[int]]]:
    return [(set(fold.train.tolist()), set(fold.test.tolist())) for fold in folds]


@pytest.mark.parametrize(
    "said",
    [{"by": "random"}, {"by": "group", "column": "who"}, {"by": "time"}],
    ids=lambda said: said["by"],
)
@pytest.mark.parametrize("classes", [True, False], ids=["classes", "numbers"])
def test_folds_are_cut_as_the_held_out_rows_are(
    rows: pd.DataFrame, said: dict[str, Any], classes: bool
) -> None:
    folds = splitter(said, timestamp="at").folds(rows, rows["y"], 4, classes=classes)
    assert len(folds) == 4
    for train, test in pairs(folds):
        assert train
        assert test
        assert not train & test
        if said["by"] == "time":
            assert rows["at"].iloc[list(train)].max() < rows["at"].iloc[list(test)].min()
        if said["by"] == "group":
            who = rows["who"]
            assert not set(who.iloc[list(train)]) & set(who.iloc[list(test)])
    if said["by"] != "time":
        assert set.union(*(test for _, test in pairs(folds))) == set(range(ROWS))


def test_folds_by_time_keep_the_gap(rows: pd.DataFrame) -> None:
    cut = splitter({"by": "time", "gap": "2d"}, timestamp="at")
    for fold in cut.folds(rows, rows["y"], 3, classes=True):
        distance = rows["at"].iloc[fold.test].min() - rows["at"].iloc[fold.train].max()
        assert distance > pd.Timedelta("2d")


@pytest.mark.parametrize(
    ("said", "options", "message"),
    [
        ({"by": "time"}, {}, "needs a timestamp"),
        ({"by": "time", "column": "att"}, {}, "no column 'att'"),
        ({"by": "time", "column": "y"}, {}, "values that are no moment, such as"),
        ({"by": "group", "column": "whom"}, {}, "no column 'whom'"),
        ({"by": "random", "stratify": "yy"}, {}, "no column 'yy'"),
        ({"by": "time", "gap": "9w"}, {"timestamp": "at"}, "leaves no rows to learn from"),
        ({"by": "group", "column": "one"}, {}, "leaves no rows to learn from"),
    ],
    ids=lambda value: str(value),
)
def test_what_cannot_be_split_is_said(
    rows: pd.DataFrame, said: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(la.StepError, match=message):
        splitter(said, **options).hold_out(rows.assign(one=1), rows["y"])


@pytest.mark.parametrize(
    ("said", "what"),
    [({"by": "group", "column": "y"}, "groups"), ({"by": "time"}, "moments")],
    ids=["group", "time"],
)
def test_too_few_for_the_folds_is_said(rows: pd.DataFrame, said: dict[str, Any], what: str) -> None:
    few = rows[rows["at"] < "2024-01-03"].reset_index(drop=True)
    with pytest.raises(la.StepError, match=f"too few {what} for 5 folds"):
        splitter(said, timestamp="at").folds(few, few["y"], 5, classes=False)
