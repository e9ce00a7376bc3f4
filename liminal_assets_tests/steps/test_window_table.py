"""A monitor's history as a table: a row per window, the newest first."""

from __future__ import annotations

from pathlib import Path

from liminal_assets.language.monitors import Monitor
from liminal_assets.steps.history import history, record_window
from liminal_assets.steps.monitor import watch
from liminal_assets.steps.window_table import window_table
from liminal_assets.steps.windows import watched_rows
from liminal_assets_tests.watching import project_in, write_labels, write_reference, write_scores


def test_each_window_has_its_verdict_and_its_numbers(tmp_path: Path) -> None:
    project = project_in(tmp_path)
    write_reference(project)
    block = project.block("returned_watch")
    assert isinstance(block, Monitor)
    for partition, shift, count in (
        ("2024-06", 0.0, 400),
        ("2024-07", 2.0, 400),
        ("2024-08", 0, 9),
    ):
        scores = write_scores(project, partition, seed=1, shift=shift, count=count)
        if count > 50:
            write_labels(project, scores)
        done = watch(project, block, watched_rows(project, block, partition))
        record_window(project, block, done.observation, done.judgement)
    few, moved, fine = window_table(history(project, block))
    assert [row["window"] for row in (few, moved, fine)] == ["2024-08", "2024-07", "2024-06"]
    assert (few["verdict"], few["rows"]) == ("not judged", 9)
    assert moved["verdict"] == "breach: drift"
    assert moved["drifted columns"] == 1
    assert moved["largest distance"] > 0.25
    assert (fine["verdict"], fine["drifted columns"]) == ("within bounds", 0)
    assert (fine["roc_auc"], fine["labelled"]) == (1.0, 400)
    assert 0.1 < fine["returned_share"] < 0.9
    assert {tuple(row) for row in (few, moved, fine)} == {tuple(fine)}


def test_without_windows_there_is_no_table(tmp_path: Path) -> None:
    project = project_in(tmp_path)
    assert window_table(history(project, "returned_watch")) == []
