"""``{{ name }}`` as Apache Liminal replaced it: variables first, environment variables last.

The variables are filled in two passes, from top to bottom and then all at once, and the
configuration in one, so a placeholder that is reached through a longer chain of variables that
are written in the wrong order stays. It is reported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from liminal_assets.apache.defaults import section
from liminal_assets.apache.macros import MACROS
from liminal_assets.apache.merging import copied, merged
from liminal_assets.apache.vocabulary import words
from liminal_assets.language.diagnostics import Diagnostic, Location, did_you_mean
from liminal_assets.language.source import LocatedDict, LocatedList
from liminal_assets.language.variables import PLACEHOLDER

__all__ = ["merged_variables", "substitute"]

_ANY = re.compile(r"\{\{([^{}]*)\}\}")
_AIRFLOW = words(
    """conf dag dag_run ds ds_nodash execution_date inlets macros next_ds next_ds_nodash
    next_execution_date outlets params prev_ds prev_ds_nodash prev_execution_date
    prev_execution_date_success prev_start_date_success run_id task task_instance
    task_instance_key_str test_mode ti tomorrow_ds tomorrow_ds_nodash ts ts_nodash
    ts_nodash_with_tz var yesterday_ds yesterday_ds_nodash"""
)
"""Names that Airflow 2.1 filled in when a task ran."""


def merged_variables(document: LocatedDict, inherited: LocatedDict) -> LocatedDict:
    """A file's variables and those of its super that it doesn't set itself."""
    return merged(section(document, "variables"), section(inherited, "variables"))


def substitute(
    configuration: LocatedDict, variables: LocatedDict, environ: Mapping[str, str]
) -> tuple[LocatedDict, list[Diagnostic]]:
    """A configuration with its placeholders replaced by text.

    Returns:
        The configuration, and a warning for each placeholder that is left in it.
    """
    filled = copied(variables)
    work = _Substitution(filled, environ)
    for key, value in variables.items():
        if not isinstance(value, dict | list):
            filled[key] = work.text(str(value))
    # what one variable's first pass left is filled from the others as they are now
    filled = _Substitution(filled, environ).mapping(filled)
    final = _Substitution(filled, environ)
    result = final.mapping(configuration, frozenset())
    left = [*final.left, *_left_in_variables(filled, variables, environ)]
    return result, left


def _left_in_variables(
    filled: LocatedDict, written: LocatedDict, environ: Mapping[str, str]
) -> list[Diagnostic]:
    """Placeholders that the two passes over the variables left in them."""
    review = _Substitution(written, environ, filled=True)
    review.mapping(filled, frozenset())
    return review.left


class _Substitution:
    """One pass. Collects what it leaves if it is told the names that are filled in at run time.

    Args:
        filled: whether the text has been filled before, so that any placeholder in it is left.
    """

    def __init__(
        self, variables: Mapping[Any, Any], environ: Mapping[str, str], *, filled: bool = False
    ) -> None:
        self.variables = variables
        self.environ = environ
        self.filled = filled
        self.left: list[Diagnostic] = []

    def mapping(self, mapping: LocatedDict, later: frozenset[str] | None = None) -> LocatedDict:
        if later is not None and "task" in mapping:
            later |= self._of_task(mapping)
        result = LocatedDict(mapping.location)
        for key, value in mapping.items():
            at = mapping.values_at[key]
            result.put(key, self.value(value, at, later), mapping.keys_at[key], at)
        return result

    def value(self, value: Any, at: Location, later: frozenset[str] | None) -> Any:
        if isinstance(value, LocatedDict):
            return self.mapping(value, later)
        if isinstance(value, LocatedList):
            items = LocatedList(value.location)
            for item, place in zip(value, value.items_at, strict=True):
                items.add(self.value(item, place, later), place)
            return items
        if not isinstance(value, str):
            return value
        if later is not None:
            self._review(value, at, later)
        return self.text(value)

    def text(self, text: str) -> str:
        return PLACEHOLDER.sub(lambda match: self._named(match[1], match[0]), text)

    def _named(self, name: str, written: str) -> str:
        if name not in self.variables:
            return self.environ.get(name, written)
        value = self.variables[name]
        return "" if value is None else str(value)

    def _of_task(self, task: LocatedDict) -> frozenset[str]:
        """The names that a task gets when it runs: those of its own variables (a mapping, or the
        name of a variable that is one) and of the moment."""
        own = task.get("variables")
        own = self.variables.get(own) if isinstance(own, str) else own
        return MACROS | (frozenset(map(str, own)) if isinstance(own, dict) else frozenset())

    def _review(self, text: str, at: Location, later: frozenset[str]) -> None:
        for match in _ANY.finditer(text):
            name = match[1].strip()
            if name in self.variables and self.filled:
                message = f"{match[0]} stays as it is: too many variables lead to {name!r}"
                hint = f"write {name!r} above the variables that use it"
                self._warn(at, "unresolved-variable", message, hint)
            elif name in self.variables:
                if isinstance(self.variables[name], dict | list):
                    message = f"{name!r} is no text: its value is written out as Python shows it"
                    self._warn(at, "variable-not-text", message, None)
            elif name not in later and name not in self.environ:
                message = f"nothing is called {name!r}: {match[0]} stays as it is"
                self._warn(at, "unresolved-variable", message, self._hint(name))

    def _hint(self, name: str) -> str | None:
        if re.split(r"\W", name)[0] in _AIRFLOW:
            return "Airflow filled it in when the task ran"
        if not PLACEHOLDER.fullmatch(f"{{{{{name}}}}}"):
            return "a name has letters, digits, '.', '_' and '-'"
        return did_you_mean(name, [*map(str, self.variables)])

    def _warn(self, at: Location, code: str, message: str, hint: str | None) -> None:
        self.left.append(Diagnostic(at, code, message, hint, "warning"))
