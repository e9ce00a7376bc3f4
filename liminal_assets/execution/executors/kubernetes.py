"""Pods of a Kubernetes cluster, one job for each task.

dagster-k8s's own ways to run a container need a step's context of Dagster, know one pod, and end
neither at a deadline nor while they read a log: ``execute_k8s_job`` is superseded, and
``PipesK8sClient`` sends the log past the run's. Here are its parts below them: its client, its
waiting for answers, its models and its labels.
"""

from __future__ import annotations

import math
import os
import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, cast

from liminal_assets.apache.vocabulary import words
from liminal_assets.apache.workflow import ExecutorSpec, Workflow
from liminal_assets.errors import StepError
from liminal_assets.execution.clusters import ClusterAccess, api_client, cluster_answers
from liminal_assets.execution.executors.airflow import out_of_time
from liminal_assets.execution.logs import TaskLog, TaskOutput
from liminal_assets.execution.pod_watch import JobWatch, NotStartedError, PodEnding
from liminal_assets.execution.pods import check_pod, pod_template
from liminal_assets.execution.task import Container, ContainerTask, Executor, Task, TaskRun
from liminal_assets.language.diagnostics import Diagnostic

__all__ = ["KubernetesExecutor"]

_STARTUP = 1200
"""Seconds that a pod may take to start, as in Apache Liminal."""
_KEPT = 24 * 3600
"""Seconds after which a cluster takes a job away that nobody was left to take away."""
_NAMESPACE = "AIRFLOW__KUBERNETES__NAMESPACE"
_WITHOUT_EFFECT: Mapping[str, str | None] = {
    "do_xcom_push": "a file in a volume hands something on to the next task",
    "reattach_on_restart": "the job of a run that is gone ends by itself",
    **dict.fromkeys(
        ("depends_on_past", "end_date", "owner", "retries", "retry_delay", "start_date"),
        "it is a key of pipelines",
    ),
    **dict.fromkeys(("execution_timeout", "sla"), "a pipeline has timeout_minutes"),
    **dict.fromkeys(
        words(
            """doc doc_json doc_md doc_rst doc_yaml email email_on_failure email_on_retry
            executor_config inlets max_retry_delay on_execute_callback on_failure_callback
            on_retry_callback on_success_callback outlets params pool pool_slots priority_weight
            queue retry_exponential_backoff run_as_user task_concurrency trigger_rule
            wait_for_downstream weight_rule"""
        )
    ),
}
"""Keys that Airflow had a use for, and what there is instead."""


class KubernetesExecutor(Executor):
    """Runs a task's containers on a cluster: a job whose pods are the workers.

    The job is taken away when it has ended, when the run is interrupted and when its time is
    over; the cluster ends it by itself if this process is gone.
    """

    supported = (ContainerTask,)

    @classmethod
    def check(cls, spec: ExecutorSpec, workflow: Workflow) -> Iterable[Diagnostic]:
        for error in check_pod(spec, workflow):
            at = error.location or spec.locate()
            yield Diagnostic(at, "invalid-value", error.message, error.hint)
        seconds = spec.get("startup_timeout_seconds", _STARTUP)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds <= 0:
            at, message = spec.locate("startup_timeout_seconds"), "it must be a number of seconds"
            yield Diagnostic(at, "invalid-value", message)
        for key, hint in _WITHOUT_EFFECT.items():
            if spec.get(key) is not None:
                message = f"{key!r} of a kubernetes executor has no effect"
                at = spec.configuration.keys_at[key]
                yield Diagnostic(at, "ignored-key", message, hint, "warning")

    def execute(self, task: Task, run: TaskRun) -> None:
        if not isinstance(task, ContainerTask):
            message = f"the task {task.spec.name!r} is no container"
            raise StepError(message, location=task.spec.locate("executor"))
        container = task.container(run)
        spec, access = self.spec, ClusterAccess.of(self.spec)
        namespace, name = _namespace(spec, access), _job_name(spec, task, run)
        template = pod_template(spec, self.workflow, container, _labels(task, run))
        client = _client(access, spec)
        with TaskLog(task.spec, self.workflow, run.run_id) as log:
            output = TaskOutput(log, run, workers=container.workers)
            run.results.update({"job": name, "namespace": namespace})
            watch = JobWatch(
                client,
                namespace,
                name,
                container.workers,
                float(spec.get("startup_timeout_seconds", _STARTUP)),
                output.hear if spec.get("get_logs", True) else None,
            )
            kept = not spec.get("is_delete_operator_pod", True)
            job = _job(name, template, container, run, kept=kept)
            ended = succeeded = False
            try:
                with cluster_answers(f"make the job {name}", spec.locate()):
                    client.batch_api.create_namespaced_job(namespace, job)
                output.note(f"the job {name} runs in the namespace {namespace}")
                endings = watch.until_ended(lambda: run.remaining)
                ended = bool(endings)
                succeeded = ended and all(ending.succeeded for ending in endings)
            except NotStartedError as error:
                raise error.at(task.spec.locate("image")) from None
            finally:
                watch.stop()
                if spec.get("log_events_on_failure") and not succeeded:
                    _note_events(client, watch, output)
                if not (ended and kept):
                    _delete(client, name, namespace, output)
                output.close()
        self._conclude(task, run, container, endings, output)

    def _conclude(
        self,
        task: ContainerTask,
        run: TaskRun,
        container: Container,
        endings: list[PodEnding],
        output: TaskOutput,
    ) -> None:
        """Raises what a job that didn't succeed comes to."""
        if not endings:
            raise out_of_time(run, task)
        for ending in endings:
            if not ending.succeeded:
                who = f"the task {task.spec.name!r}"
                if container.workers > 1:
                    who = f"worker {ending.index} of {container.workers} of {who}"
                said = "".join(f"\n  {line}" for line in output.last.get(ending.index, ()))
                raise StepError(
                    f"{who}, in the pod {ending.pod}, {ending}{said}",
                    location=task.spec.locate("cmd"),
                    hint=_hint(ending, output),
                    transient=ending.code is None,
                )


def _hint(ending: PodEnding, output: TaskOutput) -> str:
    if ending.reason == "OOMKilled":
        return "it took more memory than it may: resources: {limits: {memory: …}} of the executor"
    return f"all of its output is in {output.log.path}"


def _client(access: ClusterAccess, spec: ExecutorSpec) -> Any:
    """dagster-k8s's client of a cluster."""
    import kubernetes.client as k8s
    from dagster_k8s.client import DagsterKubernetesClient

    api, kind = api_client(access, spec.locate()), cast("Any", DagsterKubernetesClient)
    return kind.production_client(k8s.BatchV1Api(api), k8s.CoreV1Api(api))


def _namespace(spec: ExecutorSpec, access: ClusterAccess) -> str:
    """The executor's, Airflow's, that of the pod this process is in or of the file, ``default``."""
    from dagster_k8s.utils import detect_current_namespace

    written = spec.get("namespace") or os.environ.get(_NAMESPACE)
    found = detect_current_namespace(access.file) if access.in_cluster or access.file else None
    return str(written or found or "default")


def _job_name(spec: ExecutorSpec, task: Task, run: TaskRun) -> str:
    """A name that no other job has: that of the executor or the task, and of the run."""
    base = re.sub(r"[^a-z0-9]+", "-", str(spec.get("name") or task.spec.name).lower())
    return f"{base.strip('-')[:30].rstrip('-') or 'task'}-{run.run_id[:8]}-{uuid.uuid4().hex[:6]}"


def _labels(task: Task, run: TaskRun) -> dict[str, str]:
    from dagster_k8s.utils import get_common_labels, sanitize_k8s_label

    ours = {
        "dagster/run-id": run.run_id,
        "liminal/pipeline": run.pipeline.name,
        "liminal/project": run.workflow.name,
        "liminal/task": task.spec.name,
    }
    return {
        **cast("Any", get_common_labels)(),
        **{name: sanitize_k8s_label(value) for name, value in ours.items()},
    }


def _job(
    name: str, template: Mapping[str, Any], container: Container, run: TaskRun, *, kept: bool
) -> Any:
    """The job of a task: no pod of it is tried again, and it outlives neither run nor day."""
    import kubernetes.client as k8s
    from dagster_k8s.models import k8s_model_from_dict

    spec: dict[str, Any] = {
        "template": template,
        "backoff_limit": 0,
        "completions": container.workers,
        "parallelism": container.workers,
    }
    if not kept:
        spec["ttl_seconds_after_finished"] = _KEPT
    if container.workers > 1:
        spec["completion_mode"] = "Indexed"
    if run.remaining is not None:
        spec["active_deadline_seconds"] = math.ceil(run.remaining) + 60
    metadata = {"name": name, "labels": template["metadata"].get("labels") or {}}
    job = {"api_version": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}
    return k8s_model_from_dict(k8s.V1Job, job)


def _delete(client: Any, name: str, namespace: str, output: TaskOutput) -> None:
    try:
        with cluster_answers(f"delete the job {name}"):
            client.delete_job(name, namespace)
    except StepError as error:
        output.note(f"{error.message}; it ends by itself")


def _note_events(client: Any, watch: JobWatch, output: TaskOutput) -> None:
    """Puts what Kubernetes says of the pods into the log."""
    try:
        with cluster_answers("show the events of the pods"):
            for pod in watch.pods:
                for event in client.retrieve_pod_events(pod, watch.namespace):
                    output.note(f"{pod}: {event.type} {event.reason}: {event.message}")
    except StepError as error:
        output.note(error.message)
