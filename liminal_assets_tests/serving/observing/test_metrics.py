"""What is counted, over several processes, and how Prometheus and the controller read it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

from liminal_assets.serving.observing.cells import clear, merge_dead
from liminal_assets.serving.observing.counts import PairCounts, VersionCounts, read_counts
from liminal_assets.serving.observing.metrics import BUCKETS, Metrics


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = metrics.exposition()[0].decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return samples(metrics).get((name, frozenset(labels.items())))


def test_two_workers_add_up_whichever_is_asked(tmp_path: Path) -> None:
    one, two = Metrics(tmp_path, "1"), Metrics(tmp_path, "2")
    one.version("7").answered(3, 0.0004)
    two.version("7").answered(2, 0.02)
    two.version("7").failed()
    two.version("8").refused()
    two.refused("too_many_rows")
    one.under_way.set(2)
    two.under_way.set(3)
    for metrics in (one, two):
        assert value(metrics, "liminal_requests_total", version="7", outcome="ok") == 2
        assert value(metrics, "liminal_requests_total", version="7", outcome="server_error") == 1
        assert value(metrics, "liminal_requests_total", version="8", outcome="client_error") == 1
        assert value(metrics, "liminal_rows_total", version="7") == 5
        assert value(metrics, "liminal_refusals_total", code="too_many_rows") == 1
        assert value(metrics, "liminal_requests_under_way") == 5
        assert value(metrics, "liminal_workers") == 2
        name = "liminal_request_duration_seconds"
        assert value(metrics, f"{name}_count", version="7") == 2
        assert value(metrics, f"{name}_sum", version="7") == pytest.approx(0.0204)
        assert value(metrics, f"{name}_bucket", version="7", le="0.0005") == 1
        assert value(metrics, f"{name}_bucket", version="7", le="0.02") == 2


def test_openmetrics_for_who_asks_for_it(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    metrics.version('7 "quoted"\\').answered(1, 99.0)
    text, kind = metrics.exposition("application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    families = {family.name: family for family in openmetrics_families(text.decode())}
    assert families["liminal_requests"].samples[0].labels["version"] == '7 "quoted"\\'
    assert families["liminal_request_duration_seconds"].type == "histogram"


@pytest.mark.parametrize(
    "accept",
    ["", "*/*", "application/openmetrics-text; version=:", "text/plain; version=0.0.4; escaping=ö"],
)
def test_no_accept_header_is_too_strange(tmp_path: Path, accept: str) -> None:
    assert b"liminal_workers" in Metrics(tmp_path).exposition(accept)[0]


def test_the_controller_reads_the_same(tmp_path: Path) -> None:
    one, two = Metrics(tmp_path, "1"), Metrics(tmp_path, "2")
    for metrics in (one, two):
        for _ in range(50):
            metrics.version("3").answered(2, 0.0012)
        metrics.version("3").failed()
        metrics.version("3").refused()
        pair = metrics.pair("3", "4")
        pair.compared(8, 2)
        pair.compared(1, 1, "carrier=AA")
        pair.failed()
        pair.dropped(5)
    counts = read_counts(tmp_path)
    three = counts.of("3")
    assert (three.ok, three.client_errors, three.server_errors, three.rows) == (100, 2, 2, 200)
    assert three.error_rate == pytest.approx(2 / 102)
    assert three.seconds == pytest.approx(0.12)
    assert 0.001 < three.quantile(0.99) <= 0.0015  # type: ignore[operator]
    assert counts.of("4") == VersionCounts()
    assert counts.between("3", "4") == PairCounts(16, 4, 2, 10, {"carrier=AA": (2, 2)})
    assert counts.between("3", "4").disagreement == pytest.approx(0.2)
    assert counts.between("4", "3") == PairCounts()
    one.version("3").answered(1, 5.0)
    later = read_counts(tmp_path).of("3").since(three)
    assert (later.ok, later.requests, later.rows) == (1, 1, 1)
    assert later.quantile(0.5) == pytest.approx(3.5)


def test_what_belongs_to_no_version_is_no_evidence_of_one(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, "1")
    metrics.version("7").answered(1, 0.001)
    features = metrics.features("customers")
    features.looked_up(0.002)
    features.failed()
    features.rows(1, 2, 3)
    metrics.refused("no_features")
    metrics.count("liminal_endpoint_requests", "Calls.", endpoint="/explain", outcome="ok")
    counts = read_counts(tmp_path)
    assert set(counts.versions) == {"7"}
    assert (counts.of("7").requests, sum(counts.of("7").buckets)) == (1, 1)


@given(st.lists(st.floats(0, 9.9), min_size=1, max_size=50), st.floats(0.01, 1))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(seconds: list[float], q: float) -> None:
    buckets = [0] * len(BUCKETS)
    for latency in seconds:
        buckets[next(i for i, bound in enumerate(BUCKETS) if latency <= bound)] += 1
    counts = VersionCounts(ok=len(seconds), buckets=tuple(buckets))
    rank = min(len(seconds), max(1, -int(-q * len(seconds) // 1)))
    true = sorted(seconds)[rank - 1]
    at = next(i for i, bound in enumerate(BUCKETS) if true <= bound)
    said = counts.quantile(q)
    assert said is not None
    assert (BUCKETS[at - 1] if at else 0) <= said <= BUCKETS[at]


def test_replaced_workers_keep_their_counts_and_leave_no_files(tmp_path: Path) -> None:
    for process in range(20):
        worker = Metrics(tmp_path, str(process))
        worker.version("1").answered(1, 0.001)
        merge_dead(tmp_path, alive={str(process)})
        assert len(list(tmp_path.glob("*.db"))) <= 8
    merge_dead(tmp_path, alive=())
    counts = read_counts(tmp_path).of("1")
    assert (counts.ok, counts.rows, sum(counts.buckets)) == (20, 20, 20)
    alive = Metrics(tmp_path, "new")
    assert value(alive, "liminal_workers") == 1
    assert value(alive, "liminal_requests_total", version="1", outcome="ok") == 20


def test_versions_of_long_ago_and_earlier_servers_are_forgotten(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    for version in range(30):
        metrics.version(str(version)).answered(1, 0.001)
    for age, path in enumerate(sorted(tmp_path.glob("*-*.db"), key=_version_of, reverse=True)):
        os.utime(path, (1e9 - age, 1e9 - age))
    metrics.tidy()
    metrics.version("1").answered(1, 0.001)
    assert set(read_counts(tmp_path).versions) == set(map(str, range(10, 30)))
    clear(tmp_path)
    assert read_counts(tmp_path).versions == {}


def _version_of(path: Path) -> int:
    return int(bytes.fromhex(path.stem.partition("-")[2]))


def test_a_worker_that_was_killed_is_merged_by_the_others(tmp_path: Path) -> None:
    code = """if True:
        import os, signal, sys
        from pathlib import Path
        from liminal_assets.serving.observing.metrics import Metrics
        Metrics(Path(sys.argv[1])).version("1").answered(2, 0.001)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    alive = Metrics(tmp_path)
    assert value(alive, "liminal_workers") == 2
    alive.tidy()
    assert value(alive, "liminal_workers") == 1
    assert read_counts(tmp_path).of("1").rows == 2


def test_labels_that_clients_choose_are_bounded(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    pair = metrics.pair("1", "2")
    for i in range(300):
        metrics.refused(f"code{i}")
        pair.compared(1, 0, f"carrier={i}")
    slices = read_counts(tmp_path).between("1", "2").slices
    assert len(slices) == 101
    assert slices["other"] == (200, 0)
    assert value(metrics, "liminal_refusals_total", code="other") == 200


def test_a_file_that_grows_keeps_what_was_counted(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    pair = metrics.pair("1", "2")
    pair.compared(7, 0, "first")
    for i in range(90):
        pair.compared(1, 0, "x" * 500 + str(i))
    pair.compared(1, 0, "first")
    assert read_counts(tmp_path).between("1", "2").slices["first"] == (8, 0)
