"""``liminal predict``: csv, json and parquet in and out, equal to the pipeline."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from liminal_assets.cli.main import main
from liminal_assets_tests.champions import INPUTS, Shop, fitted, flights


def run(*arguments: Any) -> int:
    with pytest.raises(SystemExit) as leaving:
        main([str(argument) for argument in arguments])
    assert isinstance(leaving.value.code, int)
    return leaving.value.code


def predict(served: Shop, *arguments: Any) -> int:
    return run("predict", "--project", served.project.root, "late_api", *arguments)


def written(folder: Path, name: str, frame: pd.DataFrame) -> Path:
    path = folder / name
    if ".csv" in name:
        frame.to_csv(path, index=False)
    elif name.endswith(".parquet"):
        frame.to_parquet(path, index=False)
    else:
        frame.to_json(path, orient="records", lines=name.endswith("l"), double_precision=15)
    return path


def read(path: Path) -> pd.DataFrame:
    if ".csv" in path.name:
        return pd.read_csv(path)
    if path.name.endswith(".parquet"):
        return pd.read_parquet(path)
    return pd.read_json(path, orient="records", lines=path.name.endswith("l"), precise_float=True)


@pytest.mark.parametrize("output", ["out.csv", "out.json", "out.jsonl", "out.parquet", "o.csv.gz"])
@pytest.mark.parametrize("source", ["in.csv", "in.json", "in.jsonl", "in.parquet"])
def test_rows_of_a_file_are_scored_into_a_file(
    served: Shop, tmp_path: Path, source: str, output: str
) -> None:
    # texts that a reader may take for something else
    rows = flights(60).assign(note=lambda frame: frame["stops"].map("00{}".format))
    rows.loc[3, "carrier"] = None
    path = written(tmp_path, source, rows.drop(columns=["departs_at"]))
    assert predict(served, path, "--output", tmp_path / output) == 0
    found = read(tmp_path / output)
    pipeline = fitted(0)
    assert found["flight_id"].tolist() == rows["flight_id"].tolist()
    assert found["prediction"].tolist() == pipeline.predict(rows[INPUTS]).tolist()
    assert found["probability"].tolist() == pytest.approx(
        pipeline.predict_proba(rows[INPUTS])[:, 1].tolist(), abs=1e-15
    )
    assert set(found["model_version"].astype(str)) == {"1"}
    assert list(found.columns[:4]) == ["flight_id", "distance", "stops", "carrier"]


def test_the_codes_of_a_column_of_text_are_not_taken_for_numbers(
    served: Shop, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "in.csv"
    path.write_text("distance,stops,carrier,wind\n100,1,007,\n")
    assert predict(served, path, "--json") == 0
    (row,) = json.loads(capfd.readouterr().out)
    assert row["carrier"] == "007"
    assert row["wind"] is None


def test_in_a_pipe_rows_are_csv(
    served: Shop, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = flights(30)
    assert predict(served, written(tmp_path, "in.parquet", rows)) == 0
    found = pd.read_csv(io.StringIO(capfd.readouterr().out), float_precision="round_trip")
    assert found["probability"].tolist() == fitted(0).predict_proba(rows[INPUTS])[:, 1].tolist()


def test_json_tells_what_was_written(
    served: Shop, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, "in.csv", flights(30))
    assert predict(served, path, "--output", tmp_path / "out.csv", "--json") == 0
    said = json.loads(capfd.readouterr().out)
    assert (said["rows"], said["model_version"]) == (30, "1")


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        pytest.param(
            "distance,stops\n1,1\n", 1, "lack the model's columns carrier, wind", id="gap"
        ),
        pytest.param(
            "distance,stops,carrier,wind\n1,1,AA,1\nfar,1,AA,1\n", 1, 'column "distance"', id="type"
        ),
        pytest.param("", 1, "the rows lack the model's columns distance", id="empty"),
        pytest.param(b"\x00\xff\x00\xff", 1, "error: ", id="rubbish"),
    ],
)
def test_a_file_that_cannot_be_scored_is_one_clear_message(
    served: Shop,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    content: str | bytes,
    code: int,
    message: str,
) -> None:
    path = tmp_path / "in.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert predict(served, path, "--output", tmp_path / "out.csv") == code
    said = capfd.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert [file.name for file in tmp_path.glob("*out*")] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["late_apy", "in.csv"], "did you mean 'late_api'?", id="deployment"),
        pytest.param(["late_api", "missing.csv"], "does not exist", id="file"),
        pytest.param(["late_api", "in.xlsx"], "is no csv, json or parquet file", id="kind"),
        pytest.param(["late_api", "in.csv", "-o", "o.xlsx"], "is no csv, json or", id="output"),
        pytest.param(["late_api", "in.csv", "-o", "no/o.csv"], "there is no folder", id="folder"),
    ],
)
def test_wrong_arguments_are_told(
    served: Shop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("in.csv", "in.xlsx"):
        (tmp_path / name).write_text("a\n1\n")
    assert run("predict", "--project", served.project.root, *arguments) == 2
    assert message in " ".join(capfd.readouterr().err.split())
