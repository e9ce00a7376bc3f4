"""The command as a whole: help at once, exit codes, no tracebacks."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest

from liminal_assets.cli import main as module
from liminal_assets.cli.main import _VERBS, cli
from liminal_assets_tests.cli.conftest import Liminal


def started(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "liminal_assets.cli.main", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def test_help_answers_in_less_than_four_tenths_of_a_second() -> None:
    # seconds of the processor, for a busy machine must not fail the test
    times = []
    for _ in range(3):
        before = os.times()
        assert started("--help").returncode == 0
        after = os.times()
        used = after.children_user - before.children_user
        times.append(used + after.children_system - before.children_system)
    assert min(times) < 0.4


def test_help_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "liminal_assets.cli.main", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.split("\n")}
    assert not imported & {"dagster", "pydantic", "yaml", "rich", "duckdb", "pandas", "mlflow"}


@pytest.mark.parametrize("verb", _VERBS)
def test_every_verb_has_a_command_and_help(verb: str) -> None:
    command = import_module(f"liminal_assets.cli.{_VERBS[verb][0]}").command
    assert isinstance(command, click.Command)
    with click.Context(cli) as context:
        found = cli.get_command(context, verb)
    assert found is command
    assert found.help


@pytest.mark.parametrize("verb", sorted(set(_VERBS) - {"init", "schema"}))
def test_every_verb_that_works_on_a_project_takes_project_and_env(verb: str) -> None:
    command = import_module(f"liminal_assets.cli.{_VERBS[verb][0]}").command
    options = {name for parameter in command.params for name in parameter.opts}
    assert {"--project", "--env"} <= options


def test_a_verb_that_there_is_not_is_wrong_input_with_a_hint(liminal: Liminal) -> None:
    done = liminal("validat")
    assert done.code == 2
    assert "did you mean 'validate'?" in done.err


def test_a_folder_without_a_project_names_those_below(liminal: Liminal, shop: Path) -> None:
    done = liminal("validate", "--project", shop.parent)
    assert done.code == 2
    assert "--project chooses one of those below: shop" in done.out


def test_a_wrong_project_is_diagnostics_and_no_traceback(liminal: Liminal, shop: Path) -> None:
    (shop / "liminal.yml").write_text("name: shop\nmodelz: []\n")
    for verb in ("run", "plan", "resolve", "status", "ui"):
        done = liminal(verb)
        assert done.code == 2
        assert "liminal.yml:2:1: unknown-key: unknown key 'modelz'" in done.err
        assert "Traceback" not in done.err


def test_an_interrupt_is_130(liminal: Liminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module.cli, "main", interrupted)
    assert liminal("run").code == 130


def test_a_reader_that_goes_away_is_no_error(shop: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m liminal_assets.cli.main schema | head -1"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout == "{\n"
    assert done.stderr == ""


def test_a_database_of_state_that_is_away_is_one_message(
    liminal: Liminal, shop: Path, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    monkeypatch.setenv("LIMINAL_POSTGRES_URL", "postgresql://nobody:secret@127.0.0.1:9/none")
    done = liminal("plan")
    assert done.code == 1
    assert "cannot open Dagster's state" in done.err
    assert "secret" not in done.err
    assert "Traceback" not in done.err
