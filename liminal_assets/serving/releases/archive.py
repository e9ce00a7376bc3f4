"""A release on its way to other machines: one compressed file, known by its digest.

It holds ``release/``, the release's folder, and ``serving.json``, what a server of it is told
(:class:`~liminal_assets.serving.config.WorkerConfig`). The same content makes the same file.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
import tarfile
import uuid
from pathlib import Path, PurePosixPath

from liminal_assets.errors import StepError

__all__ = ["CONFIG", "RELEASE", "pack", "unpack"]

RELEASE, CONFIG = "release", "serving.json"
_CHUNK = 1 << 20


def pack(release: Path, config: bytes, target: Path) -> str:
    """Writes the archive of a release.

    Args:
        release: the release's folder.
        config: what its server is told.
        target: the file to write.

    Returns:
        The SHA-256 of the file, in hexadecimal digits.
    """
    files = sorted(path for path in release.rglob("*") if path.is_file())
    with (
        target.open("wb") as raw,
        # neither a name nor a time: they would make another file of the same content
        gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        _add(archive, CONFIG, io.BytesIO(config), len(config))
        for path in files:
            if "__pycache__" not in path.parts:
                name = f"{RELEASE}/{path.relative_to(release).as_posix()}"
                with path.open("rb") as content:
                    _add(archive, name, content, path.stat().st_size)
    return _sha256(target)


def _add(archive: tarfile.TarFile, name: str, content: io.BufferedIOBase, size: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    archive.addfile(member, content)


def unpack(archive: Path, folder: Path, sha256: str | None = None) -> Path:
    """Unpacks an archive into a folder of its own below ``folder``.

    Args:
        sha256: what its digest must be; None if it is known to be right.

    Returns:
        The folder, which holds ``release`` and ``serving.json``.

    Raises:
        StepError: it isn't the archive that was meant, or no archive of a release.
    """
    if sha256 is not None and (found := _sha256(archive)) != sha256:
        raise StepError(
            f"{archive.name} isn't what was deployed: its SHA-256 is {found}, not {sha256}",
            hint="someone changed it, or it came only in part; deploy the version again",
        )
    target = folder / uuid.uuid4().hex
    target.mkdir(parents=True)
    try:
        with tarfile.open(archive, "r:gz") as members:
            for member in members:
                _extract(members, member, target)
        if not (target / RELEASE).is_dir():
            raise StepError(f"{archive.name} holds no release")
    except (tarfile.TarError, OSError, EOFError) as error:
        shutil.rmtree(target, ignore_errors=True)
        raise StepError(f"{archive.name} is no archive of a release: {error}") from error
    except StepError:
        shutil.rmtree(target, ignore_errors=True)
        raise
    return target


def _extract(members: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """One file; links, devices and paths that lead elsewhere are never ours."""
    path = PurePosixPath(member.name)
    content = members.extractfile(member) if member.isreg() else None
    if content is None or path.is_absolute() or ".." in path.parts:
        raise StepError(f"{member.name} has no place in the archive of a release")
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    with content, target.open("xb") as file:
        shutil.copyfileobj(content, file, _CHUNK)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
