"""Specs and documents → YAML that this package's reader takes back as it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from liminal_assets.language.base import Block, Spec
from liminal_assets.language.project import ProjectSpec
from liminal_assets.language.source import plain_value

__all__ = ["plain_spec", "to_yaml"]


def plain_spec(spec: ProjectSpec) -> dict[str, Any]:
    """A project as plain values, as they would be written: defaults filled in, what isn't there
    left out."""
    plain: dict[str, Any] = _tidy(spec, spec.model_dump(mode="json", by_alias=True))
    # merged in already
    plain.pop("environments", None)
    return plain


def _tidy(value: Any, plain: Any) -> Any:
    """What a spec says in the order in which people write it: its name first, what every block
    may say last; keys that aren't there or hold nothing are left out."""
    if isinstance(value, Spec):
        fields = type(value).model_fields
        order = sorted(fields, key=lambda name: name in Block.model_fields)
        written = {
            fields[name].alias or name: _tidy(
                getattr(value, name), plain[fields[name].alias or name]
            )
            for name in order
        }
        return {
            key: item
            for (key, item), name in zip(written.items(), order, strict=True)
            if item is not None
            and (item not in ({}, []) or getattr(value, name) != fields[name].get_default())
        }
    if isinstance(value, Mapping) and isinstance(plain, dict):
        return {key: _tidy(value.get(key), item) for key, item in plain.items()}
    if isinstance(value, list | tuple) and isinstance(plain, list):
        return [_tidy(*pair) for pair in zip(value, plain, strict=True)]
    return plain


def to_yaml(value: Any) -> str:
    """Plain values as YAML in the order they have.

    Text that YAML 1.2 would read as something else is quoted, which PyYAML, made for YAML 1.1,
    doesn't see by itself.
    """
    text: str = yaml.dump(
        value,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=100,
        default_flow_style=False,
    )
    return text


class _Dumper(yaml.SafeDumper):
    """Writes no aliases, and quotes what needs it."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    special = not isinstance(plain_value(text), str)
    style = "'" if special else "|" if _is_block(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _is_block(text: str) -> bool:
    """Whether text of several lines, such as a query, reads well as a block."""
    lines = text.split("\n")
    return len(lines) > 1 and all(line == line.rstrip() and line.isprintable() for line in lines)


def _mapping(dumper: yaml.SafeDumper, mapping: Mapping[str, Any]) -> yaml.MappingNode:
    return dumper.represent_mapping("tag:yaml.org,2002:map", mapping.items())


_Dumper.add_representer(str, _text)
_Dumper.add_multi_representer(str, _text)
_Dumper.add_multi_representer(dict, _mapping)
_Dumper.add_multi_representer(list, yaml.SafeDumper.represent_list)
