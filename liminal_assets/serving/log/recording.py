"""A deployment's logging, resolved: what its workers are told, and who merges what they keep."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from liminal_assets.errors import StepError
from liminal_assets.language.deployments import Deployment
from liminal_assets.language.loading import Project
from liminal_assets.language.prediction_log import HashMask, PredictionLogging
from liminal_assets.serving.log.drain import Drain
from liminal_assets.serving.log.records import Recording
from liminal_assets.serving.log.spool import SpoolSettings
from liminal_assets.serving.observing.drift import DriftCounts
from liminal_assets.serving.releases.folders import ServingFolders
from liminal_assets.steps.identity import entity_columns
from liminal_assets.storage.predictions import FeedbackLog, PredictionLog, ShadowLog

__all__ = ["drain_of", "spool_settings"]

_EVERY, _EVERY_OF_SEVERAL = 5.0, 30.0
"""Seconds between two looks at the spool."""


def spool_settings(project: Project, deployment: Deployment) -> SpoolSettings | None:
    """How workers of a deployment keep what they answer; None if they keep nothing.

    Raises:
        StepError: the key of a hashed column isn't there.
    """
    said = deployment.serve.log_predictions if deployment.serve else None
    if said is None:
        return None
    mask = {name: how if isinstance(how, str) else "hash" for name, how in said.mask.items()}
    return SpoolSettings(
        durable=said.durable,
        max_mb=said.max_mb,
        rotate=said.rotate.total_seconds(),
        recording=Recording(said.sample, mask, _salts(project, deployment, said)),
        entity=entity_columns(project, deployment.model),
    )


def drain_of(
    project: Project,
    deployment: Deployment,
    folders: ServingFolders | None = None,
    *,
    alone: bool = True,
) -> Drain:
    """What merges the spool of a deployment's workers into its log.

    Args:
        folders: those of the workers; default: the deployment's on this machine.
        alone: whether nothing else writes that log. Of several, none may put its files together,
            and each writes them less often.
    """
    folders = folders or ServingFolders.of(project.state, deployment.name)
    return Drain(
        folders.spool,
        PredictionLog(project, deployment.name),
        FeedbackLog(project, deployment.name),
        shadow=ShadowLog(project, deployment.name),
        every=_EVERY if alone else _EVERY_OF_SEVERAL,
        tidies=alone,
        watch=DriftCounts(folders),
    )


def _salts(project: Project, deployment: Deployment, said: PredictionLogging) -> Mapping[str, str]:
    salts: dict[str, str] = {}
    for name, how in said.mask.items():
        if isinstance(how, HashMask):
            if not os.environ.get(how.hash):
                raise StepError(
                    f"the environment variable {how.hash}, the key of {name}, isn't set",
                    location=project.locate(
                        deployment, "serve", "log_predictions", "mask", name, "hash"
                    ),
                    hint="set it to a long random text where the server starts",
                )
            salts[name] = os.environ[how.hash]
        elif how == "hash":
            salts[name] = _own_salt(ServingFolders.of(project.state, deployment.name).root)
    return salts


def _own_salt(folder: Path) -> str:
    """The deployment's own key, made once."""
    path = folder / "mask.key"
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        draft = path.with_name(f".mask.{secrets.token_hex(8)}")
        draft.touch(0o600)
        draft.write_text(secrets.token_hex(32))
        # unlike a rename, a link never replaces the key that another process made
        with suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return path.read_text()
