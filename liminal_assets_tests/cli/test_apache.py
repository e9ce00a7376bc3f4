"""validate and resolve on projects of Apache Liminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from liminal_assets.cli.main import main
from liminal_assets_tests.apache.original import Original

SUB = """\
name: mine
super: upper
pipelines:
  - pipeline: p
    start_date: 2020-01-02
    tasks:
      - {task: t, type: python, env: {A: b}, cmd: '{{word}}'}
"""
SUPER = "{name: upper, type: super, variables: {word: 'yes'}}"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "liminal.yml").write_text(SUB)
    (tmp_path / "upper").mkdir()
    (tmp_path / "upper" / "liminal.yaml").write_text(SUPER)
    return tmp_path


def _run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as left:
        main([*map(str, arguments)])
    return int(left.value.code or 0)


def test_resolve_json_is_a_list_of_what_the_original_makes_of_each_file(
    project: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    assert _run("resolve", "--project", project, "--json") == 0
    [final] = json.loads(capsys.readouterr().out)
    original = Original(tmp_path_factory.mktemp("home"))
    theirs = original.resolve(project)
    original.close()
    assert isinstance(theirs, dict)
    assert final == json.loads(json.dumps(theirs["mine"], default=str))


def test_resolve_without_json_is_yaml_of_the_same(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run("resolve", "--project", project, "--json") == 0
    as_json = json.loads(capsys.readouterr().out)
    assert _run("resolve", "--project", project) == 0
    as_yaml = yaml.safe_load(capsys.readouterr().out)
    assert json.loads(json.dumps(as_yaml, default=str)) == as_json


def test_resolve_warns_on_standard_error(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("resolve", "--project", project, "--json") == 0
    assert capsys.readouterr().err.splitlines() == [
        f"{project}/liminal.yml:7:33: warning: ignored-key: 'env' in a python task was never read",
        "  hint: environment variables are 'env_vars'",
        "1 warning",
    ]


def test_resolve_leaves_placeholders_when_asked_to(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run("resolve", "--project", project, "--json", "--no-render") == 0
    [final] = json.loads(capsys.readouterr().out)
    assert final["pipelines"][0]["tasks"][1]["cmd"] == "{{word}}"
    assert final["variables"] == {"word": "yes"}


def test_resolve_of_one_file_shows_that_one(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "upper" / "liminal.yml").write_text("{name: other, services: []}")
    assert _run("resolve", "--project", project / "liminal.yml", "--json") == 0
    assert [final["name"] for final in json.loads(capsys.readouterr().out)] == ["mine"]


def test_resolve_shows_a_file_that_could_not_run(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "liminal.yml").write_text(SUB.replace("type: python", "type: pythn"))
    assert _run("resolve", "--project", project, "--json") == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)[0]["pipelines"][0]["tasks"][1]["type"] == "pythn"
    assert "unknown-task-type" in printed.err
    assert _run("validate", "--project", project) == 2


def test_resolve_without_an_answer_prints_what_is_wrong_and_nothing_else(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "liminal.yml").write_text(SUB.replace("upper", "uper"))
    assert _run("resolve", "--project", project, "--json") == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "liminal.yml:2:8: missing-super: no file is called 'uper'" in printed.err
    assert "did you mean 'upper'?" in printed.err


def test_validate_passes_with_warnings(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("validate", "--project", project) == 0
    assert "ignored-key: 'env'" in capsys.readouterr().out


def test_validate_says_that_all_is_well(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "liminal.yml").write_text(SUB.replace("env:", "env_vars:"))
    assert _run("validate", "--project", project) == 0
    assert capsys.readouterr().out == "mine: 1 pipelines, no mistakes\n"


def test_validate_json_marks_warnings(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "liminal.yml").write_text(SUB.replace("task: t, ", "task: t, executor: k9s, "))
    assert _run("validate", "--project", project, "--json") == 2
    error, warning = json.loads(capsys.readouterr().out)
    assert (error["code"], "severity" in error) == ("unknown-executor", False)
    assert (warning["code"], warning["severity"]) == ("ignored-key", "warning")


@pytest.mark.parametrize("verb", ["validate", "resolve"])
def test_an_environment_changes_nothing_and_that_is_said(
    project: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    assert _run(verb, "--project", project, "--env", "prod") == 0
    assert "no environments: 'prod' changes nothing" in "".join(capsys.readouterr())
