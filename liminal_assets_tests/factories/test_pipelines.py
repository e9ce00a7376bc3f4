"""Pipelines as assets and jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

import liminal_assets as la
from liminal_assets.factories.pipelines import dagster_name
from liminal_assets_tests.pipelines import pipeline_project

APP: list[dict[str, Any]] = [{"image": "app", "type": "python", "source": "src"}]
COUNT: dict[str, Any] = {"task": "count", "type": "python", "image": "app", "cmd": "python n.py"}


def repository(folder: Path, *pipelines: dict[str, Any], **keys: Any) -> Any:
    return la.build_definitions(pipeline_project(folder, *pipelines, **keys)).get_repository_def()


def asset(repository: Any, *path: str) -> Any:
    return repository.asset_graph.get(dg.AssetKey(list(path)))


@pytest.fixture
def two(tmp_path: Path) -> Any:
    first = {
        "pipeline": "my-first",
        "timeout_minutes": 45,
        "owner": "ann@example.org",
        "tasks": [{**COUNT, "env_vars": {"TOKEN": "s3cret"}}, {"task": "note", "type": "note"}],
    }
    second = {"pipeline": "second", "after": "my-first", "tasks": [COUNT]}
    return repository(tmp_path, first, second, owner="Bosco Albert Baracus", images=APP)


def test_tasks_are_assets_in_sequence_with_the_bases_around_them(two: Any) -> None:
    names = ["start", "count", "note", "end"]
    parents = [asset(two, "notes", "my-first", name).parent_keys for name in names]
    assert [[key.path[-1] for key in keys] for keys in parents] == [
        [],
        ["start"],
        ["count"],
        ["note"],
    ]


def test_a_job_selects_exactly_its_tasks(two: Any) -> None:
    keys = two.get_job("second").asset_layer.selected_asset_keys
    assert {"/".join(key.path) for key in keys} == {
        "notes/second/start",
        "notes/second/count",
        "notes/second/end",
    }


def test_jobs_are_tagged_and_end_after_their_timeout(two: Any) -> None:
    assert two.get_job("my_first").tags == {
        "liminal/project": "notes",
        "liminal/pipeline": "my-first",
        "dagster/max_runtime": str(45 * 60 + 60),
    }


def test_a_pipeline_that_waits_for_another_waits_for_its_last_task(two: Any) -> None:
    end = dg.AssetKey(["notes", "my-first", "end"])
    assert asset(two, "notes", "second", "start").parent_keys == {end}


def test_an_owner_that_dagster_cannot_have_is_a_tag(two: Any) -> None:
    owned, tagged = asset(two, "notes", "my-first", "count"), asset(two, "notes", "second", "count")
    assert (owned.owners, tagged.owners) == (["ann@example.org"], [])
    assert tagged.tags["liminal/owner"] == "Bosco_Albert_Baracus"
    assert tagged.metadata["owner"] == "Bosco Albert Baracus"


def test_group_and_kinds_are_the_pipeline_and_the_types(two: Any) -> None:
    node = asset(two, "notes", "my-first", "count")
    assert (node.group_name, node.kinds) == ("my_first", {"python", "kubernetes"})


def test_an_assets_page_has_names_of_variables_and_no_value(two: Any) -> None:
    metadata = asset(two, "notes", "my-first", "count").metadata
    assert metadata["env_vars"].value == ["TOKEN"]
    assert "s3cret" not in str(metadata)
    references = metadata["dagster/code_references"].code_references
    assert [Path(place.file_path).name for place in references] == ["liminal.yml"]


def test_arguments_of_operators_are_settings_of_steps(tmp_path: Path) -> None:
    pipeline = {
        "pipeline": "p",
        "retries": 2,
        "retry_delay": 7,
        "retry_exponential_backoff": True,
        "pool": "two words",
        "priority_weight": 3,
        "default_arg": "check",
        "tasks": [COUNT],
    }
    found = repository(tmp_path, pipeline, images=APP)
    node = asset(found, "notes", "p", "count").assets_def.node_def
    policy = node.retry_policy
    assert (policy.max_retries, policy.delay, policy.backoff) == (2, 7, dg.Backoff.EXPONENTIAL)
    assert (node.pool, node.tags["dagster/priority"]) == ("two_words", "3")
    assert found.get_job("p").metadata["arguments"].data == {"default_arg": "check"}


@pytest.mark.parametrize(
    ("change", "half"),
    [
        pytest.param({"cmd": "python m.py"}, slice(0, 8), id="configuration"),
        pytest.param("print(2)", slice(8, 16), id="code"),
    ],
)
def test_versions_tell_configuration_from_code(tmp_path: Path, change: Any, half: slice) -> None:
    program = tmp_path / "src" / "n.py"
    program.parent.mkdir()
    program.write_text("print(1)")

    def version(task: dict[str, Any]) -> str:
        found = repository(tmp_path, {"pipeline": "p", "tasks": [task]}, images=APP)
        return str(asset(found, "notes", "p", "count").code_version)

    before = version(COUNT)
    assert version({**COUNT, "description": "Counts."}) == before
    if isinstance(change, str):
        program.write_text(change)
    after = version({**COUNT, **(change if isinstance(change, dict) else {})})
    changed = [part for part in (slice(0, 8), slice(8, 16)) if before[part] != after[part]]
    assert changed == [half]


@pytest.mark.parametrize(
    ("text", "name"), [("my-pipe line", "my_pipe_line"), ("input", "input_"), ("a_b", "a_b")]
)
def test_names_that_dagster_cannot_have_are_made_valid(text: str, name: str) -> None:
    assert dagster_name(text) == name
