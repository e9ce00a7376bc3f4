"""Targets elsewhere: their servers answer from a release in a store that both can reach."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from liminal_assets.errors import StepError
from liminal_assets.language.deployments import Deployment, Serve
from liminal_assets.language.diagnostics import Diagnostic, Location
from liminal_assets.language.loading import Project
from liminal_assets.language.prediction_log import PredictionLogging
from liminal_assets.language.targets import RemoteTarget
from liminal_assets.serving.config import WorkerConfig
from liminal_assets.serving.features.settings import lookup_config
from liminal_assets.serving.guards.protection import protected
from liminal_assets.serving.log.destination import LogDestination
from liminal_assets.serving.log.recording import spool_settings
from liminal_assets.serving.releases.archive import pack
from liminal_assets.serving.releases.preparation import prepare_release
from liminal_assets.serving.releases.release import Release
from liminal_assets.steps.deploy import Target
from liminal_assets.storage.model_version import ModelVersion

__all__ = [
    "Packed",
    "ReleaseTarget",
    "packed_release",
    "publish",
    "server_config",
]


Spec = TypeVar("Spec", bound=RemoteTarget)


class ReleaseTarget(Target, Generic[Spec]):
    """A target whose servers have neither project nor registry.

    Attributes:
        spec_type: what ``serve:`` says of it.
    """

    spec_type: type[Spec]

    def spec_of(self, deployment: Deployment) -> Spec:
        """What a deployment says of its target.

        Raises:
            StepError: nothing.
        """
        serve = deployment.serve
        said = getattr(serve, serve.target, None) if serve else None
        if not isinstance(said, self.spec_type):
            raise StepError(f"{deployment.name} says nothing of {self.spec_type.__name__.lower()}")
        return said

    def check(self, project: Project, deployment: Deployment) -> Iterable[Diagnostic]:
        yield from super().check(project, deployment)
        yield from _local_files(project, deployment)
        yield from _lost_log(project, deployment)


@dataclass(frozen=True)
class Packed:
    """A release as one file of this machine.

    Attributes:
        release: the release.
        path: the file.
        sha256: its digest.
    """

    release: Release
    path: Path
    sha256: str

    @property
    def name(self) -> str:
        """What it is called in a store: another content has another name."""
        return f"{self.release.key}-{self.sha256[:12]}.tar.gz"


def server_config(project: Project, deployment: Deployment) -> WorkerConfig:
    """What a server elsewhere is told; where its folder is, it knows itself.

    Raises:
        StepError: a secret isn't there.
    """
    log = LogDestination.of(project, deployment)
    spool = spool_settings(project, deployment) if log else None
    features = lookup_config(project, deployment, elsewhere=True)
    config = WorkerConfig(deployment.name, root="", spool=spool, log=log, features=features)
    return protected(config, project, deployment)


def _local_files(project: Project, deployment: Deployment) -> Iterator[Diagnostic]:
    """What a server elsewhere can't have: files of this machine."""
    serve = deployment.serve or Serve()
    files = {
        ("tls",): (serve.tls, "the cluster's or cloud's own proxy speaks HTTPS"),
        ("auth", "api_key_file"): (
            serve.auth and serve.auth.api_key_file,
            "'api_keys' go along in a secret",
        ),
        ("access_log", "file"): (
            serve.access_log and serve.access_log.file,
            "without it the log is standard output",
        ),
    }
    for path, (said, hint) in files.items():
        if said:
            message = f"a server at {serve.target!r} doesn't have the files of this machine"
            at = project.locate(deployment, "serve", *path, key=True)
            yield Diagnostic(at, "invalid-value", message, hint)


def _lost_log(project: Project, deployment: Deployment) -> Iterator[Diagnostic]:
    """A log that nothing can be written to: an error where more than the default is asked for, a
    warning where something looks at it."""
    serve = deployment.serve or Serve()
    said = serve.log_predictions
    if said is None or LogDestination.of(project, deployment) is not None:
        return
    message = f"a server at {serve.target!r} can't write the prediction log of this machine"
    hint = "'storage: {data: s3://…}', or 'to:' a table of a database server"
    if said != PredictionLogging():
        at = project.locate(deployment, "serve", "log_predictions", key=True)
        yield Diagnostic(at, "unreachable-log", message, hint)
    for monitor in project.spec.monitors:
        if monitor.deployment == deployment.name:
            at = project.locate(monitor, "deployment")
            why = f"{monitor.name} has nothing to look at: {message}"
            yield Diagnostic(at, "unreachable-log", why, hint, "warning")


@contextmanager
def packed_release(
    project: Project, deployment: Deployment, version: ModelVersion, config: WorkerConfig
) -> Iterator[Packed]:
    """The release of a version, packed for as long as the block lasts.

    Raises:
        StepError: the version can't be released.
    """
    release = prepare_release(project, deployment, version)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "release.tar.gz"
        # what lies in a store is for many to read
        yield Packed(release, path, pack(release.folder, config.public.to_json(), path))


def publish(project: Project, deployment: Deployment, spec: RemoteTarget, packed: Packed) -> str:
    """Brings a release into the store; one that is there stays as it is.

    Returns:
        Its URL, or its path in a folder.

    Raises:
        StepError: the store can't be written.
    """
    store = spec.release_store
    if "://" not in store:
        store = str(project.root / Path(store).expanduser())
    url = f"{store.rstrip('/')}/{project.name}/{deployment.name}/{packed.name}"
    at = project.locate(spec, "release_store")
    with _store_errors(spec.release_store, at):
        _put(packed.path, url, spec.storage_options)
    return url


def _put(source: Path, url: str, options: Mapping[str, Any]) -> None:
    """Copies a file to where it appears at once and whole."""
    import fsspec

    filesystem, path = fsspec.url_to_fs(url, **options)
    if filesystem.exists(path):
        return
    filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
    with (
        filesystem.transaction,
        filesystem.open(path, "wb") as target,
        source.open("rb") as content,
    ):
        shutil.copyfileobj(content, target, 1 << 20)


@contextmanager
def _store_errors(store: str, at: Location) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise StepError(
            f"the release store {store} can't be used: {error}",
            location=at,
            hint="install fsspec's package for it: pip install 'liminal-assets[s3]' (or gcsfs for gs://)",
        ) from error
    # what the packages of fsspec raise has no common base
    except Exception as error:
        raise StepError(
            f"the release store {store} can't be written: {error}", location=at, transient=True
        ) from error
