"""Steps of a cluster of Amazon's Elastic MapReduce that is there."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from liminal_assets.apache.workflow import ExecutorSpec, Workflow
from liminal_assets.errors import StepError
from liminal_assets.execution.executors.airflow import out_of_time
from liminal_assets.execution.task import Executor, HadoopTask, Task, TaskRun
from liminal_assets.integrations.aws import DEFAULT_CONNECTION, aws_client, aws_errors
from liminal_assets.language.diagnostics import Diagnostic, did_you_mean

__all__ = ["EmrExecutor"]

_STATES = ("RUNNING", "WAITING")
"""States of a cluster that is found by its name, unless the executor says others."""
_KNOWN_STATES = (
    "BOOTSTRAPPING",
    "RUNNING",
    "STARTING",
    "TERMINATED",
    "TERMINATED_WITH_ERRORS",
    "TERMINATING",
    "WAITING",
)
_ENDED = frozenset({"CANCELLED", "COMPLETED", "FAILED", "INTERRUPTED"})
_FIRST, _SLOWER, _LONGEST = 5.0, 1.5, 60.0
"""Seconds until the first question for a step's state, how much longer the next waits, and the
longest wait: Amazon allows few questions."""
_PATIENCE = 600.0
"""Seconds that Amazon may leave questions unanswered before a step that runs is given up."""


class EmrExecutor(Executor):
    """Adds a task's command as a step to a cluster, and waits for its end.

    The cluster is ``cluster_id``, or the one of ``cluster_name`` in one of ``cluster_states``.
    The step is cancelled when the run is interrupted and when its time is over.
    """

    supported = (HadoopTask,)

    @classmethod
    def check(cls, spec: ExecutorSpec, workflow: Workflow) -> Iterable[Diagnostic]:
        if not (spec.get("cluster_id") or spec.get("cluster_name")):
            hint = "cluster_name: the name of a cluster, or cluster_id: j-…"
            message = "an emr executor needs a cluster"
            yield Diagnostic(spec.locate(), "missing-key", message, hint)
        for key in ("cluster_state", "cluster_states"):
            states = _as_list(spec.get(key, ()))
            for index, state in enumerate(states):
                if state not in _KNOWN_STATES:
                    at, close = spec.locate(key, index), did_you_mean(str(state), _KNOWN_STATES)
                    message = f"clusters have no state {state!r}"
                    yield Diagnostic(at, "invalid-value", message, close)
        properties = spec.get("properties", {})
        if not isinstance(properties, Mapping):
            at, message = spec.locate("properties"), "properties must be a mapping"
            yield Diagnostic(at, "invalid-type", message, "such as ActionOnFailure: CONTINUE")
        elif "HadoopJarStep" in properties:
            message = "HadoopJarStep has no effect: the step is the task's command"
            at = spec.locate("properties", "HadoopJarStep")
            yield Diagnostic(at, "ignored-key", message, severity="warning")

    def execute(self, task: Task, run: TaskRun) -> None:
        if not isinstance(task, HadoopTask):
            message = f"the task {task.spec.name!r} is no command for a Hadoop cluster"
            raise StepError(message, location=task.spec.locate("executor"))
        connection = str(self.spec.get("aws_conn_id", DEFAULT_CONNECTION))
        emr = aws_client("emr", connection=connection, location=self.spec.locate("aws_conn_id"))
        cluster = self._cluster(emr)
        step = self._add(emr, cluster, task, run)
        run.results.update({"cluster": cluster, "step": step})
        run.log(f"the step {step} is added to the cluster {cluster}")
        status: Mapping[str, Any] | None = None
        try:
            status = self._ended(emr, cluster, step, run)
        finally:
            if status is None:
                _cancel(emr, cluster, step, run)
        if status is None:
            raise out_of_time(run, task)
        if status["State"] != "COMPLETED":
            raise _failed(task, cluster, step, status)

    def _cluster(self, emr: Any) -> str:
        """The id of the cluster.

        Raises:
            StepError: no cluster is called so, or several are.
        """
        spec = self.spec
        if found := spec.get("cluster_id"):
            return str(found)
        name, at = spec.get("cluster_name"), spec.locate("cluster_name")
        if not name:
            hint = "cluster_name: the name of a cluster, or cluster_id: j-…"
            raise StepError("an emr executor needs a cluster", location=at, hint=hint)
        written = spec.get("cluster_states") or spec.get("cluster_state") or _STATES
        states = list(map(str, _as_list(written)))
        with aws_errors("list the clusters of EMR", at):
            pages = emr.get_paginator("list_clusters").paginate(ClusterStates=states)
            clusters = [cluster for page in pages for cluster in page["Clusters"]]
        ids = [cluster["Id"] for cluster in clusters if cluster["Name"] == name]
        if len(ids) == 1:
            return str(ids[0])
        if ids:
            message = f"{len(ids)} clusters are called {name!r}: {', '.join(ids)}"
            raise StepError(message, location=at, hint="cluster_id: names one of them")
        raise StepError(
            f"no cluster is called {name!r} and {' or '.join(states)}",
            location=at,
            hint=did_you_mean(str(name), (cluster["Name"] for cluster in clusters)),
        )

    def _add(self, emr: Any, cluster: str, task: HadoopTask, run: TaskRun) -> str:
        command = list(map(str, task.command(run)))
        step = {
            "Name": task.spec.name,
            **self.spec.get("properties", {}),
            "HadoopJarStep": {"Jar": "command-runner.jar", "Args": command},
        }
        with aws_errors(f"add a step to the cluster {cluster}", self.spec.locate()):
            added = emr.add_job_flow_steps(JobFlowId=cluster, Steps=[step])
        return str(added["StepIds"][0])

    def _ended(self, emr: Any, cluster: str, step: str, run: TaskRun) -> Mapping[str, Any] | None:
        """The status of a step that has ended; None if the time is over.

        Raises:
            StepError: Amazon doesn't tell it.
        """
        wait, state, answered = _FIRST, "", time.monotonic()
        while True:
            try:
                with aws_errors(f"ask for the step {step}", self.spec.locate()):
                    status = emr.describe_step(ClusterId=cluster, StepId=step)["Step"]["Status"]
            except StepError as error:
                if not error.transient or time.monotonic() - answered > _PATIENCE:
                    raise
            else:
                answered = time.monotonic()
                if status["State"] != state:
                    state = status["State"]
                    run.log(f"the step {step} is {state}")
                if state in _ENDED:
                    return dict(status)
            remaining = run.remaining
            if remaining == 0:
                return None
            time.sleep(wait if remaining is None else min(wait, remaining))
            wait = min(wait * _SLOWER, _LONGEST)


def _cancel(emr: Any, cluster: str, step: str, run: TaskRun) -> None:
    """Ends a step that nobody waits for any more."""
    try:
        with aws_errors(f"cancel the step {step}"):
            emr.cancel_steps(
                ClusterId=cluster, StepIds=[step], StepCancellationOption="TERMINATE_PROCESS"
            )
        run.log(f"the step {step} is cancelled")
    except StepError as error:
        run.log(f"{error.message}; it goes on")


def _failed(task: Task, cluster: str, step: str, status: Mapping[str, Any]) -> StepError:
    details = status.get("FailureDetails") or {}
    change = (status.get("StateChangeReason") or {}).get("Message")
    said = ": ".join(filter(None, (details.get("Reason"), details.get("Message") or change)))
    log = details.get("LogFile")
    return StepError(
        f"the task {task.spec.name!r}, the step {step} of the cluster {cluster}, is "
        f"{status['State']}{f': {said}' if said else ''}",
        location=task.spec.locate("application_source"),
        hint=f"its log is {log}" if log else None,
    )


def _as_list(value: Any) -> Sequence[Any]:
    return [value] if isinstance(value, str) else list(value)
