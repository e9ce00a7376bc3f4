"""One side: ``plain`` is DuckDB by hand, ``ours`` the steps of the package; ``one`` step that does
everything, or ``two`` with ten million rows written between them and a contract checked on them.

Ours also hashes what it writes, stages and publishes it, and would set broken rows aside."""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import duckdb

import liminal_assets as la
from benchmarks.data.rows import AGGREGATE, BROKEN, CLEAN, sales
from liminal_assets.steps.audit import audit
from liminal_assets.steps.clean import clean_rows
from liminal_assets.steps.context import StepContext
from liminal_assets.storage.sessions import session
from liminal_assets.storage.tables import Table, TableStore


def plain(folder: Path, out: Path, steps: str) -> None:
    """What one would write by hand, with the same files as result."""
    work = duckdb.connect()
    for name in ("sales", "stores"):
        work.execute(f"CREATE VIEW {name} AS FROM '{folder}/{name}.parquet'")
    source = f"({CLEAN})"
    if steps == "two":
        work.execute(f"COPY ({CLEAN}) TO '{out}/clean.parquet' (COMPRESSION zstd)")
        source = f"'{out}/clean.parquet'"
        ((broken,),) = work.execute(BROKEN.format(source=source)).fetchall()
        if broken:
            raise ValueError(f"{broken} rows break the contract")
    query = AGGREGATE.format(source=source)
    work.execute(f"COPY ({query}) TO '{out}/report.parquet' (COMPRESSION zstd)")


def ours(folder: Path, out: Path, steps: str) -> None:
    """The same as datasets: read, computed, staged, judged, hashed and published."""
    cleaning = [{"drop_duplicates": {}}, {"fill_null": {"amount": 0}}]
    contract = {
        "id": "integer",
        "amount": {"type": "float", "at_least": 0},
        "channel": {"type": "category", "one_of": ["web", "shop", "phone"]},
    }
    source = "clean" if steps == "two" else f"({CLEAN})"
    clean = {"from": "sales", "steps": cleaning}
    report = {"from": ["clean" if steps == "two" else "sales", "stores"]}
    project = la.Project.of(
        "benchmark",
        out,
        datasets=[
            {"dataset": "sales", "fetch": {"file": "sales.parquet"}},
            {"dataset": "stores", "fetch": {"file": "stores.parquet"}},
            {"dataset": "clean", "clean": clean, "columns": contract, "quarantine": True},
            {"dataset": "report", "clean": {**report, "sql": AGGREGATE.format(source=source)}},
        ],
    )
    store = TableStore(project)
    raw = {name: Table(name, (f"{folder}/{name}.parquet",)) for name in ("sales", "stores")}
    for name in ("clean", "report") if steps == "two" else ("report",):
        block = project.block(name)
        context = StepContext(project, block)
        tables = {read: raw[read] if read in raw else store.read(read) for read in block.inputs}
        with session() as connection:
            made = clean_rows(context, tables, connection)
            with audit(context, made.rows, store, connection) as audited:
                audited.publish(store)


def main() -> None:
    """Prints seconds by the clock and of processors, and peak megabytes."""
    side, steps, rows = sys.argv[1:]
    folder = sales(int(rows))
    with tempfile.TemporaryDirectory() as out:
        started, before = time.perf_counter(), processors()
        (plain if side == "plain" else ours)(folder, Path(out), steps)
        seconds = time.perf_counter() - started
        cpu = processors() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak_mb": peak}))


def processors() -> float:
    """Seconds of processors that this process used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
