"""What the workers of a deployment have counted, for whoever decides by it."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

from liminal_assets.serving.observing.cells import read
from liminal_assets.serving.observing.metrics import BUCKETS

__all__ = ["Counts", "PairCounts", "VersionCounts", "read_counts"]


@dataclass(frozen=True)
class VersionCounts:
    """The requests of one version.

    Attributes:
        ok: requests that were answered.
        client_errors: those that were the client's mistake (4xx).
        server_errors: those that failed by the server's fault (5xx).
        rows: rows that were answered.
        seconds: the sum of the latencies of answered requests.
        buckets: how many of them took how long, by
            :data:`~liminal_assets.serving.observing.metrics.BUCKETS`.
    """

    ok: int = 0
    client_errors: int = 0
    server_errors: int = 0
    rows: int = 0
    seconds: float = 0.0
    buckets: tuple[int, ...] = (0,) * len(BUCKETS)

    @property
    def requests(self) -> int:
        """All of them."""
        return self.ok + self.client_errors + self.server_errors

    @property
    def error_rate(self) -> float:
        """The share of failures in the requests that weren't the client's mistake; 0 of none."""
        tried = self.ok + self.server_errors
        return self.server_errors / tried if tried else 0.0

    def quantile(self, q: float) -> float | None:
        """A quantile of the latency in seconds, interpolated within its bucket as Prometheus'
        ``histogram_quantile`` does; None of no requests.

        Args:
            q: between 0 and 1.
        """
        totals = list(accumulate(self.buckets))
        if not totals[-1]:
            return None
        rank = q * totals[-1]
        at = bisect_left(totals, rank)
        if at == len(BUCKETS) - 1:
            return BUCKETS[-2]
        below = totals[at - 1] if at else 0
        low = BUCKETS[at - 1] if at else 0.0
        share = (rank - below) / self.buckets[at] if self.buckets[at] else 1.0
        return low + (BUCKETS[at] - low) * share

    def since(self, before: VersionCounts) -> VersionCounts:
        """What was counted after ``before``; all of it if counting began again meanwhile."""
        if before.requests > self.requests:
            return self
        return VersionCounts(
            self.ok - before.ok,
            self.client_errors - before.client_errors,
            self.server_errors - before.server_errors,
            self.rows - before.rows,
            self.seconds - before.seconds,
            tuple(now - then for now, then in zip(self.buckets, before.buckets, strict=True)),
        )


@dataclass(frozen=True)
class PairCounts:
    """The rows that a candidate answered in the shadow of the stable version.

    Attributes:
        agree: rows to which both said the same.
        disagree: the others.
        failed: requests that the candidate couldn't answer.
        dropped: requests that it wasn't asked, for it was too far behind.
        slices: ``agree`` and ``disagree`` of each slice.
    """

    agree: int = 0
    disagree: int = 0
    failed: int = 0
    dropped: int = 0
    slices: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def disagreement(self) -> float:
        """The share of rows to which they say something else; 0 of none."""
        rows = self.agree + self.disagree
        return self.disagree / rows if rows else 0.0


@dataclass(frozen=True)
class Counts:
    """What all workers of a deployment have counted.

    Attributes:
        versions: by version.
        pairs: by the stable version and the candidate.
    """

    versions: Mapping[str, VersionCounts]
    pairs: Mapping[tuple[str, str], PairCounts]

    def of(self, version: str) -> VersionCounts:
        """The requests of a version; zeros if there are none."""
        return self.versions.get(version, VersionCounts())

    def between(self, stable: str, candidate: str) -> PairCounts:
        """How two versions compare; zeros if there is nothing to compare."""
        return self.pairs.get((stable, candidate), PairCounts())


def read_counts(folder: Path) -> Counts:
    """What the workers have counted since the server started. It reads a file of some KB per worker
    and version: about 1 ms each."""
    versions: dict[str, dict[str, float]] = defaultdict(dict)
    buckets: dict[str, dict[float, int]] = defaultdict(dict)
    pairs: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    slices: dict[tuple[str, str], dict[str, dict[str, int]]] = defaultdict(dict)
    for metric in read(folder, accumulate=False):
        for sample in metric.samples:
            said = sample.labels
            if "stable" in said:
                pair = said["stable"], said["candidate"]
                if "slice" in said:
                    slices[pair].setdefault(said["slice"], {})[said["result"]] = int(sample.value)
                else:
                    pairs[pair][metric.name] = int(sample.value)
            elif "version" not in said:
                continue  # lookups, endpoints, refusals, …: no version's own
            elif "le" in said:
                buckets[said["version"]][float(said["le"])] = int(sample.value)
            else:
                versions[said["version"]][said.get("outcome", sample.name)] = sample.value
    return Counts(
        {name: _version(said, buckets[name]) for name, said in versions.items()},
        {pair: _pair(pairs[pair], slices[pair]) for pair in pairs},
    )


def _version(said: Mapping[str, float], buckets: Mapping[float, int]) -> VersionCounts:
    return VersionCounts(
        ok=int(said.get("ok", 0)),
        client_errors=int(said.get("client_error", 0)),
        server_errors=int(said.get("server_error", 0)),
        rows=int(said.get("liminal_rows_total", 0)),
        seconds=said.get("liminal_request_duration_seconds_sum", 0.0),
        buckets=tuple(buckets.get(bound, 0) for bound in BUCKETS),
    )


def _pair(said: Mapping[str, int], slices: Mapping[str, Mapping[str, int]]) -> PairCounts:
    whole = slices.get("", {})
    return PairCounts(
        whole.get("agree", 0),
        whole.get("disagree", 0),
        said.get("liminal_shadow_failures", 0),
        said.get("liminal_shadow_dropped", 0),
        {
            name: (rows.get("agree", 0), rows.get("disagree", 0))
            for name, rows in slices.items()
            if name
        },
    )
