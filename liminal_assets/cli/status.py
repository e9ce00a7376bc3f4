"""``liminal status``: how the deployments of a project are doing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from liminal_assets.cli.options import as_json, open_projects, project_options
from liminal_assets.cli.output import print_json, print_table, say
from liminal_assets.cli.served import certificate_of, live_since, served
from liminal_assets.cli.trials import print_trials, print_workers
from liminal_assets.language.deployments import Deployment
from liminal_assets.language.loading import Project
from liminal_assets.language.monitors import Monitor

if TYPE_CHECKING:
    import dagster as dg

    from liminal_assets.cli.session import Session

__all__ = ["command"]


@click.command("status")
@project_options
@click.option(
    "--windows",
    type=click.IntRange(min=0),
    default=6,
    show_default=True,
    help="So many windows of each monitor.",
)
@as_json
def command(project: Path, env: str | None, windows: int, as_json: bool) -> None:
    """Show each deployment (version in use and since when, the version that is tried, traffic,
    health, last refresh, drift), each worker of its server, the last windows of each monitor, and
    each pipeline (last run, next run)."""
    from liminal_assets.cli.session import open_session

    every: list[dict[str, Any]] = []
    for checked in open_projects(project, env):
        with open_session(checked) as session:
            rows = [_status(session, each, windows) for each in checked.spec.deployments]
            pipelines = _pipelines(session)
        every += [*rows, *pipelines]
        if not as_json:
            _print(checked, rows, pipelines)
    if as_json:
        print_json(every)


def _pipelines(session: Session) -> list[dict[str, Any]]:
    if session.project.workflow is None:
        return []
    from liminal_assets.cli.pipeline_status import pipeline_rows

    return list(pipeline_rows(session))


def _print(project: Project, rows: list[dict[str, Any]], pipelines: list[dict[str, Any]]) -> None:
    if pipelines:
        from liminal_assets.cli.pipeline_status import print_pipelines

        print_pipelines(pipelines)
    elif not rows:
        say(f"{project.name} has no deployments")
    if rows:
        print_table(
            [
                "deployment",
                "model",
                "version",
                "form",
                "since",
                "traffic",
                "health",
                "refreshed",
                "monitors",
            ],
            [
                [
                    row["deployment"],
                    row["model"],
                    str(row["running_version"] or row["version"] or "none"),
                    _form(row["certificate"]),
                    _ago(row["since"]) if row["since"] else "",
                    row["traffic"],
                    row["health"],
                    _ago(row["refreshed"]),
                    _watched(row["monitors"]),
                ]
                for row in rows
            ],
        )
        for row in rows:
            if row["problem"]:
                say(f"{row['deployment']}: {row['problem']}", style="yellow")
        print_trials(rows, _ago)
        print_workers(rows, _ago)
        _print_windows(rows)


def _status(session: Session, deployment: Deployment, windows: int) -> dict[str, Any]:
    from liminal_assets.storage.registry import ModelRegistry

    champion = ModelRegistry(session.project).champion(deployment.model)
    server = served(session.project, deployment) or {}
    refreshed = _refreshed(session, deployment.name)
    scored = "scored" if refreshed else "not scored yet"
    running = server.get("running_version")
    version = str(champion.version) if champion else None
    used = running or version
    return {
        "deployment": deployment.name,
        "model": deployment.model,
        "version": champion.version if champion else None,
        "running_version": running,
        "certificate": certificate_of(session.project, deployment, used) if used else None,
        "since": live_since(session.project, deployment, used) if used else None,
        "traffic": server.get("traffic", "100 %" if champion else ""),
        "share": server.get("share", 100.0 if champion else 0.0),
        "candidate": server.get("candidate"),
        "health": server.get("health", scored),
        "problem": server.get("problem"),
        "workers": server.get("workers", []),
        "refreshed": refreshed.isoformat() if refreshed else None,
        "monitors": {
            monitor.name: {
                **_monitored(session, monitor),
                "history": _history(session.project, monitor, windows),
            }
            for monitor in session.project.spec.monitors
            if monitor.deployment == deployment.name
        },
    }


def _form(certificate: dict[str, Any] | None) -> str:
    """The form that answers, and how far it was from the pipeline at most."""
    if certificate is None:
        return ""
    form = str(certificate["form"])
    return form if form == "pipeline" else f"{form} (≤ {certificate['largest_difference']:.0e})"


def _refreshed(session: Session, name: str) -> datetime | None:
    """When an asset was last materialised."""
    event = session.instance.get_latest_materialization_event(_key(session, name))
    return datetime.fromtimestamp(event.timestamp, timezone.utc) if event else None


def _monitored(session: Session, monitor: Monitor) -> dict[str, Any]:
    """The newest window that a monitor looked at: its checks and its numbers."""
    from liminal_assets.factories.monitors import JUDGEMENT

    key = _key(session, monitor.name)
    event = session.instance.get_latest_materialization_event(key)
    made = event.asset_materialization if event else None
    if event is None or made is None:
        return {"checked": None, "judged": False, "breaches": [], "numbers": {}}
    numbers = {
        name: value.value
        for name, value in made.metadata.items()
        if isinstance(getattr(value, "value", None), int | float) and "/" not in name
    }
    said: Any = made.metadata.get(JUDGEMENT)
    return {
        "checked": datetime.fromtimestamp(event.timestamp, timezone.utc).isoformat(),
        "partition": made.partition,
        "judged": bool(said and said.value["judged"]),
        "breaches": [name for name, passed in session.latest_checks(key).items() if not passed],
        "numbers": numbers,
    }


def _history(project: Project, monitor: Monitor, windows: int) -> list[dict[str, Any]]:
    """The newest windows of a monitor, the newest first."""
    from liminal_assets.steps.history import history
    from liminal_assets.steps.window_table import window_table

    return window_table(history(project, monitor, newest=windows)) if windows else []


def _print_windows(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        for name, told in row["monitors"].items():
            if told["history"]:
                columns = list(told["history"][0])
                shown = [
                    [_cell(window[column]) for column in columns] for window in told["history"]
                ]
                print_table([name, *columns[1:]], shown)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _key(session: Session, name: str) -> dg.AssetKey:
    import dagster as dg

    return dg.AssetKey([session.project.name, name])


def _ago(moment: str | None, now: datetime | None = None) -> str:
    if moment is None:
        return "never"
    now = now or datetime.now(timezone.utc)
    seconds = (now - datetime.fromisoformat(moment)).total_seconds()
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return "just now"


def _watched(monitors: dict[str, dict[str, Any]]) -> str:
    return "; ".join(_sentences(monitors)) or "none"


def _sentences(monitors: dict[str, dict[str, Any]]) -> Iterator[str]:
    for name, told in monitors.items():
        if told["checked"] is None:
            yield f"{name}: not yet"
        else:
            of = f" {told['partition']}" if told.get("partition") else ""
            fine = "fine" if told["judged"] else "too few rows"
            breaches = ", ".join(told["breaches"])
            yield f"{name}{of}: {f'breach of {breaches}' if breaches else fine}"
