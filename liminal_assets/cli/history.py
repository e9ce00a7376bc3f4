"""``liminal history``: the journals of decisions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from liminal_assets.cli.decisions import model_of
from liminal_assets.cli.options import as_json, open_project, project_options
from liminal_assets.cli.output import print_json, print_table, say
from liminal_assets.language.loading import Project

if TYPE_CHECKING:
    from liminal_assets.storage.journal import Decision

__all__ = ["command"]


class _Moment(click.ParamType[datetime]):
    """A moment in ISO 8601; without a time zone it is local."""

    name = "moment"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            return datetime.fromisoformat(value.replace("Z", "+00:00")).astimezone()
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no moment such as '2026-11-24 14:05'", param, ctx)


@dataclass(frozen=True)
class _Entry:
    """A decision, and what it is about."""

    of: str
    decision: Decision


@click.command("history")
@click.argument("deployment")
@project_options
@click.option("--limit", type=click.IntRange(min=1), help="The newest decisions only.")
@click.option(
    "--at",
    "moment",
    type=_Moment(),
    metavar="TIME",
    help="What was in use then, such as '2026-11-24 14:05'; local time unless it says otherwise.",
)
@as_json
def command(
    deployment: str,
    project: Path,
    env: str | None,
    limit: int | None,
    moment: datetime | None,
    as_json: bool,
) -> None:
    """Which version of DEPLOYMENT's model was in use when, decided by whom, on which evidence.

    The decisions about the model are shown with those of the deployment, which carries them out.
    """
    checked = open_project(project, env)
    entries = _entries(checked, deployment)
    if moment is not None:
        _say_at(entries, moment, as_json=as_json)
        return
    entries = entries[-(limit or 0) :]
    if as_json:
        print_json([{"of": entry.of, **entry.decision.as_dict()} for entry in entries])
    elif not entries:
        say(f"{deployment}: nothing was decided yet")
    else:
        print_table(
            ["#", "when", "of", "decision", "version", "in use", "by", "why"],
            [_row(entry) for entry in entries],
        )


def _entries(project: Project, name: str) -> list[_Entry]:
    """The decisions about a model, and those of the deployment where one is named, by time."""
    from liminal_assets.storage.journal import Journal
    from liminal_assets.storage.registry import ModelRegistry

    model = model_of(project, name)
    entries = [_Entry(model, one) for one in ModelRegistry(project).history(model)]
    if name != model:
        entries += [_Entry(name, one) for one in Journal(project, name).decisions()]
    return sorted(entries, key=lambda entry: entry.decision.at)


def _say_at(entries: list[_Entry], moment: datetime, *, as_json: bool) -> None:
    """The decision in force at a moment, of the model and of the deployment."""
    in_force = {entry.of: entry for entry in entries if entry.decision.at <= moment}
    if as_json:
        said = [{"of": entry.of, **entry.decision.as_dict()} for entry in in_force.values()]
        print_json({"at": moment.isoformat(), "in_use": said})
        return
    when = moment.strftime("%A, %Y-%m-%d %H:%M:%S %Z")
    if not in_force:
        say(f"{when}: nothing was in use")
    for entry in in_force.values():
        decision = entry.decision
        used = "none" if decision.champion is None else f"version {decision.champion}"
        since = decision.at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        reason = f": {decision.reason}" if decision.reason else ""
        by = f"{decision.action} of {since} by {decision.actor}"
        say(f"{when}: {entry.of}: {used} ({by}{reason})")
        for line in _said(decision.evidence):
            say(f"  {line}")


def _said(evidence: Mapping[str, Any]) -> Iterator[str]:
    """What a decision rests on, a line for each part of it."""
    for name, value in evidence.items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{key} {_value(one)}" for key, one in value.items())
        if value not in (None, "", [], {}):
            yield f"{name}: {_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} {_value(one)}" for key, one in value.items()) + "}"
    return str(value)


def _row(entry: _Entry) -> list[str]:
    def number(version: int | None) -> str:
        return "" if version is None else str(version)

    decision = entry.decision
    return [
        str(decision.number),
        decision.at.astimezone().strftime("%Y-%m-%d %H:%M:%S"),
        entry.of,
        decision.action,
        number(decision.version),
        number(decision.champion),
        decision.actor,
        decision.reason.replace("\n", "; "),
    ]
