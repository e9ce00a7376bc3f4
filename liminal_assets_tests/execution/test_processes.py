"""Commands as processes: lines, endings, and nothing of theirs left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liminal_assets.execution.processes import Ending, Order, run_together

TREE = """
trap 'echo asked' TERM
setsid bash -c 'echo $$ > session; exec sleep 99' &
(trap '' TERM; echo $BASHPID > stubborn; while :; do sleep 0.1; done) &
sleep 99 & echo $! > child
while [ ! -s session ] || [ ! -s stubborn ]; do sleep 0.02; done
echo up
wait; sleep 99
"""
"""A process that is asked to end and doesn't, with one of another session, one that ignores SIGTERM
and an ordinary one below it; each writes its number into a file."""


def order(command: str, folder: Path, *, grace: float = 0.2) -> Order:
    environment = {"PATH": os.environ["PATH"]}
    return Order(["/bin/bash", "-c", command], str(folder), environment, grace=grace)


def run(command: str, folder: Path) -> tuple[Ending, list[str]]:
    lines: list[str] = []
    endings = run_together([order(command, folder)], lambda _, line: lines.append(line))
    return endings[0], lines


def is_gone(folder: Path, name: str) -> bool:
    """Whether the process whose number is in a file has ended, within a while."""
    stat = Path("/proc", (folder / name).read_text().strip(), "stat")
    for _ in range(200):
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(
    ("command", "ending", "said"),
    [
        ("exit 0", Ending(code=0), "ended with exit code 0"),
        ("exit 3", Ending(code=3), "ended with exit code 3"),
        ("kill -9 $$", Ending(signal=9), "was killed by SIGKILL"),
        ("kill -SEGV $$", Ending(signal=11), "was killed by SIGSEGV"),
        ("(exit 137)", Ending(code=137), "ended with exit code 137"),
    ],
)
def test_exit_codes_and_signals_are_told_apart(
    tmp_path: Path, command: str, ending: Ending, said: str
) -> None:
    found, _ = run(command, tmp_path)
    assert found == ending
    assert str(found) == said


@pytest.mark.parametrize(
    ("arguments", "folder", "message"),
    [
        pytest.param(["no-such"], ".", "No such file or directory: no-such", id="program"),
        pytest.param(["true"], "nowhere", "No such file or directory: ", id="folder"),
        pytest.param(["./script"], ".", "Permission denied: ./script", id="not executable"),
        pytest.param(["true", "a\0b"], ".", "embedded null byte", id="null byte"),
        pytest.param(["true", "x" * 3_000_000], ".", "Argument list too long", id="too long"),
    ],
)  # fmt: skip
def test_a_command_that_cannot_start_says_why(
    tmp_path: Path, arguments: list[str], folder: str, message: str
) -> None:
    (tmp_path / "script").write_text("echo hi")
    orders = [Order(arguments, str(tmp_path / folder), {"PATH": os.environ["PATH"]})]
    ending = run_together(orders, lambda *_: None)[0]
    assert ending.problem == "start"
    assert message in ending.message


@pytest.mark.parametrize(
    ("command", "lines"),
    [
        pytest.param("echo a; echo b >&2; echo c", ["a", "b", "c"], id="both streams in order"),
        pytest.param("printf 'no end'", ["no end"], id="no last newline"),
        pytest.param("printf 'a\\xff\\xfeb\\n'", ["a\ufffd\ufffdb"], id="bytes that are no UTF-8"),
        pytest.param("printf 'a\\r\\nb\\r\\n'", ["a", "b"], id="lines of Windows"),
        pytest.param("echo; echo", ["", ""], id="empty lines"),
        pytest.param("cat", [], id="nothing to read"),
    ],
)
def test_output_comes_line_by_line(tmp_path: Path, command: str, lines: list[str]) -> None:
    assert run(command, tmp_path) == (Ending(code=0), lines)


def test_a_line_without_end_comes_in_pieces_of_bounded_size(tmp_path: Path) -> None:
    ending, lines = run("head -c 20000000 /dev/zero | tr '\\0' x", tmp_path)
    assert ending.succeeded
    assert sum(map(len, lines)) == 20_000_000
    assert max(map(len, lines)) <= 2 * 64 * 1024


@settings(max_examples=15, deadline=None)
@given(content=st.binary(max_size=300))
def test_any_bytes_come_as_their_lines(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp()
    file = folder / f"content-{os.getpid()}"
    file.write_bytes(content)
    _, lines = run(f"cat {file}", folder)
    parts = content.split(b"\n")
    wanted = parts[:-1] if parts[-1] == b"" else parts
    assert lines == [part.removesuffix(b"\r").decode(errors="replace") for part in wanted]


def test_lines_come_as_they_are_printed(tmp_path: Path) -> None:
    came: list[float] = []
    run_together(
        [order("echo a; sleep 0.5; echo b", tmp_path)], lambda *_: came.append(time.monotonic())
    )
    assert came[1] - came[0] > 0.4


def raise_interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "how", ["deadline", "interrupt", "another fails"], ids=["deadline", "interrupt", "failure"]
)
def test_all_of_a_tree_is_gone_when_it_is_made_to_end(tmp_path: Path, how: str) -> None:
    said: list[str] = []

    def hear(_: int, line: str) -> None:
        said.append(line)
        if line == "up" and how == "interrupt":
            raise_interrupt()

    orders = [order(TREE, tmp_path)]
    deadline = None
    if how == "deadline":
        deadline = time.monotonic() + 1.5
    if how == "another fails":
        orders.append(
            order(
                "while [ ! -s stubborn ] || [ ! -s session ]; do sleep 0.02; done; exit 4", tmp_path
            )
        )
    if how == "interrupt":
        with pytest.raises(KeyboardInterrupt):
            run_together(orders, hear)
    else:
        endings = run_together(orders, hear, deadline=deadline)
        assert endings == ({1: Ending(code=4)} if how == "another fails" else {})
    assert "asked" in said
    assert all(is_gone(tmp_path, name) for name in ("session", "stubborn", "child"))


def test_what_a_command_leaves_in_the_background_ends_with_it(tmp_path: Path) -> None:
    command = "setsid sleep 99 & echo $! > session; (sleep 99 & echo $! > child); echo done"
    started = time.monotonic()
    assert run(command, tmp_path) == (Ending(code=0), ["done"])
    assert time.monotonic() - started < 5
    assert is_gone(tmp_path, "session")
    assert is_gone(tmp_path, "child")


STEP = """
import signal, sys
from liminal_assets.execution.processes import Order, run_together
signal.signal(signal.SIGTERM, signal.SIG_DFL)  # who runs the tests may have it ignored
command, folder, path = sys.argv[1:]
order = Order(["/bin/bash", "-c", command], folder, {"PATH": path}, grace=0.2)
run_together([order], lambda _, line: print(line, flush=True))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "terminated"])
def test_a_tree_ends_with_the_process_that_runs_it(tmp_path: Path, number: int) -> None:
    step = subprocess.Popen(
        [sys.executable, "-c", STEP, TREE, str(tmp_path), os.environ["PATH"]],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert step.stdout is not None
    assert step.stdout.readline() == "up\n"
    step.send_signal(number)
    step.wait(30)
    step.stdout.close()
    assert all(is_gone(tmp_path, name) for name in ("session", "stubborn", "child"))


def test_a_tree_whose_guardian_is_killed_is_told_and_its_group_ended(tmp_path: Path) -> None:
    command = "sleep 99 & echo $! > child; kill -9 $PPID; sleep 99"
    ending, _ = run(command, tmp_path)
    assert ending.problem == "lost"
    assert is_gone(tmp_path, "child")


@pytest.mark.parametrize("ends", ["exit 0", "exit 1", "sleep 99"])
def test_the_command_that_cleans_up_runs_however_a_command_ends(tmp_path: Path, ends: str) -> None:
    cleaning = ["/bin/bash", "-c", f"echo clean >> {tmp_path}/cleaned"]
    one = Order(["/bin/bash", "-c", ends], str(tmp_path), {}, grace=0.2, cleaning=cleaning)
    run_together([one], lambda *_: None, deadline=time.monotonic() + 1)
    assert (tmp_path / "cleaned").read_text() == "clean\n"


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    run("true", tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    for command in ("true", "exit 1", "echo hi"):
        run(command, tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before
