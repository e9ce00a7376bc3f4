"""``liminal status``: how the deployments of a project are doing."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from liminal_assets.cli.options import as_json, open_projects, project_options
from liminal_assets.cli.output import print_json, print_table, say
from liminal_assets.errors import StepError
from liminal_assets.language.deployments import Deployment, Serve
from liminal_assets.language.loading import Project
from liminal_assets.language.monitors import Monitor

if TYPE_CHECKING:
    import dagster as dg

    from liminal_assets.cli.session import Session

__all__ = ["command"]

_PATIENCE = 1.0
"""Seconds that a server has to answer."""


@click.command("status")
@project_options
@as_json
def command(project: Path, env: str | None, as_json: bool) -> None:
    """Show each deployment (version in use, traffic, health, last refresh, drift) and each
    pipeline (last run, next run)."""
    from liminal_assets.cli.session import open_session

    every: list[dict[str, Any]] = []
    for checked in open_projects(project, env):
        with open_session(checked) as session:
            rows = [_status(session, deployment) for deployment in checked.spec.deployments]
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
            ["deployment", "model", "version", "traffic", "health", "refreshed", "monitors"],
            [
                [
                    row["deployment"],
                    row["model"],
                    str(row["version"] or "none"),
                    row["traffic"],
                    row["health"],
                    _ago(row["refreshed"]),
                    _watched(row["monitors"]),
                ]
                for row in rows
            ],
        )


def _status(session: Session, deployment: Deployment) -> dict[str, Any]:
    from liminal_assets.storage.registry import ModelRegistry

    champion = ModelRegistry(session.project).champion(deployment.model)
    served = _served(session.project, deployment)
    refreshed = _refreshed(session, deployment.name)
    scored = "scored" if refreshed else "not scored yet"
    running = served.get("version") if served else None
    return {
        "deployment": deployment.name,
        "model": deployment.model,
        "version": champion.version if champion else None,
        "running_version": running,
        "traffic": "100 %" if champion else "",
        "health": served["health"] if served else scored,
        "refreshed": refreshed.isoformat() if refreshed else None,
        "monitors": {
            monitor.name: _monitored(session, monitor)
            for monitor in session.project.spec.monitors
            if monitor.deployment == deployment.name
        },
    }


def _served(project: Project, deployment: Deployment) -> dict[str, Any] | None:
    """What is said of a model server, by itself or by its target; None for batch scores."""
    serve = deployment.serve
    if serve is None:
        return None
    if serve.target == "local" and (answer := _answered(serve)) is not None:
        return answer
    from liminal_assets.steps.deploy import target_of

    try:
        told = target_of(project, deployment).status(project, deployment)
    except StepError as error:
        return {"health": f"unknown: {error.message}"}
    if serve.target == "local" and told.state == "stopped":
        anywhere = " (port 0 is any free one)" if serve.port == 0 else ""
        return {"health": f"not running{anywhere}"}
    details = ", ".join(f"{key} {value}" for key, value in told.details.items())
    return {
        "health": f"{told.state} ({details})" if details else told.state,
        "version": told.version,
    }


def _answered(serve: Serve) -> dict[str, Any] | None:
    """What a server of this machine says of itself; None if it doesn't answer."""
    base = f"http://{serve.host}:{serve.port}"
    if serve.port == 0:
        return None
    try:
        # the address comes from the project's own file
        with urllib.request.urlopen(f"{base}/readyz", timeout=_PATIENCE):  # noqa: S310
            pass
        with urllib.request.urlopen(f"{base}/info", timeout=_PATIENCE) as answer:  # noqa: S310
            told = json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return {"health": f"not ready ({error.code})"}
    except (OSError, ValueError):
        return None
    version = told.get("model_version", told.get("version")) if isinstance(told, dict) else None
    return {"health": "ready", "version": version}


def _refreshed(session: Session, name: str) -> datetime | None:
    """When an asset was last materialised."""
    event = session.instance.get_latest_materialization_event(_key(session, name))
    return datetime.fromtimestamp(event.timestamp, timezone.utc) if event else None


def _monitored(session: Session, monitor: Monitor) -> dict[str, Any]:
    """The newest window that a monitor looked at: its checks and its numbers."""
    key = _key(session, monitor.name)
    event = session.instance.get_latest_materialization_event(key)
    made = event.asset_materialization if event else None
    if event is None or made is None:
        return {"checked": None, "breaches": [], "numbers": {}}
    numbers = {
        name: value.value
        for name, value in made.metadata.items()
        if isinstance(getattr(value, "value", None), int | float) and "/" not in name
    }
    return {
        "checked": datetime.fromtimestamp(event.timestamp, timezone.utc).isoformat(),
        "partition": made.partition,
        "breaches": [name for name, passed in session.latest_checks(key).items() if not passed],
        "numbers": numbers,
    }


def _key(session: Session, name: str) -> dg.AssetKey:
    import dagster as dg

    return dg.AssetKey([session.project.name, name])


def _ago(moment: str | None) -> str:
    if moment is None:
        return "never"
    seconds = (datetime.now(timezone.utc) - datetime.fromisoformat(moment)).total_seconds()
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
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
            breaches = ", ".join(told["breaches"])
            yield f"{name}{of}: {f'breach of {breaches}' if breaches else 'fine'}"
