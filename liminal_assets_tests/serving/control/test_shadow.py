"""Two versions on the same requests: who answers, and what is counted of the difference."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liminal_assets.serving.control.live import LiveModel, State
from liminal_assets.serving.control.shadow import Compared, Comparer, agreeing
from liminal_assets.serving.engine import Engine, Sticky, place_of
from liminal_assets.serving.log.drain import Drain
from liminal_assets.serving.log.spool import Spool
from liminal_assets.serving.model import ServedModel
from liminal_assets.serving.observing.counts import read_counts
from liminal_assets.serving.observing.metrics import Metrics
from liminal_assets.steps.scores import Scores
from liminal_assets.steps.signature import Field, Signature
from liminal_assets_tests.serving.shelf import until
from liminal_assets_tests.serving.spooling import Sink

SIGNATURE = Signature((Field("a", "double"), Field("carrier", "string")))


class Over:
    """Says whether ``a`` is over a limit; fails where it is told to."""

    def __init__(self, limit: float, *, fails: bool = False) -> None:
        self.limit, self.fails = limit, fails

    def __call__(self, columns: Any, rows: int) -> Scores:
        if self.fails:
            raise ValueError("not these")
        values = np.asarray(columns["a"], dtype=float)
        return Scores((values > self.limit).astype(int), {"probability": values / 10})


def version(number: str, predictor: Over) -> ServedModel:
    return ServedModel("shop.late", number, SIGNATURE, predictor)


STABLE, CANDIDATE = version("1", Over(5)), version("2", Over(7))


@pytest.fixture
def metrics(tmp_path: Path) -> Metrics:
    return Metrics(tmp_path / "metrics")


@pytest.fixture
def comparer(metrics: Metrics) -> Iterator[Comparer]:
    comparer = Comparer(metrics, slices=["carrier", "gone"])
    yield comparer
    comparer.close()


def engine_of(metrics: Metrics, comparer: Comparer, **said: Any) -> Engine:
    live = LiveModel(State(STABLE, "2", candidate=CANDIDATE, **said))
    return Engine(live, metrics=metrics, comparer=comparer, sticky=Sticky.of("X-Caller"))


COLUMNS = {"a": [4.0, 6.0, 8.0, 6.5], "carrier": ["AA", "AA", "UA", "UA"]}


@pytest.mark.parametrize("answering", ["stable", "candidate"])
def test_rows_are_compared_by_slice_whoever_answered(
    metrics: Metrics, comparer: Comparer, answering: str
) -> None:
    canary = answering == "candidate"
    engine = engine_of(metrics, comparer, shadow=100, share=100 if canary else 0)
    model = engine.route()
    assert model.version == ("2" if canary else "1")
    engine.answer_checked(model, COLUMNS, 4, 0.0)
    until(lambda: read_counts(metrics.folder).between("1", "2").disagree == 2)
    pair = read_counts(metrics.folder).between("1", "2")
    assert (pair.agree, pair.failed) == (2, 0)
    assert pair.slices == {"carrier=AA": (1, 1), "carrier=UA": (1, 1)}
    # the one in the background answers nobody
    assert read_counts(metrics.folder).of("1" if canary else "2").requests == 0


def test_a_canary_compares_only_what_the_candidate_answered(
    metrics: Metrics, comparer: Comparer
) -> None:
    engine = engine_of(metrics, comparer, shadow=100, share=50)
    engine.answer_checked(STABLE, COLUMNS, 4, 0.0)
    engine.answer_checked(CANDIDATE, COLUMNS, 4, 0.0)
    until(lambda: read_counts(metrics.folder).between("1", "2").agree)
    pair = read_counts(metrics.folder).between("1", "2")
    assert pair.agree + pair.disagree == 4


def test_a_candidate_that_cannot_answer_is_counted_and_a_stable_one_is_not(
    metrics: Metrics, comparer: Comparer
) -> None:
    failing = version("2", Over(5, fails=True))
    scores = STABLE.predict(COLUMNS, 4)
    comparer.compare(Compared(STABLE, failing, False, COLUMNS, 4, scores))
    other = ServedModel("shop.late", "2", Signature((Field("b", "double"),)), Over(5))
    comparer.compare(Compared(STABLE, other, False, COLUMNS, 4, scores))
    old = version("1", Over(5, fails=True))
    comparer.compare(Compared(old, CANDIDATE, True, COLUMNS, 4, CANDIDATE.predict(COLUMNS, 4)))
    pair = read_counts(metrics.folder).between("1", "2")
    assert (pair.failed, pair.agree, pair.disagree) == (2, 0, 0)


def test_what_comes_too_fast_is_dropped_and_counted(metrics: Metrics, comparer: Comparer) -> None:
    go_on = threading.Event()

    class Waits(Over):
        def __call__(self, columns: Any, rows: int) -> Scores:
            go_on.wait(30)
            return super().__call__(columns, rows)

    slow = version("2", Waits(5))
    scores = STABLE.predict(COLUMNS, 4)
    for _ in range(1_200):
        comparer.offer(Compared(STABLE, slow, False, COLUMNS, 4, scores))
    assert 190 <= read_counts(metrics.folder).between("1", "2").dropped <= 200
    go_on.set()


@given(st.lists(st.floats(-100, 100), min_size=1), st.floats(0, 1))
def test_numbers_agree_within_the_tolerance(values: list[float], tolerance: float) -> None:
    ours = np.asarray(values)
    theirs = ours * (1 + tolerance / 2)
    assert agreeing(Scores(ours, {}), Scores(theirs, {}), tolerance).all()
    assert agreeing(Scores(ours, {}), Scores(ours + 500, {}), tolerance).sum() == 0


@pytest.mark.parametrize("kind", [int, str, bool])
def test_labels_agree_if_they_are_the_same(kind: type) -> None:
    ours, theirs = (Scores(np.asarray([kind(v) for v in row]), {}) for row in ([0, 1], [0, 0]))
    assert agreeing(ours, theirs, 0.5).tolist()[0]
    if kind is not bool:
        assert not agreeing(ours, theirs, 0.5).tolist()[1]


@given(st.binary(min_size=1), st.integers(1, 100), st.integers(1, 100))
def test_a_caller_that_saw_the_candidate_goes_on_to_see_it(caller: bytes, a: int, b: int) -> None:
    place = place_of(caller, "2")
    assert 0 <= place < 1
    if place * 100 < min(a, b):
        assert place * 100 < max(a, b)


def test_callers_are_shared_out_as_the_share_says(metrics: Metrics, comparer: Comparer) -> None:
    engine = engine_of(metrics, comparer, share=25)
    callers = [b"caller %d" % number for number in range(4_000)]
    asked = [[(b"accept", b"*/*"), (b"x-caller", caller)] for caller in callers]
    seen = Counter(engine.route(headers).version for headers in asked)
    assert 0.22 < seen["2"] / 4_000 < 0.28
    assert all(engine.route(headers) is engine.route(headers) for headers in asked[:100])
    drawn = Counter(engine.route().version for _ in range(4_000))
    assert 0.2 < drawn["2"] / 4_000 < 0.3
    # another version has another order of callers
    first, second = ([place_of(caller, v) < 0.25 for caller in callers] for v in ("2", "3"))
    assert sum(map(lambda one, two: one and two, first, second)) < 0.1 * 4_000


@pytest.mark.parametrize("answering", ["stable", "candidate"])
def test_what_the_other_version_said_is_logged_beside_the_answer(
    metrics: Metrics, tmp_path: Path, answering: str
) -> None:
    canary = answering == "candidate"
    spool = Spool(tmp_path / "spool")
    comparer = Comparer(metrics, log=spool)
    live = LiveModel(State(STABLE, "2", candidate=CANDIDATE, shadow=100, share=canary * 100))
    engine = Engine(live, metrics=metrics, comparer=comparer, log=spool)
    answer = engine.answer_checked(engine.route(), COLUMNS, 4, 17.0)
    until(lambda: read_counts(metrics.folder).between("1", "2").disagree == 2)
    comparer.close()
    spool.close()
    served, background = Sink(), Sink()
    Drain(tmp_path / "spool", served, Sink(), shadow=background).merge()
    (answered,), (said,) = served.batches.values(), background.batches.values()
    versions = ("2", "1") if canary else ("1", "2")
    assert [set(t["model_version"].to_pylist()) for t in (answered, said)] == [
        {versions[0]},
        {versions[1]},
    ]
    assert said["prediction_id"].to_pylist() == list(answer.ids)
    assert said["requested_at"] == answered["requested_at"]
    other = [0, 1, 1, 1] if canary else [0, 0, 1, 0]
    assert said["prediction"].to_pylist() == other
    # what was asked is with the answer
    assert "a" in answered.column_names
    assert not {"a", "carrier"} & set(said.column_names)
