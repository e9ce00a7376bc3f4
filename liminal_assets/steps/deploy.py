"""Deploy: a champion goes to its target and proves there that it answers as the registry does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from liminal_assets.errors import StepError
from liminal_assets.language.deployments import Deployment, deployment_targets
from liminal_assets.language.diagnostics import Diagnostic, did_you_mean
from liminal_assets.language.loading import Project
from liminal_assets.steps.champion import champion_of
from liminal_assets.steps.packaging import pickle_warning
from liminal_assets.storage.journal import Decision, Journal
from liminal_assets.storage.model_version import ModelVersion
from liminal_assets.storage.registry import ModelRegistry

__all__ = [
    "Deployed",
    "Target",
    "TargetStatus",
    "bring_along",
    "check_rollout",
    "deploy",
    "record_live",
    "target_mistakes",
    "target_of",
]


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


@dataclass(frozen=True)
class TargetStatus:
    """How a deployment is doing at its target.

    Attributes:
        state: in one word: ``ready``, ``starting``, ``failed``, ``stopped``, ``absent``,
            ``unknown``.
        version: the version that answers, if the target knows.
        endpoint: where it answers.
        details: what else the target tells, for people.
    """

    state: str
    version: str | None = None
    endpoint: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


class Target(ABC):
    """Where servers run: an entry point of the group ``liminal_assets.targets``.

    The entry point names a class without arguments, or an instance. A plugin needs no more than
    ``deploy``, and needn't inherit from this class; then the other methods are as they are here.
    """

    strategies: ClassVar[frozenset[str]] = frozenset({"all_at_once"})
    """The rollouts that it can do."""
    follows: ClassVar[bool] = False
    """Whether its servers take over by themselves what becomes champion."""

    @abstractmethod
    def deploy(self, project: Project, deployment: Deployment, version: ModelVersion) -> Deployed:
        """Makes ``version`` the one that answers there, and shows that it does.

        What answers as it should already stays as it is. A rollback brings an earlier version.

        Raises:
            StepError: it can't; what answered before goes on.
        """

    def check(self, project: Project, deployment: Deployment) -> Iterable[Diagnostic]:
        """What is wrong with the deployment; asks nothing of the target."""
        strategy = deployment.rollout.strategy
        if strategy not in self.strategies:
            target = deployment.serve.target if deployment.serve else "local"
            yield Diagnostic(
                project.locate(deployment, "rollout", "strategy"),
                "unsupported-rollout",
                f"the target {target!r} can't do a {strategy} rollout",
                f"it can do: {', '.join(sorted(self.strategies))}",
            )

    def status(self, project: Project, deployment: Deployment) -> TargetStatus:
        """How the deployment is doing there.

        Raises:
            StepError: the target doesn't say.
        """
        return TargetStatus("unknown")

    def delete(self, project: Project, deployment: Deployment) -> bool:
        """Takes the deployment away, with all that ``deploy`` made.

        Returns:
            Whether there was something.

        Raises:
            StepError: it can't.
        """
        raise StepError(
            f"the deployment target of {deployment.name} doesn't delete",
            location=project.locate(deployment, "serve", "target"),
        )


class _Plugin(Target):
    """A target that doesn't inherit: it has ``deploy``, and perhaps more."""

    def __init__(self, plugin: Any) -> None:
        self._plugin = plugin

    def deploy(self, project: Project, deployment: Deployment, version: ModelVersion) -> Deployed:
        deployed: Deployed = self._plugin.deploy(project, deployment, version)
        return deployed

    def check(self, project: Project, deployment: Deployment) -> Iterable[Diagnostic]:
        check = getattr(self._plugin, "check", super().check)
        yield from check(project, deployment)

    def status(self, project: Project, deployment: Deployment) -> TargetStatus:
        status = getattr(self._plugin, "status", super().status)
        told: TargetStatus = status(project, deployment)
        return told

    def delete(self, project: Project, deployment: Deployment) -> bool:
        delete = getattr(self._plugin, "delete", super().delete)
        return bool(delete(project, deployment))


def deploy(project: Project, deployment: Deployment | str) -> Deployed:
    """Brings the champion of a deployment's model to its target, and keeps that in the journal.

    Raises:
        StepError: there is no champion, it doesn't answer as the registry does, or the target or
            the rollout isn't there.
    """
    block = _block(project, deployment)
    target = target_of(project, block)
    _check(target, project, block)
    deployed = target.deploy(project, block, champion_of(project, block))
    warning = pickle_warning(ModelRegistry(project), deployed.version)
    if warning:
        deployed = replace(deployed, evidence={**deployed.evidence, "warning": warning})
    # a server that follows says in the journal itself how far a gradual rollout has come
    if block.rollout.strategy == "all_at_once" or not target.follows:
        record_live(project, block, deployed.version, deployed.evidence)
    return deployed


def bring_along(
    project: Project, version: ModelVersion, previous: ModelVersion | None
) -> list[Deployed]:
    """Brings a version that just became champion to the servers that don't follow the registry by
    themselves.

    Args:
        previous: the champion before.

    Raises:
        StepError: a target can't take it; the alias and the servers are those of ``previous``
            again.
    """
    done: list[tuple[Deployment, Deployed]] = []
    for block in project.spec.deployments:
        if block.serve is None or block.model != version.model:
            continue
        if target_of(project, block).follows:
            continue
        try:
            done.append((block, deploy(project, block)))
        except StepError as error:
            if previous is not None and previous.version != version.version:
                reason = f"version {version.version} can't be brought to {block.name}"
                evidence = {"failure": error.message}
                ModelRegistry(project).promote(
                    version.model, previous, reason, evidence=evidence, actor="liminal"
                )
                for other, _ in done:
                    deploy(project, other)
            raise
    return [deployed for _, deployed in done]


def target_of(project: Project, block: Deployment) -> Target:
    """The target that a deployment names.

    Raises:
        StepError: none is called so, or its plugin can't be loaded.
    """
    name = block.serve.target if block.serve else "local"
    found = deployment_targets()
    at = project.locate(block, "serve", "target")
    if name not in found:
        raise StepError(
            f"no deployment target is called {name!r}",
            location=at,
            hint=did_you_mean(name, found) or f"known: {', '.join(found)}",
        )
    try:
        loaded = found[name].load()
        target = loaded() if isinstance(loaded, type) else loaded
        return target if isinstance(target, Target) else _Plugin(target)
    except Exception as error:
        raise StepError(
            f"the deployment target {name!r} can't be loaded: {type(error).__name__}: {error}",
            location=at,
        ) from error


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
    """Refuses a rollout that the target can't do, rather than swap at once in silence.

    Raises:
        StepError: says what it can do.
    """
    _check(target_of(project, block), project, block)


def target_mistakes(project: Project) -> Iterator[Diagnostic]:
    """What targets find wrong with their deployments."""
    for block in project.spec.deployments:
        if block.serve is None:
            continue
        try:
            yield from target_of(project, block).check(project, block)
        except StepError as error:
            at = error.location or project.locate(block, "serve", "target")
            yield Diagnostic(at, "target", error.message, error.hint)


def _check(target: Target, project: Project, block: Deployment) -> None:
    for mistake in target.check(project, block):
        if mistake.is_error:
            raise StepError(mistake.message, location=mistake.location, hint=mistake.hint)
