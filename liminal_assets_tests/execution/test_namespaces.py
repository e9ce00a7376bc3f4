"""Mounts that one process tree sees, whatever is below or beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from liminal_assets.execution import namespaces
from liminal_assets.execution.mounts import mount_trouble
from liminal_assets.execution.namespaces import Bind
from liminal_assets.execution.processes import Ending, Order, run_together

PATHS = {"PATH": "/usr/local/bin:/usr/bin:/bin"}


def seen(command: str, *binds: Bind) -> list[str]:
    """What a command prints that sees some binds; what the machine says where it allows none."""
    lines: list[str] = []
    order = Order(["/bin/sh", "-c", command], "/", PATHS, binds)
    ending = run_together([order], lambda _, line: lines.append(line))[0]
    if trouble := mount_trouble():
        assert ending == Ending(problem="mount", message=trouble)
        pytest.xfail(trouble)
    assert ending.code == 0, ending
    return lines


def failing(*binds: Bind) -> str:
    ending = run_together([Order(["true"], "/", PATHS, binds)], lambda *_: None)[0]
    assert ending.problem == "mount"
    return mount_trouble() or ending.message


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    folder = tmp_path / "volume"
    folder.mkdir()
    (folder / "file").write_text("in the volume\n")
    return folder


@pytest.mark.parametrize(
    "target", ["/liminal-new/deep/er", "/mnt/liminal-new", "/usr/liminal-new", "/mnt"]
)
def test_a_folder_is_seen_at_any_path_and_the_machine_stays_as_it_is(
    volume: Path, target: str
) -> None:
    before = Path(target).exists(), sorted(Path("/").iterdir())
    assert seen(f"cat {target}/file; pwd", Bind(target, str(volume))) == ["in the volume", "/"]
    assert (Path(target).exists(), sorted(Path("/").iterdir())) == before


def test_what_stands_beside_a_mount_is_seen_as_before(tmp_path: Path, volume: Path) -> None:
    beside = tmp_path / "beside"
    (beside / "folder").mkdir(parents=True)
    (beside / "folder" / "a").write_text("a\n")
    (beside / "file").write_text("b\n")
    (beside / "link").symlink_to("folder/a")
    command = f"cd {beside}; cat folder/a file link new/file; echo c > folder/written"
    lines = seen(command, Bind(f"{beside}/new", str(volume)))
    assert lines == ["a", "b", "a", "in the volume"]
    assert (beside / "folder" / "written").read_text() == "c\n"
    assert not (beside / "new").exists()


def test_a_volume_in_a_volume_is_made_in_it(tmp_path: Path, volume: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    command = "echo x > /liminal-out/in/side; echo y > /liminal-out/top"
    seen(command, Bind("/liminal-out/in", str(inner)), Bind("/liminal-out", str(volume)))
    assert (inner / "side").read_text() == "x\n"
    assert (volume / "top").read_text() == "y\n"
    assert list((volume / "in").iterdir()) == []


def test_a_file_is_seen_at_a_path_of_its_own(volume: Path) -> None:
    bind = Bind("/etc/liminal-new.conf", str(volume / "file"), read_only=True)
    command = "cat /etc/liminal-new.conf; echo x > /etc/liminal-new.conf || echo read only"
    assert seen(f"({command}) 2>/dev/null", bind) == ["in the volume", "read only"]
    assert not Path("/etc/liminal-new.conf").exists()


def test_copies_are_readable_and_go_with_the_processes(volume: Path) -> None:
    secret = Bind("/liminal-secret", read_only=True, copies=(("key", str(volume / "file")),))
    command = (
        "stat -c %a /liminal-secret/key; cat /liminal-secret/key; stat -f -c %T /liminal-secret"
    )
    assert seen(command, secret) == ["400", "in the volume", "tmpfs"]


def test_what_cannot_be_mounted_says_so(tmp_path: Path, volume: Path) -> None:
    file = volume / "file"
    many = tmp_path / "many"
    many.mkdir()
    for number in range(namespaces._MOST_ENTRIES + 1):
        (many / str(number)).touch()
    trouble = mount_trouble()
    for bind, message in (
        (Bind(str(file), str(volume)), f"{file} is a file already"),
        (Bind(f"{file}/below", str(volume)), f"{file} is a file, so"),
        (Bind("/liminal-new", str(volume / "nowhere")), "No such file or directory"),
        (Bind(f"{many}/new", str(volume)), "too many to mount anything new beside them"),
    ):
        assert (trouble or message) in failing(bind)
