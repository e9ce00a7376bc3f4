"""``python -m liminal_assets.serving.standalone``: a server of one release, in a container.

It needs no project, registry or MLflow: it fetches the release's archive by fsspec, checks its
digest and those of its files, and keeps workers up until SIGTERM. Amazon SageMaker starts its
containers with the argument ``serve`` and unpacks the archive itself.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import msgspec

from liminal_assets.errors import StepError
from liminal_assets.serving.config import WorkerConfig
from liminal_assets.serving.control.plan import Plan, write_plan
from liminal_assets.serving.control.supervisor import Supervisor
from liminal_assets.serving.observing.cells import clear
from liminal_assets.serving.port import bound_socket, shared_port
from liminal_assets.serving.releases.archive import CONFIG, RELEASE, unpack
from liminal_assets.serving.releases.release import read_release

if TYPE_CHECKING:
    from liminal_assets.serving.log.drain import Drain

__all__ = ["main", "run"]

_LOOK_SECONDS = 0.05
_KILL_SECONDS = 10.0
"""After the longest drain, a worker that is still there is killed."""
_SAGEMAKER = "/opt/ml/model"

_log = logging.getLogger("liminal_assets.serving")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until SIGTERM or Ctrl-C.

    Returns:
        0 if every request under way was answered at the end.
    """
    asked = _parser().parse_args(arguments)
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
    _log.setLevel(logging.INFO)
    try:
        return 0 if run(asked) else 1
    except StepError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    """Environment variables are for containers whose arguments aren't ours to choose."""
    said = os.environ.get
    parser = argparse.ArgumentParser(prog="python -m liminal_assets.serving.standalone")
    parser.add_argument("command", nargs="?", choices=["serve"], help="nothing else is there")
    parser.add_argument(
        "--release",
        default=said("LIMINAL_RELEASE", _SAGEMAKER),
        help="the URL or path of a release's archive, or the folder that it was unpacked to",
    )
    parser.add_argument("--sha256", default=said("LIMINAL_SHA256"), help="the archive's digest")
    parser.add_argument("--key", default=said("LIMINAL_KEY"), help="what the release is called")
    parser.add_argument("--config", type=Path, help="what workers are told; default: as packed")
    parser.add_argument("--folder", type=Path, help="where to write; default: a temporary folder")
    parser.add_argument("--host", default="0.0.0.0")  # noqa: S104  # a container has it to itself
    parser.add_argument("--port", type=int, default=int(said("LIMINAL_PORT", "8080")))
    parser.add_argument("--workers", type=int, default=int(said("LIMINAL_WORKERS", "1")))
    return parser


def run(asked: argparse.Namespace) -> bool:
    """Serves a release until SIGTERM or Ctrl-C.

    Returns:
        Whether every request under way was answered at the end.

    Raises:
        StepError: the release can't be fetched or isn't what was meant, a port is taken, or no
            worker can be started.
    """
    with ExitStack() as held:
        scratch = held.enter_context(tempfile.TemporaryDirectory())
        config = _prepared(asked, asked.folder or Path(scratch))
        bound = held.enter_context(bound_socket(asked.host, asked.port))
        if config.grpc is not None:
            grpc = msgspec.structs.replace(config.grpc, host=asked.host)
            config = msgspec.structs.replace(config, grpc=held.enter_context(shared_port(grpc)))
        ends = threading.Event()

        def end(number: int, frame: FrameType | None) -> None:
            ends.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, end)
        # what nobody merges would only fill the disk; passwords are nothing that workers need
        spool = config.spool if config.log else None
        told = msgspec.structs.replace(config, spool=spool, log=None)
        supervisor = Supervisor(told, bound, asked.workers)
        drain = _drain(config)
        supervisor.start()
        if drain is not None:
            drain.start()
        _log.info("%s listens at port %s", config.name, bound.getsockname()[1])
        try:
            while not ends.wait(_LOOK_SECONDS):
                supervisor.check()
        finally:
            longest = config.drain_wait + config.drain_seconds
            gently = supervisor.stop(longest + _KILL_SECONDS)
            if drain is not None:
                drain.close()
    return gently


def _drain(config: WorkerConfig) -> Drain | None:
    """What brings the workers' predictions into the project's log."""
    if config.spool is None or config.log is None:
        return None
    # DuckDB and Arrow are for those who log
    from liminal_assets.serving.log.recording import drain_of

    return drain_of(*config.log.as_project(Path(config.root)), config.folders, alone=False)


def _prepared(asked: argparse.Namespace, folder: Path) -> WorkerConfig:
    """The release where workers look for it, and what they are told."""
    source = _fetched(asked.release, asked.sha256, folder)
    release = read_release(source / RELEASE)
    if asked.key not in (None, release.key):
        raise StepError(
            f"{asked.release} holds {release.key}, not {asked.key}, which was deployed",
            hint="someone changed it; deploy the version again",
        )
    said = asked.config or source / CONFIG
    try:
        config = WorkerConfig.from_json(said.read_bytes())
    except OSError as error:
        raise StepError(f"{said} can't be read: {error.strerror}") from None
    config = msgspec.structs.replace(config, root=str(folder))
    target = config.folders.releases / release.key
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to((source / RELEASE).resolve())
    clear(config.folders.metrics)
    write_plan(config.folders.plan, Plan(1, stable=release.key, wanted=release.version))
    return config


def _fetched(url: str, sha256: str | None, folder: Path) -> Path:
    """The folder that a release's archive was unpacked to."""
    if "://" not in url and Path(url).is_dir():
        return Path(url)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        archive = Path(scratch) / url.rpartition("/")[2]
        try:
            _copy(url, archive)
        # what the packages of fsspec raise has no common base
        except Exception as error:
            message = f"the release can't be fetched from {url}: {type(error).__name__}: {error}"
            hint = "the image needs fsspec's package for it: the extra s3, or gcsfs for gs://"
            raise StepError(message, hint=hint if "://" in url else None) from error
        return unpack(archive, folder / "unpacked", sha256)


def _copy(url: str, target: Path) -> None:
    if "://" not in url:
        shutil.copyfile(url, target)
        return
    import fsspec

    with fsspec.open(url, "rb") as source, target.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # all is written and closed; taking every imported module apart would only take time
    os._exit(code)
