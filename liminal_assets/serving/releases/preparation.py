"""From a registered version to a release: made where MLflow and scikit-learn are, once.

The pipeline is compiled, the compiled form is asked what the pipeline is asked, and only if it
answers alike does the release hold it; otherwise the release holds the registered model itself.
"""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from liminal_assets.errors import StepError
from liminal_assets.language.deployments import Deployment
from liminal_assets.language.diagnostics import did_you_mean
from liminal_assets.language.loading import Project
from liminal_assets.serving.forms.pipeline import copy_model, settings_of
from liminal_assets.serving.releases.folders import ServingFolders
from liminal_assets.serving.releases.release import Release, read_release, write_release
from liminal_assets.steps.champion import reference_rows
from liminal_assets.steps.compile.certificate import Certificate
from liminal_assets.steps.identity import carried_fields
from liminal_assets.steps.lookups import feature_source
from liminal_assets.steps.observation import is_answer
from liminal_assets.steps.packaging import TRUSTED_TYPES
from liminal_assets.steps.signature import Signature
from liminal_assets.storage.forms import identifier
from liminal_assets.storage.model_version import ModelVersion
from liminal_assets.storage.registry import ModelRegistry
from liminal_assets.storage.tracking import import_mlflow

__all__ = ["prepare_release", "warn_of_columns"]

_log = logging.getLogger("liminal_assets.serving")

_HELD_OUT = 300
"""Rows of the training reference that a form is asked about."""
_LIBRARIES = ("liminal-assets", "numpy", "onnxruntime", "scikit-learn")


def prepare_release(
    project: Project,
    deployment: Deployment,
    version: ModelVersion | int | str,
    folders: ServingFolders | None = None,
) -> Release:
    """Makes the release of a registered version below the deployment's folder.

    Args:
        version: the version, or its number.
        folders: another folder.

    Returns:
        The release as it is on disk; the same again for the same version, until the deployment or
        the libraries change.

    Raises:
        StepError: there is no such version, its files aren't those that were registered, or it
            is no scikit-learn model.
    """
    registry = ModelRegistry(project)
    if not isinstance(version, ModelVersion):
        version = registry.version(deployment.model, version)
    model = registry.download(version)
    described = import_mlflow().models.Model.load(str(model))
    flavor = described.flavors.get("sklearn")
    if flavor is None:
        raise StepError(
            f"version {version.version} of {version.model} is no scikit-learn model: "
            f"it has {', '.join(described.flavors)}",
            location=project.locate(deployment, "model"),
        )
    _check_trust(project, deployment, version, flavor)
    signature = Signature.of(described.signature).carrying(
        carried_fields(project, deployment.model)
    )
    features = feature_source(project, deployment, version, signature)
    if features and features["specification"]:
        signature = signature.storing(features["entity"])
    known = _known_rows(project, deployment.model, version, signature)
    whole = (row for row in known if None not in row.values())
    wanted = deployment.serve.form if deployment.serve else "auto"
    release = Release(
        name=version.name,
        version=str(version.version),
        signature=signature,
        form="pipeline",
        run_id=version.run_id or None,
        digest=version.digest,
        example=signature.as_json(next(whole, known[0])),
        certificate={"wanted": wanted, "libraries": _libraries()},
        baseline=_baseline(project, deployment, version, signature),
        features=features,
    )
    warn_of_columns(project, deployment, release)
    folder = (folders or ServingFolders.of(project.state, deployment.name)).releases
    made = _made_before(folder, release)
    if made is not None:
        return made
    refused: dict[str, str] = {}
    if wanted == "auto":
        made = _compiled(folder, release, registry.load(version), known, refused)
    return made or _itself(folder, release, model, flavor, refused)


def warn_of_columns(project: Project, deployment: Deployment, release: Release) -> None:
    """Warns of what names a column that a version doesn't have: a mask that masks nothing, a slice.
    An earlier or later version may have it, so that it is no mistake."""
    kept = deployment.serve.log_predictions if deployment.serve else None
    named: list[tuple[str, tuple[str | int, ...]]] = [
        (name, ("serve", "log_predictions", "mask", name)) for name in (kept.mask if kept else ())
    ]
    for index, name in enumerate(deployment.rollout.slices):
        named.append((name, ("rollout", "slices", index)))
    for name, path in named:
        if name not in release.signature.known:
            at = project.locate(deployment, *path, key=isinstance(path[-1], str))
            message = f"{at}: version {release.version} of {release.name} has no column {name!r}"
            hint = did_you_mean(name, release.signature.known)
            _log.warning("%s", f"{message} ({hint})" if hint else message)


def _baseline(
    project: Project, deployment: Deployment, version: ModelVersion, signature: Signature
) -> list[dict[str, Any]]:
    """The bins that answered rows are counted in; without masked columns."""
    from liminal_assets.steps.baseline import baseline

    reference = reference_rows(project, deployment.model, version.version)
    if reference is None:
        return []
    wanted = [*filter(is_answer, reference.columns), *signature.names]
    known = [identifier(name) for name in wanted if name in reference.columns]
    kept = deployment.serve.log_predictions if deployment.serve else None
    return baseline(reference.project(", ".join(known)), kept.mask if kept else ())


def _check_trust(
    project: Project, deployment: Deployment, version: ModelVersion, flavor: Mapping[str, Any]
) -> None:
    said = flavor.get("serialization_format", "pickle")
    if deployment.serve and deployment.serve.trust == "skops_only" and said != "skops":
        raise StepError(
            f"version {version.version} of {version.model} is written by {said}, which can hold "
            "code, and the deployment takes models by skops alone",
            location=project.locate(deployment, "serve", "trust"),
            hint="skops writes pipelines of scikit-learn's and this package's types",
        )
    asked = flavor.get("skops_trusted_types") or ()
    if deployment.serve and deployment.serve.trust == "skops_only":
        # what a file says of itself is nothing to go by
        known = (*TRUSTED_TYPES, *deployment.serve.trusted_types)
        strange = [name for name in asked if not _is_of(name, known)]
        if strange:
            raise StepError(
                f"version {version.version} of {version.model} makes objects of "
                f"{', '.join(strange)}, which the deployment doesn't trust",
                location=project.locate(deployment, "serve", "trust"),
                hint="name them in 'trusted_types:' if you know what they do",
            )


def _is_of(name: str, known: Sequence[str]) -> bool:
    """Whether a type is named, or in a module that is (``sklearn.``)."""
    return any(name == one or (one.endswith(".") and name.startswith(one)) for one in known)


def _compiled(
    folder: Path,
    release: Release,
    pipeline: Any,
    known: Sequence[Mapping[str, Any]],
    refused: dict[str, str],
) -> Release | None:
    """The release of a certified form that is faster than the pipeline; None if there is none,
    and ``refused`` says why."""
    from liminal_assets.serving.compiling import compiled_form

    made = compiled_form(pipeline, release.signature, known, refused)
    if made is None:
        return None
    return write_release(
        folder,
        replace(
            release,
            form=made.name,
            settings={"compiled": made.description.said},
            certificate={**release.certificate, **made.certificate},
        ),
        made.description.write,
    )


def _itself(
    folder: Path,
    release: Release,
    model: Path,
    flavor: Mapping[str, Any],
    refused: Mapping[str, str],
) -> Release:
    """The release that holds the registered model."""
    certificate = asdict(Certificate("pipeline", refused=refused))
    return write_release(
        folder,
        replace(
            release,
            settings=settings_of(flavor),
            certificate={**release.certificate, **certificate},
        ),
        lambda draft: copy_model(model, flavor, draft),
    )


def _made_before(folder: Path, release: Release) -> Release | None:
    """The release of the same version, made in the same way by the same libraries."""
    for made in sorted(folder.glob(f"{release.version}-*")):
        try:
            found = read_release(made)
        except StepError:
            # of another format, or changed: it is made again beside
            continue
        certificate = {name: found.certificate.get(name) for name in release.certificate}
        same = replace(
            found,
            form=release.form,
            settings=release.settings,
            files=release.files,
            folder=release.folder,
            certificate=certificate,
        )
        if same == release:
            return found
    return None


def _libraries() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            # run from a folder instead of an installation
            continue
    return found


def _known_rows(
    project: Project, model: str, version: ModelVersion, signature: Signature
) -> list[dict[str, Any]]:
    """Rows of the training reference, spread over all of it; one made up where none is kept."""
    relation = reference_rows(project, model, version.version)
    rows: list[dict[str, Any]] = []
    if relation is not None:
        every = max(1, len(relation) // _HELD_OUT)
        table = relation.to_arrow_table()
        rows = table.take(list(range(0, table.num_rows, every))[:_HELD_OUT]).to_pylist()
    return [signature.sample(row) for row in rows] or [signature.sample()]
