"""The getting-started example: ten lines of YAML, one function, and it runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from liminal_assets_tests.commands import liminal

EXAMPLE = Path(__file__).parents[2] / "examples" / "getting_started"


def test_it_is_ten_lines_and_one_function() -> None:
    lines = (EXAMPLE / "liminal.yml").read_text().splitlines()
    assert len(lines) == 10
    functions = [
        line for line in (EXAMPLE / "tumours.py").read_text().splitlines() if line[:4] == "def "
    ]
    assert len(functions) == 1


@pytest.mark.slow
def test_it_runs_from_fetch_to_monitor(tmp_path: Path, with_mlflow: Callable[[Path], Path]) -> None:
    ignored = shutil.ignore_patterns(".liminal", "__pycache__")
    project = with_mlflow(shutil.copytree(EXAMPLE, tmp_path / "project", ignore=ignored))
    done = liminal("run", "--project", project, "--json")
    assert done.code == 0, done.err + done.out
    assert {row["state"] for row in done.json["assets"]} == {"done"}
    champion = done.json["champions"]["malignant"]
    assert champion["version"] == 1
    assert champion["metrics"]["roc_auc"] > 0.95
