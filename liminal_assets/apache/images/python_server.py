"""``type: python_server``: the user's functions as endpoints of a web server."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from liminal_assets.apache.endpoints import check_endpoints, endpoints_of
from liminal_assets.apache.images.builder import EXTRAS
from liminal_assets.apache.images.dockerfiles import exec_form
from liminal_assets.apache.images.python import Python
from liminal_assets.apache.workflow import Image, Workflow
from liminal_assets.errors import StepError
from liminal_assets.language.diagnostics import Diagnostic

__all__ = ["PythonServer"]

_SERVER = f"/app/{EXTRAS}/endpoints.py"
_OLDEST = (3, 7)


class PythonServer(Python):
    """An image whose server answers as ``liminal start`` does: the same module, and uvicorn.

    It listens on port 80 as Apache Liminal's did, or on the one that ``PORT`` says.
    """

    @classmethod
    def check(cls, spec: Image, workflow: Workflow) -> Iterable[Diagnostic]:
        yield from super().check(spec, workflow)
        yield from check_endpoints(spec)

    def dockerfile(self) -> str:
        if self.base.numbers < _OLDEST:
            raise StepError(
                f"the server needs Python 3.7 or later, not {self.base.minor}",
                location=self.spec.locate("python_version"),
                hint="3.10 to 3.13 are supported",
            )
        return super().dockerfile()

    def additional_files(self) -> Mapping[str, str | Path]:
        endpoints = [item.as_dict() for item in endpoints_of(self.spec)]
        service = {"name": self.tag, "endpoints": endpoints}
        return {
            f"{EXTRAS}/endpoints.py": _server_module(),
            f"{EXTRAS}/requirements.txt": _uvicorn(self.base.numbers) + "\n",
            f"{EXTRAS}/service.json": json.dumps(service, indent=2) + "\n",
        }

    def packages(self) -> list[str]:
        server = f"{EXTRAS}/requirements.txt"
        own = super().packages()
        # what the code needs may ask for another version of the server, and then gets it
        return [f"COPY {server} /app/{EXTRAS}/", f"{self.pip_install} -r {server}", *own]

    def start(self) -> list[str]:
        health = exec_form("python", _SERVER, "--check-health")
        command = exec_form("python", "-u", _SERVER, "--host", "0.0.0.0")  # noqa: S104
        return [
            "EXPOSE 80",
            "HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \\\n"
            f"    CMD {health}",
            f"CMD {command}",
        ]


def _server_module() -> Path:
    # its source, not the module: the image imports it
    found = find_spec("liminal_assets.serving.endpoints")
    if found is None or found.origin is None:
        raise StepError("the server's module can't be read: liminal-assets is not installed whole")
    return Path(found.origin)


def _uvicorn(python: tuple[int, int]) -> str:
    """The server that is installed here, or the last one for an older Python."""
    if python >= (3, 10):
        return f"uvicorn=={version('uvicorn')}"
    return "uvicorn==0.33.0" if python >= (3, 8) else "uvicorn==0.22.0"
