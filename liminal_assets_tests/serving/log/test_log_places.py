"""The prediction log and its labels wherever they may be: files, a bucket, a database."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from liminal_assets.language.loading import Project
from liminal_assets.serving.log.drain import Drain
from liminal_assets.serving.log.segments import Feedback
from liminal_assets.serving.log.spool import Spool
from liminal_assets.serving.log.trace import trace
from liminal_assets.steps.signature import Field, Signature
from liminal_assets.storage.ids import new_id, row_ids
from liminal_assets.storage.predictions import PredictionLog
from liminal_assets_tests.serving.spooling import SIGNATURE, answered, model

NOW = datetime.now(timezone.utc)
PLACES = ["files", "memory", "local", "s3", "duckdb", "sqlite", "postgres"]


def project_at(place: str, folder: Path, asked: Callable[[str], Any]) -> Project:
    """A project whose log is at a place.

    Args:
        asked: the fixture of that name: the URL of a database, or a bucket.
    """
    name = f"log_{uuid.uuid4().hex[:8]}"
    said: dict[str, Any] = {"deployment": "api", "model": "late", "serve": {}}
    more: dict[str, Any] = {}
    if place in ("memory", "local"):
        where = {"memory": f"memory://{name}", "local": f"local://{folder}/bucket"}[place]
        more["storage"] = {"data": where}
    elif place == "s3":
        more["storage"] = asked("bucket")
    elif place != "files":
        urls = {"duckdb": "duckdb://log.duckdb", "sqlite": "sqlite://log.db"}
        more["connections"] = [{"connection": "db", "url": urls.get(place) or asked(place)}]
        said["serve"] = {"log_predictions": {"to": {"connection": "db", "table": name}}}
    return Project.of("shop", folder, check=False, deployments=[said], **more)


@pytest.fixture(params=PLACES)
def log(request: pytest.FixtureRequest, tmp_path: Path) -> PredictionLog:
    project = project_at(request.param, tmp_path, request.getfixturevalue)
    return PredictionLog(project, "api")


def merged(log: PredictionLog, folder: Path, *records: Any) -> None:
    """Records as a server keeps them, brought into the log."""
    spool = Spool(folder)
    for record in records:
        (spool.add_feedback if isinstance(record, Feedback) else spool.add)(record)
    spool.close()
    drain = Drain(folder, log, log.feedback())
    assert drain.merge(), drain.state.problem


def at(hours: float) -> float:
    return (NOW + timedelta(hours=hours)).timestamp()


def asked(own: str, rows: int = 1, hours: float = -1.0, **more: Any) -> Any:
    made = answered(own, rows, **more)
    return replace(made, requested_at=at(hours), scored_at=at(hours) + 0.1)


def test_rows_and_labels_are_the_same_wherever_they_are(log: PredictionLog, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    assert not log.exists()
    assert log.begins() is None
    assert log.read().rows == log.feedback().read().rows == 0
    one, two, unknown = new_id(), new_id(), new_id()
    merged(log, spool, asked(one), asked(two, rows=3, hours=-2))
    rows = row_ids(two, 3)
    label = [("flight_id", "string", f"F{one}")]
    merged(
        log,
        spool,
        Feedback(new_id(), at(0), "0", rows[1]),
        Feedback(new_id(), at(0.1), "1", rows[1]),
        Feedback(new_id(), at(0.1), "1", rows[1]),
        Feedback(new_id(), at(0), "1", None, label),
        Feedback(new_id(), at(0), "1", unknown),
        # the time of a label counts, not that of its arrival
        Feedback(new_id(), at(0.2), "0", rows[2], (), None, at(0)),
        Feedback(new_id(), at(0.1), "1", rows[2], (), None, at(0.1)),
    )
    assert log.read().rows == 4
    assert log.begins() == NOW - timedelta(hours=2)
    assert log.read(until=NOW - timedelta(hours=1.5)).rows == 3
    labels = log.labels().to("arrow").to_pylist()
    assert {found["prediction_id"]: found["label"] for found in labels} == {
        one: "1",
        rows[1]: "1",
        rows[2]: "1",
    }
    (lost,) = log.unmatched_feedback().to("arrow").to_pylist()
    assert lost["prediction_id"] == unknown
    labelled = log.labelled().to("arrow")
    assert labelled["label"].null_count == 1
    assert log.feedback().read().rows == 6


def test_a_prediction_is_found_by_its_id(log: PredictionLog, tmp_path: Path) -> None:
    one, several = new_id(), new_id()
    merged(log, tmp_path / "spool", asked(one, hours=-0.001), asked(several, 3, hours=-0.001))
    (found,) = log.find(one).to("arrow").to_pylist()
    assert (found["prediction_id"], found["distance"], found["flight_id"]) == (one, 1.0, f"F{one}")
    assert log.find(several).rows == 3
    (row,) = log.find(f"{several}-2").to("arrow").to_pylist()
    assert row["prediction_id"] == f"{several}-2"
    for other in (new_id(), f"{several}-7", one[:-1], "f" * 32, "'; DROP TABLE x; --"):
        assert log.find(other).rows == 0
    assert [found.prediction_id for found in trace(log._project, several)] == row_ids(several, 3)


def test_a_batch_again_is_the_same_rows_and_another_version_may_have_more_columns(
    log: PredictionLog, tmp_path: Path
) -> None:
    rows = [
        {"prediction_id": f"p{n}", "amount": float(n), "requested_at": NOW, "model_version": "1"}
        for n in range(3)
    ]
    for _ in range(2):
        assert log.append(rows, batch="one") == 3
    assert log.append([{**row, "colour": "red"} for row in rows[:1]], batch="two") == 1
    found = log.read().to("arrow").to_pylist()
    assert sorted((row["prediction_id"], row["colour"]) for row in found if row["colour"]) == [
        ("p0", "red")
    ]
    assert len(found) == 4


def test_versions_with_other_columns_are_merged_everywhere(
    log: PredictionLog, tmp_path: Path
) -> None:
    wider = Signature((*SIGNATURE.fields, Field("gate", "string")), SIGNATURE.carried)
    merged(log, tmp_path / "spool", asked(new_id()))
    merged(log, tmp_path / "spool", asked(new_id(), model=model("8", wider), gate="G7"))
    found = log.read().to("arrow")
    assert sorted(found["model_version"].to_pylist()) == ["7", "8"]
    assert set(found["gate"].to_pylist()) == {None, "G7"}


def test_what_waits_while_a_database_is_away_is_merged_when_it_is_back(
    postgres: str, tmp_path: Path
) -> None:
    away = project_at("postgres", tmp_path, lambda _: "postgresql://nobody@127.0.0.1:9/none")
    log = PredictionLog(away, "api")
    spool = Spool(tmp_path / "spool")
    spool.add(asked(own := new_id(), hours=-0.001))
    spool.close()
    drain = Drain(spool.folder, log, log.feedback())
    assert not drain.merge()
    assert "connect to db" in (drain.state.problem or "")
    here = PredictionLog(project_at("postgres", tmp_path, lambda _: postgres), "api")
    drain = Drain(spool.folder, here, here.feedback())
    assert drain.merge()
    assert here.find(own).rows == 1


def test_a_full_or_forbidden_bucket_keeps_rows_in_the_spool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fsspec

    project = project_at("memory", tmp_path, str)
    log = PredictionLog(project, "api")
    spool = Spool(tmp_path / "spool")
    spool.add(asked(own := new_id(), hours=-0.001))
    spool.close()
    drain = Drain(spool.folder, log, log.feedback())
    memory = fsspec.filesystem("memory")

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError("the bucket is not yours")

    with monkeypatch.context() as patch:
        patch.setattr(type(memory), "put_file", refuse)
        assert not drain.merge()
        assert "not yours" in (drain.state.problem or "")
    assert drain.merge()
    assert log.find(own).rows == 1
