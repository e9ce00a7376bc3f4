"""Which files belong to an Apache Liminal project."""

from __future__ import annotations

from pathlib import Path

import pytest

from liminal_assets.apache import find_apache, resolve_projects
from liminal_assets.language.diagnostics import InvalidProjectError
from liminal_assets_tests.apache.conftest import Write

SUB = "{name: sub, super: upper}"
SUPER = "{name: upper, type: super, owner: data}"
OURS = "{name: ours, datasets: []}"


def _names(path: Path) -> list[str] | None:
    tree = find_apache(path)
    return None if tree is None else [document["name"] for document in tree.documents]


@pytest.mark.parametrize(
    ("files", "names"),
    [
        pytest.param({"liminal.yml": SUB, "z/liminal.yaml": SUPER}, ["sub", "upper"], id="below"),
        pytest.param(
            {"liminal.yml": SUB, "liminal.yaml": SUPER}, ["sub", "upper"], id="both names"
        ),
        pytest.param(
            {"b/liminal.yml": SUB, "a/liminal.yml": SUPER}, ["upper", "sub"], id="by path"
        ),
        pytest.param({".hidden/liminal.yml": SUB}, ["sub"], id="hidden folders"),
        pytest.param(
            {"liminal.yml": "name: plain", "a/liminal.yml": SUB},
            ["plain", "sub"],
            id="a file that says nothing goes with those below",
        ),
        pytest.param(
            {"liminal.yml": SUB, "a/liminal.yml": OURS}, ["sub"], id="not those with datasets"
        ),
        pytest.param({"liminal.yml": OURS, "a/liminal.yml": SUB}, None, id="its own file decides"),
        pytest.param({"a/liminal.yml": OURS, "b/liminal.yml": SUB}, None, id="both kinds below"),
        pytest.param({"liminal.yml": "name: plain"}, None, id="no section of theirs"),
        pytest.param(
            {"liminal.yml": "{name: both, pipelines: [], models: []}"}, None, id="sections of both"
        ),
        pytest.param({"other.yml": SUB}, None, id="another name"),
        pytest.param(
            {"liminal.yml": SUB, ".venv/pyvenv.cfg": "", ".venv/liminal.yml": SUPER},
            ["sub"],
            id="not in a virtual environment",
        ),
        pytest.param(
            {"liminal.yml": SUB, ".git/liminal.yml": SUPER, "node_modules/x/liminal.yml": SUPER},
            ["sub"],
            id="not where others keep things",
        ),
    ],
)
def test_a_project_is_every_file_below_a_folder(
    write: Write, files: dict[str, str], names: list[str] | None
) -> None:
    assert _names(write(files)) == names


def test_one_file_is_shown_with_the_supers_below_its_folder(write: Write) -> None:
    folder = write(
        {
            "liminal.yml": SUB,
            "supers/liminal.yml": SUPER,
            "other/liminal.yml": "{name: other, type: x}",
        }
    )
    [project] = resolve_projects(folder / "liminal.yml")
    assert (project.name, project.configuration["owner"]) == ("sub", "data")


def test_a_file_of_another_name_can_be_asked_for(write: Write) -> None:
    folder = write({"mine.yml": SUB, "supers/liminal.yml": SUPER})
    [project] = resolve_projects(folder / "mine.yml")
    assert project.configuration["owner"] == "data"


def test_nothing_to_resolve_is_an_error_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(InvalidProjectError, match=r"no-project.*liminal\.yml"):
        resolve_projects(tmp_path)
