"""The names of Great Expectations' built-in expectations, without importing it.

Great Expectations lists its expectations in ``great_expectations.expectations.core``, one import
a module that is called by the expectation's snake-case name; reading that list is enough.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

__all__ = ["expectation_names", "snake_name"]

_UPPER_AFTER_LOWER = re.compile(r"([a-z0-9])([A-Z])")
_UPPER_BEFORE_WORD = re.compile(r"([A-Z]+)([A-Z][a-z])")
_EXPORTED = re.compile(r"^from \.(\w+) import", re.MULTILINE)
_ABSTRACT = frozenset({"expect_multicolumn_values_to_be_unique"})
"""Exported, but with no implementation since 1.0: compound columns took its place."""


def snake_name(name: str) -> str:
    """The snake-case name of an expectation, from either spelling.

    >>> snake_name("ExpectColumnPairValuesAToBeGreaterThanB")
    'expect_column_pair_values_a_to_be_greater_than_b'
    >>> snake_name("expect_column_to_exist")
    'expect_column_to_exist'
    """
    split = _UPPER_BEFORE_WORD.sub(r"\1_\2", name)
    return _UPPER_AFTER_LOWER.sub(r"\1_\2", split).lower()


@cache
def expectation_names() -> frozenset[str]:
    """The snake-case names of all built-in expectations.

    Raises:
        ModuleNotFoundError: Great Expectations isn't installed.
    """
    # finding the package itself imports nothing, finding a module in it would
    spec = find_spec("great_expectations")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("No module named 'great_expectations'", name="great_expectations")
    listing = Path(spec.origin).parent / "expectations" / "core" / "__init__.py"
    names = _EXPORTED.findall(listing.read_text(encoding="utf-8"))
    return frozenset(names) - _ABSTRACT
