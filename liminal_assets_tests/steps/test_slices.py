"""Slices: each group of rows measured by itself, the small ones shown and not judged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import liminal_assets as la
from liminal_assets.language.loading import Project
from liminal_assets.steps.judgement import Judgement
from liminal_assets.storage.tables import TableStore
from liminal_assets_tests.watching import project_in, rows

WATCH = """
  - monitor: returned_watch
    deployment: returned_scores
    min_rows: 50
    drift: {threshold: 9, slice_threshold: 0.5, columns: {region: {ignore: true}}}
    performance:
      metric: accuracy
      at_least: 0.1
      slice_at_least: 0.8
      labels: {from: outcomes, key: order_id, column: returned}
    slices: SLICES
"""


def judged(folder: Path, frame: pd.DataFrame, wrong: pd.Series, slices: str) -> Judgement:
    project = project_in(folder, WATCH.replace("SLICES", slices))
    write(project, frame, wrong)
    return la.steps.monitor(project, "returned_watch", "2024-07")


def write(project: Project, frame: pd.DataFrame, wrong: pd.Series) -> None:
    store = TableStore(project)
    store.write("returned__reference", "1", rows(2000, seed=9).assign(returned=True))
    store.write("returned_scores", "2024-07", frame.assign(model_version="1"))
    truth = frame["prediction"] ^ wrong
    labels = pd.DataFrame({"order_id": frame["order_id"], "returned": truth})
    store.write("outcomes", None, labels)


def records(judgement: Judgement) -> dict[str, dict[str, object]]:
    (outcome,) = [o for o in judgement.outcomes if o.name == "slices"]
    return {str(row["slice"]): dict(row) for row in outcome.metadata["slices"].rows}


def test_a_slice_that_is_wrong_more_often_is_named(tmp_path: Path) -> None:
    frame = rows(1000, seed=1)
    wrong = (frame["region"] == "south") & (np.arange(1000) % 2 == 0)
    judgement = judged(tmp_path, frame, wrong, "[region]")
    (cause,) = judgement.causes
    assert (cause.check, cause.subject) == ("slices", "accuracy of region=south")
    found = records(judgement)
    assert found["region=north"]["metric"] == 1.0
    assert sum(int(str(row["rows"])) for row in found.values()) == 1000


def test_a_slice_whose_answers_moved_is_named(tmp_path: Path) -> None:
    frame = rows(1000, seed=1)
    south = frame["region"] == "south"
    frame.loc[south, "probability"] = 0.9
    judgement = judged(tmp_path, frame, south & False, "region")
    assert [c.subject for c in judgement.causes] == ["drift of region=south"]


def test_small_slices_are_shown_and_not_judged(tmp_path: Path) -> None:
    frame = rows(1000, seed=1)
    frame.loc[:30, "region"] = "west"
    judgement = judged(tmp_path, frame, frame["region"] == "west", "[region]")
    assert not judgement.breach
    assert records(judgement)["region=west"]["metric"] == 0.0


def test_the_rarer_values_are_one_slice_and_missing_ones_another(tmp_path: Path) -> None:
    frame = rows(1000, seed=1)
    frame["region"] = [None] * 400 + ["a"] * 300 + [f"r{n}" for n in range(300)]
    wrong = pd.Series([False] * 700 + [True] * 300)
    judgement = judged(tmp_path, frame, wrong, "{by: region, most: 2}")
    found = records(judgement)
    assert {name: row["rows"] for name, row in found.items()} == {
        "region=(missing)": 400,
        "region=a": 300,
        "region=(others)": 300,
    }
    assert found["region=(others)"]["metric"] == 0.0
    assert [c.subject for c in judgement.causes] == ["accuracy of region=(others)"]


def test_an_unknown_column_is_shown_at_its_line(tmp_path: Path) -> None:
    with pytest.raises(la.StepError, match=r"no column 'regoin' to slice by .*'region'") as raised:
        judged(tmp_path, rows(100), pd.Series([False] * 100), "[regoin]")
    assert raised.value.location is not None


def test_bounds_of_slices_need_slices(tmp_path: Path) -> None:
    with pytest.raises(la.InvalidProjectError, match="'slice_at_least' needs 'slices'"):
        project_in(tmp_path, WATCH.replace("    slices: SLICES\n", ""))
