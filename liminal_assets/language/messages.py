"""pydantic's errors in the words of the language."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from liminal_assets.language.diagnostics import Diagnostic, Location, did_you_mean
from liminal_assets.language.environments import BLOCK_KEYS
from liminal_assets.language.project import ProjectSpec
from liminal_assets.language.source import LocatedDict, locate

__all__ = ["diagnostics_of"]

_CODES = {
    "extra_forbidden": "unknown-key",
    "missing": "missing-key",
    "literal_error": "invalid-value",
    "value_error": "invalid-value",
    "string_pattern_mismatch": "invalid-value",
}
_WORDS = {
    **dict.fromkeys(
        ("model_type", "dict_type", "model_attributes_type"), "must be a mapping of keys"
    ),
    **dict.fromkeys(("tuple_type", "list_type"), "must be a list"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "must be a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "must be a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    "string_type": "must be text",
}
"""pydantic's types of errors that name types of Python."""


def diagnostics_of(
    error: ValidationError,
    document: LocatedDict,
    *,
    prefix: tuple[str | int, ...] = (),
    model: type[BaseModel] = ProjectSpec,
) -> Iterator[Diagnostic]:
    """One diagnostic per error, at its line.

    Args:
        document: what was validated, or what holds it.
        prefix: the path in ``document`` that leads to what was validated.
        model: the spec of ``document``.
    """
    for item in error.errors(include_url=False):
        path, other = _written(document, (*prefix, *item["loc"]))
        if other:
            continue
        kind = item["type"]
        missing = kind == "missing"
        place = path[:-1] if missing else path
        at = locate(document, place, key=kind == "extra_forbidden")
        at = at or document.location or Location("")
        written = ".".join(str(step) for step in path if isinstance(step, str))
        yield Diagnostic(
            at,
            _CODES.get(kind, "invalid-type" if kind.endswith("_type") else "invalid-value"),
            _message(item, path, written),
            _hint(item, path, model),
        )


def _message(item: Any, path: tuple[Any, ...], written: str) -> str:
    kind, value = item["type"], item.get("input")
    last = next((str(step) for step in reversed(path) if isinstance(step, str)), "the file")
    if kind == "extra_forbidden":
        return f"unknown key {last!r}" + (f" in {parent}" if (parent := _parent(path)) else "")
    if kind == "missing":
        return f"{last!r} is missing" + (f" in {parent}" if (parent := _parent(path)) else "")
    if kind == "value_error":
        return f"{last}: {item['ctx']['error']}" if written else str(item["ctx"]["error"])
    message = item["msg"][0].lower() + item["msg"][1:]
    said = _WORDS.get(kind) or re.sub("^(input|string) should", "must", message)
    return f"{last}: {said}{_shown(value, of_type=kind in _WORDS)}"


def _shown(value: Any, *, of_type: bool) -> str:
    """What was written instead, as YAML has it; of what isn't a word or number its type alone."""
    if value is None or isinstance(value, bool):
        return f", not {'null' if value is None else str(value).lower()}"
    if isinstance(value, str | int | float):
        return f", not {value!r}"
    if not of_type or not isinstance(value, Mapping | list):
        return ""
    return ", not a mapping" if isinstance(value, Mapping) else ", not a list"


def _written(document: Any, path: tuple[str | int, ...]) -> tuple[tuple[str | int, ...], bool]:
    """A path without the names that pydantic gives to what a value may be (``literal[…]``,
    ``function-wrap[…]``), and whether the error is about another kind of value than was written: a
    word where there is a mapping, or the other way round."""
    node, steps = document, []
    for step in path:
        if isinstance(step, str) and "[" in step and not _holds(node, step):
            if step.startswith("function-") != isinstance(node, Mapping):
                return path, True
            continue
        steps.append(step)
        node = node[step] if _holds(node, step) else None
    return tuple(steps), False


def _holds(node: Any, step: str | int) -> bool:
    if isinstance(node, Mapping):
        return step in node
    return isinstance(node, list) and isinstance(step, int) and step < len(node)


def _parent(path: tuple[Any, ...]) -> str:
    parents = [str(step) for step in path[:-1] if isinstance(step, str)]
    return BLOCK_KEYS.get(parents[-1], parents[-1]) if parents else ""


def _hint(item: Any, path: tuple[Any, ...], model: type[BaseModel]) -> str | None:
    kind = item["type"]
    if kind == "extra_forbidden":
        holder = _model_at(model, path[:-1])
        if holder is None:
            return None
        return did_you_mean(str(path[-1]), (f.alias or n for n, f in holder.model_fields.items()))
    if kind == "literal_error":
        words = item["ctx"]["expected"].replace(" or ", ", ").replace("'", "").split(", ")
        return did_you_mean(str(item.get("input")), words)
    return None


def _model_at(model: type[BaseModel], path: tuple[Any, ...]) -> type[BaseModel] | None:
    """The spec class that holds what ``path`` leads to."""
    current: Any = model
    for step in path:
        current = _field_type(current, step) or _item_type(current)
        if current is None:
            return None
    return _spec_in(current)


def _members(kind: Any) -> Iterator[Any]:
    """The types that an optional, annotated or either-or type may be."""
    if get_origin(kind) is Annotated:
        yield from _members(get_args(kind)[0])
    elif get_origin(kind) in (Union, UnionType):
        for member in get_args(kind):
            yield from _members(member)
    else:
        yield kind


def _field_type(kind: Any, step: Any) -> Any:
    for member in _members(kind):
        if isinstance(member, type) and issubclass(member, BaseModel):
            for name, field in member.model_fields.items():
                if step in (name, field.alias):
                    return field.annotation
    return None


def _item_type(kind: Any) -> Any:
    """What a list holds, or the values of a mapping."""
    for member in _members(kind):
        for argument in reversed(get_args(member)):
            if argument not in (Ellipsis, type(None)):
                return argument
    return None


def _spec_in(kind: Any) -> type[BaseModel] | None:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    return next((found for arg in get_args(kind) if (found := _spec_in(arg))), None)
