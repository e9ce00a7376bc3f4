"""PySpark, where it is installed without the packages of Spark Connect, ends no process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

IMPORTS = {
    "expectations": """
from liminal_assets.integrations.expectations.library import build_expectation
from liminal_assets.language.datasets import Check
build_expectation(Check(expectation="expect_column_to_exist", arguments={"column": "id"}))
""",
    "tracking": """
from liminal_assets.storage.tracking import import_mlflow
import_mlflow()
import mlflow.types.utils
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("imports", IMPORTS.values(), ids=IMPORTS)
def test_a_process_without_a_main_file_outlives_its_imports(imports: str) -> None:
    # as in the processes that Dagster forks for steps
    done = subprocess.run(
        [sys.executable, "-c", f"{imports}print('alive')"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.endswith("alive\n"), done.stderr
