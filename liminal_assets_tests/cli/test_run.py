"""``liminal run``: materialises, shows what came of it, and goes on where it stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.dagster_run import DagsterRunStatus, RunsFilter

from liminal_assets.cli.processes import DIED_TAG, PROCESS_TAG, is_alive, this_process
from liminal_assets.storage.instance import open_instance
from liminal_assets_tests.cli.conftest import ROWS, Liminal


def assets(out: str) -> dict[str, dict[str, Any]]:
    """The rows of a closing table in JSON, by asset."""
    return {row["asset"]: row for row in json.loads(out)["assets"]}


def table(out: str) -> dict[str, list[str]]:
    """The closing table of a pipe, by asset."""
    lines = out[out.index("asset  ") :].split("\n")
    return {line.split()[0]: line.split() for line in lines[1:] if line.startswith(tuple("crs"))}


def test_every_partition_and_asset_is_made_and_shown(liminal: Liminal, shop: Path) -> None:
    done = liminal("run")
    assert done.code == 0
    lines = done.out.split("\n")
    assert lines[0] == "partitions 2013-01..2013-04"
    assert "[1/4] raw: started" in lines
    assert any(line.startswith("[1/4] raw: 12 rows, ") and line.endswith("s") for line in lines)
    assert table(done.out)["clean"][:5] == ["clean", "clean", "8", "rows", "1/1"]
    assert "printed by the step" not in done.out


def test_what_steps_print_is_kept_for_the_ui(liminal: Liminal, shop: Path) -> None:
    liminal("run", "--select", "raw", "--partition", "2013-01")
    logs = (shop / ".liminal/dagster/storage").rglob("*.out")
    assert any("printed by the step" in log.read_text() for log in logs)


def test_the_run_belongs_to_the_code_location_of_workspace_yaml(
    liminal: Liminal, shop: Path
) -> None:
    liminal("run", "--select", "raw", "--partition", "2013-02")
    with open_instance(shop) as instance:
        (run,) = instance.get_runs()
    assert run.status == DagsterRunStatus.SUCCESS
    assert run.tags["dagster/partition"] == "2013-02"
    assert run.tags[PROCESS_TAG] == this_process()
    assert run.remote_job_origin is not None
    assert run.remote_job_origin.location_name == "liminal_assets.definitions"


@pytest.mark.parametrize(
    ("arguments", "made"),
    [
        (["--select", "raw"], {"raw"}),
        (["--select", "+clean"], {"raw", "clean"}),
        (["--select", "raw+"], {"raw", "clean", "sales"}),
        (["--select", "raw or stores"], {"raw", "stores"}),
        (["--select", "group:fetch and not stores"], {"raw"}),
        (["--select", 'key:"shop/stores"'], {"stores"}),
    ],
    ids=lambda value: value[1] if isinstance(value, list) else "",
)
def test_a_selection_names_blocks_or_is_dagsters(
    liminal: Liminal, shop: Path, arguments: list[str], made: set[str]
) -> None:
    if "sales" in made:
        liminal("run", "--select", "stores")
    done = liminal("run", "--json", "--partition", "2013-01", *arguments)
    assert done.code == 0
    assert {name for name, row in assets(done.out).items() if row["state"] == "done"} == made


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--select", "cleen"], "nothing is called 'cleen' (did you mean 'clean'?)"),
        (["--select", "and and"], "--select 'and and'"),
        (["--select", "group:nothing"], "selects nothing"),
        (["--partition", "2013-1"], "there is no partition '2013-1'"),
        (["--partition", "2014-01"], "there is no partition '2014-01'"),
        (["--partition-range", "2013-01"], "a range is written as FIRST..LAST"),
        (["--partition-range", "2013-01..2013-9"], "there is no partition '2013-9'"),
        (["--partition", "a", "--partition-range", "a..b"], "can't go together"),
        (["--executor", "magic"], "'magic' is not one of"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_arguments_are_code_2_and_say_what_is_right(
    liminal: Liminal, shop: Path, arguments: list[str], message: str
) -> None:
    done = liminal("run", *arguments)
    assert done.code == 2
    assert message in done.err


def test_a_range_makes_its_partitions_in_one_run(liminal: Liminal, shop: Path) -> None:
    done = liminal("run", "--json", "--partition-range", "2013-02..2013-03")
    document = json.loads(done.out)
    assert len(document["runs"]) == 1
    assert assets(done.out)["raw"]["rows"] == 6
    with open_instance(shop) as instance:
        made = instance.get_materialized_partitions(dg.AssetKey(["shop", "clean"]))
    assert made == {"2013-02", "2013-03"}


def test_mistakes_that_take_imports_stop_the_run_before_it_starts(
    liminal: Liminal, shop: Path
) -> None:
    (shop / "rows.py").write_text("def nothing(): ...\n")
    done = liminal("run")
    assert done.code == 2
    assert "liminal.yml:4:21: function: rows has no function 'fetch'" in done.err
    assert liminal("run", "--select", "stores").code == 0


BROKEN = ROWS.replace("    print", "    if context.partition_key == '2013-03': 1 / 0\n    print")


def test_a_step_that_fails_says_where_and_what_was_skipped_and_running_again_continues(
    liminal: Liminal, shop: Path
) -> None:
    (shop / "rows.py").write_text(BROKEN)
    done = liminal("run")
    assert done.code == 1
    assert "error: shop/raw: rows:fetch raised ZeroDivisionError: division by zero" in done.err
    assert "rows.py:4 in fetch" in done.err
    assert f"at {shop}/liminal.yml:4:21" in done.err
    assert "Traceback" not in done.err + done.out
    assert "skipped: clean, sales" in done.out
    assert "run again continues" in done.out
    assert table(done.out)["stores"][-1] == "done"
    (shop / "rows.py").write_text(ROWS)
    again = liminal("run", "--changed", "--json")
    assert again.code == 0
    states = {name: row["state"] for name, row in assets(again.out).items()}
    assert states == {"raw": "done", "clean": "done", "sales": "done", "stores": "kept"}


def test_a_failure_in_json_is_code_1_with_its_message(liminal: Liminal, shop: Path) -> None:
    (shop / "rows.py").write_text(BROKEN)
    done = liminal("run", "--json", "--select", "raw", "--partition", "2013-03")
    assert done.code == 1
    (failure,) = json.loads(done.out)["failures"]
    assert failure["step"] == "raw"
    assert "ZeroDivisionError" in failure["message"]


def test_a_check_that_blocks_is_code_1_and_earlier_rows_stay(liminal: Liminal, shop: Path) -> None:
    liminal("run", "--partition", "2013-01")
    (shop / "rows.py").write_text(ROWS.replace("[1, 2, -1]", "[1.5, 2.5, -1.5]"))
    done = liminal("run", "--json", "--partition", "2013-01")
    assert done.code == 1
    row = assets(done.out)["clean"]
    assert (row["state"], row["checks_passed"], row["checks"], row["rows"]) == ("failed", 0, 1, 2)


def test_only_what_changed_is_made_again(liminal: Liminal, shop: Path) -> None:
    assert liminal("run").code == 0
    done = liminal("run", "--changed")
    assert done.out.startswith("nothing to do: everything is fresh\n")
    (shop / "stores.csv").write_text("store,city\na,Rome\nb,Bergen\n")
    again = liminal("run", "--changed", "--json")
    made = {name for name, row in assets(again.out).items() if row["state"] == "done"}
    assert made == {"stores", "sales"}


MIXED = """\
name: shop
datasets:
  - dataset: days
    fetch: {python: 'rows:fetch'}
    partitions: {every: day, start: '2013-01-01', end: '2013-01-11'}
  - dataset: weeks
    clean: {from: days, sql: "SELECT count(*) AS n FROM days"}
    partitions: {every: week, start: '2013-01-01', end: '2013-01-15'}
  - dataset: whole
    clean: {from: weeks, sql: "SELECT sum(n) AS n FROM weeks"}
    partitions: {values: [only]}
"""


def test_blocks_that_are_cut_otherwise_are_made_in_runs_of_their_own_in_order(
    liminal: Liminal, shop: Path
) -> None:
    (shop / "liminal.yml").write_text(MIXED.replace("'2013-01-11'", "'2013-01-15'"))
    done = liminal("run", "--json")
    assert done.code == 0
    assert len(json.loads(done.out)["runs"]) == 3
    found = assets(done.out)
    assert {name: row["rows"] for name, row in found.items()} == {
        "days": 42,
        "weeks": 2,
        "whole": 1,
    }


def test_a_partition_of_one_cut_stands_for_its_time_in_another(
    liminal: Liminal, shop: Path
) -> None:
    (shop / "liminal.yml").write_text(MIXED.replace("'2013-01-11'", "'2013-01-15'"))
    done = liminal("run", "--json", "--select", "days or weeks", "--partition", "2013-01-08")
    assert done.code == 0
    assert assets(done.out)["days"]["rows"] in (3, 21)


@pytest.mark.slow
def test_steps_can_have_processes_of_their_own(liminal: Liminal, shop: Path) -> None:
    done = liminal("run", "--json", "--executor", "multiprocess", "--partition", "2013-01")
    assert done.code == 0, done.err
    assert {row["state"] for row in assets(done.out).values()} == {"done"}


def test_a_process_is_told_from_a_later_one_with_its_number() -> None:
    mine = this_process()
    assert is_alive(mine)
    machine, number, _ = mine.split("_")
    assert not is_alive(f"{machine}_{number}_1")
    assert not is_alive(f"{machine}_{2**22 + 1}_1")
    assert is_alive("elsewhere_1_1")


SLOW = """\
import time
import pandas as pd

def fetch(context):
    open(f"started-{context.partition_key}", "w").close()
    time.sleep(60)
    return pd.DataFrame({"amount": [1], "store": ["a"]})
"""


def command(*arguments: str, folder: Path) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "liminal_assets.cli.main", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def started(folder: Path) -> subprocess.Popen[str]:
    """A run that hangs in its first step."""
    (folder / "rows.py").write_text(SLOW)
    process = command("run", "--partition", "2013-01", folder=folder)
    deadline = time.monotonic() + 60
    while not (folder / "started-2013-01").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


@pytest.mark.slow
def test_a_killed_run_is_marked_as_failed_at_the_next_start_which_succeeds(
    liminal: Liminal, shop: Path
) -> None:
    process = started(shop)
    process.kill()
    process.wait()
    with open_instance(shop) as instance:
        (run,) = instance.get_runs()
    assert run.status == DagsterRunStatus.STARTED
    (shop / "rows.py").write_text(ROWS)
    assert liminal("run", "--changed", "--partition", "2013-01").code == 0
    with open_instance(shop) as instance:
        (dead,) = instance.get_runs(RunsFilter(run_ids=[run.run_id]))
    assert dead.status == DagsterRunStatus.FAILURE
    assert dead.tags[DIED_TAG] == "true"


@pytest.mark.slow
def test_a_run_waits_for_one_that_works_on_the_same_state(liminal: Liminal, shop: Path) -> None:
    # such as one that outlived the shell above it, which was killed
    first = started(shop)
    second = command("run", "--changed", "--partition", "2013-01", folder=shop)
    assert second.stderr
    told = second.stderr.readline()
    assert "waiting for its end" in told
    assert first.poll() is None
    (shop / "rows.py").write_text(ROWS)
    first.kill()
    out, _ = second.communicate(timeout=60)
    assert second.returncode == 0
    assert table(out)["clean"][:4] == ["clean", "clean", "2", "rows"]
    first.wait()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_is_canceled_and_code_130(
    liminal: Liminal, shop: Path, number: signal.Signals
) -> None:
    process = started(shop)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    with open_instance(shop) as instance:
        (run,) = instance.get_runs()
    assert run.status == DagsterRunStatus.CANCELED


@pytest.mark.slow
def test_a_terminal_gets_colour_and_a_pipe_plain_text(shop: Path) -> None:
    import pty

    (shop / "rows.py").write_text(ROWS)
    command = [sys.executable, "-m", "liminal_assets.cli.main", "run", "--select", "stores"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm"}
    environment.pop("NO_COLOR", None)
    piped = subprocess.run(command, cwd=shop, env=environment, capture_output=True, check=True)
    assert b"\x1b[" not in piped.stdout
    main, side = pty.openpty()
    with subprocess.Popen(command, cwd=shop, env=environment, stdout=side) as process:
        os.close(side)
        shown = b""
        while True:
            try:
                chunk = os.read(main, 4096)
            except OSError:
                break
            if not chunk:
                break
            shown += chunk
        assert process.wait() == 0
    os.close(main)
    assert b"\x1b[" in shown
    assert "✓ stores: 2 rows".encode() in shown
