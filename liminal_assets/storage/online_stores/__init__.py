"""The kinds of online stores, by the scheme of their URLs."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points

from liminal_assets.errors import StepError
from liminal_assets.storage.online_stores.base import EntityStore
from liminal_assets.storage.online_stores.urls import scheme_of, shown_url

__all__ = ["GROUP", "online_stores", "open_store"]

GROUP = "liminal_assets.online_stores"
_HERE = "liminal_assets.storage.online_stores"
_OWN: Mapping[str, str] = {
    "sqlite": f"{_HERE}.sqlite:SqliteStore",
    "postgresql": f"{_HERE}.postgresql:PostgresqlStore",
    "postgres": f"{_HERE}.postgresql:PostgresqlStore",
    "redis": f"{_HERE}.redis:RedisStore",
    "rediss": f"{_HERE}.redis:RedisStore",
}


def online_stores() -> Mapping[str, EntryPoint]:
    """Our own and those of installed packages (entry points of the group
    ``liminal_assets.online_stores``), by scheme."""
    own = (EntryPoint(name, value, GROUP) for name, value in _OWN.items())
    return {point.name: point for point in [*entry_points(group=GROUP), *own]}


def open_store(url: str, timeout: float = 30.0) -> EntityStore:
    """The store of a URL; nothing is connected yet.

    Args:
        timeout: the longest that one read or one connection may take, in seconds.

    Raises:
        StepError: there is no such kind of store, or its library isn't installed.
    """
    scheme = scheme_of(url)
    # looking through what is installed takes milliseconds
    found = EntryPoint(scheme, _OWN[scheme], GROUP) if scheme in _OWN else None
    found = found or online_stores().get(scheme)
    if found is None:
        raise StepError(
            f"the online store can't be {shown_url(url)!r}",
            hint="it is one of sqlite:///file, postgresql://…, redis://…, or of a plugin",
        )
    try:
        store: EntityStore = found.load()(url, timeout)
    except ImportError as error:
        extra = "pip install 'liminal-assets[redis]'" if scheme.startswith("redis") else None
        raise StepError(f"the online store {scheme}:// needs {error.name}", hint=extra) from error
    return store
