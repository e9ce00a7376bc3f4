"""Whole projects in the shapes of the original's examples and tests: they run as they are."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from liminal_assets.apache import examine_projects, find_apache
from liminal_assets.apache.migration import mend, read_sources
from liminal_assets.factories.build import build_definitions
from liminal_assets_tests.apache.original import Original
from liminal_assets_tests.apache.shapes import NAMES, copy_shape
from liminal_assets_tests.commands import liminal

Shape = Callable[[str], Path]


@pytest.fixture
def shape(tmp_path: Path) -> Shape:
    return lambda name: copy_shape(name, tmp_path / name)


WARNINGS = {
    "demo": {"env", "metrics"},
    "diamonds": {"Python 3.9"},
    "extended": {
        "the plugin 'special_executor' was written for Apache Liminal",
        "the plugin 'special_image' was written for Apache Liminal",
        "the plugin 'special_task' was written for Apache Liminal",
    },
    "greetings": {"metrics"},
    "layers": {"env_vars", "one"},
    "petals": {"env"},
}
"""The keys that ``validate`` warns of, or what it says."""


@pytest.mark.parametrize("name", NAMES)
def test_it_is_valid_with_warnings_for_what_never_had_an_effect(shape: Shape, name: str) -> None:
    done = liminal("validate", "--project", shape(name), "--json")
    assert done.code == 0
    said = [finding["message"] for finding in done.json]
    expected = WARNINGS.get(name, set())
    assert all(any(word in message for word in expected) for message in said)
    assert all(any(word in message for message in said) for word in expected)


@pytest.mark.parametrize("name", NAMES)
def test_it_resolves_as_in_the_original(shape: Shape, original: Original, name: str) -> None:
    folder = shape(name)
    tree = find_apache(folder)
    assert tree is not None
    found = examine_projects(tree, environ={})
    ours = {project.name: project.as_dict() for project in found.projects}
    assert len(ours) == 1
    assert ours == original.resolve(folder)


JOBS = {
    "greetings": {"greet_everyone": ["start", "greet", "count", "end"]},
    "petals": {"petals": ["start", "measure", "learn", "end"]},
    "words": {"count_words": ["start", "count", "end"]},
    "demo": {"taste_wine": ["start", "train", "validate", "end"]},
    "diamonds": {"price_diamonds": ["start", "cluster", "learn", "price", "gone", "end"]},
    "extended": {"extended": ["start", "it", "end"]},
    "layers": {"short": ["start", "first", "work", "last", "end"]},
}
"""Each pipeline's tasks in their order, with those of the base around them."""


@pytest.mark.parametrize("name", NAMES)
def test_it_loads_as_a_job_for_each_pipeline_with_an_asset_for_each_task(
    shape: Shape, name: str
) -> None:
    repository = build_definitions(shape(name)).get_repository_def()
    graph = repository.asset_graph
    levels = graph.toposorted_asset_keys_by_level
    tasks = {}
    for job in JOBS[name]:
        keys = repository.get_job(job).asset_layer.executable_asset_keys
        tasks[job] = [key.path[-1] for level in levels for key in sorted(level) if key in keys]
    assert tasks == JOBS[name]


@pytest.mark.parametrize("name", NAMES)
def test_mended_it_needs_nothing_more(shape: Shape, name: str) -> None:
    mended = mend(read_sources(shape(name)))
    assert mended is not None
    said = [reason.text for reason in mended.reasons]
    assert all(re.search("env_vars|metrics|Python 3.9", reason) for reason in said)
    again = mend(mended.after)
    assert again is not None
    assert again.changed == {}
