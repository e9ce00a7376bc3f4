"""A small project from fetch to monitor, with everything real, and what bad input does to it."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

import liminal_assets as la
from liminal_assets.factories.models import UNTIL_TAG
from liminal_assets.storage.instance import open_instance
from liminal_assets.storage.registry import ModelRegistry
from liminal_assets.storage.tables import TableStore
from liminal_assets_tests.commands import Done, liminal
from liminal_assets_tests.shop import LEARN, MONTHS, ROWS, Learned, write_shop

WITHOUT_MODEL = 'not (key:"shop/returned" or key:"shop/returned__*")'
TABLES = ("sales_raw", "sales", "stores", "sale_features", "returned_scores")
WATCH = ("--sensors", "--select", WITHOUT_MODEL, "--partition-range", "2024-03..2024-04")


@pytest.fixture(scope="module")
def learned(learned_shop: Learned) -> Done:
    """The first run: learns from two months."""
    return learned_shop.done


@pytest.fixture(scope="module")
def as_learned(learned_shop: Learned, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project after the first run."""
    assert learned_shop.done.code == 0, learned_shop.done.err
    return shutil.copytree(learned_shop.folder, tmp_path_factory.mktemp("learned") / "shop")


@pytest.fixture(scope="module")
def shop(as_learned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project that goes on."""
    return shutil.copytree(as_learned, tmp_path_factory.mktemp("shop") / "shop")


@pytest.fixture(scope="module")
def watched(shop: Path) -> Done:
    """The second run: scores and watches two others, and lets the sensors answer."""
    return liminal("run", "--project", shop, "--changed", "--json", *WATCH)


def rows_of(done: Done) -> dict[str, dict[str, Any]]:
    return {row["asset"]: row for row in done.json["assets"]}


def test_a_first_run_makes_every_asset_and_a_champion(learned: Done) -> None:
    assert learned.code == 0, learned.err + learned.out
    made = rows_of(learned)
    assert {row["state"] for row in made.values()} == {"done"}
    assert made["sales_raw"]["rows"] == 2 * (ROWS + 1)
    assert made["sales"]["rows"] == 2 * (ROWS - 1)
    assert made["sales__quarantine"]["rows"] == 2
    assert made["returned_scores"]["rows"] == 2 * (ROWS - 1)
    assert learned.json["champions"]["returned"]["version"] == 1
    assert learned.json["champions"]["returned"]["metrics"]["roc_auc"] > 0.6


def test_a_score_is_traced_to_the_runs_the_data_and_the_code(as_learned: Path) -> None:
    scores = TableStore(la.load_project(as_learned)).read("returned_scores", ["2024-02"])
    own, sale, returned = scores.relation().project("prediction_id, id, prediction").fetchall()[0]
    found = liminal("trace", own, "--project", as_learned, "--json").json
    assert (found["partition"], found["about"]["id"]) == ("2024-02", sale)
    assert found["answer"]["prediction"] == returned
    assert set(found["inputs"]) == {"amount", "items", "staff", "channel"}
    version = ModelRegistry(la.load_project(as_learned)).version("returned", 1)
    lineage = found["lineage"]
    assert lineage["mlflow_run"] == version.run_id
    with open_instance(as_learned) as instance:
        assert instance.get_run_by_id(lineage["dagster_run"]) is not None
    for known in ("code_version", "data_version"):
        assert lineage[known] == version.tags[f"liminal.{known}"]
    assert lineage["trained_until"] == "2024-02"
    # the truth of a sale is in the monitor's dataset
    assert found["label"]["source"] == "sales"
    assert isinstance(found["label"]["label"], bool)


def test_drift_leads_to_one_retraining_with_its_cause(shop: Path, watched: Done) -> None:
    assert watched.code == 0, watched.err + watched.out
    made = rows_of(watched)
    assert made["returned_watch"]["checks_passed"] < made["returned_watch"]["checks"]
    assert any("requests 1 run" in note for note in watched.json["notes"])
    with open_instance(shop) as instance:
        tags = [run.tags for run in instance.get_runs()]
    caused = [
        found
        for found in tags
        if any(name.startswith("liminal/") and "cause" in name for name in found)
    ]
    assert len(caused) == 1
    assert "2024-04" in " ".join(caused[0].values()) or "2024-03" in " ".join(caused[0].values())
    decisions = ModelRegistry(la.load_project(shop)).history("returned")
    assert [decision.version for decision in decisions][-1] == 2


def test_scores_are_a_table_of_the_warehouse_and_of_the_project(shop: Path, watched: Done) -> None:
    assert watched.code == 0, watched.err
    stored = TableStore(la.load_project(shop)).read("returned_scores")
    with duckdb.connect(str(shop / "warehouse.duckdb"), read_only=True) as warehouse:
        assert warehouse.table("scores").aggregate("count(*)").fetchall() == [(stored.rows,)]
    assert {"id", "probability", "prediction", "model_version"} <= set(stored.schema.names)
    assert stored.rows == len(MONTHS) * (ROWS - 1)


def test_a_plan_knows_up_to_where_a_retrained_model_learned(
    as_learned: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(as_learned, tmp_path / "shop")
    plan = ("plan", "--project", copy, "--select", "returned", "--json")
    (row,) = liminal(*plan).json["assets"]
    assert row["state"] == "fresh"
    with open_instance(copy) as instance:
        (run,) = instance.get_runs()
        instance.add_run_tags(run.run_id, {UNTIL_TAG: "2024-01"})
    (row,) = liminal(*plan).json["assets"]
    assert row["reasons"] == ["sale_features has new data in 2024-02"]


def test_running_again_finds_nothing_to_do(shop: Path, watched: Done) -> None:
    assert watched.code == 0, watched.err
    again = liminal("run", "--project", shop, "--changed", *WATCH)
    assert again.code == 0, again.err
    assert "nothing to do" in again.out


def test_running_everything_again_changes_no_row(shop: Path, watched: Done) -> None:
    store = TableStore(la.load_project(shop))
    names = ("sales", "sale_features")
    before = {name: store.read(name).to("arrow").sort_by("id") for name in names}
    again = liminal("run", "--project", shop, "--select", "sales_raw+2", *LEARN)
    assert again.code == 0, again.err
    for name in names:
        assert store.read(name).to("arrow").sort_by("id").equals(before[name])


# Bad input

FEBRUARY = f"sales/{MONTHS[1]}.csv"
Change = Callable[[str], str]


@dataclass(frozen=True)
class Bad:
    """A file that goes wrong, and what the run must say of it."""

    file: str
    change: Change | None
    """What becomes of the file's text; None: it is deleted."""
    block: str
    says: str
    line: str
    """What stands in the line of ``liminal.yml`` that the message points to."""
    start: str | None = None
    """Where the run starts; default: at the block."""


def swap(old: str, new: str) -> Change:
    return lambda text: text.replace(old, new)


def no_rows(text: str) -> str:
    return text.splitlines()[0] + "\n"


def all_null(text: str) -> str:
    header, *rows = text.splitlines()
    return "\n".join([header, *("," * header.count(",") for _ in rows)]) + "\n"


FAR = "postgres://me:hush@127.0.0.1:9/shop"

BAD_INPUT = [
    pytest.param(
        Bad(FEBRUARY, None, "sales_raw", f"no file is called {FEBRUARY}", "fetch: {file:"),
        id="missing_file",
    ),
    pytest.param(
        Bad(FEBRUARY, no_rows, "sales_raw", "greater than or equal to 100", "row_count"),
        id="empty_dataset",
    ),
    pytest.param(
        Bad(
            FEBRUARY,
            all_null,
            "sales_raw",
            "expect_column_values_to_not_be_null__id: ",
            "not_be_null: {column: id}",
        ),
        id="all_null_dataset",
    ),
    pytest.param(
        Bad(
            FEBRUARY,
            swap("amount", "amuont"),
            "sales",
            "did you mean 'amuont'?",
            "amount:",
            start="sales_raw",
        ),
        id="wrong_column_name",
    ),
    pytest.param(
        Bad(
            "liminal.yml",
            swap("stores: {on: store}", "stores: {on: shop}"),
            "sale_features",
            "sales has no column 'shop'",
            "{on: shop}",
        ),
        id="wrong_column_to_join_by",
    ),
    pytest.param(
        Bad(
            "liminal.yml",
            swap("target: returned", "target: returnd"),
            "returned",
            "did you mean 'returned'?",
            "target: returnd",
        ),
        id="wrong_target",
    ),
    pytest.param(
        Bad(
            "selling.py",
            swap("    return sales[", "    raise ValueError('no sale today')\n    return sales["),
            "sale_features",
            "selling:build raised ValueError: no sale today",
            "python: selling:build",
        ),
        id="function_that_raises",
    ),
    pytest.param(
        Bad(
            "selling.py",
            swap('"returned"]]', '"returned"]].assign(returned=False)'),
            "returned",
            "the target 'returned' has one class only, False",
            "target: returned",
            start="sale_features",
        ),
        id="target_with_one_class",
    ),
    pytest.param(
        Bad(
            "liminal.yml",
            lambda text: text.replace(
                "fetch: {file: stores.csv}", "fetch: {connection: far, table: stores}"
            ).replace("connections:", f"connections:\n  - {{connection: far, url: '{FAR}'}}"),
            "stores",
            "cannot connect to far",
            "table: stores",
        ),
        id="unreachable_database",
    ),
]


def pointed_at(folder: Path, done: Done) -> str:
    """The line of ``liminal.yml`` that a failed command points to."""
    (line,) = set(re.findall(rf"{re.escape(str(folder))}/liminal\.yml:(\d+)", done.err))
    return (folder / "liminal.yml").read_text().splitlines()[int(line) - 1]


@pytest.mark.parametrize("bad", BAD_INPUT)
def test_bad_input_is_one_message_and_leaves_what_was_there(
    bad: Bad, as_learned: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(as_learned, tmp_path / "shop")
    file = folder / bad.file
    good = file.read_text()
    if bad.change is None:
        file.unlink()
    else:
        file.write_text(bad.change(good))
        assert file.read_text() != good
    project = la.load_project(folder)
    store = TableStore(project)
    registry = ModelRegistry(project)
    champion = registry.champion("returned")
    before = {name: store.read(name).to("arrow") for name in TABLES}

    start = f"{bad.start or bad.block}+"
    done = liminal("run", "--project", folder, "--select", start, *LEARN)

    assert done.code == 1, done.out
    assert done.err.count("error: ") == 1
    assert f"error: shop/{bad.block}: " in done.err
    assert bad.says in done.err
    assert bad.line in pointed_at(folder, done)
    assert "Traceback" not in done.err + done.out
    assert "hush" not in done.err + done.out
    for name in set(TABLES) - {bad.start}:
        assert store.read(name).to("arrow").equals(before[name])
    assert champion is not None
    assert registry.champion("returned") == champion

    file.write_text(good)
    # a command of its own would not have imported the broken module
    sys.modules.pop("selling", None)
    mended = " or ".join(f'key:"shop/{name}"' for name in (bad.start or bad.block, bad.block))
    again = liminal("run", "--project", folder, "--changed", "--select", mended, *LEARN)
    assert again.code == 0, again.err


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[None]:
    """A disk of its own for a folder; where that isn't allowed, a limit on the size of files."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode == 0:
        try:
            yield
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_one_message_and_leaves_the_rows_of_before(tmp_path: Path) -> None:
    (tmp_path / "liminal.yml").write_text(
        "name: shop\n"
        "storage: {data: small}\n"
        "datasets:\n"
        "  - dataset: sales\n"
        "    fetch: {file: sales.parquet}\n"
    )

    def sales(count: int) -> None:
        # noise, which can't be compressed
        duckdb.sql(
            f"COPY (SELECT i, random() AS x, uuid() AS y FROM range({count}) AS r(i)) "
            f"TO '{tmp_path / 'sales.parquet'}'"
        )

    sales(1_000)
    few = (tmp_path / "sales.parquet").read_bytes()
    sales(200_000)
    # Dagster's own databases are on the other disk, or smaller than the limit
    with small_disk(tmp_path / "small", 2_000):
        many = (tmp_path / "sales.parquet").rename(tmp_path / "many.parquet")
        (tmp_path / "sales.parquet").write_bytes(few)
        assert liminal("run", "--project", tmp_path).code == 0
        (tmp_path / "sales.parquet").unlink()
        many.rename(tmp_path / "sales.parquet")
        full = liminal("run", "--project", tmp_path)
        assert full.code == 1
        assert "error: shop/sales: cannot write the rows of sales: the disk is full" in full.err
        assert "fetch: {file: sales.parquet}" in pointed_at(tmp_path, full)
        store = TableStore(la.load_project(tmp_path))
        assert store.read("sales").rows == 1_000
        (tmp_path / "sales.parquet").write_bytes(few)
        assert liminal("run", "--project", tmp_path, "--changed").code == 0
        assert store.read("sales").rows == 1_000


@pytest.mark.slow
@pytest.mark.parametrize(
    "when",
    [
        pytest.param("data/shop/sales_raw/2024-02/data.parquet", id="while_rows_are_made"),
        pytest.param("data/shop/returned__reference", id="after_registering"),
    ],
)
def test_a_run_that_is_killed_can_be_run_again(
    when: str, tmp_path: Path, with_mlflow: Callable[[Path], Path]
) -> None:
    shop = with_mlflow(write_shop(tmp_path / "shop"))
    arguments = ["run", "--project", str(shop), "--changed", *LEARN]
    process = subprocess.Popen(
        [sys.executable, "-m", "liminal_assets.cli.main", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_until(lambda: (shop / ".liminal" / when).exists() or process.poll() is not None)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL

    again = liminal(*arguments)

    assert again.code == 0, again.err
    project = la.load_project(shop)
    champion = ModelRegistry(project).champion("returned")
    assert champion is not None
    assert TableStore(project).read("returned__reference", [str(champion.version)]).rows
    assert TableStore(project).read("returned_scores").rows == 2 * (ROWS - 1)
    with duckdb.connect(str(shop / "warehouse.duckdb"), read_only=True) as warehouse:
        assert warehouse.table("scores").aggregate("count(*)").fetchall() == [(2 * (ROWS - 1),)]
    assert "nothing to do" in liminal(*arguments).out


def wait_until(done: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)
