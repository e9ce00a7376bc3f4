"""Whatever stands in a file, the answer is a configuration or a diagnostic at a line."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from liminal_assets.apache import examine_projects, find_apache
from liminal_assets.apache.vocabulary import ROOT, TASKS, words

_words = st.sampled_from(
    ["", "a", "b", "{{a}}", "{{ b }}", "super", "sub", "base", *sorted(ROOT), *sorted(TASKS)]
)
_keys = st.one_of(
    st.sampled_from(
        sorted(
            words(
                """task type pipeline tasks executor image service name super variables before_tasks
                after_tasks python spark env mounts secrets endpoints source a b"""
            )
        )
    ),
    st.integers(0, 2),
    st.none(),
)
_single = st.one_of(_words, st.none(), st.booleans(), st.integers(-2, 2), st.dates())
_anything = st.recursive(
    _single,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_keys, inner, max_size=4)),
    max_leaves=12,
)
_file = st.builds(
    lambda name, sections: {"name": name, "services": [], **sections},
    st.sampled_from(["a", "b", "base", False, 0]),
    st.dictionaries(st.sampled_from(sorted(ROOT)), _anything, max_size=5),
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(files=st.lists(_file, min_size=1, max_size=3), render=st.booleans())
def test_any_content_is_resolved_or_has_a_diagnostic(
    files: list[dict[str, Any]], render: bool
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        for number, file in enumerate(files):
            place = folder / str(number)
            place.mkdir()
            (place / "liminal.yml").write_text(yaml.safe_dump(file, sort_keys=False))
        tree = find_apache(folder)
        assert tree is not None
        found = examine_projects(tree, render=render, environ={})
    for project in found.projects:
        json.dumps(project.as_dict(), default=str)
    resolved = {project.file for project in found.projects}
    supers = {number for number, file in enumerate(files) if file.get("type") == "super"}
    for number in range(len(files)):
        file = folder / str(number) / "liminal.yml"
        assert file in resolved or number in supers or found.obstacles
    for diagnostic in found.diagnostics:
        assert diagnostic.location.file.startswith(str(folder))
        assert diagnostic.location.line >= 1
