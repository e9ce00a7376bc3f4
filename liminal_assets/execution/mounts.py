"""Volumes and secrets of a task as folders and files of this machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path, PurePosixPath

from liminal_assets.apache.volumes import local_folder
from liminal_assets.apache.workflow import Item, Workflow
from liminal_assets.errors import StepError
from liminal_assets.execution.namespaces import Bind
from liminal_assets.execution.task import Mount
from liminal_assets.language.diagnostics import did_you_mean

__all__ = ["SECRET_KEY", "binds_of", "mount_trouble", "needed", "to_mount", "volume_folder"]

SECRET_KEY = "credentials"  # noqa: S105  # the name of a file
"""What the file of a secret is called, as in the Kubernetes secrets that Apache Liminal made."""


def binds_of(mounts: Sequence[Mount], spec: Item, workflow: Workflow) -> list[Bind]:
    """What a task's mounts come to on this machine. Folders of volumes are made.

    Raises:
        StepError: a volume or a secret isn't there, or a path leads out of it.
    """
    binds = []
    for mount in mounts:
        if not PurePosixPath(mount.path).is_absolute():
            message = f"the path of the mount {mount.name!r} must begin with '/': {mount.path}"
            raise StepError(message, location=spec.locate("secrets" if mount.secret else "mounts"))
        bind = _secret(mount, spec, workflow) if mount.secret else _volume(mount, spec, workflow)
        binds.append(bind)
    return binds


def volume_folder(volume: Item, workflow: Workflow) -> Path:
    """The folder of a volume: its ``local.path``, from the file's folder on.

    A volume that only claims storage of a cluster has a folder of the project's state instead,
    the same one for all that claim it.
    """
    if folder := local_folder(volume, workflow):
        return folder
    claim = str(volume.get("claim_name") or volume.name).replace("/", "_")
    return (workflow.state / "volumes" / claim).resolve()


def needed(binds: Iterable[Bind]) -> list[Bind]:
    """The binds without those whose target is what is to be seen there already."""
    return [bind for bind in binds if not _is_there(bind)]


def _is_there(bind: Bind) -> bool:
    if not bind.source or bind.read_only:
        return False
    with suppress(OSError):
        return Path(bind.target).samefile(bind.source)
    return False


def to_mount(binds: Sequence[Bind], spec: Item) -> list[Bind]:
    """The binds that take a mount.

    Raises:
        StepError: there are some, and nothing can be mounted here.
    """
    missing = needed(binds)
    if missing and (trouble := mount_trouble()):
        path = missing[0].target
        where = "secrets" if missing[0].copies else "mounts"
        raise StepError(
            f"{path} can't be mounted for {spec.name!r} on this machine: {trouble}",
            location=spec.locate(where, 0),
            hint="as root, or where the system lets users make user namespaces, it can; so can "
            f"docker and podman; or make {path} the folder itself (ln -s), then nothing needs "
            "mounting",
        )
    return missing


@cache
def mount_trouble() -> str | None:
    """Why nothing can be mounted for a single process tree here; None if it can.

    It is tried, once per process, in a process of its own.
    """
    code = "from liminal_assets.execution.namespaces import probe; probe()"
    start = f"import sys; sys.path.insert(0, sys.argv[1]); {code}"
    packages = str(Path(__file__).parents[2])
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-I", "-S", "-c", start, packages],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode == 0:
        return None
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return said[-1].partition("NamespaceError: ")[2] or said[-1] if said else "it was killed"


def _volume(mount: Mount, spec: Item, workflow: Workflow) -> Bind:
    volume = workflow.volumes.get(mount.name)
    if volume is None:
        raise StepError(
            f"no volume is called {mount.name!r}",
            location=spec.locate("mounts"),
            hint=did_you_mean(mount.name, workflow.volumes),
        )
    folder = volume_folder(volume, workflow)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        source = _below(folder, mount.sub_path, spec)
        if not source.exists():
            source.mkdir(parents=True)
    except OSError as error:
        raise StepError(
            f"the folder of the volume {mount.name!r} can't be made: {error.strerror}: "
            f"{error.filename}",
            location=volume.locate("local"),
        ) from None
    return Bind(mount.path, str(source), mount.read_only)


def _secret(mount: Mount, spec: Item, workflow: Workflow) -> Bind:
    secret = workflow.secrets.get(mount.name)
    if secret is None:
        raise StepError(
            f"no secret is called {mount.name!r}",
            location=spec.locate("secrets"),
            hint=did_you_mean(mount.name, workflow.secrets),
        )
    written = secret.get("local_path_file")
    if not written:
        raise StepError(
            f"the secret {mount.name!r} names no file of this machine",
            location=secret.locate(),
            hint="local_path_file: ~/.aws/credentials",
        )
    file = (workflow.root / Path(str(written)).expanduser()).resolve()
    if not file.is_file():
        raise StepError(
            f"the file of the secret {mount.name!r} isn't there: {file}",
            location=secret.locate("local_path_file"),
        )
    if mount.sub_path is None:
        return Bind(mount.path, read_only=True, copies=((SECRET_KEY, str(file)),))
    if mount.sub_path != SECRET_KEY:
        raise StepError(
            f"the secret {mount.name!r} has no {mount.sub_path!r}",
            location=spec.locate("secrets"),
            hint=f"its one file is called {SECRET_KEY!r}",
        )
    return Bind(mount.path, str(file), read_only=True)


def _below(folder: Path, sub_path: str | None, spec: Item) -> Path:
    if not sub_path:
        return folder
    source = (folder / str(sub_path)).resolve()
    if not source.is_relative_to(folder):
        message = f"the sub_path {sub_path!r} leads out of its volume"
        raise StepError(message, location=spec.locate("mounts"))
    return source
