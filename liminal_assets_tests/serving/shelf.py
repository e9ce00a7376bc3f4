"""Versions whose answers are their own numbers, and a server of them in processes of its own.

Nothing here imports scikit-learn: workers unpickle :class:`Constant` from this module.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np

import liminal_assets as la
from liminal_assets.serving.config import Grpc, WorkerConfig
from liminal_assets.serving.port import bound_socket, shared_port
from liminal_assets.serving.releases.folders import ServingFolders
from liminal_assets.serving.releases.release import Release, write_release
from liminal_assets.serving.releases.source import Source
from liminal_assets.steps.signature import Field, Signature
from liminal_assets.storage.journal import Journal
from liminal_assets.storage.predictions import PredictionLog

DEPLOYMENT = "late_api"
SIGNATURE = Signature((Field("a", "double"),))


class Constant:
    """A model whose answers are its version's number."""

    def __init__(
        self, number: float, seconds: float = 0.0, fails: bool = False, kills: str = ""
    ) -> None:
        self.number, self.seconds, self.fails, self.kills = number, seconds, fails, kills

    def predict(self, frame: Any) -> Any:
        time.sleep(self.seconds)
        # the example is asked when it is loaded
        loading = frame.to_numpy()[0][0] == EXAMPLE
        if self.fails and not loading:
            raise RuntimeError("it was made to fail")
        if self.kills == ("loading" if loading else "answering"):
            os.kill(os.getpid(), signal.SIGKILL)
        return np.full(len(frame), self.number)


EXAMPLE = 4.0


def make_release(
    folders: ServingFolders, version: str, model: Constant, specification: str | None = None
) -> Release:
    """A release that answers with a model.

    Args:
        specification: by which the features were made that it learned from.
    """
    import cloudpickle

    features = {"project": "shop", "feature": "f", "specification": specification, "entity": ["a"]}
    release = Release(
        name="shop.late",
        version=version,
        signature=SIGNATURE,
        form="pipeline",
        example={"a": EXAMPLE},
        settings={"model": "model.pkl", "format": "cloudpickle", "trusted": []},
        features=features if specification else None,
    )
    content = cloudpickle.dumps(model)
    return write_release(
        folders.releases, release, lambda folder: _write(folder / "model.pkl", content)
    )


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


class Shelf(Source):
    """A registry in a file: other processes see what is promoted."""

    def __init__(self, root: Path) -> None:
        self.folders = ServingFolders(root / DEPLOYMENT)
        self._file = root / "registry.json"

    @property
    def said(self) -> dict[str, Any]:
        return dict(json.loads(self._file.read_text())) if self._file.exists() else {}

    def say(self, **said: Any) -> None:
        draft = self._file.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps({**self.said, **said}))
        draft.replace(self._file)

    def promote(self, version: str, **traits: Any) -> None:
        """Makes a version the champion; traits are those of :class:`Constant`, and
        ``specification``."""
        known = {**self.said.get("traits", {}), **({version: traits} if traits else {})}
        self.say(wanted=version, traits=known, back=None)

    def newest(self) -> str | None:
        if self.said.get("unreachable"):
            raise la.StepError("no route to the registry")
        found: str | None = self.said.get("wanted")
        return found

    def prepare(self, version: str) -> Release:
        if version in self.said.get("missing", ()):
            raise la.StepError(f"the files of version {version} are missing")
        traits = dict(self.said.get("traits", {}).get(version, {}))
        specification = traits.pop("specification", None)
        model = Constant(float(version), **traits)
        return make_release(self.folders, version, model, specification)

    def went_back(self, version: str) -> bool:
        return bool(self.said.get("back") == version)

    def take_back(self, version: str, to: str, reason: str, evidence: Mapping[str, Any]) -> None:
        if self.newest() == version:
            self.say(wanted=to, back=to, reason=reason)

    def waiting_for(self) -> str:
        return "late has no champion yet"


def project_of(root: Path) -> la.Project:
    return la.Project.of("shop", root, check=False)


def journal_of(root: Path) -> Journal:
    return Journal(project_of(root), DEPLOYMENT)


def log_of(root: Path) -> PredictionLog:
    """Where the server keeps its answers."""
    return PredictionLog(project_of(root), DEPLOYMENT)


def main() -> None:
    """The server: ``python -m liminal_assets_tests.serving.shelf ROOT ROLLOUT WORKERS PORT LOG``.

    LOG is ``none``, ``memory`` or ``durable``.
    """
    from liminal_assets.language.deployments import Rollout
    from liminal_assets.serving.log.drain import Drain
    from liminal_assets.serving.log.spool import SpoolSettings
    from liminal_assets.serving.server import run
    from liminal_assets.storage.predictions import FeedbackLog

    root = Path(sys.argv[1])
    shelf = Shelf(root)
    rollout = Rollout.model_validate_json(sys.argv[2])
    port, log = int(sys.argv[4]), sys.argv[5]
    spool = SpoolSettings(durable=log == "durable", rotate=0.5) if log != "none" else None
    feedback = FeedbackLog(project_of(root), DEPLOYMENT)
    drain = Drain(shelf.folders.spool, log_of(root), feedback, every=0.2) if spool else None
    with bound_socket("127.0.0.1", port) as bound, shared_port(Grpc()) as grpc:
        print(bound.getsockname()[1], grpc.port, flush=True)
        folder = str(shelf.folders.root)
        gently = run(
            WorkerConfig(DEPLOYMENT, folder, sticky=rollout.sticky, grpc=grpc, spool=spool),
            bound,
            shelf,
            rollout=rollout,
            journal=journal_of(root),
            drain=drain,
            every=0.05,
            workers=int(sys.argv[3]),
        )
    print("gently" if gently else "with force", flush=True)


class Serving:
    """A server that runs."""

    def __init__(self, process: subprocess.Popen[str], client: httpx.Client, grpc: int) -> None:
        self.process = process
        self.client = client
        self.grpc = grpc
        """The port of gRPC."""
        self.pid = process.pid

    def ready(self) -> bool:
        with suppress(httpx.TransportError):
            return self.client.get("/readyz").status_code == 200
        return False

    def ask(self, rows: int = 1, **headers: str) -> httpx.Response:
        body = [{"a": float(row)} for row in range(rows)]
        return self.client.post("/predict", json=body, headers=headers)

    def end(self) -> None:
        """Lets it end by itself."""
        self.process.terminate()
        assert self.process.wait(60) == 0

    def workers(self) -> set[int]:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return {int(child) for child in children}


@contextmanager
def serving(
    root: Path,
    *,
    workers: int = 1,
    rollout: Mapping[str, Any] | None = None,
    port: int = 0,
    log: str = "none",
) -> Iterator[Serving]:
    """A server of a shelf, ready unless nothing was promoted; killed after the block.

    Args:
        log: how it keeps what it answers: ``none``, ``memory`` or ``durable``.
    """
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "liminal_assets_tests.serving.shelf"),
            *(str(root), json.dumps(rollout or {}), str(workers), str(port), log),
        ],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        start_new_session=True,
    )
    try:
        assert process.stdout
        port, grpc = map(int, process.stdout.readline().split())
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            server = Serving(process, client, grpc)
            if Shelf(root).newest() is not None:
                until(server.ready)
            yield server
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout:
            process.stdout.close()


def until(done: Callable[[], Any], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.02)


if __name__ == "__main__":
    main()
