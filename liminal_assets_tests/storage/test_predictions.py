"""The prediction log: appended by servers, read by windows of time."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

import liminal_assets as la
from liminal_assets.storage import log_files
from liminal_assets.storage.predictions import PredictionLog

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


@pytest.fixture
def log(tmp_path: Path) -> PredictionLog:
    return PredictionLog(la.Project.of("shop", tmp_path), "returned_api")


def row(number: int, at: datetime, **more: Any) -> dict[str, Any]:
    return {"amount": float(number), "prediction_id": f"p{number}", "requested_at": at, **more}


def ids(table: Any) -> list[str]:
    return [found[0] for found in table.relation().select("prediction_id").fetchall()]


def test_appended_rows_are_read_oldest_first(log: PredictionLog) -> None:
    assert log.append([row(2, NOON), row(3, NOON + timedelta(seconds=1))]) == 2
    assert log.append([row(1, NOON - timedelta(days=1))]) == 1
    assert ids(log.read()) == ["p1", "p2", "p3"]
    assert log.read().rows == 3


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        pytest.param(0, None, ["p0", "p1", "p2", "p3"], id="from the first on"),
        pytest.param(1, 3, ["p1", "p2"], id="since is inside, until is outside"),
        pytest.param(None, 1, ["p0"], id="until"),
        pytest.param(50, None, [], id="after the last"),
        pytest.param(None, -1, [], id="before the first"),
    ],
)
def test_a_window_holds_the_rows_requested_in_it(
    log: PredictionLog, since: int | None, until: int | None, expected: list[str]
) -> None:
    log.append([row(0, NOON), row(2, NOON + timedelta(hours=2))])
    log.append([row(1, NOON + timedelta(hours=1)), row(3, NOON + timedelta(hours=3))])
    moments = [None if hours is None else NOON + timedelta(hours=hours) for hours in (since, until)]
    table = log.read(*moments)
    assert ids(table) == expected
    assert "amount" in table.schema.names


def test_a_log_begins_with_the_oldest_row_that_is_there(log: PredictionLog) -> None:
    assert log.begins() is None
    log.append([row(0, NOON + timedelta(microseconds=7)), row(1, NOON + timedelta(days=2))])
    log.append([row(2, NOON + timedelta(days=1))])
    assert log.begins() == NOON + timedelta(microseconds=7)


def test_moments_without_a_time_zone_are_in_utc(log: PredictionLog) -> None:
    log.append([row(0, NOON)])
    assert ids(log.read(NOON.replace(tzinfo=None), None)) == ["p0"]
    east = timezone(timedelta(hours=5))
    assert ids(log.read(NOON.astimezone(east), NOON.astimezone(east))) == []


def test_a_window_reads_only_the_files_that_cover_it(log: PredictionLog, tmp_path: Path) -> None:
    log.append([row(0, NOON)])
    log.append([row(1, NOON + timedelta(days=9))])
    newest = max((tmp_path / ".liminal/data/shop/returned_api__predictions").iterdir())
    (newest / "data.parquet").write_bytes(b"no parquet")
    assert ids(log.read(until=NOON + timedelta(days=1))) == ["p0"]


def test_a_new_model_may_log_other_columns(log: PredictionLog) -> None:
    log.append([row(0, NOON)])
    log.append([row(1, NOON + timedelta(seconds=1), colour="red")])
    rows = log.read().relation().select("prediction_id, colour").fetchall()
    assert rows == [("p0", None), ("p1", "red")]


def test_no_rows_are_no_file(log: PredictionLog) -> None:
    log.append([row(0, NOON)])
    empty = log.read(until=NOON).to("arrow")
    assert log.append(empty) == 0
    assert log.read().rows == 1


def test_a_log_that_was_never_written_is_empty(log: PredictionLog) -> None:
    assert not log.exists()
    table = log.read()
    assert table.rows == 0
    assert {"model_version", "prediction_id", "requested_at"} <= set(table.schema.names)


def test_rows_of_two_days_are_two_files_and_a_batch_written_again_is_the_same_rows(
    log: PredictionLog, tmp_path: Path
) -> None:
    rows = [row(0, NOON), row(1, NOON + timedelta(days=1))]
    for _ in range(2):
        assert log.append(rows, batch="one") == 2
    assert ids(log.read()) == ["p0", "p1"]
    files = sorted(path.parent.name for path in tmp_path.rglob("data.parquet"))
    assert [name[:8] for name in files] == ["20260301", "20260302"]
    # a crash had half of the segments removed for want of room
    log.append([*rows[1:], row(2, NOON + timedelta(days=1, hours=1))], batch="one")
    assert ids(log.read()) == ["p0", "p1", "p2"]


def test_small_files_of_a_day_become_one_and_no_reader_sees_a_row_twice(
    log: PredictionLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [f"p{number}" for number in range(20)]
    for number in range(20):
        log.append([row(number, NOON + timedelta(minutes=number))])
    log.tidy()
    assert ids(log.read()) == expected
    assert len(list(tmp_path.rglob("data.parquet"))) == 21
    log.tidy()
    # whoever had found the small ones can still read them
    assert len(list(tmp_path.rglob("data.parquet"))) == 21
    monkeypatch.setattr(log_files, "_GRACE_SECONDS", 0.0)
    log.tidy()
    assert len(list(tmp_path.rglob("data.parquet"))) == 5
    assert ids(log.read()) == expected
    assert ids(log.read(since=NOON + timedelta(minutes=15))) == expected[15:]


def labels_of(log: PredictionLog) -> dict[str, str]:
    found = log.labels().to("arrow").to_pylist()
    return {label["prediction_id"]: label["label"] for label in found}


def feedback(number: int, label: str, **about: Any) -> dict[str, Any]:
    fixed = {"prediction_id": None, "flight_id": None, "at": None}
    moment = {"received_at": NOON + timedelta(days=number)}
    return {"feedback_id": f"f{number}", "label": label, **fixed, **moment, **about}


def test_the_newest_label_of_a_prediction_counts(log: PredictionLog) -> None:
    log.append([row(0, NOON), row(1, NOON)])
    log.feedback().append(
        [
            feedback(1, "early", prediction_id="p0"),
            feedback(2, "late", prediction_id="p0"),
            feedback(3, "lost", prediction_id="p9"),
        ]
    )
    assert labels_of(log) == {"p0": "late"}
    labelled = log.labelled().to("arrow").to_pylist()
    assert [found["label"] for found in labelled] == ["late", None]
    (unknown,) = log.unmatched_feedback().to("arrow").to_pylist()
    assert unknown["prediction_id"] == "p9"


def test_a_label_of_an_entity_is_that_of_its_predictions(log: PredictionLog) -> None:
    hour = timedelta(hours=1)
    log.append([row(n, NOON + n * hour, flight_id=f"F{n // 3}") for n in range(6)])
    log.append([row(6, NOON + timedelta(days=30), flight_id="F0")])
    log.feedback().append([feedback(1, "all", flight_id="F0")])
    assert labels_of(log) == {"p0": "all", "p1": "all", "p2": "all"}
    log.feedback().append([feedback(2, "one", flight_id="F1", at=NOON + 4.5 * hour)])
    assert labels_of(log) == {"p0": "all", "p1": "all", "p2": "all", "p4": "one"}
