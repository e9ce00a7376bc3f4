"""What an expectation asks for, in one sentence: Great Expectations' own words, or the user's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from liminal_assets.integrations.expectations.library import quiet

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation

__all__ = ["sentence"]

_PARAMETER = re.compile(r"\$(\w+)")
_PASSED_THROUGH = re.compile(r"PassThrough\((['\"])(.*?)\1\)", re.DOTALL)
_TAGS = re.compile(r"</?pre>")
_SENTENCES: dict[tuple[str, str], str] = {}
"""Rendered once: a partitioned asset is checked many times."""
_MOST_SENTENCES = 5_000


def sentence(expectation: Expectation) -> str:
    """What an expectation asks for.

    >>> sentence(ExpectColumnValuesToNotBeNull(column="id"))
    'id values must never be null.'
    """
    if expectation.description:
        return str(expectation.description)
    key = (type(expectation).__name__, repr(expectation.configuration.kwargs))
    if key not in _SENTENCES:
        if len(_SENTENCES) > _MOST_SENTENCES:
            _SENTENCES.clear()
        _SENTENCES[key] = _rendered(expectation)
    return _SENTENCES[key]


def _rendered(expectation: Expectation) -> str:
    # the older renderer says the same in a twentieth of the time, but not of every expectation
    for render in (_by_template, _by_content):
        try:
            with quiet():
                text = render(expectation)
        except Exception:  # noqa: S112  # a renderer of anyone's; words remain
            continue
        if text and "(**" not in text:
            return _TAGS.sub("", _PASSED_THROUGH.sub(r"\2", text))
    said = ", ".join(
        f"{name}={value!r}" for name, value in expectation.configuration.kwargs.items()
    )
    return f"{str(expectation.expectation_type).replace('_', ' ')}: {said}"


def _by_template(expectation: Any) -> str:
    contents = expectation._prescriptive_renderer(configuration=expectation.configuration)
    templates = [content.to_json_dict()["string_template"] for content in contents]
    return " ".join(_filled(each["template"], each["params"]) for each in templates)


def _by_content(expectation: Expectation) -> str:
    expectation.render()
    contents: list[Any] = [content.to_json_dict() for content in expectation.rendered_content or ()]
    value = contents[0]["value"]
    parameters = {name: item["value"] for name, item in value.get("params", {}).items()}
    if code := value.get("code_block"):
        query = _filled(code["code_template_str"], parameters)
        return f"No row may be found by: {query}"
    return _filled(value.get("template") or "", parameters)


def _filled(template: str, parameters: Mapping[str, Any]) -> str:
    def written(match: re.Match[str]) -> str:
        found = parameters.get(match[1], match[0])
        if isinstance(found, float) and found.is_integer():
            found = int(found)
        return str(found)

    return _PARAMETER.sub(written, template)
