"""A code location: every project found becomes definitions, and nothing heavy is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

import liminal_assets as la
from liminal_assets.definitions import load_projects

PROJECT = """
name: {name}
owner: team:shops
connections:
  - connection: warehouse
    url: duckdb://warehouse.duckdb
datasets:
  - dataset: sales_raw
    description: Every sale.
    fetch: {{sql: "SELECT * FROM sales"}}
  - dataset: sales
    clean: {{from: sales_raw, steps: [drop_duplicates: {{}}]}}
    columns: {{id: integer, amount: float?}}
    quarantine: true
    checks: [expect_column_values_to_be_between: {{column: amount, min_value: 0}}]
features:
  - feature: sale_features
    from: sales
    entity: id
    timestamp: sold_at
models:
  - model: returned
    features: sale_features
    target: returned
    estimator: sklearn.linear_model.LogisticRegression
    validate: [{{metric: roc_auc, at_least: 0.6}}, {{integrity: true}}]
deployments:
  - {{deployment: returned_api, model: returned, serve: {{port: 0}}}}
  - {{deployment: returned_scores, model: returned, batch: {{from: sale_features}}}}
monitors:
  - monitor: returned_watch
    deployment: returned_scores
    drift: {{method: psi}}
    on_breach: {{retrain: returned, alert: ops}}
alerts:
  - {{alert: ops, webhook: 'http://127.0.0.1:9/ops'}}
schedules:
  - {{schedule: nightly, cron: '0 2 * * *', refresh: returned_api}}
"""
HEAVY = {"pandas", "sklearn", "mlflow", "great_expectations", "matplotlib", "optuna", "ibis"}


def write_project(folder: Path, name: str = "shop") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "liminal.yml").write_text(PROJECT.format(name=name))
    return folder


def test_each_block_becomes_the_assets_of_its_phase(tmp_path: Path) -> None:
    definitions = la.build_definitions(write_project(tmp_path))
    groups = {spec.key.path[-1]: spec.group_name for spec in definitions.resolve_all_asset_specs()}
    assert groups == {
        "sales_raw": "fetch",
        "sales": "clean",
        "sales__quarantine": "clean",
        "sale_features": "prepare",
        "returned": "train",
        "returned__evaluation": "evaluate",
        "returned__champion": "deploy",
        "returned_api": "deploy",
        "returned_scores": "inference",
        "returned_watch": "monitor",
    }


def test_every_asset_has_key_owner_kinds_code_version_and_a_reference_to_its_line(
    tmp_path: Path,
) -> None:
    definitions = la.build_definitions(write_project(tmp_path))
    for spec in definitions.resolve_all_asset_specs():
        assert spec.key.path[0] == "shop"
        assert spec.owners == ["team:shops"]
        assert spec.kinds
        assert spec.code_version
        (reference, *_) = spec.metadata["dagster/code_references"].code_references
        assert Path(reference.file_path) == tmp_path / "liminal.yml"
        assert reference.line_number > 1


def test_definitions_are_loadable_and_name_their_sensors_and_schedules(tmp_path: Path) -> None:
    definitions = la.build_definitions(write_project(tmp_path))
    dg.Definitions.validate_loadable(definitions)
    repository = definitions.get_repository_def()
    assert len(repository.sensor_defs) == 2
    assert [schedule.cron_schedule for schedule in repository.schedule_defs] == ["0 2 * * *"]


def test_a_code_location_holds_every_project_below_its_folder(tmp_path: Path) -> None:
    write_project(tmp_path / "one", "one")
    write_project(tmp_path / "deep" / "two", "two")
    assert [project.name for project in load_projects([tmp_path])] == ["two", "one"]


def test_two_projects_of_one_name_are_told_apart_by_the_user(tmp_path: Path) -> None:
    write_project(tmp_path / "one")
    write_project(tmp_path / "two")
    with pytest.raises(la.InvalidProjectError, match="the project name 'shop' is taken by"):
        load_projects([tmp_path])


def test_mistakes_of_all_projects_are_shown_at_once(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "liminal.yml").write_text(f"name: {name}\nmodelz: []\n")
    with pytest.raises(la.InvalidProjectError) as raised:
        load_projects([tmp_path])
    assert [diagnostic.code for diagnostic in raised.value.diagnostics] == ["unknown-key"] * 2


def test_loading_a_code_location_imports_nothing_heavy(tmp_path: Path) -> None:
    write_project(tmp_path)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import liminal_assets.definitions"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {
        line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.split("\n")
    }
    assert "dagster" in imported
    assert not imported & HEAVY


@pytest.mark.parametrize("name", sorted(la.__all__))
def test_public_names_resolve_to_documented_things(name: str) -> None:
    assert getattr(la, name).__doc__


def test_a_project_is_a_component_of_a_dg_workspace(tmp_path: Path) -> None:
    from dagster.components.testing import create_defs_folder_sandbox

    with create_defs_folder_sandbox() as sandbox:
        defs_path = sandbox.scaffold_component(
            component_cls=la.LiminalProject,
            defs_path="shop",
            defs_yaml_contents={
                "type": "liminal_assets.LiminalProject",
                "attributes": {"project": str(write_project(tmp_path / "shop"))},
            },
        )
        with sandbox.load_component_and_build_defs(defs_path=defs_path) as (_, definitions):
            keys = {key.to_user_string() for key in definitions.resolve_all_asset_keys()}
    assert "shop/returned__champion" in keys
