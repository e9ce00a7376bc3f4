"""One side of the comparison in its own process: prints seconds, by step too, as JSON."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import dagster as dg

from benchmarks.run.project import write_project

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def main(side: str, prepared: Path) -> None:
    """Runs one side once, from an empty state but for MLflow's database."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "shop"
        shutil.copytree(prepared, folder)
        with dg.DagsterInstance.ephemeral() as instance, _silent():
            started = time.perf_counter()
            result = dg.materialize(
                _assets(side, folder), instance=instance, run_config=QUIET, raise_on_error=True
            )
            seconds = time.perf_counter() - started
    steps = {
        event.step_key: round(event.event_specific_data.duration_ms / 1000, 3)
        for event in result.all_events
        if event.event_type_value == "STEP_SUCCESS"
    }
    print(json.dumps({"seconds": seconds, "steps": steps}))


def _assets(side: str, folder: Path) -> list[dg.AssetsDefinition]:
    if side == "plain":
        from benchmarks.run.plain import assets_of

        return assets_of(folder)
    import liminal_assets as la

    return list(la.build_definitions(folder).assets or ())  # type: ignore[arg-type]


@contextlib.contextmanager
def _silent():  # type: ignore[no-untyped-def]
    """What libraries print goes nowhere; standard output is the answer's."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def prepare(folder: Path) -> Path:
    """The project with its rows and an empty MLflow database, which takes MLflow seconds."""
    from liminal_assets.language.loading import load_project
    from liminal_assets.storage.tracking import tracking_client

    write_project(folder)
    tracking_client(load_project(folder))
    return folder


if __name__ == "__main__":
    if sys.argv[1] == "prepare":
        prepare(Path(sys.argv[2]))
        print("{}")
    else:
        main(sys.argv[1], Path(sys.argv[2]))
