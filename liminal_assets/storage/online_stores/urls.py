"""URLs of online stores, and what may be shown of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit, urlunsplit

from liminal_assets.errors import StepError

__all__ = ["scheme_of", "shown_url", "store_errors"]


def scheme_of(url: str) -> str:
    """Which kind of store it is: ``postgresql`` of ``postgresql+psycopg2://…``."""
    return url.partition(":")[0].partition("+")[0].lower()


def shown_url(url: str) -> str:
    """A URL without user, password and query."""
    if url.startswith("sqlite:///"):
        return url.partition("?")[0]
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return f"{scheme_of(url)}://…"
    return urlunsplit((parts.scheme, host, parts.path, "", "")) if parts.scheme else "no URL"


@contextmanager
def store_errors(
    url: str,
    doing: str,
    transient: tuple[type[Exception], ...],
    others: tuple[type[Exception], ...],
) -> Iterator[None]:
    """What a driver raises, as one message without secrets.

    Args:
        doing: what was tried.
        transient: what may be better later.
        others: what else the driver raises.

    Raises:
        StepError: for any of these.
    """
    try:
        yield
    except (*transient, *others) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        for secret in _secrets(url):
            said = said.replace(secret, "…")
        full = "is full" in said or "No space left" in said or "OOM command not allowed" in said
        raise StepError(
            f"cannot {doing} the online store {shown_url(url)}: {said}",
            hint="free some space and run again" if full else None,
            transient=isinstance(error, transient) and not full,
        ) from error


def _secrets(url: str) -> Iterator[str]:
    try:
        parts = urlsplit(url)
    except ValueError:
        return
    for secret in (parts.password, parts.query):
        if secret:
            yield secret
            yield unquote(secret)
