"""Apache Liminal's files as projects, and their sections beside ours."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

import liminal_assets as la
from liminal_assets.definitions import load_projects
from liminal_assets.language.loading import examine_project

MIXED = """\
name: mixed
variables: {table: rows}
environments:
  prod: {pipelines: [{pipeline: load, tasks: [{task: make, cmd: make prod}]}]}
datasets:
  - dataset: rows
    fetch: {file: rows.csv}
  - dataset: clean
    clean: {from: rows, sql: "SELECT * FROM rows"}
  - dataset: later
    fetch: {file: later.csv}
    after: load
images: [{image: app, type: python, source: .}]
pipelines:
  - pipeline: load
    schedule: '@daily'
    tasks:
      - {task: make, type: python, image: app, cmd: 'make {{ table }}', produces: rows}
  - pipeline: report
    after: clean
    tasks:
      - {task: write, type: python, image: app, cmd: write, after: [load/make, later]}
"""
BASE = "name: {name}\npipelines: [{{pipeline: {name}, tasks: []}}]\n"


def mixed(folder: Path, *changes: tuple[str, str]) -> Path:
    text = MIXED
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "liminal.yml").write_text(text)
    return folder


def test_blocks_and_tasks_of_a_mixed_file_are_one_graph(tmp_path: Path) -> None:
    graph = la.build_definitions(mixed(tmp_path)).get_repository_def().asset_graph

    def parents(*path: str) -> set[str]:
        return {
            "/".join(key.path[1:]) for key in graph.get(dg.AssetKey(["mixed", *path])).parent_keys
        }

    assert parents("rows") == {"load/make"}
    assert parents("later") == {"load/end"}
    assert parents("report", "start") == {"clean"}
    assert parents("report", "write") == {"report/start", "load/make", "later"}


def test_each_kind_of_section_keeps_its_own_placeholders_and_defaults(tmp_path: Path) -> None:
    project = la.load_project(mixed(tmp_path))
    assert project.workflow is not None
    task = project.workflow.tasks["load/make"]
    assert (task.get("cmd"), task.type) == ("make rows", "python")
    assert [item["pipeline"] for item in project.spec.pipelines] == ["load", "report"]


def test_an_overlay_replaces_values_of_pipelines_by_name(tmp_path: Path) -> None:
    project = la.load_project(mixed(tmp_path), environment="prod")
    assert project.workflow is not None
    task = project.workflow.tasks["load/make"]
    assert (task.get("cmd"), task.produces) == ("make prod", ("rows",))


@pytest.mark.parametrize(
    ("change", "code", "line"),
    [
        pytest.param(("after: load\n", "after: lod\n"), "unknown-reference", 12, id="block after"),
        pytest.param(("after: clean", "after: clen"), "unknown-reference", 20, id="pipeline after"),
        pytest.param(("load/make, later", "x"), "unknown-reference", 22, id="task after"),
        pytest.param(("produces: rows", "produces: row"), "unknown-reference", 18, id="produces"),
        pytest.param(("produces: rows", "produces: clean"), "invalid-value", 18, id="not fetched"),
        pytest.param(("'@daily'", "daily"), "invalid-value", 16, id="cron"),
        pytest.param(("pipeline: report", "pipeline: rows"), "duplicate-name", 19, id="names"),
        pytest.param(("file: rows.csv", "fil: rows.csv"), "unknown-key", 7, id="our section"),
        pytest.param(
            ("type: python, source", "type: pithon, source"), "unknown-image-type", 13, id="image"
        ),
    ],
)
def test_a_mistake_in_a_mixed_file_is_at_its_line(
    tmp_path: Path, change: tuple[str, str], code: str, line: int
) -> None:
    with pytest.raises(la.InvalidProjectError) as caught:
        la.load_project(mixed(tmp_path, change))
    assert [(m.code, m.location.line) for m in caught.value.diagnostics] == [(code, line)]


def test_blocks_and_tasks_in_a_circle_are_a_mistake(tmp_path: Path) -> None:
    folder = mixed(tmp_path, ("cmd: 'make {{ table }}'", "cmd: m, after: clean"))
    with pytest.raises(la.InvalidProjectError, match="rows → load/make → clean → rows"):
        la.load_project(folder)


def test_what_never_had_an_effect_is_a_warning_and_loads(tmp_path: Path) -> None:
    folder = mixed(tmp_path, ("cmd: write,", "cmd: write, env: {A: b},"))
    assert la.load_project(folder).name == "mixed"
    _, (warning,) = examine_project(folder / "liminal.yml")
    assert (warning.code, warning.is_error, warning.location.line) == ("ignored-key", False, 22)


def test_several_files_below_a_folder_are_projects_beside_ours(tmp_path: Path) -> None:
    (tmp_path / "liminal.yml").write_text("name: up\ntype: super\nvariables: {x: 1}\n")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "liminal.yml").write_text(BASE.format(name=name) + "super: up\n")
    mixed_folder = tmp_path / "three"
    mixed_folder.mkdir()
    mixed(mixed_folder)
    found = {project.name: project for project in load_projects([tmp_path])}
    assert set(found) == {"one", "two", "mixed"}
    assert found["one"].workflow is not None
    assert found["one"].workflow.configuration["variables"] == {"x": 1}


def test_one_project_of_several_must_be_named(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "liminal.yml").write_text(BASE.format(name=name))
    with pytest.raises(la.InvalidProjectError, match=r"one/liminal\.yml, two/liminal\.yml"):
        la.load_project(tmp_path)
    assert {project.home for project in load_projects([tmp_path])} == {tmp_path}
    assert la.load_project(tmp_path / "two").name == "two"


def test_two_projects_cannot_have_a_pipeline_of_one_name(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        mixed(tmp_path / name, ("name: mixed", f"name: {name}"))
    with pytest.raises(la.InvalidProjectError, match="the pipeline name 'load' is taken"):
        load_projects([tmp_path])


def test_the_documents_example_is_one_graph(tmp_path: Path) -> None:
    page = (Path(la.__file__).parents[1] / "docs" / "apache.md").read_text(encoding="utf-8")
    section = page.partition("## With our own sections")[2]
    example = section.partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "liminal.yml").write_text(example)
    graph = la.build_definitions(tmp_path).get_repository_def().asset_graph
    parents = {key: graph.get(key).parent_keys for key in graph.get_all_asset_keys()}
    fetch = dg.AssetKey(["shop", "load", "fetch"])
    assert fetch in parents[dg.AssetKey(["shop", "sales_raw"])]
    assert dg.AssetKey(["shop", "sales"]) in parents[dg.AssetKey(["shop", "publish", "start"])]
    assert fetch in parents[dg.AssetKey(["shop", "publish", "send"])]
