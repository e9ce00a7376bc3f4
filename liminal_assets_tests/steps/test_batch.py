"""Batch scores: equal to the pipeline's, replaced partition by partition, published whole."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

import liminal_assets as la
from liminal_assets.steps.batch import score_batch
from liminal_assets.steps.report import Plot, Records
from liminal_assets_tests.champions import INPUTS, PARTITIONS, Shop, fitted, flights

TO = "to: {connection: warehouse, table: scores}"


def delivered(served: Shop, sql: str) -> list[Any]:
    with duckdb.connect(str(served.project.root / "warehouse.duckdb"), read_only=True) as con:
        return con.sql(sql).fetchall()


def test_scores_are_those_of_the_champion_beside_what_they_are_about(served: Shop) -> None:
    scored = score_batch(served.project, "late_scores", PARTITIONS[0], chunk_rows=64)
    found = served.store.read("late_scores", [PARTITIONS[0]]).to("pandas")
    assert list(found.columns) == [
        "flight_id", "departs_at", *INPUTS, "prediction", "probability", "model_version",
        "scored_at", "prediction_id",
    ]  # fmt: skip
    rows = flights(seed=10)
    pipeline = fitted(0)
    assert found["flight_id"].tolist() == rows["flight_id"].tolist()
    assert found["prediction"].tolist() == pipeline.predict(rows[INPUTS]).tolist()
    assert found["probability"].tolist() == pipeline.predict_proba(rows[INPUTS])[:, 1].tolist()
    assert set(found["model_version"]) == {"1"}
    assert scored.metadata["mean_probability"] == pytest.approx(found["probability"].mean())
    assert scored.metadata["model_version"] == "1"
    assert isinstance(scored.metadata["distribution"], Plot)
    shares = {row["prediction"]: row["rows"] for row in scored.metadata["predictions"].rows}
    assert shares == {str(k): v for k, v in found["prediction"].value_counts().items()}
    assert len(scored.metadata["preview"].rows) == 5


def test_scoring_again_replaces_the_rows_of_its_partition_alone(served: Shop) -> None:
    for partition in PARTITIONS:
        score_batch(served.project, "late_scores", partition)
    served.register()
    served.store.write("flight_features", PARTITIONS[1], flights(30, seed=5))
    score_batch(served.project, "late_scores", PARTITIONS[1])
    counted = delivered(
        served,
        "SELECT partition_key, model_version, count(*) FROM scores GROUP BY ALL ORDER BY ALL",
    )
    assert counted == [(PARTITIONS[0], "1", 200), (PARTITIONS[1], "2", 30)]
    kept = served.store.read("late_scores").to("pandas").groupby("model_version").size()
    assert kept.to_dict() == {"1": 200, "2": 30}


def test_equal_scores_have_equal_data_versions(served: Shop) -> None:
    first = score_batch(served.project, "late_scores", PARTITIONS[0])
    again = score_batch(served.project, "late_scores", PARTITIONS[0])
    other = score_batch(served.project, "late_scores", PARTITIONS[1])
    assert first.data_version == again.data_version != other.data_version


@pytest.mark.parametrize("where", ["scores", "memory://late-scores"])
def test_scores_go_to_a_file_per_partition(served: Shop, where: str) -> None:
    import fsspec

    changed = served.rewritten(TO, f"to: {{file: '{where}'}}")
    for partition in [*PARTITIONS, PARTITIONS[0]]:
        scored = score_batch(changed.project, "late_scores", partition)
    folder = where if "://" in where else str(served.project.root / where)
    filesystem, path = fsspec.url_to_fs(folder)
    names = sorted(name.rpartition("/")[2] for name in filesystem.ls(path, detail=False))
    assert names == [f"{partition}.parquet" for partition in PARTITIONS]
    assert scored.metadata["delivered_to"] == f"{folder}/{PARTITIONS[0]}.parquet"
    with filesystem.open(f"{path}/{PARTITIONS[0]}.parquet") as file:
        assert len(pd.read_parquet(file)) == 200


def test_one_file_for_several_partitions_is_a_mistake(served: Shop) -> None:
    with pytest.raises(la.InvalidProjectError, match="there is one per partition"):
        served.rewritten(TO, "to: {file: scores.parquet}")


def test_rows_in_one_piece_are_scored_in_one_piece(served: Shop) -> None:
    whole = served.rewritten("    partitions: {every: month", "    tags: {a: b}\n#").rewritten(
        TO, "to: {file: out/all.parquet}"
    )
    whole.store.write("flight_features", None, flights(40))
    score_batch(whole.project, "late_scores")
    assert whole.store.read("late_scores").rows == 40
    assert len(pd.read_parquet(whole.project.root / "out" / "all.parquet")) == 40
    whole.store.write("flight_features", None, flights(40).head(0))
    with pytest.raises(la.StepError, match="flight_features has no rows to score"):
        score_batch(whole.project, "late_scores")


def test_a_partition_without_rows_has_no_scores(served: Shop) -> None:
    served.store.write("flight_features", PARTITIONS[1], flights(10).head(0))
    scored = score_batch(served.project, "late_scores", PARTITIONS[1])
    assert scored.metadata["warning"] == "there are no rows"
    assert served.store.read("late_scores", [PARTITIONS[1]]).rows == 0
    assert delivered(served, "SELECT count(*) FROM scores") == [(0,)]


def test_the_last_good_scores_stay_when_scoring_fails(served: Shop) -> None:
    score_batch(served.project, "late_scores", PARTITIONS[0])
    rows = flights(250, seed=3)
    rows["stops"] = rows["stops"].astype(object)
    rows.loc[249, "stops"] = "many"
    served.store.write("flight_features", PARTITIONS[0], rows.astype({"stops": str}))
    with pytest.raises(la.StepError, match="'many'") as raised:
        score_batch(served.project, "late_scores", PARTITIONS[0], chunk_rows=100)
    assert raised.value.location == served.project.locate(
        served.project.spec.deployments[1], "batch", "from"
    )
    assert served.store.read("late_scores", [PARTITIONS[0]]).rows == 200
    assert delivered(served, "SELECT count(*) FROM scores") == [(200,)]
    assert not list(Path(served.store.root, ".staging").glob("*"))


@pytest.mark.parametrize(
    ("partition", "message"),
    [("2026-03", "flight_features has no rows for partition 2026-03")],
)
def test_rows_that_are_not_there_are_named(served: Shop, partition: str, message: str) -> None:
    with pytest.raises(la.StepError, match=message):
        score_batch(served.project, "late_scores", partition)


def test_a_column_that_the_feature_lost_is_named(served: Shop) -> None:
    served.store.write("flight_features", PARTITIONS[0], flights(20).drop(columns=["wind"]))
    with pytest.raises(la.StepError, match="the rows lack the model's column wind"):
        score_batch(served.project, "late_scores", PARTITIONS[0])


def test_a_server_scores_no_batches(served: Shop) -> None:
    with pytest.raises(la.StepError, match="late_api is no deployment that scores in batches"):
        score_batch(served.project, "late_api")


@pytest.mark.parametrize("kind", ["regression", "words"])
def test_the_summary_fits_what_is_predicted(served: Shop, kind: str) -> None:
    class Words:
        classes_ = np.array(["no", "yes"])

        def predict(self, frame: pd.DataFrame) -> Any:
            return np.where(frame["stops"] > 0, "yes", "no")

    numbers = flights()
    pipeline = (
        LinearRegression().fit(numbers[["stops"]], numbers["distance"])
        if kind == "regression"
        else Words()
    )
    from liminal_assets.steps.champion import Champion
    from liminal_assets.steps.signature import Field, Signature

    version = served.registry.champion("late")
    assert version
    champion = Champion(version, pipeline, Signature((Field("stops", "double"),)))
    metadata = score_batch(served.project, "late_scores", PARTITIONS[0], champion).metadata
    if kind == "words":
        assert isinstance(metadata["predictions"], Records)
        assert {row["prediction"] for row in metadata["predictions"].rows} == {"no", "yes"}
    else:
        assert metadata["lowest"] <= metadata["mean_prediction"] <= metadata["highest"]
        assert isinstance(metadata["distribution"], Plot)


@pytest.mark.slow
def test_memory_is_bounded_by_the_chunk_not_by_the_rows(tmp_path: Path) -> None:
    code = textwrap.dedent(
        """
        import resource, sys, duckdb
        import numpy as np, pandas as pd, pyarrow.parquet as pq
        from sklearn.linear_model import LogisticRegression
        from liminal_assets.steps.score import ScoreStream
        from liminal_assets.steps.signature import Field, Signature
        from liminal_assets.storage.forms import connect
        names = [f"c{i}" for i in range(20)]
        signature = Signature(tuple(Field(name, "double") for name in names))
        frame = pd.DataFrame(np.random.default_rng(0).normal(size=(500, 20)), columns=names)
        model = LogisticRegression().fit(frame, frame["c0"] > 0)
        file = sys.argv[1]
        columns = ", ".join(f"random() AS {name}" for name in names)
        con = connect()
        con.execute("SET memory_limit = '200MB'")
        con.execute("SET threads = 1")
        con.execute("SET preserve_insertion_order = false")
        con.execute(f"COPY (SELECT {columns} FROM range({sys.argv[2]})) TO '{file}' "
                    "(FORMAT parquet, ROW_GROUP_SIZE 50000)")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        stream = ScoreStream(model, signature, con.from_parquet(file), chunk_rows=20_000)
        reader = stream.reader()
        rows = 0
        with pq.ParquetWriter(file + ".out", reader.schema) as writer:
            for batch in reader:
                writer.write_batch(batch)
                rows += batch.num_rows
        print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        """
    )
    grown = {}
    for rows in (100_000, 800_000):
        file = str(tmp_path / f"{rows}.parquet")
        done = subprocess.run(
            [sys.executable, "-c", code, file, str(rows)],
            capture_output=True,
            text=True,
            check=True,
        )
        count, kilobytes = map(int, done.stdout.split())
        assert count == rows
        grown[rows] = kilobytes / 1024
    # 700,000 rows more are 112 MB more of numbers
    assert grown[800_000] - grown[100_000] < 60, grown
