"""Which process executes a run, so that runs of processes that died are told from live ones."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import dagster as dg
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES, RunsFilter

__all__ = ["DIED_TAG", "PROCESS_TAG", "close_dead_runs", "is_alive", "this_process"]

PROCESS_TAG = "liminal/process"
"""The run tag that names the process: machine, process id and the moment of its start."""


DIED_TAG = "liminal/died"
"""The tag of a run whose process died: ``true`` until it is made up for, then that run's id."""


def this_process() -> str:
    """The name of this process."""
    return _name(os.getpid())


def is_alive(process: str) -> bool:
    """Whether a process goes on; one of another machine is taken to."""
    machine, _, rest = process.partition("_")
    number, _, _ = rest.partition("_")
    if machine != _machine() or not number.isdecimal():
        return True
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # a process id is given again
    return process == _name(int(number))


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


def _machine() -> str:
    # a run tag's value may hold letters, digits, "_", "-" and "."
    return "".join(c if c.isalnum() and c.isascii() else "-" for c in socket.gethostname())[:30]


def _name(number: int) -> str:
    return f"{_machine()}_{number}_{_started(number)}"


def _started(number: int) -> str:
    """The moment of a process's start in ticks since boot; 0 where the system doesn't tell."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return "0"
