"""``services:`` of a project: what each is, from its own keys and those of its image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from liminal_assets.apache.endpoints import Endpoint, check_endpoints, endpoints_of
from liminal_assets.apache.merging import copied
from liminal_assets.apache.workflow import Image, Service, Workflow
from liminal_assets.errors import StepError
from liminal_assets.language.diagnostics import Diagnostic
from liminal_assets.language.source import LocatedList

__all__ = ["Server", "check_service", "servers_of"]


@dataclass(frozen=True)
class Server:
    """A service with what it takes to run it."""

    service: Service
    workflow: Workflow

    @property
    def name(self) -> str:
        return self.service.name

    @cached_property
    def mounting(self) -> Service:
        """The service with what it mounts: where it says nothing of ``mounts``, the volumes that
        tasks in its image mount, for there its users wrote a manifest of their own."""
        service = self.service
        if "mounts" in service.configuration or self.image_name is None:
            return service
        found = LocatedList(service.locate())
        for task in self.workflow.tasks.values():
            mounts = task.get("mounts") if task.get("image") == self.image_name else None
            for mount in mounts if isinstance(mounts, LocatedList) else ():
                if mount not in found:
                    found.add(mount, task.locate("mounts"))
        configuration = copied(service.configuration)
        configuration.put("mounts", found, found.location, found.location)
        return Service(service.name, configuration)

    @property
    def image_name(self) -> str | None:
        """The image that it runs in on a cluster; None if it names none."""
        name = self.service.get("image")
        return None if name is None else str(name)

    @cached_property
    def image(self) -> Image | None:
        """The project's own image of that name; None if somebody else builds it."""
        return self.workflow.images.get(self.image_name or "")

    @cached_property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Those of its image, and its own, which win."""
        found = {item.path: item for item in endpoints_of(self.image)} if self.image else {}
        found |= {item.path: item for item in endpoints_of(self.service)}
        return tuple(found.values())

    @property
    def has_functions(self) -> bool:
        """Whether it is Python functions, which need no container."""
        kinds = {self.service.type, self.image.type if self.image else ""}
        return bool(self.endpoints) or "python_server" in kinds

    @property
    def source(self) -> Path:
        """The folder of its code.

        Raises:
            StepError: there is no such folder.
        """
        item = self.service if self.service.get("source") is not None else self.image
        if item is None:
            return self.workflow.root
        folder = (self.workflow.root / str(item.get("source", "."))).resolve()
        if not folder.is_dir():
            raise StepError(
                f"the service {self.name} has no source: there is no folder {folder}",
                location=item.locate("source"),
                hint="a path starts at the folder of the liminal.yml",
            )
        return folder

    @property
    def port(self) -> int | None:
        """The port that ``port:`` asks for.

        Raises:
            StepError: it is none.
        """
        written = self.service.get("port")
        if written is None:
            return None
        if not _is_port(written):
            at = self.service.locate("port")
            raise StepError(f"{written!r} is no port", location=at, hint="1 to 65535")
        return int(written)

    @property
    def settings(self) -> dict[str, Any]:
        """What the server is told besides its endpoints."""
        written = {key: self.service.get(key) for key in ("threads", "max_body_mb")}
        return {key: value for key, value in written.items() if value is not None}

    @property
    def environment(self) -> dict[str, str]:
        """Its environment variables."""
        written = self.service.get("env_vars")
        items = written.items() if isinstance(written, Mapping) else ()
        return {str(name): "" if value is None else str(value) for name, value in items}


def servers_of(workflow: Workflow) -> list[Server]:
    """The services of a file."""
    return [Server(service, workflow) for service in workflow.services.values()]


def check_service(service: Service, workflow: Workflow) -> Iterator[Diagnostic]:
    """What is wrong with a service."""
    server = Server(service, workflow)
    if service.get("endpoints") is not None:
        yield from check_endpoints(service)
    port = service.get("port")
    if port is not None and not _is_port(port):
        message = f"{port!r} is no port"
        yield Diagnostic(service.locate("port"), "invalid-value", message, "1 to 65535")
    variables = service.get("env_vars", {})
    if not isinstance(variables, Mapping):
        message, hint = "env_vars must be a mapping", "write NAME: value below it"
        yield Diagnostic(service.locate("env_vars"), "invalid-type", message, hint)
    for key, least in (("threads", 1), ("replicas", 0)):
        number = service.get(key, least)
        if isinstance(number, bool) or not isinstance(number, int) or number < least:
            message = f"{key} is a number from {least} up, not {number!r}"
            yield Diagnostic(service.locate(key), "invalid-value", message)
    if server.image_name is None and not server.has_functions:
        message = f"the service {service.name} has neither an image nor endpoints"
        yield Diagnostic(service.locate(), "missing-key", message, severity="warning")


def _is_port(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65535
