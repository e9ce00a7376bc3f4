"""``{{ name }}``: values from ``variables``, then from allowed environment variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from liminal_assets.language.diagnostics import Diagnostic, Location, did_you_mean
from liminal_assets.language.environments import APACHE_SECTIONS
from liminal_assets.language.source import LocatedDict, LocatedList, plain_value

__all__ = ["PARTITION_VARIABLES", "PLACEHOLDER", "substitute", "substitute_text"]

PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z0-9._-]+)\s*\}\}")
PARTITION_VARIABLES = frozenset(
    {
        "partition_key",
        "partition_start",
        "partition_end",
        "partition_start_utc",
        "partition_end_utc",
    }
)
"""Filled in when a partition is fetched, so they stay as they are until then."""

_LATE = {"sql", "file"}
_UNTOUCHED = APACHE_SECTIONS | {"environments", "env"}


class _Substitution:
    def __init__(
        self,
        variables: Mapping[str, Any],
        allowed: Mapping[str, str | None],
        environ: Mapping[str, str],
    ) -> None:
        self.variables = variables
        self.allowed = allowed
        self.environ = environ
        self.diagnostics: list[Diagnostic] = []
        self._resolving: list[str] = []

    def document(self, document: LocatedDict) -> LocatedDict:
        result = LocatedDict(document.location)
        # of variables that pipelines share, a super may have those that they use
        shared = frozenset({"variables"}) if APACHE_SECTIONS & document.keys() else frozenset()
        for key, value in document.items():
            at = document.values_at[key]
            done = value if key in _UNTOUCHED | shared else self.value(value, at, key)
            result.put(key, done, document.keys_at[key], at)
        return result

    def value(self, value: Any, at: Location, key: str | None) -> Any:
        if isinstance(value, LocatedDict):
            result = LocatedDict(value.location)
            for name, item in value.items():
                place = value.values_at[name]
                result.put(name, self.value(item, place, name), value.keys_at[name], place)
            return result
        if isinstance(value, LocatedList):
            items = LocatedList(value.location)
            for item, place in zip(value, value.items_at, strict=True):
                items.add(self.value(item, place, key), place)
            return items
        return self.text(value, at, key) if isinstance(value, str) else value

    def text(self, text: str, at: Location, key: str | None) -> Any:
        """Text that is one placeholder takes the value's type, else its text."""
        if whole := PLACEHOLDER.fullmatch(text.strip()):
            return self.named(whole[1], whole[0], at, key)
        return PLACEHOLDER.sub(lambda m: _as_text(self.named(m[1], m[0], at, key)), text)

    def named(self, name: str, written: str, at: Location, key: str | None) -> Any:
        if name in PARTITION_VARIABLES and key in _LATE:
            return written
        if name in self._resolving:
            chain = " → ".join([*self._resolving, name])
            self._wrong(at, "variable-cycle", f"variables refer to each other: {chain}", None)
            return written
        if name in self.variables:
            value = self.variables[name]
            self._resolving.append(name)
            try:
                return self.value(value, at, key)
            finally:
                self._resolving.pop()
        asked = name.removeprefix("env.")
        if asked != name or asked in self.allowed:
            value = self.environ.get(asked, self.allowed.get(asked))
            if value is not None:
                return plain_value(value) if asked == name else value
            self._wrong(
                at,
                "unresolved-variable",
                f"the environment variable {asked} is not set",
                f"set it, or give it a default: 'env: {{{asked}: …}}'",
            )
        elif name in self.environ:
            self._wrong(
                at,
                "unresolved-variable",
                f"the environment variable {name} is not allowed here",
                f"add 'env: [{name}]' to the project",
            )
        else:
            hint = did_you_mean(name, {*self.variables, *self.allowed, *PARTITION_VARIABLES})
            self._wrong(at, "unresolved-variable", f"no variable is called {name!r}", hint)
        return written

    def _wrong(self, at: Location, code: str, message: str, hint: str | None) -> None:
        self.diagnostics.append(Diagnostic(at, code, message, hint))


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def substitute(
    document: LocatedDict, environ: Mapping[str, str]
) -> tuple[LocatedDict, list[Diagnostic]]:
    """Replaces every placeholder of a document; positions stay.

    Returns:
        The document with values in place, and one diagnostic per placeholder left over.
    """
    variables = document.get("variables")
    env = document.get("env")
    allowed = dict.fromkeys(map(str, env)) if isinstance(env, list) else env
    work = _Substitution(
        variables if isinstance(variables, Mapping) else {},
        allowed if isinstance(allowed, Mapping) else {},
        environ,
    )
    return work.document(document), work.diagnostics


def substitute_text(
    text: str,
    variables: Mapping[str, Any],
    allowed: Mapping[str, str | None],
    environ: Mapping[str, str],
    location: Location,
) -> tuple[str, list[Diagnostic]]:
    """Replaces the placeholders of a text that a file of its own holds, such as a query; those of
    a partition stay as they are."""
    work = _Substitution(variables, allowed, environ)
    filled = PLACEHOLDER.sub(
        lambda match: _as_text(work.named(match[1], match[0], location, "sql")), text
    )
    return filled, work.diagnostics
