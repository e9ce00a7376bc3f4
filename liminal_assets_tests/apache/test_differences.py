"""Each difference from the original that docs/apache.md lists is one, and is as described."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from liminal_assets.apache import examine_projects, find_apache
from liminal_assets_tests.apache.conftest import Write
from liminal_assets_tests.apache.differences import nested_lists
from liminal_assets_tests.apache.original import Original

PAGE = (
    (Path(__file__).parents[2] / "docs/apache.md")
    .read_text(encoding="utf-8")
    .partition("## Differences from 0.0.5")[2]
)
EXAMPLES = re.findall(
    r"^### (.+?)\n(.+?)\n\n```yaml\n(.+?)```", PAGE, flags=re.DOTALL | re.MULTILINE
)

RESOLVED = {
    "A list in a list": {"services": [{"service": "api", "matrix": [[1, "x"], [2]]}]},
    "A blank section": {"services": [{"service": "api"}]},
    "A blank list of tasks": {
        "pipelines": [{"pipeline": "nightly", "tasks": [{"task": "start"}, {"task": "end"}]}]
    },
    "A placeholder above a number": {"variables": {"label": "v3", "version": 3}},
    "A placeholder for a mapping or a list": {"services": [{"command": "serve ['a', 'b']"}]},
    "`super: base`": {"pipelines": [], "pipeline_defaults": {"after_tasks": [{"task": "end"}]}},
}
"""What we make of the examples that aren't mistakes: these keys with these values."""


def _holds(value: object, expected: object) -> bool:
    if isinstance(expected, dict):
        return isinstance(value, dict) and all(
            key in value and _holds(value[key], item) for key, item in expected.items()
        )
    if isinstance(expected, list):
        return (
            isinstance(value, list)
            and len(value) == len(expected)
            and all(map(_holds, value, expected))
        )
    return value == expected


@pytest.mark.parametrize(
    ("text", "example"),
    [pytest.param(text, example, id=title) for title, text, example in EXAMPLES],
)
def test_the_example_of_a_difference_shows_one(
    write: Write, original: Original, request: pytest.FixtureRequest, text: str, example: str
) -> None:
    title = request.node.callspec.id
    folder = write(example)
    theirs = original.resolve(folder)
    tree = find_apache(folder)
    assert tree is not None
    found = examine_projects(tree)
    ours = {project.name: project.as_dict() for project in found.projects}
    if "dropped" in text:
        assert theirs == {}
    if title in RESOLVED:
        assert ours != theirs
        assert not found.obstacles
        assert _holds(ours["example"], RESOLVED[title])
    else:
        [code] = re.findall(r"^is an? `([a-z-]+)`|^are an? `([a-z-]+)`", text)[:1]
        assert {obstacle.code for obstacle in found.obstacles} == {"".join(code)}


def test_every_example_is_tried() -> None:
    titles = {title for title, _, _ in EXAMPLES}
    assert set(RESOLVED) < titles
    assert len(titles) == PAGE.count("\n### ")


def test_a_list_in_a_list_is_what_the_original_would_have_printed(
    write: Write, original: Original
) -> None:
    [example] = [example for title, _, example in EXAMPLES if title == "A list in a list"]
    folder = write(example)
    tree = find_apache(folder)
    assert tree is not None
    [project] = examine_projects(tree).projects
    theirs = original.resolve(folder)
    assert isinstance(theirs, dict)
    assert nested_lists(theirs["example"]) == project.as_dict()


def test_an_empty_file_is_a_warning_where_the_original_ended(
    write: Write, original: Original
) -> None:
    folder = write({"liminal.yml": "{name: a, services: []}", "b/liminal.yml": "# nothing yet\n"})
    assert original.resolve(folder) == "TypeError"
    tree = find_apache(folder)
    assert tree is not None
    found = examine_projects(tree)
    assert [project.name for project in found.projects] == ["a"]
    assert [(d.code, d.severity) for d in found.diagnostics] == [("empty-file", "warning")]


def test_two_files_of_one_name_are_a_mistake(write: Write) -> None:
    folder = write({"liminal.yml": "{name: a, services: []}", "b/liminal.yml": "name: a"})
    tree = find_apache(folder)
    assert tree is not None
    found = examine_projects(tree)
    assert [str(obstacle) for obstacle in found.obstacles] == [
        f"{folder}/b/liminal.yml:1:7: duplicate-name: the file name 'a' is taken"
        f" (the first is at {folder}/liminal.yml:1)"
    ]
