"""A grid of policies: what may vary, every combination of it, and which of them is best."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import product
from typing import Any

from pydantic import ValidationError

from liminal_assets.errors import StepError
from liminal_assets.language.alarm_rates import window_interval
from liminal_assets.language.base import write_duration
from liminal_assets.language.diagnostics import did_you_mean
from liminal_assets.language.loading import Project
from liminal_assets.language.monitors import Monitor
from liminal_assets.language.retraining import Retrain, Trigger
from liminal_assets.language.source import LocatedDict
from liminal_assets.steps.replay.results import Replay

__all__ = ["Grid", "GridError", "Variant", "best_of", "default_grid", "settings_of", "variants"]

Grid = Sequence[Mapping[str, Sequence[Any]]]
"""Values by parameter; the combinations of each mapping are replayed."""

_OF_POLICY = ("when", "consecutive", "cooldown", "at_most", "min_rows", "rollback")
_PARAMETERS = (*_OF_POLICY, "threshold", "performance")
_DRIFT = ("drift", "prediction_drift")
_WORTH = 0.5
"""The share of the largest gain that a policy must reach to be the best."""
_ALIKE = 0.95
"""The share of the largest gain per row from which on people's time decides."""


class GridError(StepError):
    """A grid that can't be."""


@dataclass(frozen=True)
class Variant:
    """A monitor with another policy or other bounds."""

    name: str
    monitor: Monitor
    settings: Mapping[str, Any]


def default_grid(project: Project, monitor: Monitor, labelled: int) -> Grid:
    """Policies that are worth a look: on any breach, on drift alone, on performance alone, on new
    labels, on new partitions; at once or after two windows; with and without a pause.

    Args:
        labelled: how many rows of a window get a label.
    """
    length = window_interval(project, monitor)
    pauses = [None, _in_whole_days(2 * length)] if length else [None]
    waiting: dict[str, Sequence[Any]] = {"consecutive": [1, 2], "cooldown": pauses}
    checks = [name for name in _DRIFT if name in monitor.checks]
    grids: list[Mapping[str, Sequence[Any]]] = []
    if checks and monitor.drift:
        threshold = monitor.drift.threshold
        bounds = {"threshold": [threshold / 2, threshold, 2 * threshold]}
        grids.append({"when": ["breach", {"breach": checks}], **bounds, **waiting})
    if "performance" in monitor.checks:
        grids.append({"when": [{"breach": "performance"}], **waiting})
    grids.append({"when": [{"fresh": 2}, {"fresh": 3}]})
    if labelled:
        grids.append({"when": [{"labels": labelled}, {"labels": 3 * labelled}]})
    return grids


def _in_whole_days(length: timedelta) -> str:
    day = timedelta(days=1)
    return write_duration(length if length < day else length // day * day)


def variants(monitor: Monitor, model: str, grid: Grid) -> list[Variant]:
    """Every combination of a grid, each once.

    Raises:
        GridError: a parameter isn't known, or a value can't be.
    """
    found: dict[str, Variant] = {}
    for values in grid:
        for name, chosen in values.items():
            if name not in _PARAMETERS:
                raise GridError(
                    f"there is no parameter {name!r} to vary",
                    hint=did_you_mean(name, _PARAMETERS) or f"there are {', '.join(_PARAMETERS)}",
                )
            if not chosen:
                raise GridError(f"{name} has no values to try")
        for combination in product(*values.values()):
            varied = _variant(monitor, model, dict(zip(values, combination, strict=True)))
            found.setdefault(json.dumps(varied.settings, sort_keys=True), varied)
    return list(found.values())


def _variant(monitor: Monitor, model: str, values: Mapping[str, Any]) -> Variant:
    said = _written(monitor)
    policy = _written(monitor.policy or Retrain(model=model))
    policy |= {name: value for name, value in values.items() if name in _OF_POLICY}
    policy = {name: value for name, value in policy.items() if value is not None}
    if not _on_breach(policy.get("when", "breach")):
        policy.pop("consecutive", None)
    said["retrain"] = policy
    for key in ("retrain", "cooldown"):
        said.get("on_breach", {}).pop(key, None)
    changed: dict[str, Any] = {}
    if "threshold" in values and monitor.drift:
        changed["drift"] = {"threshold": values["threshold"]}
    if "performance" in values and monitor.performance:
        bound = "at_least" if monitor.performance.at_least is not None else "at_most"
        changed["performance"] = {bound: values["performance"]}
    for section, keys in changed.items():
        said[section] |= keys
    try:
        found = Monitor.model_validate(_located(monitor, said))
    except ValidationError as error:
        shown = ", ".join(f"{name}: {value}" for name, value in values.items())
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise GridError(f"there is no policy with {shown}: {message}") from None
    settings = {**changed, **settings_of(found)}
    return Variant(_name(found, changed), found, settings)


def _located(monitor: Monitor, said: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same mapping in the monitor's place, for messages."""
    if monitor.location is None:
        return said
    located = LocatedDict(monitor.location)
    located.update(said)
    return located


def _written(spec: Any) -> dict[str, Any]:
    plain: dict[str, Any] = spec.model_dump(
        mode="json", by_alias=True, exclude_unset=True, exclude_none=True
    )
    return plain


def _on_breach(when: Any) -> bool:
    triggers = when if isinstance(when, list | tuple) else [when]
    return any("breach" in trigger for trigger in triggers)


def settings_of(monitor: Monitor) -> dict[str, Any]:
    """The section ``retrain`` as a person would write it."""
    policy = monitor.policy
    if policy is None:
        return {}
    said = policy.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    when = [_trigger(trigger) for trigger in policy.when]
    shown = {"model": policy.model, "when": when[0] if len(when) == 1 else when}
    return {"retrain": {**shown, **{key: said[key] for key in said if key not in shown}}}


def _trigger(trigger: Trigger) -> Any:
    said = trigger.model_dump(mode="json", exclude_none=True)
    if said == {"breach": True}:
        return "breach"
    if "breach" in said and len(said["breach"]) == 1:
        return {"breach": said["breach"][0]}
    return said


def _name(monitor: Monitor, changed: Mapping[str, Any]) -> str:
    """A policy in words."""
    policy = monitor.policy
    assert policy is not None  # noqa: S101  # every variant has one
    words = [_words(trigger) for trigger in policy.when] or ["never"]
    said = [" or ".join(words)]
    for section, keys in changed.items():
        said += [
            f"threshold {value:g}" if section == "drift" else f"{key.replace('_', ' ')} {value:g}"
            for key, value in keys.items()
        ]
    said += [f"{policy.consecutive} in a row"] * (policy.consecutive > 1)
    said += [f"cooldown {write_duration(policy.cooldown)}"] if policy.cooldown else []
    said += [f"at most {policy.at_most}"] if policy.at_most else []
    said += [f"min rows {policy.min_rows:,}"] if policy.min_rows else []
    said += ["rollback"] if policy.rollback else []
    return ", ".join(said)


def _words(trigger: Trigger) -> str:
    if trigger.breach is True:
        return "any breach"
    if trigger.breach:
        return " or ".join(name.replace("_", " ") for name in trigger.breach)
    if trigger.labels:
        return f"{trigger.labels:,} labels"
    if trigger.every:
        return f"every {trigger.every}"
    return f"{trigger.fresh} new partitions"


def best_of(replays: Sequence[Replay], never: Replay) -> Replay:
    """The policy with the largest gain per row trained on among those that reach half of the
    largest gain, and among those that come within a twentieth of it the one with the fewest
    alerts; never training again where no policy gains anything."""
    able = [
        replay
        for replay in replays
        if replay.kind != "oracle" and replay.rows and replay.gain(never) > 0
    ]
    if not able:
        return never
    most = max(replay.gain(never) for replay in able)
    worthy = [replay for replay in able if replay.gain(never) >= _WORTH * most]
    per_row = {replay: replay.gain(never) / replay.rows for replay in worthy}
    alike = [one for one in worthy if per_row[one] >= _ALIKE * max(per_row.values())]
    return max(alike, key=lambda one: (-one.alerts, per_row[one]))
