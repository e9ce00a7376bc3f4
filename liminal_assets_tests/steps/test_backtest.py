"""Backtests: nothing of the future is known, policies are weighed, the project stays as it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from statistics import median

import pandas as pd
import pytest
import yaml

import liminal_assets as la
from liminal_assets.language.loading import Project, load_project
from liminal_assets.steps.backtest import Backtest, GridError, NothingToReplayError
from liminal_assets.steps.judgement import Judgement
from liminal_assets.steps.observation import Cause, Window
from liminal_assets.steps.replay.candidates import Candidates, Learned
from liminal_assets.steps.replay.grid import best_of, default_grid, variants
from liminal_assets.steps.replay.looks import Looks
from liminal_assets.steps.replay.past import Past
from liminal_assets.steps.replay.results import Action, Replay, ReplayStep, without_alike
from liminal_assets.storage.tables import TableStore
from liminal_assets_tests.replaying import (
    MONTHS,
    ROWS,
    TURNED,
    WATCH,
    YAML,
    ends_of,
    month_of,
    project_in,
    write_world,
)

RANGE = (MONTHS[2], MONTHS[-1])


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = project_in(tmp_path_factory.mktemp("replay") / "shop")
    write_world(project)
    return project


@pytest.fixture(scope="module")
def replayed(shop: Project) -> Backtest:
    """With a grid, of which one policy can't gain anything."""
    return la.steps.backtest(
        shop, "returned_watch", windows=RANGE, grid=[{"when": ["breach", {"labels": 100_000}]}]
    )


def everything_below(folder: Path) -> Mapping[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def tuned(tmp_path: Path) -> Project:
    """A project whose model searches for parameters, with four months."""
    project = project_in(tmp_path / "tuned")
    said = (
        "    tune: {trials: 2, metric: roc_auc, cross_validate: 2, space: {C: {low: 0.1, high: 9}}}"
    )
    text = project.file.read_text().replace("    window: 90d\n", f"    window: 90d\n{said}\n")
    project.file.write_text(text)
    project = la.load_project(project.root)
    write_world(project, MONTHS[3])
    return project


def test_the_project_stays_as_it_was(tuned: Project) -> None:
    before = everything_below(tuned.root)
    la.steps.backtest(tuned, "returned_watch", windows=(MONTHS[2], MONTHS[3]))
    assert everything_below(tuned.root) == before


@pytest.mark.parametrize("always", [False, True])
def test_later_trainings_keep_what_the_first_search_found(
    tuned: Project, tmp_path: Path, always: bool
) -> None:
    past = Past(tuned, tuned.block("returned_watch"), tmp_path / "state")
    candidates = Candidates(past, tune_always=always)
    end = ends_of(tuned)[MONTHS[2]]
    first = candidates.train(MONTHS[2], end)
    assert isinstance(first, Learned)
    assert (candidates.model.tune is not None) == always
    if not always:
        assert candidates.model.params["C"] == first.candidate.pipeline[-1].C
        assert isinstance(candidates.train(MONTHS[3], ends_of(tuned)[MONTHS[3]]), Learned)


def test_a_label_counts_from_the_moment_at_which_it_was_known(
    shop: Project, tmp_path: Path
) -> None:
    watch = shop.block("returned_watch")
    past = Past(shop, watch, tmp_path)
    end = ends_of(shop)[MONTHS[2]]
    known = month_of(MONTHS[2])["known_at"] <= end.replace(tzinfo=None)
    assert 0 < known.sum() < ROWS
    assert past.truth.count(2, end) == past.truth.labels(2, end).rows == known.sum()
    assert past.truth.labels(2).rows == ROWS
    learned = past.learning(MONTHS[2], end)
    assert set(learned.partitions) == set(MONTHS[:3])
    assert learned.left_out == ROWS - known.sum()
    later = past.learning(MONTHS[2], ends_of(shop)[MONTHS[3]])
    assert later.left_out == 0


def test_without_a_column_that_says_when_a_delay_does(tmp_path: Path) -> None:
    by_column = project_in(tmp_path / "a")
    by_delay = project_in(tmp_path / "b", WATCH.replace("known_at: known_at", "delay: 10d"))
    for project in (by_column, by_delay):
        write_world(project, MONTHS[3])
    pasts = [
        Past(project, project.block("returned_watch"), tmp_path / project.root.name / "state")
        for project in (by_column, by_delay)
    ]
    for end in ends_of(by_column).values():
        one, other = pasts
        assert [one.truth.count(p, end) for p in range(4)] == [
            other.truth.count(p, end) for p in range(4)
        ]
        assert one.learning(MONTHS[3], end).version == other.learning(MONTHS[3], end).version


def test_the_future_changes_no_decision_of_the_past(
    shop: Project, replayed: Backtest, tmp_path: Path
) -> None:
    cut = project_in(tmp_path)
    write_world(cut, MONTHS[5])
    short = la.steps.backtest(cut, "returned_watch", windows=(MONTHS[2], MONTHS[5]))
    for step, other in zip(short.project.steps, replayed.project.steps, strict=False):
        assert (step.judgement, step.again) == (other.judgement, other.again)
        assert [tick.decision for tick in step.ticks] == [tick.decision for tick in other.ticks]


def test_labels_that_come_late_have_earlier_windows_judged_again(replayed: Backtest) -> None:
    first, second, *_ = replayed.project.steps
    assert first.judgement is not None
    assert first.judgement.labelled is not None
    assert first.judgement.labelled < ROWS
    (again,) = second.again
    assert (again.window, again.labelled) == (first.window, ROWS)
    assert first.labelled == ROWS


def test_a_turn_is_seen_and_answered(replayed: Backtest) -> None:
    steps = {step.window.key: step for step in replayed.project.steps}
    turned = steps[TURNED[0]]
    assert turned.judgement is not None
    assert any(cause.check == "performance" for cause in turned.judgement.causes)
    assert turned.mark == "R"
    assert replayed.never.timeline.count("R") == 0
    assert replayed.never.gain(replayed.never) == 0.0


def test_no_policy_beats_the_oracle(replayed: Backtest) -> None:
    oracle = replayed.oracle
    for replay in replayed.policies:
        for step, best in zip(replay.steps, oracle.steps, strict=True):
            assert step.score is not None
            assert best.score is not None
            assert step.score <= best.score + 1e-12
    assert oracle.gain(replayed.never) > 0


def test_a_policy_that_asks_for_the_same_training_gets_the_same_model(
    replayed: Backtest,
) -> None:
    asked = sum(replay.retrainings for replay in replayed.replays)
    assert replayed.trainings <= len(MONTHS) < asked


def test_the_policy_of_the_project_is_that_of_the_grid(replayed: Backtest) -> None:
    same = next(one for one in replayed.others if one.name == "any breach")
    assert same.timeline == replayed.project.timeline
    assert same.score == replayed.project.score
    patient = next(one for one in replayed.others if one.name == "100,000 labels")
    assert (patient.retrainings, patient.gain(replayed.never)) == (0, 0.0)


def test_its_numbers_are_plain_values(replayed: Backtest) -> None:
    said = json.loads(json.dumps(replayed.as_dict()))
    own = said["replays"][0]
    assert own["kind"] == "project"
    assert own["retrainings"] == own["promoted"] + own["rejected"] + own["failed"]
    assert own["rows"] == sum(
        decision.get("rows", 0) for window in own["windows"] for decision in window["decisions"]
    )
    assert said["best"] in {replay["name"] for replay in said["replays"]}


def test_the_best_gains_most_per_row_of_those_that_gain_half_as_much() -> None:
    never = weighed(0.5, 0)
    much, cheap, little = weighed(0.7, 1000), weighed(0.65, 100), weighed(0.52, 1)
    assert best_of([never, much, cheap, little], never) is cheap
    assert best_of([never, much, weighed(0.59, 10)], never) is much
    assert best_of([never, weighed(0.4, 100)], never) is never
    noisy, quiet = weighed(0.65, 97, alert=True), weighed(0.65, 100)
    assert best_of([never, noisy, quiet], never) is quiet
    assert best_of([never, noisy, weighed(0.65, 110)], never) is noisy


def weighed(score: float, rows: int, *, alert: bool = False) -> Replay:
    """A replay of one window."""
    cause = Cause("drift", "price", 0.9, "at most 0.2")
    actions = (Action("promoted", 2, rows=rows),) if rows else ()
    window = Window("w")
    judgement = Judgement("watch", window, "1", 10, True, (cause,) if alert else ())
    end = datetime(2024, 1, 1, tzinfo=timezone.utc)
    step = ReplayStep(window, 1, end, 10, score, judgement, trainings=actions)
    return Replay(f"{score} {rows}", "grid", (step,), 1)


def test_policies_that_led_to_the_same_are_one_line() -> None:
    one, same, other = weighed(0.6, 10), weighed(0.6, 10), weighed(0.6, 11)
    assert without_alike([one, other, same]) == {one: 1, other: 0}


def test_the_yaml_of_a_policy_makes_it_again(shop: Project) -> None:
    watch = shop.block("returned_watch")
    for variant in variants(watch, "returned", default_grid(shop, watch, ROWS)):
        said = watch.model_dump(mode="json", by_alias=True, exclude_unset=True)
        for section, keys in yaml.safe_load(yaml.safe_dump(dict(variant.settings))).items():
            said[section] = keys if section == "retrain" else {**said[section], **keys}
        made = type(watch).model_validate(said)
        assert made.model_dump() == variant.monitor.model_dump()


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"treshold": [0.1]}, "there is no parameter 'treshold' to vary"),
        ({"threshold": []}, "threshold has no values to try"),
        ({"threshold": [-1]}, "there is no policy with threshold: -1: "),
        ({"when": [{"breach": "kpi_x"}]}, "names no check of the monitor"),
    ],
    ids=["unknown", "empty", "impossible", "unknown check"],
)
def test_a_grid_that_cannot_be_says_why(shop: Project, grid: dict, message: str) -> None:
    with pytest.raises(GridError) as error:
        variants(shop.block("returned_watch"), "returned", [grid])
    assert message in error.value.message


UNLABELLED = """
  - {monitor: returned_watch, deployment: returned_scores, drift: {}, retrain: {model: returned}}
"""


@pytest.mark.parametrize(
    ("watch", "until", "windows", "message"),
    [
        (UNLABELLED, MONTHS[3], None, "returned_watch has no labels"),
        (WATCH, None, None, "there are no complete partitions of order_features to replay"),
        (WATCH, MONTHS[0], None, "one window, 2024-01, is too little"),
        (WATCH, MONTHS[3], (MONTHS[2], "2024-12"), "there is no window '2024-12' to replay"),
        (WATCH, MONTHS[3], (MONTHS[3], MONTHS[2]), "2024-04 comes after 2024-03"),
    ],
    ids=["no labels", "no rows", "one window", "unknown window", "backwards"],
)
def test_what_a_replay_needs_and_lacks_is_said(
    tmp_path: Path, watch: str, until: str | None, windows: tuple[str, str] | None, message: str
) -> None:
    project = project_in(tmp_path, watch)
    if until:
        write_world(project, until)
    with pytest.raises(NothingToReplayError) as error:
        la.steps.backtest(project, "returned_watch", windows=windows)
    assert message in error.value.message


def test_labels_that_fit_no_row_are_told(tmp_path: Path) -> None:
    project = project_in(tmp_path)
    write_world(project, MONTHS[3])
    others = month_of(MONTHS[8])[["order_id", "returned", "known_at"]]
    TableStore(project).write("outcomes", None, others)
    with pytest.raises(NothingToReplayError, match="none of the rows to replay has a label"):
        la.steps.backtest(project, "returned_watch")


def test_served_rows_are_replayed_in_windows_of_their_length(shop: Project, tmp_path: Path) -> None:
    watch = WATCH.replace(
        "deployment: returned_scores", "deployment: returned_api\n    window: 14d"
    )
    project = project_in(tmp_path / "served", watch)
    write_world(project, MONTHS[2])
    past = Past(project, project.block("returned_watch"), tmp_path / "state")
    assert all(w.until - w.since == past.monitor.window for w in past.windows)
    assert [w.until for w in past.windows[:-1]] == [w.since for w in past.windows[1:]]
    inside = sum(past.counts)
    assert 0.7 * 3 * ROWS < inside <= 3 * ROWS
    place, candidates = 4, Candidates(past)
    end = past.windows[place].until
    assert end is not None
    learned = candidates.train(past.last_partition(end), end)
    assert isinstance(learned, Learned)
    seen = Looks(candidates).observe(past.monitor, learned, place, end)
    assert seen.rows == past.counts[place]
    assert seen.labelled == past.truth.count(place, end)


def test_served_rows_are_replayed_in_the_windows_of_their_partitions(
    shop: Project, tmp_path: Path
) -> None:
    watch = WATCH.replace(
        "deployment: returned_scores",
        "deployment: returned_api\n"
        "    partitions: {every: week, start: '2024-03-04', timezone: Europe/Rome}\n"
        "    window: 14d\n"
        "    quality: {}",
    ).replace("threshold: 0.4", "reference: previous")
    project = project_in(tmp_path / "served", watch)
    write_world(project, MONTHS[2])
    past = Past(project, project.block("returned_watch"), tmp_path / "state")
    # from the first rows on, though the monitor's partitions begin in March
    assert [window.key for window in past.windows[:2]] == ["2024-01-15", "2024-01-22"]
    assert past.windows[-1].key == "2024-03-18"
    # on Rome's wall clock
    assert str(past.windows[0].until) == "2024-01-21 23:00:00+00:00"
    assert sum(past.counts) > 1.3 * 3 * ROWS
    # windows share a week with their neighbours, and none with the one before
    assert [past.before(place) for place in range(4)] == [None, None, 0, 1]
    place, candidates = 6, Candidates(past)
    end = past.windows[place].until
    assert end is not None
    learned = candidates.train(past.last_partition(end), end)
    assert isinstance(learned, Learned)
    seen = Looks(candidates).observe(past.monitor, learned, place, end, learned)
    assert seen.reference == f"the rows of {past.windows[4].key}"
    assert seen.quality is not None
    assert seen.quality.usual_rows == median(past.counts[at] for at in (4, 2, 0))


def test_windows_by_partition_need_no_partitions_to_learn_from(tmp_path: Path) -> None:
    cut = "{every: month, start: '2024-02-01', timezone: Europe/Rome}"
    watch = WATCH.replace(
        "deployment: returned_scores", f"deployment: returned_api\n    partitions: {cut}"
    )
    text = YAML.format(monitors=watch).replace(
        "    partitions: {every: month, start: '2024-01-01', end: '2025-01-01', "
        "timezone: Europe/Rome}\n",
        "",
    )
    (tmp_path / "liminal.yml").write_text(text)
    project = load_project(tmp_path)
    store, rows = TableStore(project), pd.concat(map(month_of, MONTHS[:5]))
    store.write("order_features", None, rows.drop(columns="known_at"))
    store.write("outcomes", None, rows[["order_id", "returned", "known_at"]])
    past = Past(project, project.block("returned_watch"), tmp_path / "state")
    assert [window.key for window in past.windows] == list(MONTHS[1:4])
    end = past.windows[1].until
    assert end is not None
    # a retraining up to a window learns from no later row
    assert past.learning(MONTHS[2], end).frame["ordered_at"].max() < end.replace(tzinfo=None)
    found = la.steps.backtest(project, "returned_watch", windows=(MONTHS[2], MONTHS[2]))
    (step,) = found.project.steps
    assert (step.window.key, step.learned_until) == (MONTHS[2], past.windows[1].since)
