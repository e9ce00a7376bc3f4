"""``rollout``: what is wrong with it is told at its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from liminal_assets.cli.validate import find_mistakes
from liminal_assets.language.diagnostics import Diagnostic, InvalidProjectError
from liminal_assets.language.loading import load_project
from liminal_assets.storage.tables import TableStore

YAML = """\
name: shop
datasets: [{dataset: flights, fetch: {file: flights.csv}}]
features: [{feature: rows, from: flights, entity: flight_id, timestamp: at, sql: FROM flights}]
models:
  - model: late
    features: rows
    target: late
    columns: {numeric: [distance], categorical: [carrier], drop: [gate]}
    estimator: sklearn.linear_model.LogisticRegression
deployments:
  - deployment: api
    model: late
    serve: SERVE
    rollout: ROLLOUT
"""


def write(folder: Path, rollout: str, serve: str = "{}") -> Path:
    (folder / "flights.csv").write_text("flight_id\n1\n")
    file = folder / "liminal.yml"
    file.write_text(YAML.replace("SERVE", serve).replace("ROLLOUT", rollout))
    return file


@pytest.mark.parametrize(
    ("rollout", "message"),
    [
        ("{strategy: canary, rollback_on: {metric: f1}}", "'metric' needs 'worse_by'"),
        ("{strategy: canary, rollback_on: {worse_by: 0.1}}", "'worse_by' needs the 'metric'"),
        ("{strategy: shadow, rollback_on: {slice_worse_by: 0.1}}", "'slice_worse_by' needs"),
        ("{min_labels: 5}", "'min_labels' goes with 'strategy: canary or shadow'"),
        ("{strategy: shadow, min_labels: 5}", "'min_labels' goes with 'rollback_on: {metric"),
        ("{strategy: canary, tolerance: 0.2}", "'tolerance' is about answers that are compared"),
        ("{strategy: canary, slices: [carrier]}", "'slices' is about answers that are compared"),
        ("{strategy: canary, sticky: ''}", "sticky"),
        ("{strategy: canary, sticky: 'x user'}", "sticky"),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path: Path, rollout: str, message: str) -> None:
    with pytest.raises(InvalidProjectError) as raised:
        load_project(write(tmp_path, rollout))
    (mistake,) = raised.value.diagnostics
    assert mistake.location.line == 14
    assert message in mistake.message


def test_batch_scores_have_no_rollout(tmp_path: Path) -> None:
    file = write(tmp_path, "{strategy: canary}")
    file.write_text(file.read_text().replace("serve: {}", "batch: {from: rows}"))
    with pytest.raises(InvalidProjectError, match="'rollout' goes with 'serve'"):
        load_project(file)


@pytest.mark.parametrize(
    ("rollout", "serve", "code", "column"),
    [
        (
            "{strategy: shadow, rollback_on: {metric: f1, worse_by: 0.1}}",
            "{log_predictions: false}",
            "no-log",
            55,
        ),
        (
            "{strategy: shadow, slices: [carrier]}",
            "{log_predictions: {mask: {carrier: hash}}}",
            "masked-column",
            42,
        ),
    ],
)
def test_what_a_rollout_needs_of_the_log_is_told(
    tmp_path: Path, rollout: str, serve: str, code: str, column: int
) -> None:
    with pytest.raises(InvalidProjectError) as raised:
        load_project(write(tmp_path, rollout, serve))
    (mistake,) = raised.value.diagnostics
    assert (mistake.code, mistake.location.line, mistake.location.column) == (code, 14, column)


def test_an_entity_that_there_is_not_cannot_decide(tmp_path: Path) -> None:
    file = write(tmp_path, "{strategy: canary, sticky: entity}")
    load_project(file)
    file.write_text(file.read_text().replace("features: rows", "features: flights"))
    with pytest.raises(InvalidProjectError) as raised:
        load_project(file)
    (mistake,) = raised.value.diagnostics
    assert (mistake.code, mistake.location.line) == ("no-entity", 14)


def deep(file: Path) -> list[Diagnostic]:
    _, mistakes = find_mistakes(file, None)
    return list(mistakes)


def test_a_slice_that_is_no_input_is_told_with_what_was_meant(tmp_path: Path) -> None:
    file = write(tmp_path, "{strategy: shadow, slices: [carrier, carier, gate, late]}")
    told = [(m.code, m.location.column, m.message, m.hint) for m in deep(file)]
    hint = "did you mean 'carrier'?"
    known = "known: carrier, distance"
    assert told == [
        ("unknown-column", 51, "'carier' is no input of late", hint),
        ("unknown-column", 59, "'gate' is no input of late", known),
        ("unknown-column", 65, "'late' is no input of late", known),
    ]


def test_once_the_feature_is_made_every_name_is_held_against_its_columns(tmp_path: Path) -> None:
    file = write(tmp_path, "{strategy: shadow, slices: [wind, weather]}")
    # which columns the feature will have isn't known before
    assert deep(file) == []
    rows = {"flight_id": [1], "at": [1], "distance": [1.0], "wind": [1.0], "late": [0]}
    staged = TableStore(load_project(file)).stage("rows", None, pd.DataFrame(rows))
    TableStore(load_project(file)).publish(staged)
    (mistake,) = deep(file)
    assert (mistake.code, mistake.location.line, mistake.location.column) == (
        "unknown-column",
        14,
        48,
    )
    assert mistake.message == "'weather' is no input of late"


@pytest.mark.parametrize(("metric", "right"), [("roc_auc", True), ("roc_au", False)])
def test_a_metric_that_there_is_not_is_told(tmp_path: Path, metric: str, right: bool) -> None:
    limits: dict[str, Any] = {"metric": metric, "worse_by": 0.1}
    said = ", ".join(f"{key}: {value}" for key, value in limits.items())
    file = write(tmp_path, f"{{strategy: shadow, rollback_on: {{{said}}}}}")
    told = [(m.code, m.hint) for m in deep(file)]
    assert told == ([] if right else [("unknown-metric", "did you mean 'roc_auc'?")])
