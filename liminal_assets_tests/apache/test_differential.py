"""Random projects come to the same configurations as in Apache Liminal 0.0.5."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from liminal_assets.apache import examine_projects, find_apache
from liminal_assets_tests.apache.differences import (
    as_meant,
    blank_sections,
    differing,
    nested_lists,
    same_as_meant,
)
from liminal_assets_tests.apache.generated import ENVIRON, projects
from liminal_assets_tests.apache.original import Original

Files = list[dict[str, Any]]


def _write(folder: Path, files: Files) -> None:
    for number, file in enumerate(files):
        # both names, at the top and below
        place = folder / ("" if number == 0 else f"below/{number}")
        place.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(file, sort_keys=False, allow_unicode=True)
        (place / f"liminal.y{'a' * (number % 2)}ml").write_text(text, encoding="utf-8")


def _ask(original: Original, files: Files, render: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        _write(Path(name), files)
        answer = original.resolve(Path(name), render=render, environ=ENVIRON)
    assert isinstance(answer, dict), answer
    return {name: nested_lists(final) for name, final in answer.items()}


def _ours(files: Files, render: bool) -> tuple[dict[str, Any], set[str]]:
    """Final configurations by name, and the codes of what keeps others from having one."""
    with tempfile.TemporaryDirectory() as name:
        _write(Path(name), files)
        tree = find_apache(name)
        assert tree is not None
        found = examine_projects(tree, render=render, environ=ENVIRON)
    finals = {project.name: project.as_dict() for project in found.projects}
    return finals, {obstacle.code for obstacle in found.obstacles}


@pytest.mark.slow
@settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(files=projects(), render=st.booleans())
def test_random_projects_resolve_as_in_the_original(
    original: Original, files: Files, render: bool
) -> None:
    ours, obstacles = _ours(files, render)
    assert obstacles <= {"missing-super", "super-cycle", "invalid-type"}
    theirs = _ask(original, files, render)
    differences = set(differing(files))
    if ours.keys() == theirs.keys() and blank_sections.__name__ not in differences:
        event("accepted by the original")
        assert ours == theirs
        return
    event("understood by us alone")
    assert differences, "resolved here, dropped there, for no known difference"
    assert ours.keys() >= theirs.keys()
    meant = _ask(original, as_meant(files), render)
    assert {name: same_as_meant(final) for name, final in ours.items()} == {
        name: same_as_meant(final) for name, final in meant.items()
    }
