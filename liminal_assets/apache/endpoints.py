"""``endpoints:`` of a server: which function answers at which path."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from liminal_assets.apache.shapes import duplicate
from liminal_assets.apache.workflow import Item
from liminal_assets.language.diagnostics import Diagnostic, Location
from liminal_assets.language.source import LocatedDict

__all__ = ["Endpoint", "check_endpoints", "endpoints_of"]


@dataclass(frozen=True)
class Endpoint:
    """A path and the function that answers there."""

    path: str
    """With a slash at its beginning."""
    module: str
    function: str
    location: Location

    def as_dict(self) -> dict[str, str]:
        """The form that the server reads."""
        return {"endpoint": self.path, "module": self.module, "function": self.function}


def endpoints_of(item: Item) -> tuple[Endpoint, ...]:
    """The endpoints of an image or a service, those that are whole."""
    return tuple(
        Endpoint(
            "/" + str(entry["endpoint"]).lstrip("/"),
            str(entry["module"]),
            str(entry["function"]),
            entry.location,
        )
        for entry in _entries(item)
        if not any(_missing(entry))
    )


def check_endpoints(item: Item) -> Iterator[Diagnostic]:
    """What is wrong with the endpoints of an image or a service."""
    written = item.get("endpoints")
    if written is None:
        message = f"the server {item.name} has no endpoints, so it answers nothing"
        hint = "endpoints: [{endpoint: /path, module: my_module, function: my_function}]"
        yield Diagnostic(item.locate(), "missing-key", message, hint, "warning")
        return
    entries = list(_entries(item))
    if not isinstance(written, list) or len(entries) != len(written):
        hint = "- {endpoint: /path, module: my_module, function: my_function}"
        message = "endpoints are a list of mappings"
        yield Diagnostic(item.locate("endpoints"), "invalid-type", message, hint)
    for entry in entries:
        for key in _missing(entry):
            at = entry.values_at.get(key, entry.location)
            yield Diagnostic(at, "missing-key", f"{key!r} is missing")
    first: dict[str, Location] = {}
    for endpoint in endpoints_of(item):
        if before := first.get(endpoint.path):
            yield duplicate("endpoint", endpoint.path, endpoint.location, before)
        first.setdefault(endpoint.path, endpoint.location)


def _entries(item: Item) -> Iterator[LocatedDict]:
    written = item.get("endpoints")
    for entry in written if isinstance(written, list) else ():
        if isinstance(entry, LocatedDict):
            yield entry


def _missing(entry: LocatedDict) -> Iterator[str]:
    for key in ("endpoint", "module", "function"):
        if entry.get(key) in (None, ""):
            yield key
