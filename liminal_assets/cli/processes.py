"""Which process executes a run, so that runs of processes that died are told from live ones."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES, RunsFilter

from liminal_assets.cli.output import say
from liminal_assets.execution.identity import is_alive, this_process
from liminal_assets.storage.locks import file_lock

__all__ = ["DIED_TAG", "PROCESS_TAG", "alone", "close_dead_runs", "is_alive", "this_process"]

PROCESS_TAG = "liminal/process"
"""The run tag that names the process: machine, process id and the moment of its start."""


DIED_TAG = "liminal/died"
"""The tag of a run whose process died: ``true`` until it is made up for, then that run's id."""


_INSIDE = "LIMINAL_RUN_STATE"
"""The state folder that a run above this process works on."""


@contextmanager
def alone(state: Path) -> Iterator[None]:
    """Waits until no other ``liminal run`` works on a state folder, and keeps others out.

    One outlives the shell or the ``make`` that was killed above it, and goes on. A task that runs
    the command itself is not kept out.
    """
    if os.environ.get(_INSIDE) == str(state):
        yield
        return

    def waiting() -> None:
        say("another 'liminal run' works on this state: waiting for its end", err=True)

    with file_lock(state / "run.lock", waiting=waiting):
        os.environ[_INSIDE] = str(state)
        try:
            yield
        finally:
            os.environ.pop(_INSIDE, None)


def close_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Marks the runs of processes that died as failed.

    Returns:
        Their ids.
    """
    closed = []
    for run in instance.get_runs(RunsFilter(statuses=list(NOT_FINISHED_STATUSES))):
        process = run.tags.get(PROCESS_TAG)
        if process and not is_alive(process):
            instance.add_run_tags(run.run_id, {DIED_TAG: "true"})
            instance.report_run_failed(run, "the process that executed the run died")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            closed.append(run.run_id)
    return closed
