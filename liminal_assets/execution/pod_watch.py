"""The pods of a job, watched to their end: their log lines, and what became of each."""

from __future__ import annotations

import codecs
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from liminal_assets.errors import StepError
from liminal_assets.execution.clusters import cluster_answers
from liminal_assets.execution.pods import CONTAINER

__all__ = ["HOPELESS", "JobWatch", "NotStartedError", "PodEnding"]

_POLL = 1.0
"""Seconds between two looks at the pods."""
_PATIENCE = 120.0
"""Seconds that a cluster may be away before a job that runs on it is given up."""
_SILENCE = (10.0, 600.0)
"""Seconds to connect, and between two pieces of a log before it is asked for again."""
_LAST_LINES = 30.0
"""Seconds to get the last lines of a pod that ended."""
_REST = 3.0
"""Seconds to hand on lines that wait when a job is over."""
_MOST_WAITING = 10_000
"""Lines that wait to be handed on; a pod that prints more is read as they go."""
_INDEX = "batch.kubernetes.io/job-completion-index"
HOPELESS = frozenset(
    {
        "CreateContainerError",
        "ErrImageNeverPull",
        "ImagePullBackOff",
        "InvalidImageName",
        "RunContainerError",
    }
)
"""Reasons for which a container waits that time doesn't mend."""


class NotStartedError(StepError):
    """A pod didn't start."""


@dataclass(frozen=True)
class PodEnding:
    """How a pod ended."""

    pod: str
    index: int
    code: int | None
    """The exit code of the task's container; None if it has none: the pod was taken away."""
    reason: str = ""
    """Kubernetes' word: ``OOMKilled``, ``Evicted``, ``DeadlineExceeded``."""
    message: str = ""

    @property
    def succeeded(self) -> bool:
        return self.code == 0

    def __str__(self) -> str:
        said = "was taken away" if self.code is None else f"ended with exit code {self.code}"
        reason = f" ({self.reason})" if self.reason not in ("", "Error", "Completed") else ""
        return f"{said}{reason}{f': {self.message}' if self.message else ''}"


@dataclass
class JobWatch:
    """Watches the pods of one job.

    Args:
        client: dagster-k8s's of the cluster.
        workers: how many pods the job has.
        startup: seconds until each pod must run.
        hear: takes a line of a pod, with the pod's index; None to leave the logs.
    """

    client: Any
    namespace: str
    job: str
    workers: int
    startup: float
    hear: Callable[[int, str], None] | None
    _lines: queue.Queue[tuple[int, str]] = field(
        default_factory=lambda: queue.Queue(maxsize=_MOST_WAITING)
    )
    _readers: dict[str, _LogReader] = field(default_factory=dict)
    _endings: dict[str, PodEnding] = field(default_factory=dict)
    _seen: dict[str, int] = field(default_factory=dict)

    def until_ended(self, remaining: Callable[[], float | None]) -> list[PodEnding]:
        """How the pods ended, in the order of their indices: all of them, or up to the first that
        failed. Empty if the time is over.

        Args:
            remaining: seconds that are left; None for no limit.

        Raises:
            NotStartedError: a pod doesn't start.
            StepError: the cluster is away for too long.
        """
        begun = answered = time.monotonic()
        while True:
            try:
                with cluster_answers(f"show the pods of the job {self.job}"):
                    self._look()
                answered = time.monotonic()
            except StepError as error:
                if not error.transient or time.monotonic() - answered > _PATIENCE:
                    raise
            endings = sorted(self._endings.values(), key=lambda ending: ending.index)
            if len(endings) == self.workers or not all(end.succeeded for end in endings):
                self._last_lines()
                return endings
            if remaining() == 0:
                self._hear_rest()
                return []
            if time.monotonic() - begun > self.startup:
                self._all_started()
            self._hear(_POLL)

    @property
    def pods(self) -> list[str]:
        """The names of the pods that were seen."""
        return list(self._seen)

    def stop(self) -> None:
        """Ends the reading of logs."""
        for reader in self._readers.values():
            reader.stopped.set()

    def _look(self) -> None:
        pods = self.client.get_pods_in_job(self.job, self.namespace)
        names = {pod.metadata.name for pod in pods}
        for pod in pods:
            name = pod.metadata.name
            index = self._seen.setdefault(name, _index(pod))
            if _has_started(pod):
                self._read(name, index)
            if pod.status.phase in ("Succeeded", "Failed"):
                self._endings[name] = _ending(pod, index)
            elif waiting := _waiting(pod):
                reason, message = waiting
                if reason in HOPELESS:
                    raise NotStartedError(f"the pod {name} doesn't start: {reason}: {message}")
        for name, index in self._seen.items():
            if name not in names and name not in self._endings:
                self._endings[name] = PodEnding(name, index, None)

    def _all_started(self) -> None:
        pods = self.client.get_pods_in_job(self.job, self.namespace)
        late = [pod for pod in pods if pod.status.phase in (None, "Pending")]
        if late or not self._seen:
            why = _why_pending(late[0]) if late else "the job has no pods"
            what = f"the pod {late[0].metadata.name}" if late else f"the job {self.job}"
            raise NotStartedError(
                f"{what} didn't start within {self.startup:g} seconds: {why}",
                hint="startup_timeout_seconds of the executor gives it more time",
            )

    def _read(self, pod: str, index: int) -> None:
        if self.hear is not None and pod not in self._readers:
            reader = _LogReader(self.client.core_api, self.namespace, pod, index, self._lines)
            self._readers[pod] = reader
            reader.start()

    def _hear(self, seconds: float) -> None:
        """Hands on the lines that come within some time."""
        until = time.monotonic() + seconds
        while self.hear is not None:
            try:
                line = self._lines.get(timeout=max(0.0, until - time.monotonic()) or 0.001)
            except queue.Empty:
                return
            self.hear(*line)
            if time.monotonic() >= until:
                return
        time.sleep(seconds)

    def _hear_rest(self) -> None:
        """Hands on the lines that are there, for some seconds at most."""
        until = time.monotonic() + _REST
        while not self._lines.empty() and time.monotonic() < until:
            self._hear(0)

    def _last_lines(self) -> None:
        """Hands on what is left of the logs of pods that have ended."""
        until = time.monotonic() + _LAST_LINES
        readers = [self._readers[name] for name in self._endings if name in self._readers]
        for reader in readers:
            reader.ended.set()
        while any(reader.is_alive() for reader in readers) and time.monotonic() < until:
            self._hear(0.05)
        self._hear_rest()


class _LogReader(threading.Thread):
    """Reads a pod's log to its end; asks again where the stream breaks, and tells no line twice."""

    def __init__(
        self, core: Any, namespace: str, pod: str, index: int, lines: queue.Queue[tuple[int, str]]
    ) -> None:
        super().__init__(name=f"log of {pod}", daemon=True)
        self.ended, self.stopped = threading.Event(), threading.Event()
        self._core, self._namespace, self._pod = core, namespace, pod
        self._index, self._lines = index, lines
        self._last, self._at_last = "", 0
        """The moment of the last line, and how many lines there were at it."""

    def run(self) -> None:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        while not self.stopped.is_set():
            complete = self.ended.is_set()
            try:
                self._read_once()
            except (ApiException, HTTPError, OSError) as error:
                if complete or getattr(error, "status", None) == 404:
                    text = f"the last lines of {self._pod} can't be read: {_short(error)}"
                    self._tell(text)
                    return
            else:
                if complete:
                    return
            self.ended.wait(_POLL)

    def _tell(self, text: str) -> None:
        while not self.stopped.is_set():
            try:
                self._lines.put((self._index, text), timeout=_POLL)
            except queue.Full:
                continue
            return

    def _read_once(self) -> None:
        response = self._core.read_namespaced_pod_log(
            self._pod,
            self._namespace,
            container=CONTAINER,
            follow=True,
            timestamps=True,
            _preload_content=False,
            _request_timeout=_SILENCE,
        )
        told, at = self._last, 0
        try:
            for line in _lines_of(response.stream(decode_content=True)):
                if self.stopped.is_set():
                    return
                moment, _, text = line.partition(" ")
                at = at + 1 if moment == told else 0
                if moment < told or (moment == told and at <= self._at_last):
                    continue
                self._at_last = self._at_last + 1 if moment == self._last else 1
                self._last = moment
                self._tell(text)
        finally:
            response.release_conn()


def _lines_of(chunks: Iterable[bytes]) -> Iterator[str]:
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    rest = ""
    for chunk in chunks:
        *lines, rest = (rest + decode(chunk)).split("\n")
        yield from lines
    if rest:
        yield rest


def _index(pod: Any) -> int:
    return int((pod.metadata.annotations or {}).get(_INDEX, 0))


def _statuses(pod: Any) -> list[Any]:
    return [*(pod.status.init_container_statuses or ()), *(pod.status.container_statuses or ())]


def _task_state(pod: Any) -> Any:
    """The state of the task's container; None before there is one."""
    found = (s for s in pod.status.container_statuses or () if s.name == CONTAINER)
    status = next(found, None)
    return status.state if status is not None else None


def _has_started(pod: Any) -> bool:
    state = _task_state(pod)
    return state is not None and bool(state.running or state.terminated)


def _ending(pod: Any, index: int) -> PodEnding:
    name, status, state = pod.metadata.name, pod.status, _task_state(pod)
    if status.phase == "Succeeded":
        return PodEnding(name, index, 0)
    if state is not None and state.terminated and state.terminated.exit_code:
        ended = state.terminated
        message = (ended.message or "").strip()
        return PodEnding(name, index, ended.exit_code, ended.reason or "", message)
    for other in _statuses(pod):
        ended = other.state.terminated if other.state else None
        if other.name != CONTAINER and ended and ended.exit_code:
            message = f"the container {other.name} failed: {(ended.message or '').strip()}"
            return PodEnding(name, index, ended.exit_code, ended.reason or "", message.rstrip(" :"))
    return PodEnding(name, index, None, status.reason or "", (status.message or "").strip())


def _waiting(pod: Any) -> tuple[str, str] | None:
    """Why a container of a pod waits, and Kubernetes' message about it."""
    for status in _statuses(pod):
        if status.state and status.state.waiting and status.state.waiting.reason:
            waiting = status.state.waiting
            return str(waiting.reason), str(waiting.message or "")
    return None


def _why_pending(pod: Any) -> str:
    if waiting := _waiting(pod):
        return ": ".join(filter(None, waiting))
    for condition in pod.status.conditions or ():
        if condition.status == "False" and condition.message:
            return f"{condition.reason}: {condition.message}"
    return "it waits to be put on a node"


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
