"""Services of projects as programs of this machine: their command, port, log and configuration."""

from __future__ import annotations

import json
import socket
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from liminal_assets.apache.services import Server, check_service
from liminal_assets.apache.workflow import Workflow
from liminal_assets.errors import StepError
from liminal_assets.execution.containers import check_mounts, mounts_of
from liminal_assets.execution.engines import RUNNERS, Engine, find_engine
from liminal_assets.execution.mounted import mounted
from liminal_assets.execution.mounts import SECRET_KEY, binds_of, to_mount
from liminal_assets.execution.programs import Program
from liminal_assets.execution.surroundings import base_environment, python_environment
from liminal_assets.language.diagnostics import Diagnostic, Location
from liminal_assets.serving import endpoints
from liminal_assets.serving.endpoints import READY
from liminal_assets.serving.port import holder_of

__all__ = ["Ports", "service_mistakes", "service_program"]

HOST = "127.0.0.1"
_LOWEST, _MANY = 8100, 800
"""Where ports are taken from for services that ask for none."""


def service_mistakes(workflow: Workflow) -> Iterator[Diagnostic]:
    """What is wrong with the services of a project."""
    for service in workflow.services.values():
        yield from check_service(service, workflow)
        yield from check_mounts(service, workflow)


def service_program(
    server: Server, ports: Ports, *, note: Callable[[str], None] = print
) -> Program:
    """The program that a service is on this machine.

    Its functions behind our own server, in a process that imports them from the source folder;
    anything else in a container, where an engine is there.

    Args:
        note: takes what pip prints where the source asks for packages that aren't here.

    Raises:
        StepError: there is no source, no engine for a container, or the port is taken.
    """
    port, workflow = ports.of(server), server.workflow
    program = Program(
        name=f"{workflow.name}/{server.name}",
        arguments=(),
        folder=workflow.root,
        log=workflow.state / "logs" / workflow.name / "services" / f"{server.name}.log",
        url=f"http://{HOST}:{port}",
        location=server.service.locate(),
    )
    if not server.has_functions:
        health = str(server.service.get("health", "/"))
        return replace(program, arguments=_container(server, port), health=health)
    source, service = server.source, server.service
    programs = python_environment(server.image, source, workflow, log=note)
    binds = to_mount(binds_of(mounts_of(server.mounting), service, workflow), service)
    return replace(
        program,
        arguments=mounted(_functions(server, port, programs), binds),
        folder=source,
        health=READY,
        environment={**base_environment(programs), **server.environment},
        inherits=False,
    )


def _functions(server: Server, port: int, programs: Sequence[Path]) -> list[str]:
    """The command that serves the functions: this module of ours by the Python that has what
    they need."""
    folder = server.workflow.state / "services" / server.workflow.name
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / f"{server.name}.json"
    paths = [endpoint.as_dict() for endpoint in server.endpoints]
    said = {"name": server.name, "endpoints": paths, "server": server.settings}
    config.write_text(json.dumps(said, indent=2), encoding="utf-8")
    command = [str(programs[0] / "python"), endpoints.__file__, "--config", str(config)]
    # the functions' own Python may lack the server: it finds ours last
    found = find_spec("uvicorn")
    packages = str(Path(str(found and found.origin)).parents[1])
    return [*command, "--packages", packages, "--host", HOST, "--port", str(port)]


def _container(server: Server, port: int) -> list[str]:
    """The command that runs a service's image; it ends with the container."""
    name, at = server.image_name, server.service.locate()
    if name is None:
        raise StepError(
            f"the service {server.name} has neither an image nor endpoints",
            location=at,
            hint="'image:' names one, 'endpoints:' are functions of this project",
        )
    try:
        engine: Engine = find_engine(among=RUNNERS)
    except StepError as error:
        raise StepError(
            f"the service {server.name} is the image {name}, which needs a container engine: "
            f"{error.message}",
            location=at,
            hint=error.hint,
        ) from None
    inside = server.port or 80
    command = [engine.program, "run", "--rm", "--init", f"--publish={HOST}:{port}:{inside}"]
    for bind in binds_of(mounts_of(server.mounting), server.service, server.workflow):
        if not bind.source:
            raise StepError(
                f"the secret at {bind.target} of the service {server.name} has no file name",
                location=at,
                hint=f"sub_path: {SECRET_KEY}",
            )
        mode = ":ro" if bind.read_only else ""
        command.append(f"--volume={bind.source}:{bind.target}{mode}")
    for variable, value in server.environment.items():
        command += ["--env", f"{variable}={value}"]
    return [*command, name]


class Ports:
    """Ports of services: the one that each asks for, else a free one that stays the same.

    Args:
        state: the state folder, which remembers them.
    """

    def __init__(self, state: Path) -> None:
        self._file = state / "services" / "ports.json"
        self._known = self._read()
        self._given: dict[int, str] = {}
        """Which service has which, of those that were asked for here."""

    def of(self, server: Server) -> int:
        """The port of a service, free now.

        Raises:
            StepError: something else has the one that it asks for.
        """
        key = f"{server.workflow.name}/{server.name}"
        port = server.port
        if port is None:
            return self.stable(key, server.service.locate())
        if port in self._given or not _is_free(port):
            raise _taken(server, port, self._given.get(port))
        self._given[port] = key
        return port

    def stable(self, key: str, location: Location | None = None) -> int:
        """A free port, the same again whenever it can be.

        Args:
            key: whom it is for.
            location: where an error points to.

        Raises:
            StepError: none is free.
        """
        port = self._chosen(key, location)
        self._given[port] = key
        return port

    def _chosen(self, key: str, location: Location | None) -> int:
        known = self._known.get(key)
        if known is not None and known not in self._given and _is_free(known):
            return known
        # a service that comes back finds its port again, on another machine too
        first = zlib.crc32(key.encode()) % _MANY
        others = {*self._known.values(), *self._given}
        candidates = (_LOWEST + (first + step) % _MANY for step in range(_MANY))
        port = next((port for port in candidates if port not in others and _is_free(port)), None)
        if port is None:
            raise StepError(
                f"no port from {_LOWEST} to {_LOWEST + _MANY - 1} is free for {key}",
                location=location,
                hint="'port:' chooses one",
            )
        self._known[key] = port
        self._write()
        return port

    def _read(self) -> dict[str, int]:
        with suppress(OSError, ValueError):
            said = json.loads(self._file.read_text(encoding="utf-8"))
            if isinstance(said, Mapping):
                return {str(name): int(port) for name, port in said.items()}
        return {}

    def _write(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        new = self._file.with_suffix(".tmp")
        new.write_text(json.dumps(self._known, indent=2), encoding="utf-8")
        new.replace(self._file)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _taken(server: Server, port: int, other: str | None) -> StepError:
    holder = holder_of(port)
    by = f" by {holder[1]} (process {holder[0]})" if holder else ""
    by = f" by {other}" if other else by
    return StepError(
        f"port {port} of the service {server.name} is taken{by}",
        location=server.service.locate("port"),
        hint="another 'port:', or none for one that is free",
    )
