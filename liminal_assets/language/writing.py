"""Specs and documents → YAML that this package's reader takes back as it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from liminal_assets.language.project import ProjectSpec
from liminal_assets.language.source import plain_value

__all__ = ["plain_spec", "to_yaml"]


def plain_spec(spec: ProjectSpec) -> dict[str, Any]:
    """A project as plain values, as they would be written: defaults filled in, what isn't there
    left out."""
    plain = spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    # what is merged in already
    plain.pop("environments")
    return {key: value for key, value in plain.items() if value not in ({}, [])}


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
