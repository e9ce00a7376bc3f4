"""The language as JSON Schema, for editors; the reference in ``docs/language.md`` is made of it.

.. code-block:: yaml

    # yaml-language-server: $schema=liminal.schema.json
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from datetime import timedelta
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from liminal_assets.language.base import Block, write_duration
from liminal_assets.language.project import ProjectSpec

__all__ = ["editor_schema", "language_schema"]

Schema = dict[str, Any]

_PLACEHOLDER = {"$ref": "#/$defs/Placeholder"}
_ONLY_TEXT = {"type": "string", "pattern": r"^\s*\{\{\s*[A-Za-z0-9._-]+\s*\}\}\s*$"}


class _AsWritten(GenerateJsonSchema):
    """Defaults as a file says them: pydantic's own would be ISO 8601's ``PT10M``."""

    def encode_default(self, dft: Any) -> Any:
        return write_duration(dft) if isinstance(dft, timedelta) else super().encode_default(dft)


def language_schema() -> Schema:
    """JSON Schema of a ``liminal.yml`` after its variables are filled in, short forms included."""
    schema = ProjectSpec.model_json_schema(
        by_alias=True, mode="validation", schema_generator=_AsWritten
    )
    for definition in [schema, *schema["$defs"].values()]:
        _own_keys_first(definition)
    for name, add in _SHORT_FORMS.items():
        add(schema["$defs"], name)
    plain: Schema = _without_titles(schema)
    return plain


def editor_schema() -> Schema:
    """JSON Schema of a ``liminal.yml`` as it is written: ``{{ name }}`` may stand for a value."""
    schema = language_schema()
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "liminal.yml",
        **_with_placeholders(schema),
    }
    schema["$defs"]["Placeholder"] = {"description": "A variable: {{ name }}.", **_ONLY_TEXT}
    # an overlay is a project with only some of its keys
    overlay = {key: value for key, value in schema["properties"].items() if key != "environments"}
    schema["properties"]["environments"]["additionalProperties"] = {
        "type": "object",
        "properties": {key: _open(key, deepcopy(value)) for key, value in overlay.items()},
        "additionalProperties": False,
    }
    return schema


def _own_keys_first(definition: Schema) -> None:
    """A block's own keys before those that every block may have."""
    shared = [name for name in definition.get("properties", {}) if name in Block.model_fields]
    if set(Block.model_fields) <= set(shared):
        properties = definition["properties"]
        own = {key: value for key, value in properties.items() if key not in shared}
        definition["properties"] = {**own, **{key: properties[key] for key in shared}}


def _open(key: str, value: Schema) -> Schema:
    """A section of an overlay: its blocks hold a name and whatever they replace."""
    if value.get("type") == "array":
        return {"type": "array", "items": {"type": "object"}, "description": f"Changes to {key}."}
    return value


def _short_check(definitions: dict[str, Schema], name: str) -> None:
    full = dict(definitions[name])
    definition = definitions[name]
    description = full.pop("description", "")
    definition.clear()
    definition.update(
        {
            "description": description,
            "anyOf": [
                {"type": "string", "pattern": "^(expect_|Expect)"},
                {
                    "type": "object",
                    "patternProperties": {"^(expect_|Expect)": {"type": ["object", "null"]}},
                    "minProperties": 1,
                    "maxProperties": 1,
                    "additionalProperties": False,
                },
                full,
            ],
        }
    )


def _short_column(definitions: dict[str, Schema], name: str) -> None:
    definition = definitions[name]
    full = dict(definition)
    description = full.pop("description", "")
    kind = full["properties"]["type"]
    words = kind["enum"]
    optional = {"enum": [*words, *(f"{word}?" for word in words)]}
    full["properties"] = {**full["properties"], "type": {**kind, **optional}}
    definition.clear()
    definition.update({"description": description, "anyOf": [{"type": "string", **optional}, full]})


def _short_step(definitions: dict[str, Schema], name: str) -> None:
    definition = definitions[name]
    full = dict(definition)
    description = full.pop("description", "")
    # a step that takes nothing is written as 'drop_null:'
    full["properties"] = {
        key: {"anyOf": [value, {"type": "null"}]} if "anyOf" not in value else value
        for key, value in full["properties"].items()
    }
    full["minProperties"], full["maxProperties"] = 1, 1
    names = list(full["properties"])
    definition.clear()
    definition.update({"description": description, "anyOf": [{"enum": names}, full]})


def _true_integrity(definitions: dict[str, Schema], name: str) -> None:
    integrity = definitions[name]["properties"]["integrity"]
    integrity["anyOf"] = [{"const": True}, *integrity["anyOf"]]


def _short_trigger(definitions: dict[str, Schema], name: str) -> None:
    definition = definitions[name]
    full = dict(definition)
    description = full.pop("description", "")
    full["minProperties"], full["maxProperties"] = 1, 1
    definition.clear()
    definition.update({"description": description, "anyOf": [{"const": "breach"}, full]})


_SHORT_FORMS: Mapping[str, Callable[[dict[str, Schema], str], None]] = {
    "Check": _short_check,
    "Column": _short_column,
    "CleaningStep": _short_step,
    "Rule": _true_integrity,
    "Trigger": _short_trigger,
}
"""What specs accept besides their full form, which their validators expand."""


def _without_titles(node: Any) -> Any:
    """Titles that pydantic makes up of names tell nothing."""
    if isinstance(node, dict):
        named = isinstance(node.get("properties"), dict)
        kept = {
            key: _without_titles(value)
            for key, value in node.items()
            if key != "title" or not isinstance(value, str)
        }
        if named:
            kept["properties"] = {
                key: _without_titles(value) for key, value in node["properties"].items()
            }
        return kept
    return [_without_titles(item) for item in node] if isinstance(node, list) else node


def _with_placeholders(node: Any) -> Any:
    """Every value that is no text may also be a variable."""
    if isinstance(node, list):
        return [_with_placeholders(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("type") in ("integer", "number", "boolean") or "enum" in node:
        meta = {key: node[key] for key in ("description", "default") if key in node}
        rest = {key: value for key, value in node.items() if key not in meta}
        return {**meta, "anyOf": [rest, _PLACEHOLDER]}
    return {key: _with_placeholders(value) for key, value in node.items()}
