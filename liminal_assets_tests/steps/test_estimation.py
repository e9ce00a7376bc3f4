"""Performance without labels: near the truth under covariate shift, blind to concept drift."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import liminal_assets as la
from liminal_assets.steps.estimation import estimate
from liminal_assets.steps.metrics import Answers, measure, metric_of
from liminal_assets.storage.tables import TableStore
from liminal_assets_tests.watching import project_in, rows, write_scores

METRICS = ("accuracy", "precision", "recall", "f1", "roc_auc", "brier", "log_loss")
WATCH = """
  - monitor: returned_watch
    deployment: returned_scores
    min_rows: 50
    performance: {performance}
"""


def answers(
    count: int, *, seed: int, shift: float = 0.0, turned: bool = False, confident: float = 1.6
) -> Answers:
    """A classifier that is too sure of itself, on inputs that are shifted; ``turned``: what they
    mean has changed."""
    random = np.random.default_rng(seed)
    inputs = random.normal(shift, 1, count)
    chance = 1 / (1 + np.exp(-1.5 * inputs))
    truth = random.random(count) < (1 - chance if turned else chance)
    said = chance**confident / (chance**confident + (1 - chance) ** confident)
    both = np.column_stack([1 - said, said])
    return Answers.of(truth, said > 0.5, classes=[False, True], probabilities=both)


REFERENCE = answers(6000, seed=1)


@pytest.mark.parametrize("shift", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("name", METRICS)
def test_under_covariate_shift_the_estimate_is_near_the_truth(name: str, shift: float) -> None:
    metric = metric_of(name)
    window = answers(8000, seed=2, shift=shift)
    realised = measure([metric], window)[name]
    found = estimate(metric, window, REFERENCE)
    assert found.value == pytest.approx(realised, abs=0.03)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high


def test_the_realised_value_is_in_the_band_in_nearly_all_windows() -> None:
    metric = metric_of("accuracy")
    inside = 0
    for seed in range(20):
        window = answers(400, seed=100 + seed, shift=0.5)
        found = estimate(metric, window, REFERENCE)
        realised = measure([metric], window)["accuracy"]
        inside += (found.low or 0.0) <= realised <= (found.high or 0.0)
    assert inside >= 17


def test_the_band_is_narrower_for_larger_windows() -> None:
    metric = metric_of("roc_auc")
    widths = []
    for count in (200, 5000):
        found = estimate(metric, answers(count, seed=3), REFERENCE)
        widths.append((found.high or 0.0) - (found.low or 0.0))
    assert widths[1] < widths[0] / 2


def test_probabilities_are_calibrated_on_the_reference() -> None:
    """Taken at its word, a model that is too sure looks better than it is."""
    metric = metric_of("log_loss")
    window = answers(5000, seed=4, confident=3)
    reference = answers(5000, seed=5, confident=3)
    realised = measure([metric], window)["log_loss"]
    at_its_word = estimate(metric, window, None)
    calibrated = estimate(metric, window, reference)
    assert abs(calibrated.value - realised) < abs(at_its_word.value - realised) / 3
    assert (at_its_word.band, at_its_word.calibrated_on) == ("", 0)


def test_concept_drift_is_invisible_to_the_estimate() -> None:
    metric = metric_of("roc_auc")
    window = answers(3000, seed=6, turned=True)
    assert measure([metric], window)["roc_auc"] < 0.3
    assert estimate(metric, window, REFERENCE).value > 0.75


def test_several_classes_are_calibrated_each_against_the_rest() -> None:
    random = np.random.default_rng(1)
    chances = random.dirichlet([1, 1, 1], 4000)
    truth = (random.random((4000, 1)) > chances.cumsum(axis=1)).sum(axis=1)
    given = Answers.of(truth, chances.argmax(axis=1), classes=[0, 1, 2], probabilities=chances)
    window, reference = given.rows(slice(2000)), given.rows(slice(2000, None))
    for name in ("accuracy", "f1", "log_loss"):
        metric = metric_of(name, classes=3)
        realised = measure([metric], window)[name]
        assert estimate(metric, window, reference).value == pytest.approx(realised, abs=0.04)


def test_a_reference_of_one_class_calibrates_nothing() -> None:
    one = REFERENCE.rows(REFERENCE.truth == 1)
    window = answers(300, seed=7)
    found = estimate(metric_of("accuracy"), window, one)
    assert found.calibrated_on == 0
    assert math.isfinite(found.value)


def watched(folder: Path, performance: str, **labels: Any) -> Any:
    project = project_in(folder, WATCH.replace("{performance}", performance))
    random = np.random.default_rng(9)
    reference = rows(1000, seed=8)
    truth = random.random(1000) < reference["probability"]
    TableStore(project).write("returned__reference", "1", reference.assign(returned=truth))
    write_scores(project, "2024-07", seed=1)
    return la.steps.monitor(project, "returned_watch", "2024-07")


def test_the_estimate_is_shown_and_judged_only_if_asked(tmp_path: Path) -> None:
    labels = "labels: {from: outcomes, key: order_id, column: returned}"
    shown = watched(
        tmp_path / "a", f"{{metric: roc_auc, at_least: 0.99, estimate: true, {labels}}}"
    )
    realised, estimated = shown.outcomes
    assert not shown.breach
    assert "0 of 400 rows (0%) is known" in realised.description
    assert estimated.name == "estimated_performance"
    assert estimated.description.endswith(", not judged")
    assert estimated.metadata["calibrated_on_rows"] == 1000
    asked = watched(
        tmp_path / "b", "{metric: roc_auc, at_least: 0.99, estimate: true, judge: estimated}"
    )
    (cause,) = asked.causes
    assert (cause.check, cause.subject) == ("estimated_performance", "roc_auc")
    assert 0.6 < cause.value < 0.9


@pytest.mark.parametrize(
    ("performance", "message"),
    [
        ("{metric: f1, at_least: 0.5}", "needs 'labels', or 'estimate: true' where none arrive"),
        (
            "{metric: f1, at_least: 0.5, estimate: true}",
            "without 'labels' only an estimate can be judged: 'judge: estimated'",
        ),
        (
            "{metric: f1, at_least: 0.5, judge: both, "
            "labels: {from: outcomes, key: order_id, column: returned}}",
            "'judge: both' needs 'estimate: true'",
        ),
    ],
)
def test_what_can_not_be_judged_is_told_at_its_line(
    tmp_path: Path, performance: str, message: str
) -> None:
    with pytest.raises(la.InvalidProjectError, match=message):
        project_in(tmp_path, WATCH.replace("{performance}", performance))
