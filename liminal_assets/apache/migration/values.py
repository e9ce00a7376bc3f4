"""Placeholders that need quotes, variables in an order that doesn't fill them, Python versions."""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

from liminal_assets.apache.images.dockerfiles import DEFAULT, python_base
from liminal_assets.apache.migration.changes import Change, View
from liminal_assets.apache.migration.outline import Edit, Entry, Outline, entries
from liminal_assets.apache.variables import substitute
from liminal_assets.language.source import LocatedDict
from liminal_assets.language.variables import PLACEHOLDER

__all__ = ["bare_placeholders", "python_versions", "quoted", "variables_in_order"]

_QUOTES = "a value that begins with {{ needs quotes"
_NAME = r"\{\{\s*[\w.-]+\s*\}\}"
_BLOCK = re.compile(rf"^(\s*(?:- +)*(?:[\w.-]+:\s+)?)({_NAME}.*?)(\s+#.*)?(\r?\n?)$")
_WORD = r"(?:(?!: )[^'\"\[\]{},\r\n])*"
_FLOW = re.compile(rf"(?<=[:\[,{{] )(?=[^\s'\"]){_WORD}{_NAME}(?:{_WORD}{_NAME})*{_WORD}")


def quoted(text: str) -> tuple[str, list[int]]:
    """A text that isn't YAML because of placeholders without quotes, with quotes around them.

    Returns:
        The text, as it was if that is not what is wrong, and the lines that were changed.
    """
    changed: list[int] = []
    result = text
    while (line := _broken_line(result)) is not None:
        lines = result.splitlines(keepends=True)
        for number in (line, line - 1):
            if 0 <= number < len(lines) and number not in changed:
                mended = _FLOW.sub(_quote, _BLOCK.sub(_quote_rest, lines[number]))
                if mended != lines[number]:
                    break
        else:
            return text, []
        lines[number] = mended
        changed.append(number)
        result = "".join(lines)
    return result, sorted(number + 1 for number in changed)


def _quote(match: re.Match[str]) -> str:
    value = match[0].rstrip()
    return f"'{value}'{match[0][len(value) :]}"


def _quote_rest(match: re.Match[str]) -> str:
    value = match[2].replace("'", "''")
    return f"{match[1]}'{value}'{match[3] or ''}{match[4]}"


def _broken_line(text: str) -> int | None:
    """The line, from 0, that a text stops being YAML in."""
    try:
        yaml.compose(text, yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return mark.line if mark else None
    except yaml.YAMLError:
        return None
    return None


def bare_placeholders(view: View) -> Iterator[Change]:
    """``{{ name }}`` without quotes is a mapping whose key is a mapping."""
    for node in view.outline.mappings:
        start, end = node.start_mark.index, node.end_mark.index
        text = view.outline.text[start:end]
        if node.flow_style and PLACEHOLDER.fullmatch(text):
            yield Change(node.start_mark.line + 1, _QUOTES, (Edit(start, end, f"'{text}'"),))


def variables_in_order(view: View) -> Iterator[Change]:
    """Variables whose chain isn't filled to its end, each below those that it uses."""
    variables = view.document.get("variables")
    if not isinstance(variables, LocatedDict) or len(variables) < 3:
        return
    outline = view.outline
    root = next((e for e in entries(outline.root) if e.key.value == "variables"), None)
    if root is None or not isinstance(root.value, yaml.MappingNode):
        return
    items = entries(root.value)
    if [outline.value(item.key) for item in items] != list(variables):
        return
    order = _in_order(items)
    if order is None or _left(variables, order) >= _left(variables, range(len(items))):
        return
    line = root.value.start_mark.line + 1
    reason = "variables stand below those that they use, so that all are filled"
    yield Change(line, reason, (outline.reorder(root.value, order),))


def _left(variables: LocatedDict, order: list[int] | range) -> int:
    """How many placeholders are left in variables of an order."""
    keys = list(variables)
    ordered = LocatedDict(variables.location)
    for place in order:
        key = keys[place]
        ordered.put(key, variables[key], variables.keys_at[key], variables.values_at[key])
    return len(substitute(LocatedDict(variables.location), ordered, {})[1])


def _in_order(items: list[Entry]) -> list[int] | None:
    """The entries with each below those that it uses, otherwise as they are; None for a circle."""
    names = {item.key.value: place for place, item in enumerate(items)}
    uses = [
        {names[name] for name in PLACEHOLDER.findall(_text(item.value)) if name in names}
        for item in items
    ]
    order: list[int] = []
    while len(order) < len(items):
        ready = (i for i in range(len(items)) if i not in order and uses[i] <= set(order))
        place = next(ready, None)
        if place is None:
            return None
        order.append(place)
    return order


def _text(node: yaml.Node) -> str:
    return str(node.value) if isinstance(node, yaml.ScalarNode) else ""


def python_versions(view: View) -> Iterator[Change]:
    """Versions of images that YAML takes for numbers, or that are no longer maintained."""
    for mapping in view.outline.mappings:
        keys = {entry.key.value: entry for entry in entries(mapping)}
        entry = keys.get("python_version")
        if entry is None or "image" not in keys or not isinstance(entry.value, yaml.ScalarNode):
            continue
        if change := _version(view.outline, entry):
            yield change


def _version(outline: Outline, entry: Entry) -> Change | None:
    node, line = entry.value, entry.key.start_mark.line + 1
    value = outline.value(node)
    if _ended(value):
        reason = f"Python {value} gets no more fixes; check the requirements of the image"
        return Change(line, reason, (outline.replace(node, f"'{DEFAULT}'"),))
    if isinstance(value, float) and str(value) != node.value and _ended(node.value) is False:
        reason = f"{node.value} without quotes is the number {value}"
        return Change(line, reason, (outline.replace(node, f"'{node.value}'"),))
    return None


def _ended(version: object) -> bool | None:
    """Whether a version of Python gets no more fixes; None if there is no such version."""
    try:
        return python_base(version).ended
    except ValueError:
        return None
