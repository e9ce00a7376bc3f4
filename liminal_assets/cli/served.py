"""What ``liminal status`` says of a deployment's server: version, candidate, workers, health."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from liminal_assets.errors import StepError
from liminal_assets.language.deployments import Deployment, Serve
from liminal_assets.language.loading import Project

__all__ = ["certificate_of", "live_since", "served"]

_PATIENCE = 1.0
"""Seconds that a server has to answer."""


def served(project: Project, deployment: Deployment) -> dict[str, Any] | None:
    """``health``, the ``running_version``, its ``candidate``, ``workers``, ``traffic`` and
    ``problem``, as far as they are known; None for batch scores."""
    serve = deployment.serve
    if serve is None:
        return None
    if serve.target == "local":
        here = _on_this_machine(project, deployment) or _answered(serve)
        if here is not None:
            return here
    return _at_target(project, deployment, serve)


def live_since(project: Project, deployment: Deployment, version: str) -> str | None:
    """Since when a version answers, as the journal of the deployment says; of batch scores, which
    have none, as that of the model."""
    from liminal_assets.storage.journal import Journal

    since = None
    name = deployment.name if deployment.serve else deployment.model
    for decision in Journal(project, name).newest():
        if str(decision.champion) != version:
            break
        since = decision.at.isoformat()
    return since


def certificate_of(project: Project, deployment: Deployment, version: str) -> dict[str, Any] | None:
    """The certificate of the form in which a version was last brought to its server; None if it
    never was."""
    from liminal_assets.serving.releases.folders import ServingFolders
    from liminal_assets.serving.releases.release import read_release

    folder = ServingFolders.of(project.state, deployment.name).releases
    made = sorted(folder.glob(f"{version}-*"), key=lambda path: path.stat().st_mtime)
    try:
        return dict(read_release(made[-1]).certificate) if made else None
    except StepError:
        # changed, or of another format: it won't be served either
        return None


def _on_this_machine(project: Project, deployment: Deployment) -> dict[str, Any] | None:
    from liminal_assets.serving.control.overview import overview
    from liminal_assets.serving.releases.folders import ServingFolders

    try:
        found = overview(ServingFolders.of(project.state, deployment.name))
    except StepError as error:
        return {"health": f"unknown: {error.message}"}
    if found is None:
        return None
    trial, share = found.candidate, 0.0
    candidate: dict[str, Any] | None = None
    if trial is not None:
        rollout, share = deployment.rollout, trial.share
        candidate = {
            "version": trial.version,
            "strategy": rollout.strategy,
            "step": trial.step,
            "steps": len(rollout.steps) if rollout.strategy == "canary" else 1,
            "share": trial.share,
            "shadow": trial.shadow,
            "since": _moment(trial.began),
            "step_since": _moment(trial.step_began),
            "verdict": trial.verdict,
            "evidence": trial.evidence,
        }
    return {
        "health": found.health,
        "running_version": found.version,
        "traffic": _traffic(found.version, candidate),
        "share": 100.0 - share if found.version else 0.0,
        "candidate": candidate,
        "problem": found.problem,
        "workers": [
            {
                "pid": worker.pid,
                "state": worker.state,
                "version": worker.version,
                "candidate": worker.candidate,
                "since": _moment(worker.since),
                "restarts": worker.restarts,
                "ended": worker.ended,
                "problem": worker.problem,
            }
            for worker in found.workers
        ],
    }


def _traffic(version: str | None, candidate: Mapping[str, Any] | None) -> str:
    if version is None:
        return ""
    if candidate is None:
        return "100 %"
    share, shadow = candidate["share"], candidate["shadow"]
    if share:
        return f"{100 - share:g} %, {share:g} % to {candidate['version']}"
    return f"100 %, {candidate['version']} beside {shadow:g} %" if shadow else "100 %"


def _moment(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")


def _answered(serve: Serve) -> dict[str, Any] | None:
    """What a server says of itself that another project's folder keeps; None if it doesn't."""
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
    return {"health": "ready", "running_version": version}


def _at_target(project: Project, deployment: Deployment, serve: Serve) -> dict[str, Any]:
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
        "running_version": told.version,
    }
