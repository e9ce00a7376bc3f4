"""The original's first example and its Spark example, in our words: they run without Docker."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from liminal_assets_tests.apache.shapes import copy_shape
from liminal_assets_tests.commands import liminal


@pytest.mark.slow
def test_the_first_example_runs_without_docker(tmp_path: Path) -> None:
    folder = copy_shape("greetings", tmp_path / "greetings")
    done = liminal("run", "--project", folder, "--json")
    assert done.code == 0, done.err
    assert {row["state"] for row in done.json["assets"]} == {"done"}
    written = sorted((folder / "files").glob("*.json"))
    assert [file.name for file in written] == ["greeting_0.json", "greeting_1.json"]
    assert json.loads(written[0].read_text()) == {"tone": "kind", "times": 2}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java")
def test_the_spark_example_runs_without_docker(tmp_path: Path) -> None:
    folder = copy_shape("petals", tmp_path / "petals")
    done = liminal("run", "--project", folder, "--json")
    assert done.code == 0, done.err
    assert {row["state"] for row in done.json["assets"]} == {"done"}
    [measured] = (folder / "store" / "measured").glob("*.csv")
    assert len(measured.read_text().splitlines()) == 9
    assert (folder / "store" / "model.joblib").is_file()
