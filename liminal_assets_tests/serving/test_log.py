"""Answered rows: logged whole, off the request's path, in bounded memory."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sklearn.pipeline import Pipeline

import liminal_assets as la
from liminal_assets.serving.app import create_app
from liminal_assets.serving.log import Answered, PredictionBuffer, new_id, row_ids
from liminal_assets.serving.model import ServedModel
from liminal_assets.steps.scores import Scores
from liminal_assets.storage.predictions import PredictionLog
from liminal_assets_tests.serving.conftest import SIGNATURE, running


class Sink:
    """A place for rows that may refuse them."""

    def __init__(self) -> None:
        self.tables: list[pa.Table] = []
        self.full = False

    def append(self, rows: pa.Table) -> int:
        if self.full:
            raise la.StepError("the disk is full")
        self.tables.append(rows)
        return rows.num_rows

    @property
    def ids(self) -> list[str]:
        return [own for table in self.tables for own in table["prediction_id"].to_pylist()]


@pytest.fixture(scope="module")
def model(pipeline: Pipeline) -> ServedModel:
    return ServedModel.of(pipeline, SIGNATURE, name="shop.late", version="7")


def answered(model: ServedModel, name: str, rows: int = 1) -> Answered:
    row = {"distance": 1.0, "stops": 1, "carrier": "AA", "weekend": True, "wind": None}
    columns: dict[str, Any] = {key: [value] * rows for key, value in row.items()}
    scores = model.predict(columns, rows)
    columns["flight_id"] = [f"F{name}"] * rows
    return Answered(model, columns, scores, row_ids(name, rows), 1e9, 1e9 + 0.25)


def test_rows_are_logged_with_what_the_docs_say(model: ServedModel) -> None:
    buffer = PredictionBuffer(sink := Sink())
    buffer.add(answered(model, "a", 2))
    buffer.add(answered(model, "b"))
    assert buffer.flush()
    (table,) = sink.tables
    assert table.schema.names == [
        "flight_id", *SIGNATURE.names, "prediction", "probability", "scored_at", "requested_at",
        "model_version", "prediction_id",
    ]  # fmt: skip
    last = table.to_pylist()[-1]
    assert last["flight_id"] == "Fb"
    assert last["wind"] is None
    assert last["model_version"] == "7"
    assert last["requested_at"] == datetime.fromtimestamp(1e9, timezone.utc)
    assert last["scored_at"] > last["requested_at"]
    assert table["prediction_id"].to_pylist() == ["a-0", "a-1", "b"]


def test_versions_are_logged_apart_for_their_columns_may_differ(
    model: ServedModel, pipeline: Pipeline
) -> None:
    other = ServedModel.of(pipeline, SIGNATURE, name="shop.late", version="8")
    buffer = PredictionBuffer(sink := Sink())
    for number, one in enumerate((model, model, other, model)):
        buffer.add(answered(one, str(number)))
    assert buffer.flush()
    assert [table.num_rows for table in sink.tables] == [2, 1, 1]


def test_rows_wait_in_order_while_the_sink_refuses_them(model: ServedModel) -> None:
    buffer = PredictionBuffer(sink := Sink())
    sink.full = True
    buffer.add(answered(model, "a"))
    assert not buffer.flush()
    buffer.add(answered(model, "b"))
    assert not buffer.flush()
    assert buffer.state.waiting == 2
    assert buffer.state.problem == "the disk is full"
    sink.full = False
    assert buffer.flush()
    assert sink.ids == ["a", "b"]
    assert (buffer.state.waiting, buffer.state.written, buffer.state.problem) == (0, 2, None)


def test_memory_is_bounded_and_lost_rows_are_counted(model: ServedModel) -> None:
    buffer = PredictionBuffer(sink := Sink(), max_rows=10)
    sink.full = True
    for number in range(8):
        buffer.add(answered(model, str(number), 2))
        buffer.flush()
    assert buffer.state.waiting <= 10
    assert buffer.state.lost == 6
    sink.full = False
    assert buffer.flush()
    assert sink.ids[0] == "3-0"


def test_rows_that_arrow_cannot_hold_do_not_stop_the_others(model: ServedModel) -> None:
    import numpy as np

    odd = answered(model, "odd")
    broken = Answered(
        ServedModel.of(model.predictor._scorer.pipeline, SIGNATURE, name="x", version="8"),  # type: ignore[attr-defined]
        odd.columns,
        Scores(np.array([object()]), {}),
        ["odd"],
        1e9,
        1e9,
    )
    buffer = PredictionBuffer(sink := Sink())
    buffer.add(broken)
    buffer.add(answered(model, "good"))
    assert buffer.flush()
    assert sink.ids == ["good"]
    assert buffer.state.lost == 1


def test_rows_are_written_after_a_while_or_when_there_are_many(model: ServedModel) -> None:
    buffer = PredictionBuffer(sink := Sink(), flush_rows=5, flush_seconds=0.2)
    buffer.start()
    buffer.add(answered(model, "few"))
    assert sink.ids == []
    _until(lambda: sink.ids)
    slow = PredictionBuffer(many := Sink(), flush_rows=5, flush_seconds=60)
    slow.start()
    slow.add(answered(model, "many", 5))
    _until(lambda: many.ids)
    for one in (buffer, slow):
        one.close()


def test_closing_writes_what_waits(model: ServedModel) -> None:
    buffer = PredictionBuffer(sink := Sink(), flush_seconds=60)
    buffer.start()
    buffer.add(answered(model, "last"))
    started = time.monotonic()
    buffer.close()
    assert sink.ids == ["last"]
    assert time.monotonic() - started < 5


def test_ids_sort_by_time_and_never_repeat() -> None:
    ids = []
    for _ in range(20):
        ids.append(new_id())
        time.sleep(0.001)
    assert ids == sorted(ids)
    assert len({new_id() for _ in range(10_000)}) == 10_000
    assert all(len(one) == 32 for one in ids)


def test_every_answered_row_of_a_server_is_in_the_log(pipeline: Pipeline, tmp_path: Path) -> None:
    log = PredictionLog(la.Project.of("shop", tmp_path), "late_api")
    app = create_app(pipeline, SIGNATURE, log=PredictionBuffer(log, flush_seconds=0.05))
    row = {"distance": 1, "stops": 1, "carrier": "AA", "weekend": True, "flight_id": "F1"}
    ids = []
    with running(app) as client:
        for _ in range(30):
            said = client.post("/predict", json=[row, {**row, "flight_id": None}]).json()
            ids += [prediction["prediction_id"] for prediction in said["predictions"]]
        assert client.post("/predict", json=[{**row, "stops": "x"}]).status_code == 422
        assert client.get("/info").json()["prediction_log"]["lost"] == 0
    logged = log.read().to("arrow")
    assert sorted(logged["prediction_id"].to_pylist()) == sorted(ids)
    assert set(logged["flight_id"].to_pylist()) == {"F1", None}


def _until(done: Any, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.01)
