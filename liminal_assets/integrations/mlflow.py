"""MLflow runs that belong to Dagster runs, through dagster-mlflow, imported when a step needs it.

dagster-mlflow opens a run when its resource is made, at the start of the Dagster run and in every
process of it, and leaves its end to hooks of jobs, which assets don't have. Here a step opens the
run of its model, the same one in every step of the Dagster run, and ends it with its own status.
"""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from liminal_assets.errors import StepError
from liminal_assets.language.loading import Project
from liminal_assets.storage.tracking import (
    artifact_root,
    import_mlflow,
    tracking_client,
    tracking_errors,
    tracking_uri,
)

__all__ = ["ActiveRun", "DagsterRun", "active_run", "experiment_of", "git_commit", "run_url"]

_PID, _HOST = "liminal.pid", "liminal.host"
_ACTIVE = threading.RLock()
"""MLflow keeps its tracking URI per process."""


@dataclass(frozen=True)
class DagsterRun:
    """The Dagster run that an MLflow run belongs to.

    Attributes:
        url: its page in Dagster's UI.
        log: Dagster's logger.
        alive: whether the Dagster run of an id may still be going on.
        interrupted: the exceptions by which a run is stopped from outside.
    """

    run_id: str
    url: str
    log: Any
    alive: Callable[[str], bool]
    interrupted: tuple[type[BaseException], ...] = (KeyboardInterrupt,)


@dataclass
class ActiveRun:
    """An MLflow run that is being written to.

    Attributes:
        status: how it ends, if nothing is raised: ``FINISHED``, ``FAILED`` or ``KILLED``.
    """

    run_id: str
    experiment_id: str
    url: str
    status: str = field(default="FINISHED")


@contextmanager
def active_run(
    project: Project, model: str, dagster: DagsterRun, tags: Mapping[str, str] | None = None
) -> Iterator[ActiveRun]:
    """The MLflow run of a model in a Dagster run: started, or gone on with by a later step.

    It ends ``FINISHED``, ``FAILED`` if an exception passes, or ``KILLED`` if the run was stopped.
    Runs that earlier Dagster runs left running when they were killed are ended as such.

    Raises:
        StepError: MLflow can't be reached, or something else has an active run in this thread.
    """
    mlflow = import_mlflow()
    with _ACTIVE:
        experiment_id = experiment_of(project, model)
        end_killed_runs(project, experiment_id, dagster)
        before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
        if mlflow.active_run() is not None:
            raise StepError(
                "another MLflow run is active in this process",
                hint="end it with mlflow.end_run() before training a model",
            )
        try:
            with tracking_errors(f"start an MLflow run of {model}"):
                opened = _open(project, model, dagster, tags or {})
            run = ActiveRun(
                opened.info.run_id,
                experiment_id,
                run_url(project, experiment_id, opened.info.run_id),
            )
            try:
                yield run
            except BaseException as error:
                run.status = "KILLED" if isinstance(error, dagster.interrupted) else "FAILED"
                raise
            finally:
                with tracking_errors(f"end the MLflow run of {model}"):
                    mlflow.end_run(run.status)
        finally:
            if mlflow.active_run() is not None:
                # it was started and could not be tagged
                mlflow.end_run("FAILED")
            mlflow.set_tracking_uri(before)


def _open(project: Project, model: str, dagster: DagsterRun, tags: Mapping[str, str]) -> Any:
    """Starts or finds the run by dagster-mlflow, as its resource does."""
    from dagster_mlflow.resources import MlFlow

    uri = tracking_uri(project)
    config = {
        "experiment_name": f"{project.name}.{model}",
        "mlflow_tracking_uri": uri,
        "extra_tags": {
            "dagster.run_id": dagster.run_id,
            "dagster.url": dagster.url,
            _PID: str(os.getpid()),
            _HOST: socket.gethostname(),
            **tags,
        },
    }
    context = SimpleNamespace(
        log=SimpleNamespace(info=dagster.log.debug),
        dagster_run=SimpleNamespace(job_name=f"{model} {dagster.run_id[:8]}"),
        run_id=dagster.run_id,
        resource_config=config,
    )
    return MlFlow(context).active_run()  # type: ignore[attr-defined,no-untyped-call]


def end_killed_runs(project: Project, experiment_id: str, dagster: DagsterRun) -> None:
    """Ends what killed Dagster runs left running in an experiment."""
    from mlflow.exceptions import MlflowException

    client = tracking_client(project)
    with tracking_errors("look for MLflow runs that were killed"):
        running = client.search_runs([experiment_id], "attributes.status = 'RUNNING'")
        for run in running:
            owner = run.data.tags.get("dagster_run_id")
            if owner is None or owner == dagster.run_id:
                continue
            if _process_lives(run.data.tags) is False or not dagster.alive(owner):
                try:
                    client.set_terminated(run.info.run_id, "KILLED")
                except MlflowException as error:
                    # another process ended or deleted it meanwhile
                    dagster.log.debug(f"cannot end the MLflow run {run.info.run_id}: {error}")


def _process_lives(tags: Mapping[str, str]) -> bool | None:
    """Whether the process that wrote a run still lives; None if it ran elsewhere."""
    pid = tags.get(_PID, "")
    if tags.get(_HOST) != socket.gethostname() or not pid.isdigit():
        return None
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def experiment_of(project: Project, model: str) -> str:
    """The id of a model's experiment, ``<project>.<model>``; it is made if it isn't there.

    Raises:
        StepError: MLflow can't be reached.
    """
    client = tracking_client(project)
    from mlflow.exceptions import MlflowException

    name = f"{project.name}.{model}"
    root = artifact_root(project)
    with tracking_errors(f"make the MLflow experiment {name}"):
        found = client.get_experiment_by_name(name)
        if found is None:
            try:
                return client.create_experiment(name, f"{root}/{name}" if root else None)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                # another process was faster
                return experiment_of(project, model)
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)


def run_url(project: Project, experiment_id: str, run_id: str) -> str:
    """A run's page in MLflow's UI: the tracking server's, else the one that ``liminal ui``
    opens (``LIMINAL_MLFLOW_URL``)."""
    uri = tracking_uri(project)
    if not uri.startswith(("http://", "https://")):
        uri = os.environ.get("LIMINAL_MLFLOW_URL", "http://127.0.0.1:5000")
    return f"{uri.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}"


def git_commit(folder: Path) -> str | None:
    """The commit of the repository that a folder lies in, ``-dirty`` if something was changed."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40"]
    command += ["--exclude", "*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
