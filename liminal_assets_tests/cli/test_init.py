"""``liminal init``: projects that are right and run at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from liminal_assets.cli.init import TEMPLATES, project_name
from liminal_assets_tests.cli.conftest import Liminal


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_new_project_has_no_mistakes(liminal: Liminal, tmp_path: Path, template: str) -> None:
    folder = tmp_path / "my-shop"
    assert liminal("init", template, folder).code == 0
    assert liminal("validate", "--project", folder, "--json").out == "[]\n"
    assert ".liminal/" in (folder / ".gitignore").read_text()
    assert "__NAME__" not in "".join(
        path.read_text() for path in folder.rglob("*") if path.is_file()
    )


@pytest.mark.slow
@pytest.mark.parametrize("template", TEMPLATES)
def test_a_new_project_runs_at_once(
    liminal: Liminal, tmp_path: Path, template: str, with_mlflow: Callable[[Path], Path]
) -> None:
    folder = tmp_path / "shop"
    liminal("init", template, folder)
    with_mlflow(folder)
    done = liminal("run", "--project", folder, "--json")
    assert done.code == 0, done.out
    document = json.loads(done.out)
    assert {row["state"] for row in document["assets"]} == {"done"}
    assert all(champion["version"] == 1 for champion in document["champions"].values())


def test_the_template_is_tabular_unless_another_is_named(liminal: Liminal, tmp_path: Path) -> None:
    liminal("init", tmp_path / "one")
    assert (tmp_path / "one/data/customers.csv").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tablar", "x"], "did you mean 'tabular'?"),
        (["a", "b", "c"], "takes a template and a folder"),
        ([], "Missing argument"),
        (["taken"], "holds liminal.yml already"),
        (["file"], "is a file"),
    ],
    ids=str,
)
def test_wrong_arguments_make_nothing(
    liminal: Liminal,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/liminal.yml").write_text("name: mine\n")
    (tmp_path / "file").touch()
    done = liminal("init", *arguments)
    assert done.code == 2
    assert message in done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "taken"]
    assert (tmp_path / "taken/liminal.yml").read_text() == "name: mine\n"


@pytest.mark.parametrize(
    ("folder", "name"),
    [("shop", "shop"), ("my-shop", "my_shop"), ("2024 plans", "p_2024_plans"), ("__", "project")],
)
def test_a_project_is_named_like_its_folder(folder: str, name: str) -> None:
    assert project_name(folder) == name
