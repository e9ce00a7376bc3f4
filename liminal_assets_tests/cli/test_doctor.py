"""``liminal doctor``: what works on this machine."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import duckdb
import pytest

from liminal_assets_tests.cli.conftest import Liminal


def findings(liminal: Liminal) -> dict[str, dict[str, Any]]:
    return {found["what"]: found for found in json.loads(liminal("doctor", "--json").out)}


def test_what_is_needed_works_here(liminal: Liminal, shop: Path) -> None:
    assert liminal("doctor").code == 0
    found = findings(liminal)
    assert {name for name, item in found.items() if item["needed"]} >= {
        "Python",
        "dagster",
        "mlflow",
        "great-expectations",
        "state",
    }
    assert found["project"]["detail"] == f"shop: {shop / 'liminal.yml'}"
    assert found["state"]["detail"].startswith("SQLite, 0 runs")


def test_each_database_of_the_project_is_asked(liminal: Liminal, shop: Path) -> None:
    with duckdb.connect(str(shop / "here.duckdb")) as database:
        database.execute("CREATE TABLE sales AS SELECT 1 AS id")
    with (shop / "liminal.yml").open("a") as file:
        file.write(
            "connections:\n  - {connection: here, url: 'duckdb://here.duckdb'}\n"
            "  - {connection: away, url: 'postgres://nobody@127.0.0.1:9/none'}\n"
        )
    found = findings(liminal)
    assert (found["connection here"]["state"], found["connection here"]["detail"]) == (
        "works",
        "1 table",
    )
    assert found["connection away"]["state"] == "broken"


def test_a_port_that_is_taken_is_told(
    liminal: Liminal, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (shop / "liminal.yml").open("a") as file:
            file.write(
                "models:\n  - {model: m, features: sales, target: amount,"
                " estimator: sklearn.linear_model.Ridge}\n"
                f"deployments:\n  - {{deployment: api, model: m, serve: {{port: {port}}}}}\n"
            )
        found = findings(liminal)["port of api"]
    assert found["state"] == "broken"
    assert str(port) in found["detail"]


def test_it_works_without_a_project(
    liminal: Liminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert findings(liminal)["project"]["state"] == "missing"


def test_a_database_of_state_that_is_away_is_code_1(
    liminal: Liminal, shop: Path, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    monkeypatch.setenv("LIMINAL_POSTGRES_URL", "postgresql://nobody@127.0.0.1:9/none")
    done = liminal("doctor")
    assert done.code == 1
    assert "BROKEN" in done.out
