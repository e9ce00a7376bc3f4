"""``liminal validate``, ``resolve`` and ``schema``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from liminal_assets_tests.cli.conftest import Liminal


def test_a_right_project_is_code_0(liminal: Liminal, shop: Path) -> None:
    done = liminal("validate")
    assert (done.code, done.out) == (0, "shop: 4 blocks, no mistakes\n")


def test_mistakes_are_lines_with_hints_and_code_2(liminal: Liminal, shop: Path) -> None:
    text = (shop / "liminal.yml").read_text()
    (shop / "liminal.yml").write_text(text.replace("rows:fetch", "rows:fetc"))
    done = liminal("validate")
    assert done.code == 2
    assert done.out.split("\n") == [
        "liminal.yml:4:21: function: rows has no function 'fetc'",
        "  hint: did you mean 'fetch'?",
        "1 mistake",
        "",
    ]


def test_json_is_a_list_of_mistakes(liminal: Liminal, shop: Path) -> None:
    assert json.loads(liminal("validate", "--json").out) == []
    (shop / "liminal.yml").write_text("name: shop\nmodelz: []\n")
    done = liminal("validate", "--json")
    assert done.code == 2
    assert json.loads(done.out) == [
        {
            "file": str(shop / "liminal.yml"),
            "line": 2,
            "column": 1,
            "code": "unknown-key",
            "message": "unknown key 'modelz'",
            "hint": "did you mean 'models'?",
        }
    ]


def test_json_also_for_a_file_that_is_no_yaml(liminal: Liminal, shop: Path) -> None:
    (shop / "liminal.yml").write_text("name: [\n")
    (mistake,) = json.loads(liminal("validate", "--json").out)
    assert mistake["code"] == "yaml"


def test_it_works_from_any_folder(
    liminal: Liminal, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    assert liminal("validate", "--project", shop / "liminal.yml").code == 0


def test_resolve_fills_in_overlays_defaults_and_variables(liminal: Liminal, shop: Path) -> None:
    (shop / "liminal.yml").write_text(
        "name: shop\nvariables: {where: a.csv}\n"
        "datasets: [{dataset: raw, fetch: {file: '{{ where }}'}}]\n"
        "environments: {prod: {owner: team:prod}}\n"
    )
    resolved = yaml.safe_load(liminal("resolve", "--env", "prod").out)
    assert resolved == {
        "name": "shop",
        "owner": "team:prod",
        "variables": {"where": "a.csv"},
        "datasets": [{"dataset": "raw", "fetch": {"file": ["a.csv"]}, "quarantine": False}],
    }
    assert json.loads(liminal("resolve", "--env", "prod", "--json").out) == resolved


def test_resolve_without_rendering_leaves_variables(liminal: Liminal, shop: Path) -> None:
    (shop / "liminal.yml").write_text(
        "name: shop\ndescription: '{{ nobody_knows }}'\nenvironments: {prod: {owner: team:prod}}\n"
    )
    assert liminal("resolve").code == 2
    done = liminal("resolve", "--no-render", "--env", "prod")
    assert yaml.safe_load(done.out) == {
        "name": "shop",
        "description": "{{ nobody_knows }}",
        "owner": "team:prod",
    }


def test_schema_is_written_for_editors(liminal: Liminal, tmp_path: Path) -> None:
    printed = json.loads(liminal("schema").out)
    assert printed["properties"]["datasets"]["type"] == "array"
    file = tmp_path / "liminal.schema.json"
    assert liminal("schema", "--output", file).code == 0
    assert json.loads(file.read_text()) == printed
