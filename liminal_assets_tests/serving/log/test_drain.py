"""From the spool to the log: every record once, wherever the machine stops."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sklearn.pipeline import Pipeline

import liminal_assets as la
from liminal_assets.language.loading import Project
from liminal_assets.serving.app import create_app
from liminal_assets.serving.log.drain import Drain
from liminal_assets.serving.log.segment_files import segments_of
from liminal_assets.serving.log.spool import Spool
from liminal_assets.steps.signature import Field, Signature
from liminal_assets.storage.predictions import FeedbackLog, PredictionLog
from liminal_assets_tests.serving.conftest import SIGNATURE, running
from liminal_assets_tests.serving.spooling import Sink, answered, model


def spooled(folder: Path, *names: str, **more: Any) -> None:
    spool = Spool(folder)
    for name in names:
        spool.add(answered(name, **more))
    spool.close()


def test_rows_are_logged_with_what_the_docs_say(tmp_path: Path) -> None:
    spooled(tmp_path, "a", rows=2)
    spooled(tmp_path, "b")
    sink = Sink()
    assert Drain(tmp_path, sink, Sink()).merge()
    (table,) = sink.batches.values()
    assert table.schema.names == [
        "flight_id", *SIGNATURE.names, "prediction", "probability", "scored_at", "requested_at",
        "model_version", "prediction_id", "sample_rate",
    ]  # fmt: skip
    last = table.to_pylist()[-1]
    assert last["flight_id"] == "Fb"
    assert last["wind"] is None
    assert last["model_version"] == "7"
    assert last["requested_at"] == datetime.fromtimestamp(1e9, timezone.utc)
    assert last["scored_at"] > last["requested_at"]
    assert sink.ids == ["a-0", "a-1", "b"]


def test_versions_with_other_columns_share_a_table_where_their_types_allow_it(
    tmp_path: Path,
) -> None:
    wider = Signature((*SIGNATURE.fields, Field("gate", "string")), SIGNATURE.carried)
    other = Signature((Field("distance", "string"), *SIGNATURE.fields[1:]), SIGNATURE.carried)
    spooled(tmp_path, "a")
    spooled(tmp_path, "b", model=model("8", wider), gate="G7")
    spooled(tmp_path, "c", model=model("9", other), distance="far")
    sink = Sink()
    assert Drain(tmp_path, sink, Sink()).merge()
    assert sorted(table.num_rows for table in sink.batches.values()) == [1, 2]
    rows = {row["prediction_id"]: row for row in sink.rows}
    assert rows["a"]["gate"] is None
    assert rows["b"]["gate"] == "G7"
    assert rows["c"]["distance"] == "far"


def test_rows_wait_in_the_spool_while_the_log_refuses_them(tmp_path: Path) -> None:
    sink = Sink()
    sink.full = True
    drain = Drain(tmp_path, sink, Sink())
    spool = Spool(tmp_path)
    spooled(tmp_path, "a")
    assert not drain.merge()
    assert drain.state.problem == "the disk is full"
    assert drain.state.waiting > 0
    assert spool.state.problem == "the disk is full"
    spooled(tmp_path, "b")
    assert not drain.merge()
    sink.full = False
    assert drain.merge()
    assert sorted(sink.ids) == ["a", "b"]
    assert spool.state.problem is None


class Crash(BaseException):
    """The machine stops here."""


def _crash(*_: Any, **__: Any) -> None:
    raise Crash


STEPS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "before the log has them": lambda patch: patch.setattr(PredictionLog, "append", _crash),
    "before the labels": lambda patch: patch.setattr(Drain, "_count", _crash),
    "once they are in the log": lambda patch: patch.setattr(Path, "rename", _crash),
    "before they are removed": lambda patch: patch.setattr(Drain, "_remove", _crash),
    "while they are removed": lambda patch: patch.setattr(Path, "unlink", _crash_second()),
}


def _crash_second() -> Any:
    original, calls = Path.unlink, []

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".segment":
            calls.append(path)
            if len(calls) == 2:
                raise Crash
        original(path, missing_ok=missing_ok)

    return unlink


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_a_crash_at_any_step_neither_loses_nor_doubles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: Callable[[pytest.MonkeyPatch], None]
) -> None:
    project, folder = Project.of("shop", tmp_path), tmp_path / "spool"
    log, feedback = PredictionLog(project, "api"), FeedbackLog(project, "api")
    for name in ("a", "b", "c"):
        spooled(folder, name)
    with monkeypatch.context() as patch:
        step(patch)
        with pytest.raises(Crash):
            Drain(folder, log, feedback).merge()
    spooled(folder, "d")
    assert Drain(folder, log, feedback).merge()
    assert sorted(log.read().to("arrow")["prediction_id"].to_pylist()) == ["a", "b", "c", "d"]
    assert not segments_of(folder)
    assert not list(folder.glob("*.batch"))
    assert not list(folder.glob("*.done"))


def test_a_segment_of_another_format_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "x.segment").write_bytes(b"liminal spool 9\nwhat is this")
    (tmp_path / "y.segment").write_bytes(b"liminal sp")
    spooled(tmp_path, "a")
    sink = Sink()
    drain = Drain(tmp_path, sink, Sink())
    assert drain.merge()
    assert sink.ids == ["a"]
    assert (tmp_path / "x.unreadable").exists()
    assert not segments_of(tmp_path)


@pytest.mark.parametrize("url", ["duckdb://log.duckdb", "sqlite://log.db"])
def test_the_log_may_be_a_table(tmp_path: Path, url: str) -> None:
    deployment = {
        "deployment": "api",
        "model": "late",
        "serve": {"log_predictions": {"to": {"connection": "db", "table": "answers"}}},
    }
    project = Project.of(
        "shop",
        tmp_path,
        check=False,
        connections=[{"connection": "db", "url": url}],
        deployments=[deployment],
    )
    log = PredictionLog(project, "api")
    assert not log.exists()
    assert log.read().rows == 0
    folder = tmp_path / "spool"
    drain = Drain(folder, log, FeedbackLog(project, "api"))
    spooled(folder, "a", rows=2)
    assert drain.merge()
    wider = Signature((*SIGNATURE.fields, Field("gate", "string")), SIGNATURE.carried)
    spooled(folder, "b", model=model("8", wider), gate="G7")
    assert drain.merge(), drain.state
    log.append(_answers("x"), batch="same")
    log.append(_answers("y"), batch="same")
    rows = {row["prediction_id"]: row for row in log.read().to("arrow").to_pylist()}
    assert list(rows) == ["a-0", "a-1", "b", "y"]
    assert rows["a-0"]["gate"] is None
    assert rows["b"]["gate"] == "G7"
    first = datetime.fromtimestamp(1e9, timezone.utc)
    assert rows["b"]["requested_at"] == first
    assert log.read(since=first).rows == 4
    assert log.read(until=first).rows == 0


def _answers(own: str) -> pa.Table:
    at = datetime.fromtimestamp(1e9 + 5, timezone.utc)
    return pa.table({"prediction_id": [own], "requested_at": pa.array([at])})


def test_every_answered_row_of_a_server_is_in_the_log(pipeline: Pipeline, tmp_path: Path) -> None:
    project, folder = la.Project.of("shop", tmp_path), tmp_path / "spool"
    log = PredictionLog(project, "late_api")
    drain = Drain(folder, log, FeedbackLog(project, "late_api"), every=0.1)
    app = create_app(pipeline, SIGNATURE, log=Spool(folder, drain=drain))
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
