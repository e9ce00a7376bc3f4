"""``monitoring``, which Apache Liminal documented and never read: here it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import ValidationError

from liminal_assets.language.diagnostics import Diagnostic, Location, did_you_mean
from liminal_assets.language.messages import diagnostics_of
from liminal_assets.language.monitoring import MetricsBackendSpec, Monitoring
from liminal_assets.language.source import LocatedDict, locate

__all__ = ["monitoring_mistakes"]


def monitoring_mistakes(configuration: LocatedDict) -> Iterator[Diagnostic]:
    """What is wrong with the ``monitoring`` of a file."""
    section = configuration.get("monitoring")
    if section is None:
        return
    try:
        found = Monitoring.model_validate(section)
    except ValidationError as error:
        yield from diagnostics_of(error, configuration, prefix=("monitoring",))
        return
    yield from _names(configuration, found)


def _names(configuration: LocatedDict, found: Monitoring) -> Iterator[Diagnostic]:
    """Names that are there twice, and alarms on backends that aren't there."""
    for section, key in (
        ("metrics_backends", "metrics_backend"),
        ("alerts_backends", "alerts_backend"),
    ):
        seen: set[str] = set()
        for index, item in enumerate(getattr(found, section)):
            name = getattr(item, key)
            if name in seen:
                at = _at(configuration, section, index, key)
                message = f"there are two {section} of the name {name!r}"
                yield Diagnostic(at, "duplicate-name", message, "rename one")
            seen.add(name)
    backends: Mapping[str, MetricsBackendSpec] = {
        item.metrics_backend: item for item in found.metrics_backends
    }
    for index, alarms in enumerate(found.alerts_backends):
        at = _at(configuration, "alerts_backends", index, "metrics_backend")
        backend = backends.get(alarms.metrics_backend)
        if backend is None:
            message = f"no metrics backend is called {alarms.metrics_backend!r}"
            hint = did_you_mean(alarms.metrics_backend, backends)
            yield Diagnostic(at, "unknown-metrics-backend", message, hint)
        elif backend.type != alarms.type:
            message = f"alarms of {alarms.type} need metrics there, not at {backend.type}"
            hint = f"name a metrics backend of 'type: {alarms.type}'"
            yield Diagnostic(at, "unknown-metrics-backend", message, hint)


def _at(configuration: LocatedDict, *path: str | int) -> Location:
    return locate(configuration, ("monitoring", *path)) or configuration.location
