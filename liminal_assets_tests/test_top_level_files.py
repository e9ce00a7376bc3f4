"""The files at the top of the repository agree with the package and with each other."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from liminal_assets.definitions import load_projects
from liminal_assets.storage import instance

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TOP = Path(__file__).parents[1]
LOCK_FILES = ["requirements.lock", "requirements-dev.lock"]


def pyproject() -> dict:
    return tomllib.loads((TOP / "pyproject.toml").read_text())


def locked(file: str) -> dict[str, set[str]]:
    pins: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==(\S+)", (TOP / file).read_text(), re.M):
        pins.setdefault(canonicalize_name(name), set()).add(version)
    return pins


def test_dagster_yaml_at_the_top_is_the_packaged_default() -> None:
    packaged = Path(instance.__file__).with_name("dagster.yaml")
    assert (TOP / "dagster.yaml").read_text() == packaged.read_text()


def test_workspace_yaml_loads_every_project() -> None:
    (target,) = yaml.safe_load((TOP / "workspace.yaml").read_text())["load_from"]
    assert target["python_module"]["module_name"] == "liminal_assets.definitions"


def test_the_code_location_of_the_repository_holds_its_examples_and_nothing_else() -> None:
    folders = {project.root.relative_to(TOP).parts[0] for project in load_projects([TOP])}
    assert folders == {"examples"}


@pytest.mark.parametrize("file", LOCK_FILES)
def test_every_locked_package_has_hashes_and_no_index_host(file: str) -> None:
    text = (TOP / file).read_text()
    assert "://" not in text
    assert "--index-url" not in text
    blocks = re.split(r"^(?=[\w.-]+==)", text, flags=re.M)[1:]
    assert len(blocks) > 100
    assert [block.split()[0] for block in blocks if "--hash=sha256:" not in block] == []


@pytest.mark.parametrize(
    ("file", "sections"),
    [
        ("requirements.lock", ["dependencies", "examples", "build"]),
        ("requirements-dev.lock", ["dependencies", "examples", "build", "dev"]),
    ],
)
def test_the_lock_file_meets_every_requirement_of_pyproject(file: str, sections: list[str]) -> None:
    declared = pyproject()
    groups = {
        "dependencies": declared["project"]["dependencies"],
        **declared["project"]["optional-dependencies"],
        **declared["dependency-groups"],
    }
    pins = locked(file)
    for line in (line for section in sections for line in groups[section]):
        requirement = Requirement(line)
        versions = pins.get(canonicalize_name(requirement.name), set())
        assert versions, f"{requirement.name} is not locked: run 'make lock'"
        assert all(requirement.specifier.contains(version) for version in versions), line


def test_both_lock_files_agree() -> None:
    run, dev = (locked(file) for file in LOCK_FILES)
    assert {name: dev[name] for name in run} == run
