"""Requests that carry only their entity: the rest comes from the online store."""

from __future__ import annotations

import io
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pandas as pd
import pyarrow as pa
import pytest
import tritonclient.http as triton

from liminal_assets.errors import StepError
from liminal_assets.execution.targets.releases import server_config
from liminal_assets.language.features import Feature
from liminal_assets.language.loading import load_project
from liminal_assets.language.models import Model
from liminal_assets.serving.app import ServingApp
from liminal_assets.serving.config import Grpc
from liminal_assets.serving.control.live import LiveModel, State
from liminal_assets.serving.features.completion import FeatureSource
from liminal_assets.serving.features.lookups import LookupConfig, Lookups
from liminal_assets.serving.features.settings import lookup_config
from liminal_assets.serving.model import ServedModel
from liminal_assets.serving.observing.telemetry import Telemetry, TelemetryConfig
from liminal_assets.serving.observing.watch import Watch
from liminal_assets.serving.releases.preparation import prepare_release
from liminal_assets.steps.lookups import feature_source, learned_features
from liminal_assets.steps.trial import server_on_trial
from liminal_assets.storage.online import OnlineStore
from liminal_assets_tests.champions import INPUTS, PARTITIONS, Shop
from liminal_assets_tests.databases import redis_server
from liminal_assets_tests.serving.conftest import running
from liminal_assets_tests.serving.observing.test_telemetry import collector

ONLINE = "timestamp: departs_at, online: true"
ARROW = "application/vnd.apache.arrow.stream"


@dataclass
class Online:
    """A project whose feature is in an online store, and the version that learned from it."""

    shop: Shop
    model: ServedModel
    config: LookupConfig

    @property
    def feature(self) -> Feature:
        found = self.shop.project.block("flight_features")
        assert isinstance(found, Feature)
        return found

    @property
    def store(self) -> OnlineStore:
        return OnlineStore(self.shop.project)

    def rows(self) -> pd.DataFrame:
        return self.shop.store.read("flight_features").to("pandas")

    def app(
        self, *, telemetry: Telemetry | None = None, grpc: Grpc | None = None, **settings: Any
    ) -> ServingApp:
        config = msgspec.structs.replace(self.config, **{"timeout_seconds": 5.0, **settings})
        watch = Watch(telemetry=telemetry)
        lookups = Lookups(config, watch.metrics)
        return ServingApp(LiveModel.fixed(self.model), watch=watch, lookups=lookups, grpc=grpc)

    @contextmanager
    def client(self, **settings: Any) -> Iterator[httpx.Client]:
        with running(self.app(**settings)) as client:
            yield client


@pytest.fixture(scope="module")
def online_template(served_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose champion learned from a feature in the embedded store, to be copied."""
    folder = tmp_path_factory.mktemp("online") / "shop"
    shutil.copytree(served_template, folder)
    yaml = folder / "liminal.yml"
    yaml.write_text(yaml.read_text().replace("timestamp: departs_at", ONLINE))
    shop = Shop(load_project(folder), folder.parent)
    write_online(shop)
    version, learned = shop.registry.champion("late"), shop.project.block("late")
    assert version is not None
    assert isinstance(learned, Model)
    shop.registry.tag(version, learned_features(shop.project, learned, PARTITIONS, pytest.fail))
    prepare_release(shop.project, shop.project.spec.deployments[0], version)
    return folder


def write_online(shop: Shop) -> None:
    feature = shop.project.block("flight_features")
    assert isinstance(feature, Feature)
    for partition in PARTITIONS:
        rows = shop.store.read("flight_features", [partition])
        OnlineStore(shop.project).write(feature, rows, source=partition)


def online(folder: Path, url: str | None = None) -> Online:
    """The project with its rows in another store, if that is told."""
    shop = Shop(load_project(folder), folder.parent)
    if url:
        yaml = folder / "liminal.yml"
        yaml.write_text(yaml.read_text() + f"storage: {{online: '{url}'}}\n")
        shop = Shop(load_project(folder), folder.parent)
        write_online(shop)
    deployment = shop.project.spec.deployments[0]
    config = lookup_config(shop.project, deployment)
    assert config is not None
    release = prepare_release(shop.project, deployment, 1)
    return Online(shop, ServedModel.from_release(release), config)


@pytest.fixture
def folder(online_template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(online_template, tmp_path / "shop"))


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow), "redis_url"])
def there(request: pytest.FixtureRequest, folder: Path) -> Online:
    """In each kind of store, on its real server; the embedded one is read in the event loop."""
    url = None if request.param == "sqlite" else str(request.getfixturevalue(request.param))
    return online(folder, url)


@pytest.fixture
def embedded(folder: Path) -> Online:
    return online(folder)


def whole(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as a request that carries all columns."""
    said = rows[["flight_id", *INPUTS]].astype(object)
    return [dict(row) for row in said.where(said.notna(), None).to_dict("records")]


def answers(response: httpx.Response) -> list[tuple[Any, Any]]:
    assert response.status_code == 200, response.text
    return [(row["prediction"], row["probability"]) for row in response.json()["predictions"]]


def test_an_entity_is_answered_as_its_whole_row(there: Online) -> None:
    rows = there.rows().sample(40, random_state=0)
    ids = rows["flight_id"].tolist()
    with there.client() as client:
        expected = answers(client.post("/predict", json=whole(rows)))
        forms: list[Any] = [
            [{"flight_id": name} for name in ids],
            {"records": [{"flight_id": name} for name in ids]},
            {"columns": {"flight_id": ids}},
            {"columns": ["flight_id"], "data": [[name] for name in ids]},
        ]
        for form in forms:
            assert answers(client.post("/predict", json=form)) == expected
        assert answers(client.post("/predict", json={"flight_id": ids[0]})) == expected[:1]
        metrics = client.get("/metrics").text
        assert client.get("/info").json()["features"]["problem"] is None
    found = 'liminal_feature_rows_total{feature="flight_features",result="found"} 161.0'
    assert found in metrics
    assert 'liminal_feature_lookups_total{feature="flight_features",outcome="ok"} 5.0' in metrics
    assert "liminal_feature_lookup_duration_seconds_bucket" in metrics


def test_other_protocols_take_entities_too(there: Online) -> None:
    rows = there.rows().head(5)
    ids = rows["flight_id"].tolist()
    with there.client() as client:
        expected = answers(client.post("/predict", json=whole(rows)))
        labels = [label for label, _ in expected]
        split = {"dataframe_split": {"columns": ["flight_id"], "data": [[name] for name in ids]}}
        assert client.post("/invocations", json=split).json() == {"predictions": labels}
        csv = "flight_id\n" + "\n".join(ids)
        by_csv = client.post("/invocations", content=csv, headers={"content-type": "text/csv"})
        assert by_csv.json() == {"predictions": labels}
        sink = io.BytesIO()
        table = pa.table({"flight_id": ids})
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        headers = {"content-type": ARROW, "accept": ARROW}
        stream = client.post("/predict", content=sink.getvalue(), headers=headers)
        found = pa.ipc.open_stream(stream.content).read_all().to_pydict()
        pairs = zip(found["prediction"], found["probability"], strict=True)
        assert list(pairs) == expected
        tensor = triton.InferInput("flight_id", [len(ids)], "BYTES")
        tensor.set_data_from_numpy(rows["flight_id"].to_numpy(dtype=object))
        with triton.InferenceServerClient(client.base_url.netloc.decode()) as other:
            inferred = other.infer("shop.late", [tensor]).as_numpy("prediction")
        assert inferred.tolist() == labels


def test_what_a_request_says_wins(embedded: Online) -> None:
    rows = embedded.rows()
    given = rows[rows["wind"].notna()].head(1)
    (row,) = whole(given)
    with embedded.client() as client:
        for changes in ({"distance": 50.0}, {"wind": None}, {"wind": 80.0, "stops": 0}):
            part = {"flight_id": row["flight_id"], **changes}
            expected = client.post("/predict", json={**row, **changes})
            assert answers(client.post("/predict", json=part)) == answers(expected)
        # rows that say all, some and nothing but their entity, in one request
        mixed = [row, {"flight_id": row["flight_id"]}, {**row, "flight_id": "nobody's"}]
        assert len({answers(client.post("/predict", json=[one]))[0] for one in mixed}) == 1
        assert len(set(answers(client.post("/predict", json=mixed)))) == 1


def test_the_prediction_log_has_the_row_as_it_was_answered(embedded: Online) -> None:
    kept: list[Any] = []
    app = embedded.app()
    app.engine.log = type("Log", (), {"add": lambda self, one: kept.append(one)})()
    row = embedded.rows().iloc[7]
    app.engine.answer(embedded.model, decode_one({"flight_id": row["flight_id"]}, app), time.time())
    app.engine.answer(embedded.model, decode_one(whole(row.to_frame().T)[0], app), time.time())
    looked_up, sent = kept
    assert looked_up.sent == ("flight_id",)
    assert sent.sent is None
    for name in ("flight_id", *INPUTS):
        (value,), (other,) = looked_up.columns[name], sent.columns[name]
        assert value == other
    assert looked_up.columns["departs_at"] == [row["departs_at"].to_pydatetime()]


def decode_one(row: dict[str, Any], app: ServingApp) -> Any:
    from liminal_assets.serving.protocols.records import from_records

    model = app.live.state.model
    assert model is not None
    return from_records([row], model.signature, 10)


def test_an_unknown_entity_is_named(there: Online) -> None:
    known = there.rows()["flight_id"].tolist()[0]
    with there.client() as client:
        response = client.post("/predict", json=[{"flight_id": known}, {"flight_id": "F-none"}])
        assert response.status_code == 422
        assert response.json()["error"]["problems"] == [
            {
                "row": 1,
                "field": "flight_id",
                "message": "the online store has no flight_features of 'F-none'",
                "hint": "send the row's other fields: distance, stops, carrier, wind",
            }
        ]
        wrong = client.post("/predict", json={"flight_id": 5}).json()["error"]
        assert wrong["problems"][0]["message"] == "must be text, not 5"
        neither = client.post("/predict", json={"stops": 1}).json()["error"]
        assert {one["hint"] for one in neither["problems"]} == {
            "with flight_id it comes from the online store"
        }
        mlflow = client.post("/invocations", json={"inputs": {"flight_id": ["F-none"]}})
        assert mlflow.status_code == 400
        # protocols without a list of problems tell it once
        assert mlflow.json()["message"].count("'F-none'") == 1


def test_an_unknown_entity_counts_as_null_where_the_model_takes_that(embedded: Online) -> None:
    with embedded.client(missing="null") as client:
        part = {"flight_id": "F-none", "distance": 900.0, "stops": 1, "carrier": "UA"}
        expected = client.post("/predict", json={**part, "wind": None})
        assert answers(client.post("/predict", json=part)) == answers(expected)
        refused = client.post("/predict", json={"flight_id": "F-none"}).json()["error"]
        assert {one["field"] for one in refused["problems"]} == {"distance", "stops", "carrier"}


def test_old_rows_are_refused_or_told(embedded: Online) -> None:
    known = embedded.rows()["flight_id"].tolist()[0]
    with embedded.client(max_age_seconds=60.0) as client:
        response = client.post("/predict", json={"flight_id": known})
        assert response.status_code == 422
        assert "days old, which is too old" in response.json()["error"]["message"]
    with embedded.client(max_age_seconds=60.0, stale="answer") as client:
        response = client.post("/predict", json=[{"flight_id": known}] * 2)
        assert len(answers(response)) == 2
        assert response.headers["x-stale-rows"] == "2"
        assert 'result="stale"} 2.0' in client.get("/metrics").text
    with embedded.client(max_age_seconds=1e9) as client:
        response = client.post("/predict", json={"flight_id": known})
        assert response.status_code == 200
        assert "x-stale-rows" not in response.headers


def test_null_in_the_store_is_told_with_its_source(embedded: Online) -> None:
    rows = embedded.rows().head(1).assign(carrier=None)
    embedded.store.write(embedded.feature, table(rows), source=PARTITIONS[0])
    with embedded.client() as client:
        entity = {"flight_id": rows["flight_id"].iloc[0]}
        (problem,) = client.post("/predict", json=entity).json()["error"]["problems"]
    assert problem["field"] == "carrier"
    assert problem["message"] == "must not be null"
    assert problem["hint"] == "the online store has it so in flight_features"


def table(rows: pd.DataFrame) -> Any:
    from liminal_assets.storage.tables import Table

    return Table.from_rows(rows)


def test_another_specification_is_never_taken_for_the_learned_one(embedded: Online) -> None:
    rows = embedded.rows().head(3)
    entity = {"flight_id": rows["flight_id"].iloc[0]}
    other = rows.assign(distance=rows["distance"] / 1.6)
    embedded.store.write(embedded.feature, table(other), specification="kilometres", source="x")
    with embedded.client() as client:
        # both are there: each version reads its own
        expected = answers(client.post("/predict", json=whole(rows)[:1]))
        assert answers(client.post("/predict", json=entity)) == expected
    source = embedded.model.features
    assert source is not None
    gone = replace(source, specification="0123456789abcdef")
    embedded.model = replace(embedded.model, features=gone)
    with embedded.client() as client:
        ready = client.get("/readyz")
        refused = client.post("/predict", json=entity)
        assert client.post("/predict", json=whole(rows)).status_code == 200
        said = client.get("/info").json()["features"]
    assert (ready.status_code, refused.status_code) == (503, 503)
    message = (
        "the online store has no rows of flight_features by the specification 0123456789abcdef, "
        "from which version 1 learned: it has those of kilometres"
    )
    assert ready.json()["problem"] == said["problem"] == message
    assert refused.json()["error"]["message"] == message
    with embedded.client(required=False) as client:
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["problem"]) == (200, message)


def test_a_version_that_does_not_say_what_it_learned_needs_whole_rows(embedded: Online) -> None:
    shop, deployment = embedded.shop, embedded.shop.project.spec.deployments[0]
    version = replace(shop.registry.version("late", 1), tags={})
    said = feature_source(shop.project, deployment, version, embedded.model.signature)
    assert said is not None
    assert said["specification"] is None
    fields = tuple(replace(one, stored=False) for one in embedded.model.signature.fields)
    signature = replace(embedded.model.signature, fields=fields)
    embedded.model = replace(embedded.model, features=FeatureSource.of(said), signature=signature)
    rows = embedded.rows().head(1)
    with embedded.client() as client:
        assert client.get("/readyz").status_code == 200
        info = client.get("/info").json()["features"]
        assert "doesn't say" in info["problem"]
        assert info["store"] == embedded.config.url
        (row,) = whole(rows)
        assert client.post("/predict", json=row).status_code == 200
        # wind may be null, but what is known of an entity isn't silently taken for null
        without = {name: value for name, value in row.items() if name != "wind"}
        for said in ({"flight_id": "F10-0"}, without):
            error = client.post("/predict", json=said).json()["error"]
            assert error["code"] == "no_features"
            assert "can't be looked up" in error["message"]
            assert "wind" in error["problems"][0]["hint"]
        del without["flight_id"]
        assert client.post("/predict", json=without).status_code == 200
    with embedded.client(missing="null") as client:
        expected = answers(client.post("/predict", json={**without, "wind": None}))
        part = {**without, "flight_id": row["flight_id"]}
        assert answers(client.post("/predict", json=part)) == expected


def test_a_store_that_goes_away_is_503_and_comes_back(folder: Path, tmp_path: Path) -> None:
    with redis_server(tmp_path) as (url, process):
        there = online(folder, url)
        rows = there.rows().head(1)
        entity = {"flight_id": rows["flight_id"].iloc[0]}
        with there.client(timeout_seconds=0.3) as client:
            expected = answers(client.post("/predict", json=entity))
            os.kill(process.pid, signal.SIGSTOP)
            began = time.monotonic()
            response = client.post("/predict", json=entity)
            assert time.monotonic() - began < 5
            assert (response.status_code, response.headers["retry-after"]) == (503, "1")
            assert response.json()["error"]["code"] == "features_unavailable"
            assert answers(client.post("/predict", json=whole(rows))) == expected
            until(lambda: client.get("/readyz").status_code == 503)
            assert "the online store" in client.get("/readyz").json()["problem"]
            assert client.get("/healthz").status_code == 200
            assert 'outcome="failed"' in client.get("/metrics").text
            os.kill(process.pid, signal.SIGCONT)
            until(lambda: client.get("/readyz").status_code == 200)
            assert answers(client.post("/predict", json=entity)) == expected
            process.kill()
            process.wait()
            assert client.post("/predict", json=entity).status_code == 503


def test_a_postgresql_server_that_does_not_answer_is_503_in_time(embedded: Online) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://me:hunter2@127.0.0.1:{silent.getsockname()[1]}/x"
        with embedded.client(url=url, timeout_seconds=0.2) as client:
            began = time.monotonic()
            response = client.post("/predict", json={"flight_id": "F10-0"})
            assert time.monotonic() - began < 5
            ready = client.get("/readyz")
            info = client.get("/info").text
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert "no answer" in response.json()["error"]["message"]
    assert ready.status_code == 503
    assert "hunter2" not in response.text + ready.text + info


def until(done: Any, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.05)


def test_a_shadow_of_another_specification_looks_up_its_own(embedded: Online) -> None:
    rows = embedded.rows().head(4)
    embedded.store.write(
        embedded.feature, table(rows.assign(distance=3000.0)), specification="far", source="x"
    )
    source = embedded.model.features
    assert source is not None
    candidate = replace(embedded.model, version="2", features=replace(source, specification="far"))
    seen: list[Any] = []

    def watched(columns: Any, count: int) -> Any:
        seen.append(columns["distance"])
        return embedded.model.predictor(columns, count)

    candidate = replace(candidate, predictor=watched)
    app = embedded.app()
    app.live.state = State(embedded.model, "1", None, candidate, 0.0, 100.0)
    with running(app) as client:
        ids = [{"flight_id": name} for name in rows["flight_id"]]
        assert len(answers(client.post("/predict", json=ids))) == 4
        until(lambda: seen)
    assert seen == [[3000.0] * 4]


def test_what_the_release_says_decides(embedded: Online) -> None:
    shop = embedded.shop
    deployment = shop.project.spec.deployments[0]
    release = prepare_release(shop.project, deployment, 1)
    assert release.features is not None
    assert release.features["specification"] == embedded.store.state("flight_features").newest
    again = prepare_release(shop.project, deployment, 1)
    assert again.key == release.key
    off = shop.rewritten("serve: {port: 0,", "serve: {features: false, port: 0,")
    assert prepare_release(off.project, off.project.spec.deployments[0], 1).features is None
    assert lookup_config(off.project, off.project.spec.deployments[0]) is None
    aged = shop.rewritten("features: false", "features: {max_age: 1d, missing: null}")
    config = lookup_config(aged.project, aged.project.spec.deployments[0])
    assert config is not None
    assert (config.max_age_seconds, config.missing) == (86400.0, "null")
    assert lookup_config(aged.project, aged.project.spec.deployments[0], elsewhere=True) is None


def test_a_server_elsewhere_gets_the_stores_url_among_its_secrets(embedded: Online) -> None:
    project = embedded.shop.project
    project.file.write_text(
        project.file.read_text() + "storage: {online: 'redis://me:hunter2@store/0'}\n"
    )
    there = load_project(project.file)
    config = server_config(there, there.spec.deployments[0])
    assert config.features is not None
    assert config.features.url == "redis://me:hunter2@store/0"
    # what lies beside the release is for many to read
    assert b"hunter2" not in config.public.to_json()


def test_documents_say_what_may_be_left_out(embedded: Online) -> None:
    with embedded.client() as client:
        schema = client.get("/openapi.json").json()["components"]["schemas"]["Row"]
        assert schema["required"] == []
        example = json.loads(client.get("/openapi.json").text)
        assert example["openapi"]


def test_wind_that_nobody_measured_is_null_again(embedded: Online) -> None:
    rows = embedded.rows()
    row = rows[rows["wind"].isna()].head(1)
    assert math.isnan(row["wind"].iloc[0])
    app = embedded.app()
    columns, _ = app.lookups.columns(  # type: ignore[union-attr]
        embedded.model.features,  # type: ignore[arg-type]
        embedded.model.signature,
        decode_one({"flight_id": row["flight_id"].iloc[0]}, app),
    )
    assert columns["wind"] == [None]


def test_a_number_for_a_timestamp_has_no_age(folder: Path) -> None:
    there = online(folder)
    shop = there.shop.rewritten("serve: {port: 0,", "serve: {features: {max_age: 1d}, port: 0,")
    numbered = there.rows().assign(departs_at=range(len(there.rows())))
    for partition in PARTITIONS:
        shop.store.write("flight_features", partition, numbered)
    with pytest.raises(StepError, match="how old a row is can't be told"):
        prepare_release(shop.project, shop.project.spec.deployments[0], 1)


def test_grpc_takes_entities_too(embedded: Online) -> None:
    import tritonclient.grpc as grpc

    rows = embedded.rows().head(3)
    app = embedded.app(grpc=Grpc())
    with running(app) as client:
        expected = answers(client.post("/predict", json=whole(rows)))
        assert app.grpc
        tensor = grpc.InferInput("flight_id", [3], "BYTES")
        tensor.set_data_from_numpy(rows["flight_id"].to_numpy(dtype=object))
        with grpc.InferenceServerClient(f"127.0.0.1:{app.grpc.port}") as other:
            inferred = other.infer("shop.late", [tensor]).as_numpy("probability")
    assert inferred.tolist() == [probability for _, probability in expected]


def test_a_lookup_is_a_part_of_its_trace(there: Online) -> None:
    entity = {"flight_id": there.rows()["flight_id"].iloc[0]}
    with collector() as (url, got):
        app = there.app(telemetry=Telemetry(TelemetryConfig(url)))
        with running(app) as client:
            assert client.post("/predict", json=entity).status_code == 200
    spans = [span for each in got for scope in each.scope_spans for span in scope.spans]
    parts = {span.name: span for span in spans}
    assert parts["look up"].parent_span_id == parts["POST /predict"].span_id
    in_order = [parts[name] for name in ("decode", "look up", "validate", "predict")]
    for earlier, later in pairwise(in_order):
        assert earlier.end_time_unix_nano <= later.start_time_unix_nano


@pytest.mark.slow
def test_a_worker_in_a_process_of_its_own_looks_up(embedded: Online) -> None:
    rows = embedded.rows().head(1)
    project = embedded.shop.project
    with server_on_trial(project, project.spec.deployments[0]) as server:
        (whole_row,) = whole(rows)
        entity = {"flight_id": whole_row["flight_id"]}
        one, other = (server.predict(row)["predictions"][0] for row in (whole_row, entity))
        assert one["probability"] == other["probability"]


def test_reading_a_store_imports_no_more_than_its_library() -> None:
    code = """
import json, sys
from liminal_assets.serving.features.lookups import LookupConfig, Lookups
for url in sys.argv[1:]:
    Lookups(LookupConfig(url))
print(json.dumps(list(sys.modules)))
"""
    urls = ["sqlite:////nowhere/online.db", "redis://127.0.0.1:1/0", "postgresql://127.0.0.1:1/x"]
    done = subprocess.run(
        [sys.executable, "-c", code, *urls],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    loaded = set(json.loads(done.stdout))
    assert {"sqlite3", "redis", "psycopg2"} <= loaded
    assert not {"mlflow", "dagster", "pydantic", "duckdb", "sqlalchemy", "pandas"} & loaded
    assert not {"sklearn", "pyarrow", "ruamel"} & loaded
