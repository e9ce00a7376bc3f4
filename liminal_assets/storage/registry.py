"""The versions of a project's models, and which of them is in use.

MLflow's registry holds them as the registered model ``<project>.<model>``. The alias
``challenger`` is the newest candidate, ``champion`` the version in use; each moves in one
transaction of the registry, and the journal keeps why.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liminal_assets.errors import StepError
from liminal_assets.language.loading import Project
from liminal_assets.storage.journal import Decision, Journal
from liminal_assets.storage.model_version import (
    DIGEST_TAG,
    VALIDATION_TAG,
    ModelVersion,
    digest_of,
)
from liminal_assets.storage.tracking import import_mlflow, tracking_client, tracking_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "ModelRegistry",
    "UnknownVersionError",
]

CHAMPION = "champion"
CHALLENGER = "challenger"
REASONS_TAG = "liminal.validation.reasons"
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
"""A version's number; MLflow's databases hold it in 32 bits."""


class UnknownVersionError(StepError):
    """A model has no version of that number."""


class ModelRegistry:
    """The model versions of one project."""

    def __init__(self, project: Project) -> None:
        self.project = project

    def registered_name(self, model: str) -> str:
        """The name in MLflow's registry: ``<project>.<model>``."""
        return f"{self.project.name}.{model}"

    def champion(self, model: str) -> ModelVersion | None:
        """The version in use; none before the first promotion."""
        return self._by_alias(model, CHAMPION)

    def challenger(self, model: str) -> ModelVersion | None:
        """The newest candidate; none before the first training."""
        return self._by_alias(model, CHALLENGER)

    def version(self, model: str, version: int | str) -> ModelVersion:
        """One version.

        Raises:
            UnknownVersionError: there is no such version.
        """
        found = None
        if _NUMBER.fullmatch(str(version)):
            with self._errors(f"read version {version} of {model}"):
                found = _found(
                    lambda: self._client.get_model_version(
                        self.registered_name(model), str(version)
                    )
                )
        if found is None:
            known = [item.version for item in self.versions(model)]
            there = "there is version" if len(known) == 1 else "there are versions"
            hint = f"{there} {', '.join(map(str, known))}" if known else "train it first"
            raise UnknownVersionError(f"{model} has no version {version}", hint=hint)
        return self._of(model, found)

    def versions(self, model: str) -> list[ModelVersion]:
        """Every version, the oldest first."""
        name = self.registered_name(model)
        found: list[Any] = []
        token = None
        with self._errors(f"list the versions of {model}"):
            while True:
                page = self._client.search_model_versions(
                    f"name='{name}'", max_results=1000, page_token=token
                )
                found.extend(page)
                token = page.token
                if not token:
                    break
            # a search finds versions without their aliases
            registered = _found(lambda: self._client.get_registered_model(name))
        aliases: dict[int, list[str]] = {}
        for alias, number in (registered.aliases if registered else {}).items():
            aliases.setdefault(int(number), []).append(alias)
        versions = [self._of(model, item) for item in sorted(found, key=lambda v: int(v.version))]
        return [replace(v, aliases=tuple(sorted(aliases.get(v.version, ())))) for v in versions]

    def load(self, version: ModelVersion) -> Any:
        """The fitted scikit-learn pipeline of a version.

        Raises:
            StepError: its files are missing, or aren't those that were registered.
        """
        mlflow = import_mlflow()
        from liminal_assets.storage.modules import isolated_modules

        folder = self.download(version)
        with (
            self._errors(f"load version {version.version} of {version.model}"),
            isolated_modules(folder / "code"),
        ):
            return mlflow.sklearn.load_model(str(folder))

    def download(self, version: ModelVersion) -> Path:
        """The folder of a version's files, brought here if they are elsewhere and checked.

        Raises:
            StepError: its files are missing, or aren't those that were registered.
        """
        folder = version.folder()
        if version.digest and digest_of(folder) != version.digest:
            raise StepError(
                f"the files of version {version.version} of {version.model} aren't those that "
                "were registered",
                hint=f"someone changed {folder}; train the model again",
            )
        return folder

    def register(
        self,
        model: str,
        source: str,
        *,
        run_id: str,
        tags: Mapping[str, str],
        model_id: str | None = None,
        description: str | None = None,
    ) -> ModelVersion:
        """Adds a version; it gets no alias yet, so nothing sees it before :meth:`challenge`.

        Args:
            source: the URI of the logged model's files.
            run_id: the MLflow run that made it.
            tags: its lineage; the digest of its files is added.
        """
        mlflow = import_mlflow()
        name = self.registered_name(model)
        with self._errors(f"register a version of {model}"):
            folder = Path(
                mlflow.artifacts.download_artifacts(source, tracking_uri=self._client.tracking_uri)
            )
            _found(lambda: self._client.create_registered_model(name), "RESOURCE_ALREADY_EXISTS")
            created = self._client.create_model_version(
                name,
                source,
                run_id,
                tags={**tags, DIGEST_TAG: digest_of(folder)},
                description=description,
                model_id=model_id,
            )
        return self._of(model, created)

    def challenge(self, version: ModelVersion) -> None:
        """Makes a version the newest candidate."""
        with self._errors(f"move the alias of {version.model}"):
            self._client.set_registered_model_alias(version.name, CHALLENGER, str(version.version))

    def tag(self, version: ModelVersion, tags: Mapping[str, str]) -> None:
        """Adds tags to a version."""
        with self._errors(f"tag version {version.version} of {version.model}"):
            for key, value in tags.items():
                self._client.set_model_version_tag(version.name, str(version.version), key, value)

    def accept(self, version: ModelVersion) -> None:
        """Notes that a version passed its validation."""
        self.tag(version, {REASONS_TAG: "", VALIDATION_TAG: "passed"})

    def reject(
        self,
        version: ModelVersion,
        reasons: str,
        *,
        evidence: Mapping[str, Any] | None = None,
        actor: str | None = None,
    ) -> Decision:
        """Notes that a version failed its validation and why; the champion stays."""
        self.tag(version, {REASONS_TAG: reasons, VALIDATION_TAG: "failed"})
        journal = Journal(self.project, version.model)
        with journal.lock():
            champion = self._champion_number(version.model)
            journal.recover(champion)
            return journal.append(
                "reject",
                version=version.version,
                champion=champion,
                previous=champion,
                reason=reasons,
                evidence=evidence,
                actor=actor,
            )

    def promote(
        self,
        model: str,
        version: int | str | ModelVersion,
        reason: str = "",
        evidence: Mapping[str, Any] | None = None,
        actor: str | None = None,
    ) -> ModelVersion:
        """Makes a version the champion, at once for every reader, and keeps why.

        One that is the champion already stays it, without a new decision.

        Raises:
            StepError: there is no such version.
        """
        number = version.version if isinstance(version, ModelVersion) else version
        return self._move("promote", self.version(model, number), reason, evidence, actor)

    def rollback(
        self,
        model: str,
        to: int | str | None = None,
        reason: str = "",
        evidence: Mapping[str, Any] | None = None,
        actor: str | None = None,
        expected: int | None = None,
    ) -> ModelVersion:
        """Goes back to an earlier champion.

        Args:
            to: the version; default: the champion before this one.
            expected: only if this version is the champion still; else nothing changes.

        Raises:
            StepError: there is no earlier champion, or no such version.
        """
        if to is None:
            earlier = _earlier_champions(self.history(model))
            if not earlier:
                raise StepError(
                    f"{model} has no earlier champion to go back to",
                    hint="'--to VERSION' names any version",
                )
            to = earlier[-1]
        return self._move("rollback", self.version(model, to), reason, evidence, actor, expected)

    def history(self, model: str) -> list[Decision]:
        """Every decision about a model, the oldest first, after mending what a crash cut off."""
        journal = Journal(self.project, model)
        if not journal.settled(self._champion_number(model)):
            with journal.lock():
                # what was under way may be done by now
                journal.recover(self._champion_number(model))
        return journal.decisions()

    def taken_back(self, version: ModelVersion) -> str | None:
        """Why a version was rolled back; None if it wasn't, or was promoted again since."""
        reason: str | None = None
        for decision in self.history(version.model):
            if decision.action == "rollback" and decision.previous == version.version:
                reason = decision.reason or f"by {decision.actor}"
            elif decision.champion == version.version:
                reason = None
        return reason

    def champion_at(self, model: str, moment: datetime) -> ModelVersion | None:
        """The version that was in use at a moment."""
        self.history(model)
        decision = Journal(self.project, model).at(moment)
        if decision is None or decision.champion is None:
            return None
        return self.version(model, decision.champion)

    def _move(
        self,
        action: str,
        version: ModelVersion,
        reason: str,
        evidence: Mapping[str, Any] | None,
        actor: str | None,
        expected: int | None = None,
    ) -> ModelVersion:
        journal = Journal(self.project, version.model)
        with journal.lock():
            current = self._champion_number(version.model)
            journal.recover(current)
            if current != version.version and expected in (None, current):
                with (
                    journal.changing(
                        action,
                        version=version.version,
                        previous=current,
                        reason=reason,
                        evidence=evidence,
                        actor=actor,
                    ),
                    self._errors(f"move the champion of {version.model}"),
                ):
                    self._client.set_registered_model_alias(
                        version.name, CHAMPION, str(version.version)
                    )
        return self.version(version.model, version.version)

    def _champion_number(self, model: str) -> int | None:
        champion = self.champion(model)
        return champion.version if champion else None

    def _by_alias(self, model: str, alias: str) -> ModelVersion | None:
        with self._errors(f"read the {alias} of {model}"):
            found = _found(
                lambda: self._client.get_model_version_by_alias(self.registered_name(model), alias)
            )
            return self._of(model, found) if found else None

    def _of(self, model: str, found: Any) -> ModelVersion:
        metrics: dict[str, float] = {}
        if found.run_id:
            with self._errors(f"read the run of version {found.version} of {model}"):
                run = _found(lambda: self._client.get_run(found.run_id))
                # a slash marks details: folds, slices, standard errors
                found_metrics = run.data.metrics if run else {}
                metrics = {n: v for n, v in found_metrics.items() if "/" not in n}
        return ModelVersion(
            name=found.name,
            model=model,
            version=int(found.version),
            run_id=found.run_id or "",
            metrics=metrics,
            tags=dict(found.tags),
            created_at=datetime.fromtimestamp(found.creation_timestamp / 1000, timezone.utc),
            source=found.source,
            aliases=tuple(found.aliases or ()),
            tracking_uri=self._client.tracking_uri,
        )

    @property
    def _client(self) -> MlflowClient:
        return tracking_client(self.project)

    def _errors(self, doing: str) -> Any:
        import_mlflow()
        return tracking_errors(doing)


def _found(read: Any, absent: str | None = None) -> Any:
    """What a call of MLflow returns; None where it says that there is nothing."""
    from mlflow.exceptions import MlflowException

    try:
        return read()
    except MlflowException as error:
        if error.error_code in (absent, "RESOURCE_DOES_NOT_EXIST"):
            return None
        # SQL stores call a missing alias a wrong parameter
        if "alias" in str(error) and "not found" in str(error):
            return None
        raise


def _earlier_champions(history: list[Decision]) -> list[int]:
    """The champions that can be gone back to, the nearest last; a rollback takes away."""
    stack: list[int] = []
    for decision in history:
        champion = decision.champion
        if champion is None or (stack and stack[-1] == champion):
            continue
        if decision.action == "rollback" and champion in stack:
            while stack[-1] != champion:
                stack.pop()
        else:
            stack.append(champion)
    return stack[:-1]
