"""The command in this process, and small projects for it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from liminal_assets.cli.main import _run
from liminal_assets.storage.instance import open_instance

PROJECT = """\
name: shop
datasets:
  - dataset: raw
    fetch: {python: 'rows:fetch'}
    partitions: {every: month, start: '2013-01-01', end: '2013-05-01'}
  - dataset: clean
    clean: {from: raw, sql: "SELECT * FROM raw WHERE amount > 0"}
    columns: {amount: integer}
  - dataset: stores
    fetch: {file: stores.csv}
features:
  - feature: sales
    from: {clean: {}, stores: {on: store}}
    entity: [store, amount]
"""
ROWS = """\
import pandas as pd

def fetch(context):
    print("printed by the step")
    return pd.DataFrame({"amount": [1, 2, -1], "store": ["a", "b", "a"]})
"""


@dataclass(frozen=True)
class Done:
    """What a command left."""

    code: int
    out: str
    err: str


Liminal = Callable[..., Done]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dagster asks a PostgreSQL that is away again at once, instead of waiting for ten seconds."""
    without_wait = SimpleNamespace(sleep=lambda seconds: None)
    monkeypatch.setattr("dagster_postgres.utils.time", without_wait)


@pytest.fixture
def liminal(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Liminal:
    """Runs the command with some arguments."""
    for name in ("DAGSTER_HOME", "LIMINAL_HOME", "LIMINAL_ENV", "LIMINAL_POSTGRES_URL"):
        monkeypatch.delenv(name, raising=False)
    # set by commands for code that they load; taken back at the end of the test
    monkeypatch.setenv("LIMINAL_PROJECT", "")

    def run(*arguments: Any) -> Done:
        # a command is a process of its own: it has imported nothing of the project yet
        for module in ("rows", "liminal_assets.definitions"):
            sys.modules.pop(module, None)
        code = _run([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Done(code, out, err)

    return run


@pytest.fixture(scope="session")
def empty_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder whose databases are made, which takes Dagster a second or two."""
    folder = tmp_path_factory.mktemp("state")
    with open_instance(folder) as instance:
        instance.get_runs_count()
        assert instance.schedule_storage
        instance.schedule_storage.all_instigator_state()
    return folder / ".liminal"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_state: Path) -> Path:
    """The folder of a project of tables, which is the current folder."""
    folder = tmp_path / "shop"
    shutil.copytree(empty_state, folder / ".liminal")
    (folder / "liminal.yml").write_text(PROJECT)
    (folder / "rows.py").write_text(ROWS)
    (folder / "stores.csv").write_text("store,city\na,Rome\nb,Oslo\n")
    monkeypatch.chdir(folder)
    return folder
