r"""Python's regular expressions as RE2's, where both find the same.

DuckDB's RE2 knows neither look-around nor back references, takes ``\d``, ``\w`` and ``\s`` for
ASCII and ``$`` for the very end. What is translated here finds exactly what :func:`re.search`
finds; anything else is left to Python.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from liminal_assets.integrations.expectations.sql import NotInSqlError

# the parser of re, called otherwise before Python 3.11
sre: Any = getattr(re, "_constants", None) or import_module("sre_constants")
parser: Any = getattr(re, "_parser", None) or import_module("sre_parse")

__all__ = ["to_re2"]

_MOST_REPEATS = 1000
"""RE2 refuses to count further."""
_CATEGORIES: Mapping[Any, str] = {
    # str.isspace(), str.isdecimal(), str.isalnum() or an underscore
    sre.CATEGORY_SPACE: r"\t-\r\x1c-\x20\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}"
    r"\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}",
    sre.CATEGORY_DIGIT: r"\p{Nd}",
    sre.CATEGORY_WORD: r"\p{L}\p{N}_",
}
_OPPOSITES: Mapping[Any, Any] = {
    sre.CATEGORY_NOT_SPACE: sre.CATEGORY_SPACE,
    sre.CATEGORY_NOT_DIGIT: sre.CATEGORY_DIGIT,
    sre.CATEGORY_NOT_WORD: sre.CATEGORY_WORD,
}
_BEGINNINGS = (sre.AT_BEGINNING, sre.AT_BEGINNING_STRING)
_PLACES: Mapping[Any, str] = {
    **dict.fromkeys(_BEGINNINGS, r"\A"),
    sre.AT_END_STRING: r"\z",
}
_END = r"(?:\n?\z)"
"""The end, or a line break that ends the text; Python's ``$`` leaves that for what follows."""


def to_re2(pattern: str) -> str:
    r"""The RE2 pattern that is found where Python finds ``pattern``.

    >>> print(to_re2(r"^[A-Z]{2,3}\d+$"))
    \A[A-Z]{2,3}[\p{Nd}]+(?:\n?\z)

    Raises:
        NotInSqlError: RE2 can't say it, or Python can't read it.
    """
    try:
        parsed = parser.parse(pattern)
    except re.error as error:
        raise NotInSqlError(f"the regular expression {pattern!r}: {error}") from None
    if parsed.state.flags & ~re.UNICODE:
        raise NotInSqlError("a regular expression with flags")
    return _sequence(parsed, first=True, last=True)


def _sequence(items: Any, *, first: bool = False, last: bool = False) -> str:
    """A sequence of items; ``first`` and ``last`` if nothing stands before it, or follows it, in
    the whole pattern."""
    end = len(items) - 1
    return "".join(
        _item(kind, value, first=first and index == 0, last=last and index == end)
        for index, (kind, value) in enumerate(items)
    )


def _item(kind: Any, value: Any, *, first: bool, last: bool) -> str:
    if kind is sre.AT and value is sre.AT_END and last:
        return _END
    if kind is sre.AT and value in _BEGINNINGS and not first:
        # DuckDB 1.5 takes what stands before it for the whole pattern
        raise NotInSqlError("a regular expression with '^' in its midst")
    if kind is sre.SUBPATTERN:
        return _group(value, first=first, last=last)
    if kind is sre.BRANCH:
        branches = (_sequence(branch, first=first, last=last) for branch in value[1])
        return f"(?:{'|'.join(branches)})"
    write = _WRITERS.get(kind)
    if write is None:
        raise NotInSqlError(f"a regular expression with {str(kind).lower()}")
    return write(value)


def _literal(code: int) -> str:
    character = chr(code)
    if character.isalnum() and character.isascii():
        return character
    return rf"\x{{{code:x}}}"


def _set(items: Any) -> str:
    negated = bool(items) and items[0][0] is sre.NEGATE
    parts = []
    for kind, value in items[1:] if negated else items:
        if kind is sre.LITERAL:
            parts.append(_literal(value))
        elif kind is sre.RANGE:
            parts.append(f"{_literal(value[0])}-{_literal(value[1])}")
        elif kind is sre.CATEGORY and value in _CATEGORIES:
            parts.append(_CATEGORIES[value])
        elif kind is sre.CATEGORY and len(items) == 1:
            return f"[^{_CATEGORIES[_OPPOSITES[value]]}]"
        else:
            raise NotInSqlError("a regular expression with a set of opposites")
    return f"[{'^' if negated else ''}{''.join(parts)}]"


def _repeat(value: Any, greed: str) -> str:
    least, most, items = value
    if (least if most is sre.MAXREPEAT else most) > _MOST_REPEATS:
        raise NotInSqlError("a regular expression with many repeats")
    body = _sequence(items)
    single = len(items) == 1 and items[0][0] in (sre.LITERAL, sre.IN, sre.ANY, sre.NOT_LITERAL)
    if not single:
        body = f"(?:{body})"
    if most is sre.MAXREPEAT:
        count = {0: "*", 1: "+"}.get(least, f"{{{least},}}")
    else:
        count = "?" if (least, most) == (0, 1) else f"{{{least},{most}}}"
    return f"{body}{count}{greed}"


def _group(value: Any, *, first: bool, last: bool) -> str:
    _, add, remove, items = value
    if add or remove:
        raise NotInSqlError("a regular expression with flags")
    return f"(?:{_sequence(items, first=first, last=last)})"


def _place(value: Any) -> str:
    if value not in _PLACES:
        raise NotInSqlError("a regular expression with word boundaries, or '$' in its midst")
    return _PLACES[value]


_WRITERS: Mapping[Any, Callable[[Any], str]] = {
    sre.LITERAL: _literal,
    sre.NOT_LITERAL: lambda code: f"[^{_literal(code)}]",
    sre.ANY: lambda _: r"[^\n]",
    sre.IN: _set,
    sre.MAX_REPEAT: lambda value: _repeat(value, ""),
    sre.MIN_REPEAT: lambda value: _repeat(value, "?"),
    sre.AT: _place,
}
