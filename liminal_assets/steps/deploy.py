"""Deploy: a champion goes to its target and proves there that it answers as the registry does."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, Protocol

from liminal_assets.errors import StepError
from liminal_assets.language.deployments import TARGETS, Deployment
from liminal_assets.language.diagnostics import Location, did_you_mean
from liminal_assets.language.loading import Project
from liminal_assets.steps.champion import (
    Champion,
    champion_of,
    load_champion,
    reference_rows,
)
from liminal_assets.steps.score import Scorer
from liminal_assets.steps.trial import server_on_trial
from liminal_assets.storage.journal import Decision, Journal
from liminal_assets.storage.registry import ModelVersion

__all__ = [
    "Deployed",
    "LocalTarget",
    "Target",
    "check_rollout",
    "deploy",
    "record_live",
    "target_of",
]

_LATENCY_CALLS = 20
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Deployed:
    """A version at its target.

    Attributes:
        version: the version.
        endpoint: where it answers, or will.
        evidence: what shows that it answers; kept in the journal and shown with the asset.
    """

    version: ModelVersion
    endpoint: str | None
    evidence: Mapping[str, Any] = field(default_factory=dict)


class Target(Protocol):
    """Where servers run: an entry point of the group ``liminal_assets.targets``.

    The entry point names a class without arguments, or an instance.
    """

    def deploy(self, project: Project, deployment: Deployment, version: ModelVersion) -> Deployed:
        """Makes ``version`` the one that answers there, and shows that it does.

        Raises:
            StepError: it can't; what answered before goes on.
        """


def deploy(project: Project, deployment: Deployment | str) -> Deployed:
    """Brings the champion of a deployment's model to its target, and keeps that in the journal.

    Raises:
        StepError: there is no champion, it doesn't answer as the registry does, or the target or
            the rollout isn't there.
    """
    block = _block(project, deployment)
    check_rollout(project, block)
    target = target_of(project, block)
    deployed = target.deploy(project, block, champion_of(project, block))
    record_live(project, block, deployed.version, deployed.evidence)
    return deployed


def target_of(project: Project, block: Deployment) -> Target:
    """The target that a deployment names.

    Raises:
        StepError: none is called so, or its plugin can't be loaded.
    """
    name = block.serve.target if block.serve else "local"
    if name == "local":
        return LocalTarget()
    found = {point.name: point for point in entry_points(group=TARGETS)}
    at = project.locate(block, "serve", "target")
    if name not in found:
        known = ["local", *found]
        raise StepError(
            f"no deployment target is called {name!r}",
            location=at,
            hint=did_you_mean(name, known) or f"known: {', '.join(known)}",
        )
    try:
        loaded = found[name].load()
        target: Target = loaded() if isinstance(loaded, type) else loaded
    except Exception as error:
        raise StepError(
            f"the deployment target {name!r} can't be loaded: {type(error).__name__}: {error}",
            location=at,
        ) from error
    return target


def record_live(
    project: Project, block: Deployment, version: ModelVersion, evidence: Mapping[str, Any]
) -> Decision | None:
    """Writes into the deployment's journal that a version is live, unless it was already."""
    journal = Journal(project, block.name)
    with journal.lock():
        last = journal.last()
        before = last.champion if last else None
        if before == version.version:
            return None
        return journal.append(
            "deploy",
            version=version.version,
            champion=version.version,
            previous=before,
            reason=f"version {version.version} is the champion of {block.model}",
            evidence={"mlflow_run": version.run_id, **evidence},
        )


def _block(project: Project, deployment: Deployment | str) -> Deployment:
    if isinstance(deployment, Deployment):
        return deployment
    names = [block.name for block in project.spec.deployments]
    if deployment not in names:
        raise StepError(
            f"no deployment is called {deployment!r}", hint=did_you_mean(deployment, names)
        )
    return project.spec.deployments[names.index(deployment)]


def check_rollout(project: Project, block: Deployment) -> None:
    """Refuses a rollout that nothing here can do, rather than swap at once in silence.

    Raises:
        StepError: the strategy isn't ``all_at_once``.
    """
    strategy = block.rollout.strategy
    if strategy != "all_at_once":
        raise StepError(
            f"a {strategy} rollout needs a server that answers with two versions at once, which "
            "there is none of yet",
            location=project.locate(block, "rollout", "strategy"),
            hint="'strategy: all_at_once' swaps versions atomically",
        )


class LocalTarget:
    """Here: ``liminal serve`` runs the server; a deployment proves that it will answer."""

    def deploy(self, project: Project, deployment: Deployment, version: ModelVersion) -> Deployed:
        """Starts the real server on a free port, compares its answer with the registry's, and
        stops it."""
        started = time.perf_counter()
        champion = load_champion(project, deployment, version)
        row = _reference_row(project, deployment.model, champion)
        asked = champion.signature.as_json(row)
        with server_on_trial(project, deployment) as server:
            answer = server.predict(asked)
            _compare(project.locate(deployment), champion, row, answer)
            seconds = []
            for _ in range(_LATENCY_CALLS):
                before = time.perf_counter()
                server.predict(asked)
                seconds.append(time.perf_counter() - before)
        return Deployed(
            version,
            _endpoint(deployment),
            {
                "first_prediction": answer["predictions"][0],
                "asked": asked,
                "latency_p50_ms": round(statistics.median(seconds) * 1000, 3),
                "seconds": round(time.perf_counter() - started, 3),
            },
        )


def _endpoint(deployment: Deployment) -> str | None:
    """Where ``liminal serve`` will answer; not known before for any free port."""
    said = deployment.serve
    if said is None or said.port == 0:
        return None
    host = f"[{said.host}]" if ":" in said.host else said.host
    return f"http://{host}:{said.port}/predict"


def _reference_row(project: Project, model: str, champion: Champion) -> dict[str, Any]:
    """The first row of the training reference; values of the right types without one."""
    relation = reference_rows(project, model, champion.version.version)
    rows = relation.limit(1).to_arrow_table().to_pylist() if relation is not None else []
    return champion.signature.sample(rows[0] if rows else None)


def _compare(at: Location, champion: Champion, row: Mapping[str, Any], answer: Any) -> None:
    """The served answer against that of the registry's model.

    Raises:
        StepError: they differ, or another version answered.
    """
    if answer["model_version"] != str(champion.version.version):
        raise StepError(
            f"version {answer['model_version']} answered where {champion.version.version} was "
            "expected: the champion moved meanwhile",
            location=at,
            transient=True,
        )
    signature = champion.signature
    frame = signature.frame({name: [row[name]] for name in signature.names}, 1)
    served = answer["predictions"][0]
    for name, column in Scorer(champion.pipeline)(frame).columns.items():
        (expected,) = column.tolist()
        if not _same(served.get(name), expected):
            raise StepError(
                f"the server's {name} is {served.get(name)!r}, the registry's {expected!r}",
                location=at,
                hint="do both run with the same versions of Python and the libraries?",
            )


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, int | float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
    return bool(one == other)
