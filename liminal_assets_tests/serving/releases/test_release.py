"""Releases are folders that appear whole, are checked when read, and plans are replaced whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from liminal_assets.errors import StepError
from liminal_assets.serving.control.plan import Plan, read_plan, write_plan
from liminal_assets.serving.releases.release import Release, read_release, write_release
from liminal_assets_tests.serving.conftest import SIGNATURE

RELEASE = Release(
    name="flights.late", version="3", signature=SIGNATURE, form="numpy", settings={"of": [1, 2.5]}
)


def fill(folder: Path) -> None:
    (folder / "arrays").mkdir()
    (folder / "arrays" / "weights.bin").write_bytes(b"123")


def test_a_release_comes_back_as_it_was_written(tmp_path: Path) -> None:
    written = write_release(tmp_path, RELEASE, fill)
    assert written.folder.name.startswith("3-")
    assert read_release(written.folder) == written
    assert written.files.keys() == {"arrays/weights.bin"}


def test_the_same_content_is_one_release(tmp_path: Path) -> None:
    first = write_release(tmp_path, RELEASE, fill)
    assert write_release(tmp_path, RELEASE, fill) == first
    assert [path.name for path in tmp_path.iterdir()] == [first.folder.name]


def test_one_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def failing(folder: Path) -> None:
        fill(folder)
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        write_release(tmp_path, RELEASE, failing)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("change", ["changed", "missing", "another"])
def test_files_that_were_changed_are_refused(tmp_path: Path, change: str) -> None:
    written = write_release(tmp_path, RELEASE, fill)
    file = written.folder / "arrays" / "weights.bin"
    if change == "changed":
        file.write_bytes(b"124")
    elif change == "missing":
        file.unlink()
    else:
        (written.folder / "more.bin").write_bytes(b"")
    with pytest.raises(StepError, match="aren't those that were released"):
        read_release(written.folder)


def test_another_format_is_refused(tmp_path: Path) -> None:
    written = write_release(tmp_path, RELEASE, fill)
    file = written.folder / "release.json"
    file.write_text(file.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(StepError, match="another format"):
        read_release(written.folder)


def test_a_plan_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "deployment" / "plan.json"
    assert read_plan(path) == Plan()
    plan = Plan(generation=2, stable="3-ab", candidate="4-cd", share=12.5, wanted="4")
    write_plan(path, plan)
    assert read_plan(path) == plan
    assert [file.name for file in path.parent.iterdir()] == ["plan.json"]


def test_a_damaged_plan_is_told(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text("{")
    with pytest.raises(StepError, match="no traffic plan"):
        read_plan(path)
