"""A server on trial: the real one, started in processes of its own, asked, and stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import IO, Any, cast
from urllib.parse import urlsplit

import liminal_assets
from liminal_assets.errors import StepError
from liminal_assets.language.deployments import Deployment
from liminal_assets.language.diagnostics import Location
from liminal_assets.language.loading import Project
from liminal_assets.steps.handover import project_values

__all__ = ["TrialServer", "server_on_trial"]

_READY_SECONDS = 90.0
_STOP_SECONDS = 15.0


class TrialServer:
    """A server that runs while it proves itself, asked over one connection."""

    def __init__(self, host: str, port: int) -> None:
        self._connection = HTTPConnection(host, port, timeout=30)

    def get(self, path: str) -> tuple[int, Any]:
        """Status and decoded body of a GET."""
        return self._ask("GET", path)

    def predict(self, row: Mapping[str, Any]) -> Any:
        """The answer to one row.

        Raises:
            StepError: it isn't 200.
        """
        status, said = self._ask("POST", "/predict", json.dumps({"records": [row]}))
        if status != 200:
            message = said.get("error", {}).get("message", said)
            raise StepError(f"the server refused a row of the training reference: {message}")
        return said

    def close(self) -> None:
        """Lets the connection go."""
        self._connection.close()

    def _ask(self, method: str, path: str, body: str | None = None) -> tuple[int, Any]:
        try:
            self._connection.request(method, path, body, {"content-type": "application/json"})
            response = self._connection.getresponse()
            return response.status, json.loads(response.read())
        except (OSError, HTTPException, ValueError) as error:
            self._connection.close()
            raise StepError(f"the server doesn't answer: {error}", transient=True) from error


@contextmanager
def server_on_trial(project: Project, deployment: Deployment) -> Iterator[TrialServer]:
    """The deployment's server in processes of its own on a free port, ready; ended after the
    block.

    Raises:
        StepError: it doesn't start, or isn't ready in time.
    """
    at = project.locate(deployment, "serve", key=True)
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "liminal_assets.serving"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "PYTHONPATH": _python_path()},
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + _READY_SECONDS
            said = _first_line(process, project, deployment, deadline)
            if "url" not in said:
                reason = said.get("error") or _tail(errors)
                raise StepError(
                    f"the server doesn't start: {reason}", location=at, hint=said.get("hint")
                )
            address = urlsplit(said["url"])
            server = TrialServer(address.hostname or "127.0.0.1", address.port or 0)
            with closing(server):
                _wait_until_ready(process, server, deadline, errors, at)
                yield server
        finally:
            _stop(process)


def _first_line(
    process: subprocess.Popen[bytes], project: Project, deployment: Deployment, deadline: float
) -> dict[str, Any]:
    """What the server says first; nothing if it ends or takes too long."""
    order = {
        "project": project_values(project),
        "deployment": deployment.model_dump(mode="json", by_alias=True, exclude_unset=True),
        "host": "127.0.0.1",
        "port": 0,
        "workers": None,
        "log_predictions": False,
    }
    lines: Queue[bytes] = Queue()
    orders, output = cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stdout)
    Thread(target=lambda: lines.put(output.readline()), daemon=True).start()
    try:
        orders.write(json.dumps(order).encode())
        orders.close()
        return dict(json.loads(lines.get(timeout=max(0.0, deadline - time.monotonic()))))
    except (BrokenPipeError, Empty, ValueError):
        return {}


def _wait_until_ready(
    process: subprocess.Popen[bytes],
    server: TrialServer,
    deadline: float,
    errors: IO[bytes],
    at: Location,
) -> None:
    problem = "it gives no reason"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise StepError(f"the server ended before it was ready: {_tail(errors)}", location=at)
        try:
            status, said = server.get("/readyz")
        except StepError as error:
            problem = error.message
        else:
            if status == 200:
                return
            problem = said.get("problem") or problem
            if "can't be loaded" in problem:
                break
        time.sleep(0.05)
    raise StepError(f"the server isn't ready: {problem}", location=at)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the server gently, and with force if it doesn't go; its workers go with it."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None and not stream.closed:
            stream.close()


def _python_path() -> str:
    """Where the server's process finds this package, wherever this one found it."""
    package = str(Path(liminal_assets.__file__).parent.parent)
    return os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))


def _tail(errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = errors.read().decode(errors="replace").strip().splitlines()
    return " / ".join(lines[-3:]) or "it says nothing"
