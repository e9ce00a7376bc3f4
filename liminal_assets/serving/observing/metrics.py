"""What a server counts for Prometheus, over all workers of a deployment.

Every worker counts in files below the deployment's folder
(:mod:`liminal_assets.serving.observing.cells`); any of them prints the sums, and the controller
decides a rollout by them (:func:`~liminal_assets.serving.observing.counts.read_counts`).
"""

from __future__ import annotations

import os
import tempfile
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from liminal_assets.serving.observing.cells import (
    Cell,
    CellFiles,
    Kind,
    forget_groups,
    merge_dead,
    read,
)

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

__all__ = ["BUCKETS", "FeatureMetrics", "Metrics", "PairMetrics", "VersionMetrics"]

# fmt: off
BUCKETS = (
    0.00005, 0.0001, 0.00015, 0.0002, 0.0003, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.005,
    0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, float("inf"),
)
# fmt: on
"""Upper bounds of the latency histogram, in seconds."""

_MOST_LABELS = 100
"""Different values of one label; later ones are counted as ``other``."""
_OTHER = "other"
_MOST_VERSIONS = 20
"""Versions that are counted; the numbers of others are forgotten."""


class VersionMetrics:
    """What is counted of one version. Safe from any thread."""

    __slots__ = ("_buckets", "_failed", "_lock", "_ok", "_refused", "_rows", "_seconds")

    def __init__(self, files: CellFiles, version: str) -> None:
        def counter(name: str, help_text: str, **labels: str) -> Cell:
            said = {"version": version, **labels}
            return files.cell("counter", name, f"{name}_total", said, help_text, version)

        def latency(sample: str, **labels: str) -> Cell:
            name = "liminal_request_duration_seconds"
            said = {"version": version, **labels}
            return files.cell("histogram", name, name + sample, said, _LATENCY, version)

        self._lock = files.lock
        self._ok = counter("liminal_requests", _REQUESTS, outcome="ok")
        self._refused = counter("liminal_requests", _REQUESTS, outcome="client_error")
        self._failed = counter("liminal_requests", _REQUESTS, outcome="server_error")
        self._rows = counter("liminal_rows", "Rows that were answered.")
        self._buckets = [latency("_bucket", le=_bound(bound)) for bound in BUCKETS]
        self._seconds = latency("_sum")

    def answered(self, rows: int, seconds: float) -> None:
        """A request was answered.

        Args:
            seconds: from when it was there whole until its answer.
        """
        with self._lock:
            self._ok.add()
            self._rows.add(rows)
            self._buckets[bisect_left(BUCKETS, seconds)].add()
            self._seconds.add(seconds)

    def refused(self) -> None:
        """A request was the client's mistake (4xx)."""
        with self._lock:
            self._refused.add()

    def failed(self) -> None:
        """A request failed by the server's fault (5xx)."""
        with self._lock:
            self._failed.add()


_REQUESTS = "Requests by the version that they were for and how they ended."
_LATENCY = "Seconds from a whole request to the version's answer."


class PairMetrics:
    """How the answers of two versions to the same rows compare: a shadow's."""

    def __init__(self, files: CellFiles, stable: str, candidate: str) -> None:
        self._files = files
        self._labels = {"stable": stable, "candidate": candidate}
        self._candidate = candidate
        self._slices: dict[str, tuple[Cell, Cell]] = {}
        self._failed = self._cell("liminal_shadow_failures", _FAILURES)
        self._dropped = self._cell("liminal_shadow_dropped", _DROPPED)

    def compared(self, agree: int, disagree: int, where: str = "") -> None:
        """Rows that both answered.

        Args:
            agree: rows to which both said the same.
            disagree: the others.
            where: the slice, such as ``carrier=AA``; empty for all rows. Past 100 slices of a pair,
                ``other``.
        """
        cells = self._slices.get(where)
        if cells is None:
            if len(self._slices) >= _MOST_LABELS:
                where = _OTHER
            cells = self._slices.get(where) or self._slice(where)
        with self._files.lock:
            cells[0].add(agree)
            cells[1].add(disagree)

    def failed(self, requests: int = 1) -> None:
        """The candidate had no answer where the stable version had one."""
        with self._files.lock:
            self._failed.add(requests)

    def dropped(self, requests: int = 1) -> None:
        """The candidate wasn't asked, for it was too far behind."""
        with self._files.lock:
            self._dropped.add(requests)

    def _slice(self, where: str) -> tuple[Cell, Cell]:
        agree, disagree = (
            self._cell("liminal_shadow_rows", _COMPARED, slice=where, result=result)
            for result in ("agree", "disagree")
        )
        self._slices[where] = agree, disagree
        return agree, disagree

    def _cell(self, name: str, help_text: str, **labels: str) -> Cell:
        said = {**self._labels, **labels}
        return self._files.cell("counter", name, f"{name}_total", said, help_text, self._candidate)


_COMPARED = "Rows that a candidate answered in the shadow of the stable version."
_FAILURES = "Requests that a candidate in the shadow couldn't answer."
_DROPPED = "Requests that a candidate in the shadow wasn't asked, for it was too far behind."


class FeatureMetrics:
    """What is counted of a feature's lookups in the online store."""

    def __init__(self, files: CellFiles, feature: str) -> None:
        def counter(name: str, help_text: str, **labels: str) -> Cell:
            said = {"feature": feature, **labels}
            return files.cell("counter", name, f"{name}_total", said, help_text)

        def latency(sample: str, **labels: str) -> Cell:
            name = "liminal_feature_lookup_duration_seconds"
            said = {"feature": feature, **labels}
            return files.cell("histogram", name, name + sample, said, _LOOKUP_LATENCY)

        self._lock = files.lock
        self._ok = counter("liminal_feature_lookups", _LOOKUPS, outcome="ok")
        self._failed = counter("liminal_feature_lookups", _LOOKUPS, outcome="failed")
        self._rows = tuple(
            counter("liminal_feature_rows", _LOOKED_UP, result=result)
            for result in ("found", "unknown", "stale")
        )
        self._buckets = [latency("_bucket", le=_bound(bound)) for bound in BUCKETS]
        self._seconds = latency("_sum")

    def looked_up(self, seconds: float) -> None:
        """The store answered a request's question."""
        with self._lock:
            self._ok.add()
            self._buckets[bisect_left(BUCKETS, seconds)].add()
            self._seconds.add(seconds)

    def failed(self) -> None:
        """The store didn't answer."""
        with self._lock:
            self._failed.add()

    def rows(self, found: int, unknown: int, stale: int) -> None:
        """What the store had for the rows of a request."""
        with self._lock:
            for cell, count in zip(self._rows, (found, unknown, stale), strict=True):
                cell.add(count)


_LOOKUPS = "Questions to the online store, one a request, by how they ended."
_LOOKED_UP = "Rows that were looked up in the online store, by what it had."
_LOOKUP_LATENCY = "Seconds that the online store took for the rows of a request."


class Metrics:
    """What one process counts.

    Args:
        folder: that of all workers; by default one of this process alone, which ends with it.
        process: stands for the process in file names; default: its number.
        besides: folders in which others count what is shown along with that.
    """

    def __init__(
        self,
        folder: Path | None = None,
        process: str | None = None,
        *,
        besides: Sequence[Path] = (),
    ) -> None:
        self._own = None
        if folder is None:
            self._own = tempfile.TemporaryDirectory(prefix="liminal-metrics-")
            folder = Path(self._own.name)
        self.folder = folder
        self._shown = (folder, *besides)
        self._files = CellFiles(folder, process)
        self._versions: dict[str, VersionMetrics] = {}
        self._pairs: dict[tuple[str, str], PairMetrics] = {}
        self._features: dict[str, FeatureMetrics] = {}
        self._counters: dict[tuple[str, ...], Cell] = {}
        self._gauges: dict[tuple[str, tuple[tuple[str, str], ...]], Cell] = {}
        self._watched: list[Callable[[], None]] = []
        self._cpu = 0.0
        self.gauge("liminal_worker_start_time_seconds", _STARTED, kind="gauge_liveall").set(
            time.time()
        )
        self.gauge("liminal_workers", "Workers that answer.").set(1)
        self.under_way = self.gauge("liminal_requests_under_way", "Requests being answered now.")

    def version(self, version: str) -> VersionMetrics:
        """The numbers of a version."""
        found = self._versions.get(version)
        if found is None:
            found = self._versions[version] = VersionMetrics(self._files, version)
        return found

    def pair(self, stable: str, candidate: str) -> PairMetrics:
        """The numbers of a candidate in the shadow of a version."""
        found = self._pairs.get((stable, candidate))
        if found is None:
            found = self._pairs[stable, candidate] = PairMetrics(self._files, stable, candidate)
        return found

    def features(self, feature: str) -> FeatureMetrics:
        """The numbers of a feature's lookups."""
        found = self._features.get(feature)
        if found is None:
            found = self._features[feature] = FeatureMetrics(self._files, feature)
        return found

    def refused(self, code: str) -> None:
        """A request was refused, or failed, with a code of
        :class:`~liminal_assets.serving.errors.RequestError`."""
        self.count("liminal_refusals", _REFUSALS, code=code)

    def count(self, name: str, help_text: str, amount: float = 1.0, **labels: str) -> None:
        """Counts something; past 100 different labels of it as ``other``.

        Args:
            name: the counter's name, without ``_total``.
        """
        key = (name, *labels.values())
        cell = self._counters.get(key)
        if cell is None:
            if sum(known[0] == name for known in self._counters) >= _MOST_LABELS:
                labels = dict.fromkeys(labels, _OTHER)
            cell = self._files.cell("counter", name, f"{name}_total", labels, help_text)
            if _OTHER not in labels.values():
                self._counters[key] = cell
        with self._files.lock:
            cell.add(amount)

    def gauge(self, name: str, help_text: str, kind: Kind = "gauge_livesum", **labels: str) -> Cell:
        """A number that goes up and down; it ends with the process."""
        key = (name, tuple(sorted(labels.items())))
        cell = self._gauges.get(key)
        if cell is None:
            cell = self._gauges[key] = self._files.cell(kind, name, name, labels, help_text)
        return cell

    def only_gauge(self, name: str, help_text: str, **labels: str) -> None:
        """1 for these labels, 0 for others of the same name."""
        now = self.gauge(name, help_text, "gauge_livemax", **labels)
        for (known, _), cell in self._gauges.items():
            if known == name:
                cell.set(float(cell is now))

    def watch(self, update: Callable[[], None]) -> None:
        """Calls ``update`` before the process's numbers are looked at: once a second."""
        self._watched.append(update)

    def refresh(self) -> None:
        """Brings what isn't counted as it happens up to date."""
        for update in self._watched:
            update()
        memory = _resident_bytes()
        if memory is not None:
            self.gauge("liminal_worker_memory_bytes", _MEMORY, kind="gauge_liveall").set(memory)
        used = time.process_time()
        self.count("liminal_cpu_seconds", _CPU, used - self._cpu)
        self._cpu = used

    def tidy(self) -> None:
        """Makes one of the files of workers that ended, and forgets versions of long ago: a model
        that is trained every night has hundreds a year."""
        if self._own is None:
            merge_dead(self.folder)
        forget_groups(self.folder, _MOST_VERSIONS)

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """The numbers of all workers as text, and its content type.

        Args:
            accept: the ``Accept`` header; OpenMetrics if it asks for it.
        """
        from prometheus_client.exposition import choose_encoder

        self.refresh()
        # which versions and escapes it lists makes no difference to our names, and may be nonsense
        asked = _OPENMETRICS if _OPENMETRICS in accept.lower() else ""
        encoder, kind = choose_encoder(asked)
        return encoder(_Collector(self._shown)), kind


_OPENMETRICS = "application/openmetrics-text"

_STARTED = "When the worker began, in seconds since 1970."
_REFUSALS = "Requests that were refused, or failed, by the code of the answer."
_MEMORY = "Resident memory of a worker."
_CPU = "Seconds of CPU that workers used."


class _Collector:
    """The sums of all workers, in the place of a registry."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders

    def collect(self) -> list[Metric]:
        found = [metric for folder in self._folders for metric in read(folder)]
        return sorted(found, key=lambda metric: str(metric.name))


def _bound(bound: float) -> str:
    from prometheus_client.utils import floatToGoString

    return str(floatToGoString(bound))  # type: ignore[no-untyped-call]


def _resident_bytes() -> int | None:
    """The memory of this process; None where the system has no ``/proc``."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except OSError:
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
