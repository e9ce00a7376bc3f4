"""The reference of the language, as Markdown, from the same schema that editors use."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from liminal_assets.language.environments import BLOCK_KEYS
from liminal_assets.language.schema import Schema, language_schema

__all__ = ["reference"]

_INTRODUCTION = """\
# The language of `liminal.yml`

Every key, its type and its default. Generated from the schema that the package checks files with
and that `liminal schema` writes for editors: `make docs` writes this page anew.

- Unknown keys, unknown names and values of the wrong type are errors, all reported at once with
  file, line and column.
- `{{ name }}` takes `variables`, then environment variables that `env` allows. `{{ env.NAME }}`
  takes an environment variable as text. Alone in a value it keeps the variable's type.
- A duration is a number and a unit: `90s`, `10m`, `26h`, `7d`, `2w`.
- A rate is a number and a period: `1 per month`, `2 per week`, `3 per 10 days`.
- A name holds letters, digits and single underscores; two underscores are kept for derived assets
  (`departures__quarantine`).
- YAML is read as version 1.2: `on`, `no` and dates are text.
"""

_PRODUCTS = frozenset({"KServe", "SageMaker"})
"""Specs that are called like what they are for."""


def reference() -> str:
    """The whole page."""
    schema = language_schema()
    definitions = schema["$defs"]
    lines = [_INTRODUCTION, "## The project\n"]
    lines += _table(schema, definitions)
    done: set[str] = set()
    for section in BLOCK_KEYS:
        name = schema["properties"][section]["items"]["$ref"].rpartition("/")[2]
        lines.append(f"## `{section}`\n")
        lines += _definition(name, definitions, done, level=2)
    for title, name in (("Storage", "StorageSpec"), ("Monitoring", "Monitoring")):
        lines.append(f"## {title}\n")
        lines += _definition(name, definitions, done, level=2)
    return "\n".join(lines).rstrip() + "\n"


def _definition(
    name: str, definitions: dict[str, Schema], done: set[str], *, level: int
) -> Iterator[str]:
    """A spec's description and table, then those of the specs that it holds."""
    done.add(name)
    schema = _full(definitions[name])
    if text := definitions[name].get("description"):
        yield _prose(text) + "\n"
    yield from _table(schema, definitions)
    for child in _children(schema, definitions):
        if child not in done:
            yield f"{'#' * (level + 1)} {_heading(child)}\n"
            yield from _definition(child, definitions, done, level=min(level + 1, 3))


def _full(schema: Schema) -> Schema:
    """The full form of a spec that has short ones."""
    forms = [form for form in schema.get("anyOf", ()) if "properties" in form]
    return forms[0] if forms else schema


def _children(schema: Schema, definitions: dict[str, Schema]) -> list[str]:
    found = [name for value in schema.get("properties", {}).values() for name in _refs(value)]
    return [name for name in dict.fromkeys(found) if name in definitions]


def _refs(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"].rpartition("/")[2]
        for value in node.values():
            yield from _refs(value)
    elif isinstance(node, list):
        for value in node:
            yield from _refs(value)


def _table(schema: Schema, definitions: dict[str, Schema]) -> Iterator[str]:
    required = set(schema.get("required", ()))
    yield "| key | type | default | |"
    yield "|---|---|---|---|"
    for key, value in schema.get("properties", {}).items():
        default = "**required**" if key in required else _default(value)
        cells = [f"`{key}`", _type(value, definitions), default, _cell(value)]
        yield f"| {' | '.join(cells)} |"
    yield ""


def _cell(value: Schema) -> str:
    text = _prose(value.get("description", "")).replace("\n", " ")
    # a shared type's own description is in the introduction
    return "" if text.startswith("A name: letters") else text.replace("|", "\\|")


def _default(value: Schema) -> str:
    default = value.get("default")
    if default is None or default in ({}, []):
        return ""
    if isinstance(default, dict):
        return ""
    return f"`{json.dumps(default) if not isinstance(default, str) else default}`"


def _type(value: Schema, definitions: dict[str, Schema]) -> str:
    """A type in the words of YAML."""
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return f"[{_heading(name)}](#{_anchor(name)})"
    if "const" in value:
        return f"`{json.dumps(value['const'])}`"
    if "enum" in value:
        return ", ".join(f"`{word}`" for word in value["enum"])
    for key in ("anyOf", "oneOf"):
        if key in value:
            kinds = [_type(form, definitions) for form in value[key] if form.get("type") != "null"]
            return " or ".join(dict.fromkeys(kind for kind in kinds if kind))
    kind = value.get("type")
    if kind == "array":
        items = value.get("items") or (value.get("prefixItems") or [{}])[0]
        return f"list of {_type(items, definitions) or 'values'}"
    if kind == "object":
        inner = value.get("additionalProperties")
        inside = _type(inner, definitions) if isinstance(inner, dict) else ""
        return f"mapping to {inside}" if inside else "mapping"
    if "$comment" in value:
        return str(value["$comment"])
    words = {"string": "text", "integer": "whole number", "number": "number", "boolean": "yes/no"}
    return words.get(str(kind), "any value" if kind is None else str(kind)) + _bounds(value)


def _bounds(value: Schema) -> str:
    low = value.get("minimum", value.get("exclusiveMinimum"))
    high = value.get("maximum", value.get("exclusiveMaximum"))
    if low is not None and high is not None:
        return f", {low} to {high}"
    if low is not None:
        return f", {'above' if 'exclusiveMinimum' in value else 'at least'} {low}"
    return f", at most {high}" if high is not None else ""


def _prose(text: str) -> str:
    """Docstrings' marks as Markdown's."""
    return text.replace("``", "`").replace(":func:", "").strip()


def _heading(name: str) -> str:
    if name in _PRODUCTS:
        return name
    words = "".join(f" {c.lower()}" if c.isupper() else c for c in name.removesuffix("Spec"))
    return words.strip().capitalize()


def _anchor(name: str) -> str:
    sections = {key.capitalize(): section for section, key in BLOCK_KEYS.items()}
    return sections.get(name, _heading(name).lower().replace(" ", "-"))


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference(), encoding="utf-8")
