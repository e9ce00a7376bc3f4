"""``super``: what a file inherits, up to the base that every chain ends in."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping

from liminal_assets.apache.base import BASE_NAME, base_document
from liminal_assets.apache.defaults import (
    AFTER,
    BEFORE,
    section,
    with_pipeline_defaults,
    with_service_defaults,
)
from liminal_assets.apache.merging import copied, joined, merged, merged_by_name, overlaid
from liminal_assets.apache.shapes import named_sections
from liminal_assets.apache.variables import merged_variables, substitute
from liminal_assets.language.diagnostics import Diagnostic, InvalidProjectError, did_you_mean
from liminal_assets.language.source import LocatedDict, LocatedList

__all__ = ["Inheritance", "is_super"]


def is_super(document: LocatedDict) -> bool:
    """Whether a file is only there to be inherited from."""
    return bool(document.get("type") == "super")


class Inheritance:
    """Final configurations of the files of one tree.

    Args:
        documents: by name; None for a file that can't be used, whose mistakes are known already.
        render: whether placeholders are replaced.
        environ: environment variables for placeholders; default: the process's.
    """

    def __init__(
        self,
        documents: Mapping[Hashable, LocatedDict | None],
        *,
        render: bool = True,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.documents = documents
        self.render = render
        self.environ = os.environ if environ is None else environ
        self.unresolved: set[Diagnostic] = set()
        """Placeholders that were left as they are, in all that was resolved so far."""
        self._known: dict[Hashable, LocatedDict] = {}

    def parent(self, document: LocatedDict) -> LocatedDict | None:
        """The super of a file; None for one that is called ``base``.

        Raises:
            InvalidProjectError: there is no such file. Holds no diagnostic if there is one that
                can't be used.
        """
        if document["name"] == BASE_NAME:
            return None
        name = document.get("super")
        if name and name in self.documents:
            if (parent := self.documents[name]) is None:
                raise InvalidProjectError([])
            return parent
        if not name or name == BASE_NAME:
            return base_document()
        supers = [name for name, item in self.documents.items() if item and is_super(item)]
        raise InvalidProjectError.at(
            document.values_at["super"],
            "missing-super",
            f"no file is called {name!r}",
            did_you_mean(str(name), [*map(str, supers), BASE_NAME]),
        )

    def resolve(self, document: LocatedDict, heirs: tuple[Hashable, ...] = ()) -> LocatedDict:
        """A file with all that it inherits; a super's is what its heirs get.

        Args:
            heirs: the names of those that inherit from it, to find circles.

        Raises:
            InvalidProjectError: a super is missing, or its own heir.
        """
        name = document["name"]
        if name in heirs:
            chain = " → ".join(map(str, [*heirs[heirs.index(name) :], name]))
            raise InvalidProjectError.at(
                document.values_at["super"], "super-cycle", f"supers inherit in a circle: {chain}"
            )
        parent = self.parent(document)
        if parent is None:
            return document if is_super(document) else _as_sub(document)
        if name not in self._known:
            inherited = self.resolve(parent, (*heirs, name))
            self._known[name] = self._merge(document, inherited)
        return self._known[name]

    def _merge(self, document: LocatedDict, inherited: LocatedDict) -> LocatedDict:
        own = copied(document) if is_super(document) else _as_sub(document)
        for key, name_key in named_sections.items():
            mine = own.get(key) or LocatedList(document.location)
            theirs = inherited.get(key) or LocatedList(inherited.location)
            _put(own, key, merged_by_name(mine, theirs, name_key))
        if is_super(document):
            return _super_of_super(own, inherited)
        _put(own, "pipelines", with_pipeline_defaults(own, inherited))
        _put(own, "services", with_service_defaults(own, inherited))
        final = overlaid(inherited, own)
        variables = merged_variables(final, inherited)
        if self.render:
            final, unresolved = substitute(final, variables, self.environ)
            self.unresolved.update(unresolved)
        else:
            _put(final, "variables", variables)
        return final


def _super_of_super(own: LocatedDict, inherited: LocatedDict) -> LocatedDict:
    """Two supers as one: the lower one wins, except that the upper one's tasks are outermost."""
    key = "pipeline_defaults"
    lower, upper = section(own, key), section(inherited, key)
    defaults = merged(lower, upper)
    _put(defaults, BEFORE, joined(lower.location, upper.get(BEFORE), lower.get(BEFORE)))
    _put(defaults, AFTER, joined(lower.location, lower.get(AFTER), upper.get(AFTER)))
    _put(own, key, defaults)
    return merged(own, inherited)


def _as_sub(document: LocatedDict) -> LocatedDict:
    """A copy that says what it is, as all do in the end."""
    own = copied(document)
    _put(own, "type", "sub")
    return own


def _put(mapping: LocatedDict, key: str, value: object) -> None:
    """Sets an item that was made here where its key stood, or the mapping."""
    at = mapping.keys_at.get(key, mapping.location)
    mapping.put(key, value, at, mapping.values_at.get(key, at))
