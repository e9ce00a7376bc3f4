"""``liminal plan``: what a run would do and why; nothing runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from liminal_assets.cli.options import as_json, open_projects, project_options
from liminal_assets.cli.output import label_of, print_json, print_table, say
from liminal_assets.language.models import Model

if TYPE_CHECKING:
    from liminal_assets.cli.planning import Plan
    from liminal_assets.cli.session import Session

__all__ = ["command"]


@click.command("plan")
@project_options
@click.option("--select", metavar="SEL", help="Only these assets; see 'liminal run'.")
@click.option("--partition", metavar="KEY", help="Only one partition.")
@click.option("--partition-range", metavar="A..B", help="Only a range of partitions.")
@as_json
def command(
    project: Path,
    env: str | None,
    select: str | None,
    partition: str | None,
    partition_range: str | None,
    as_json: bool,
) -> None:
    """Show what 'liminal run --changed' would make, and why.

    Assets that are new, miss partitions, or changed: their code, configuration, files or inputs.
    Comments, formatting and the order of keys change nothing. Models that would be trained again,
    deployments, sensors and schedules that would change. Nothing runs.
    """
    projects = open_projects(project, env)
    from liminal_assets.cli.planning import make_plan
    from liminal_assets.cli.run import wanted_of
    from liminal_assets.cli.scope import parse_scope
    from liminal_assets.cli.session import open_session

    scope = parse_scope(partition, partition_range)
    documents = []
    for checked in projects:
        with open_session(checked) as session:
            keys = session.select(select)
            plan = make_plan(session, wanted_of(session, keys, scope), scope)
            automation = list(_automation(session))
            documents.append(_document(session, plan, automation))
            if not as_json:
                if len(projects) > 1:
                    say(checked.name, style="bold")
                _print(session, plan, automation)
    if as_json:
        print_json(documents if len(projects) > 1 else documents[0])


def _print(session: Session, plan: Plan, automation: list[dict[str, str]]) -> None:
    if plan.planned:
        print_table(
            ["asset", "state", "partitions", "why"],
            [
                [
                    label_of(entry.key),
                    entry.state,
                    _span(entry.partitions),
                    "; ".join(entry.reasons),
                ]
                for entry in plan.planned
            ],
        )
    else:
        say("nothing to do: everything is fresh", style="green")
    for name in _retrained(session, plan):
        say(f"{name} would be trained again")
    for name in _redeployed(session, plan):
        batch = session.project.blocks[name].batch  # type: ignore[union-attr]
        say(f"{name} would {'score' if batch else 'be deployed'} again")
    for item in automation:
        say(f"{item['kind']} {item['name']} {item['change']}")
    if plan.planned and plan.fresh:
        count = len(plan.fresh)
        say(f"{count} asset{'' if count == 1 else 's'} {'is' if count == 1 else 'are'} fresh")


def _span(partitions: tuple[str, ...] | None) -> str:
    if not partitions:
        return ""
    if len(partitions) == 1:
        return partitions[0]
    return f"{partitions[0]}..{partitions[-1]} ({len(partitions)})"


def _document(session: Session, plan: Plan, automation: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "project": session.project.name,
        "assets": [
            {
                "asset": label_of(entry.key),
                "state": entry.state,
                "partitions": None if entry.partitions is None else list(entry.partitions),
                "reasons": list(entry.reasons),
            }
            for entry in plan.planned
        ]
        + [
            {"asset": label_of(key), "state": "fresh", "partitions": None, "reasons": []}
            for key in plan.fresh
        ],
        "retrained": list(_retrained(session, plan)),
        "deployed": list(_redeployed(session, plan)),
        "automation": automation,
    }


def _retrained(session: Session, plan: Plan) -> Iterator[str]:
    """The models that a run would train."""
    for entry in plan.planned:
        if isinstance(session.project.blocks.get(label_of(entry.key)), Model):
            yield label_of(entry.key)


def _redeployed(session: Session, plan: Plan) -> Iterator[str]:
    """The deployments that a run would change."""
    names = {deployment.name for deployment in session.project.spec.deployments}
    return (label_of(entry.key) for entry in plan.planned if label_of(entry.key) in names)


def _automation(session: Session) -> Iterator[dict[str, str]]:
    """Sensors and schedules that Dagster's daemon doesn't know yet or knows otherwise."""
    from dagster._core.definitions.run_request import InstigatorType
    from dagster._core.scheduler.instigation import ScheduleInstigatorData

    states = {
        (state.instigator_type, state.name): state
        for state in session.instance.all_instigator_state()
        if state.repository_selector.repository_name == session.repository.name
    }
    for sensor in session.repository.sensor_defs:
        if (InstigatorType.SENSOR, sensor.name) not in states:
            yield {"kind": "sensor", "name": sensor.name, "change": "is new"}
    for schedule in session.repository.schedule_defs:
        state = states.get((InstigatorType.SCHEDULE, schedule.name))
        data = state.instigator_data if state else None
        cron = schedule.cron_schedule
        if state is None:
            yield {"kind": "schedule", "name": schedule.name, "change": f"is new: {cron}"}
        elif isinstance(data, ScheduleInstigatorData) and data.cron_schedule != cron:
            change = f"changes from {data.cron_schedule} to {cron}"
            yield {"kind": "schedule", "name": schedule.name, "change": change}
