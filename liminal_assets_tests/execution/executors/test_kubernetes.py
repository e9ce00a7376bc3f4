from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from liminal_assets.errors import StepError
from liminal_assets.execution import pod_watch
from liminal_assets.execution.clusters import cluster_configured
from liminal_assets.execution.executors.kubernetes import KubernetesExecutor
from liminal_assets.execution.plugins import run_task
from liminal_assets.execution.task import TaskRun
from liminal_assets_tests.kubernetes_cluster import Cluster, cluster
from liminal_assets_tests.workflows import executor_of, found, run_of, task_of


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Cluster]:
    monkeypatch.setattr(pod_watch, "_POLL", 0.05)
    for variable in ("KUBERNETES_SERVICE_HOST", "LIMINAL_EXECUTOR", "LIMINAL_HOME"):
        monkeypatch.delenv(variable, raising=False)
    with cluster() as found:
        monkeypatch.setenv("KUBECONFIG", str(found.kubeconfig(tmp_path)))
        yield found


def _run(
    folder: Path, cmd: str, *, executor: str = "", lines: list[str] | None = None, **more: Any
) -> TaskRun:
    """Runs a command as a python task on the cluster."""
    task = {key: more.pop(key) for key in ("executors", "env_vars") if key in more}
    spec, workflow = task_of(
        folder,
        "type: python\nimage: app\nexecutor: k\n"
        + "".join(f"{key}: {value}\n" for key, value in task.items())
        + f"cmd: |\n  {cmd}",
        f"executors: [{{executor: k, type: kubernetes, {executor}}}]",
    )
    run = run_of(workflow, lines=lines, **more)
    run_task(spec, run)
    return run


def _output(lines: list[str]) -> list[str]:
    """What the task printed: the lines without ours."""
    return [line for line in lines if not line.startswith("the job ")]


def test_a_task_runs_in_a_pod_and_its_lines_are_heard(tmp_path: Path, api: Cluster) -> None:
    lines: list[str] = []
    run = _run(tmp_path, "echo one; echo $COLOUR >&2", env_vars="{COLOUR: red}", lines=lines)
    assert _output(lines) == ["one", "red"]
    [name] = api.deleted
    assert name.startswith("t-8a5c0d9e-")
    assert (run.results["job"], api.jobs, api.pods) == (name, {}, {})
    assert Path(run.results["log"]).read_text().splitlines()[-2:] == ["one", "red"]


def test_workers_are_pods_that_know_their_number(tmp_path: Path, api: Cluster) -> None:
    lines: list[str] = []
    _run(tmp_path, "echo $LIMINAL_SPLIT_ID of $LIMINAL_NUM_SPLITS", executors=3, lines=lines)
    assert sorted(_output(lines)) == ["[0] 0 of 3", "[1] 1 of 3", "[2] 2 of 3"]


def test_a_task_that_fails_says_its_exit_code_and_its_last_lines(
    tmp_path: Path, api: Cluster
) -> None:
    with pytest.raises(StepError) as failure:
        _run(tmp_path, "echo no such table; exit 3")
    assert "ended with exit code 3\n  no such table" in failure.value.message
    assert failure.value.location is not None
    assert failure.value.location.line == 9
    assert len(api.deleted) == 1


def test_one_worker_that_fails_ends_the_others(tmp_path: Path, api: Cluster) -> None:
    with pytest.raises(StepError, match="worker 1 of 2 of the task 't'"):
        _run(tmp_path, "[ $LIMINAL_SPLIT_ID = 1 ] && exit 4; sleep 60", executors=2)
    assert api.pods == {}


def test_memory_that_ran_out_has_a_hint(tmp_path: Path, api: Cluster) -> None:
    with pytest.raises(StepError, match=r"OOMKilled.*limits: \{memory"):
        _run(tmp_path, "exit 137")


def test_a_pod_that_vanishes_may_be_tried_again(tmp_path: Path, api: Cluster) -> None:
    def take_away() -> None:
        for name in list(api.pods):
            api.pods.pop(name).kill()

    with pytest.raises(StepError, match="was taken away") as failure:
        _run(tmp_path, "sleep 60", **_when_running(api, take_away))
    assert failure.value.transient


def test_a_deadline_ends_the_job(tmp_path: Path, api: Cluster) -> None:
    with pytest.raises(StepError, match="timeout_minutes"):
        _run(tmp_path, "sleep 60", seconds=1)
    assert (len(api.deleted), api.pods) == (1, {})


def test_a_task_that_never_stops_printing_ends_at_its_deadline_too(
    tmp_path: Path, api: Cluster
) -> None:
    chatter = "while true; do echo y; sleep 0.001; done"
    with pytest.raises(StepError, match="timeout_minutes"):
        _run(tmp_path, chatter, seconds=1, log=lambda line: time.sleep(0.05))
    assert (len(api.deleted), api.pods) == (1, {})


def test_an_interrupt_ends_the_job(tmp_path: Path, api: Cluster) -> None:
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path, "echo running; sleep 60", log=_interrupting)
    assert (len(api.deleted), api.pods) == (1, {})


@pytest.mark.parametrize(
    ("state", "said"),
    [
        pytest.param(
            {"waiting": {"reason": "ImagePullBackOff", "message": "no app"}},
            "doesn't start: ImagePullBackOff: no app",
            id="an image that there isn't",
        ),
        pytest.param(
            {"waiting": {"reason": "CreateContainerConfigError", "message": "no secret"}},
            "within 0.2 seconds: CreateContainerConfigError: no secret",
            id="a secret that there isn't",
        ),
        pytest.param(
            {"unschedulable": True},
            "within 0.2 seconds: Unschedulable: 0/1 nodes are available",
            id="no node",
        ),
    ],
)
def test_a_pod_that_does_not_start_says_why(
    tmp_path: Path, api: Cluster, state: dict[str, Any], said: str
) -> None:
    for name, value in state.items():
        setattr(api, name, value)
    lines: list[str] = []
    settings = "startup_timeout_seconds: 0.2, log_events_on_failure: true"
    with pytest.raises(StepError, match=said) as failure:
        _run(tmp_path, "true", executor=settings, lines=lines)
    assert failure.value.location is not None
    assert failure.value.location.line == 7
    assert any(line.endswith("Warning Failed: no such image") for line in lines)
    assert len(api.deleted) == 1


def test_a_log_that_breaks_is_read_on_and_no_line_twice(tmp_path: Path, api: Cluster) -> None:
    api.breaks, lines = 2, list[str]()
    _run(tmp_path, "for i in 1 2 3 4 5; do echo line $i; sleep 0.05; done", lines=lines)
    assert _output(lines) == [f"line {number}" for number in range(1, 6)]


def test_a_cluster_that_is_away_for_a_moment_costs_nothing(tmp_path: Path, api: Cluster) -> None:
    lines: list[str] = []
    api.refuse = [("GET", 503, "later"), ("GET", 502, "later")]
    _run(tmp_path, "echo here", lines=lines)
    assert _output(lines) == ["here"]


def test_what_the_cluster_refuses_is_told(tmp_path: Path, api: Cluster) -> None:
    api.refuse = [("POST", 403, 'jobs is forbidden: User "me" cannot create')]
    with pytest.raises(StepError, match=r"yml:11:\d+: the cluster refuses .* 403 jobs is forbid"):
        _run(tmp_path, "true")


@pytest.mark.parametrize(
    ("settings", "namespace"),
    [
        pytest.param("", "default", id="default"),
        pytest.param("namespace: ml", "ml", id="the executor's"),
    ],
)
def test_the_namespace_of_a_job(
    tmp_path: Path,
    api: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    settings: str,
    namespace: str,
) -> None:
    monkeypatch.delenv("AIRFLOW__KUBERNETES__NAMESPACE", raising=False)
    _run(tmp_path, "true", executor=settings)
    assert ("POST", f"/apis/batch/v1/namespaces/{namespace}/jobs") in api.requests


def test_a_job_may_be_kept_and_its_log_left(tmp_path: Path, api: Cluster) -> None:
    lines: list[str] = []
    settings = "is_delete_operator_pod: false, get_logs: false, name: My_Pod"
    _run(tmp_path, "echo unheard", executor=settings, lines=lines, seconds=120)
    [(name, job)] = api.jobs.items()
    assert (api.deleted, _output(lines)) == ([], [])
    assert name.startswith("my-pod-8a5c0d9e-")
    assert job["spec"]["backoffLimit"] == 0
    assert 120 < job["spec"]["activeDeadlineSeconds"] <= 180
    assert "ttlSecondsAfterFinished" not in job["spec"]


def test_a_context_that_there_is_not_is_told(tmp_path: Path, api: Cluster) -> None:
    with pytest.raises(StepError, match="configuration of the cluster can't be used"):
        _run(tmp_path, "true", executor="cluster_context: staging")


def test_an_executor_may_name_its_own_configuration(
    tmp_path: Path, api: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = api.kubeconfig(tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))
    spec, _ = executor_of(tmp_path, f"type: kubernetes\nconfig_file: {file}")
    assert (cluster_configured(spec), cluster_configured()) == (True, False)
    _run(tmp_path, "true", executor=f"config_file: {file}")
    assert len(api.deleted) == 1


def test_mistakes_are_found_at_their_lines(tmp_path: Path) -> None:
    spec, workflow = executor_of(
        tmp_path,
        """
        type: kubernetes
        tolerations: [{keyy: a}]
        resources: {request_memori: 1Gi}
        secrets: [{deploy_type: env}]
        startup_timeout_seconds: soon
        retries: 3
        pod_template_file: missing.yml
        """,
    )
    assert found(KubernetesExecutor.check(spec, workflow)) == [
        (5, "invalid-value"),
        (6, "invalid-value"),
        (7, "invalid-value"),
        (8, "invalid-value"),
        (9, "ignored-key"),
        (10, "invalid-value"),
    ]


def _when_running(api: Cluster, action: Callable[[], None]) -> dict[str, Any]:
    """Does something once a pod runs; nothing more for the run."""

    def wait() -> None:
        while not api.pods:
            threading.Event().wait(0.02)
        threading.Event().wait(0.3)
        action()

    threading.Thread(target=wait, daemon=True).start()
    return {}


def _interrupting(line: str) -> None:
    if line == "running":
        raise KeyboardInterrupt
