"""``retrain``: its forms, its mistakes at their lines, lengths of the calendar."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from liminal_assets.language.loading import examine_project
from liminal_assets.language.monitors import Monitor
from liminal_assets.language.retraining import Retrain, Trigger, _CadenceField
from liminal_assets.steps.judgement import check_names
from liminal_assets_tests.watching import WATCH, YAML

SHORT = "on_breach: {retrain: returned, alert: ops}"


def mistake(folder: Path, policy: str, watch: str = WATCH) -> tuple[str, str]:
    """The line and the message of the one mistake of a policy."""
    text = YAML.format(monitors=watch.replace(SHORT, policy), more="")
    (folder / "liminal.yml").write_text(text)
    _, (found,) = examine_project(folder / "liminal.yml", environ={})
    return text.splitlines()[found.location.line - 1], found.message


def monitor(**keys: object) -> Monitor:
    return Monitor.model_validate({"monitor": "w", "deployment": "d", "drift": {}, **keys})


def test_the_short_form_is_the_long_one() -> None:
    short = monitor(on_breach={"retrain": "m", "cooldown": "3d"})
    long = monitor(retrain={"model": "m", "when": "breach", "cooldown": "3d"})
    assert short.policy == long.policy
    assert short.policy is not None
    assert short.policy.when == (Trigger(breach=True),)
    assert monitor().policy is None


def test_it_is_written_as_it_was_read() -> None:
    said = {
        "model": "m",
        "when": ["breach", {"labels": 5000}, {"every": "month"}, {"fresh": 2}],
        "consecutive": 2,
        "at_most": "2 per week",
        "rollback": {"by": 0.03},
    }
    policy = Retrain.model_validate(said)
    assert Retrain.model_validate(policy.model_dump(mode="json")) == policy


@pytest.mark.parametrize(
    ("policy", "line", "message"),
    [
        pytest.param(
            "retrain: {model: returnd}",
            "retrain: {",
            "no model is called 'returnd'",
            id="unknown model",
        ),
        pytest.param(
            "retrain: {model: returned, whem: breach}",
            "retrain: {",
            "unknown key 'whem' in retrain",
            id="unknown key",
        ),
        pytest.param(
            "retrain: {model: returned, when: [breech]}",
            "retrain: {",
            "when: 'breech' is no reason to train: 'breach', or one of {labels: 5000}, "
            "{every: 30d}, {fresh: 2}",
            id="unknown trigger",
        ),
        pytest.param(
            "retrain: {model: returned, when: [{labels: 5, fresh: 2}]}",
            "retrain: {",
            "when: takes one of labels, fresh, not several",
            id="two triggers in one",
        ),
        pytest.param(
            "retrain: {model: returned, when: [{fresh: 1}, {fresh: 2}]}",
            "retrain: {",
            "retrain: 'when' says 'fresh' twice",
            id="a trigger twice",
        ),
        pytest.param(
            "retrain: {model: returned, when: {every: fortnight}}",
            "retrain: {",
            "every: it is a day, week, month, quarter or year, or a duration such as '30d' or "
            "'12h'",
            id="unknown cadence",
        ),
        pytest.param(
            "retrain: {model: returned, at_most: 2 weekly}",
            "retrain: {",
            "at_most: a rate is a number above zero and a period of hours, days, weeks, months or "
            "years, such as '1 per month' or '2 per year'",
            id="no rate",
        ),
        pytest.param(
            "retrain: {model: returned, when: {fresh: 1}, consecutive: 2}",
            "retrain: {",
            "retrain: 'consecutive' counts breaches, which 'when' doesn't name",
            id="nothing to count",
        ),
        pytest.param(
            "on_breach: {retrain: returned, consecutive: 2}",
            "on_breach: {",
            "on_breach: 'consecutive' goes under the monitor's own 'retrain: {model: …, "
            "consecutive: …}', in place of 'on_breach: {retrain: …}'",
            id="the long form's key in the short one",
        ),
        pytest.param(
            "retrain: {model: returned}\n    on_breach: {retrain: returned}",
            "- monitor: returned_watch",
            "'on_breach: {retrain, cooldown}' is short for 'retrain', which is there already",
            id="said twice",
        ),
    ],
)
def test_a_mistake_is_told_at_its_line(
    tmp_path: Path, policy: str, line: str, message: str
) -> None:
    found = mistake(tmp_path, policy)
    assert found[1].endswith(message)
    assert line in found[0]


@pytest.mark.parametrize("key", ["when: {labels: 5}", "rollback: {by: 0.1}"])
def test_what_needs_the_truth_says_so(tmp_path: Path, key: str) -> None:
    before, _, rest = WATCH.partition("    performance:")
    watch = before + rest[rest.index("    kpis:") :]
    _, message = mistake(tmp_path, f"retrain: {{model: returned, {key}}}", watch)
    assert message.endswith("needs 'performance' with 'labels'")


@pytest.mark.parametrize(
    ("every", "moment", "later"),
    [
        ("month", datetime(2024, 1, 31, 5), datetime(2024, 2, 29, 5)),
        ("quarter", datetime(2023, 12, 1), datetime(2024, 3, 1)),
        ("year", datetime(2024, 2, 29), datetime(2025, 2, 28)),
        ("week", datetime(2024, 2, 26), datetime(2024, 3, 4)),
        ("36h", datetime(2024, 2, 28), datetime(2024, 2, 29, 12)),
    ],
)
def test_a_cadence_follows_the_calendar(every: str, moment: datetime, later: datetime) -> None:
    cadence = TypeAdapter(_CadenceField).validate_python(every)
    assert cadence.after(moment) == later
    assert str(cadence) == every


def test_a_breach_may_be_that_of_some_checks() -> None:
    policy = Retrain.model_validate({"model": "m", "when": {"breach": "performance"}})
    (trigger,) = policy.when
    assert trigger.counts("performance")
    assert not trigger.counts("drift")
    assert Trigger(breach=True).counts("drift")
    with pytest.raises(ValueError, match=r"names no check .* it has drift, prediction_drift"):
        monitor(retrain={"model": "m", "when": {"breach": "performance"}})


def test_the_checks_that_may_be_named_are_those_that_are_made() -> None:
    measured = {
        "quality": {},
        "slices": ["a"],
        "performance": {
            "metric": "roc_auc",
            "at_least": 0.6,
            "estimate": True,
            "labels": {"from": "t", "key": "id", "column": "y"},
        },
        "kpis": [{"kpi": "share", "sql": "SELECT 1", "between": [0, 1]}],
    }
    for parts in ({}, measured):
        assert monitor(**parts).checks == tuple(check_names(monitor(**parts)))
