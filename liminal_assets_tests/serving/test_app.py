"""The server over a socket: what it answers, what it refuses, and that it never breaks."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline

import liminal_assets as la
from liminal_assets.serving import create_app
from liminal_assets_tests.serving.conftest import SIGNATURE, running

FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="session")
def compiled(pipeline: Pipeline, frame: pd.DataFrame) -> Iterator[httpx.Client]:
    """The same model in the form that servers have it."""
    app = create_app(pipeline, frame, name="shop.late", version="7", max_rows=50)
    with running(app) as client:
        assert client.get("/info").json()["form"] == "numpy"
        yield client


@pytest.fixture(params=["pipeline", "compiled"])
def either(request: pytest.FixtureRequest) -> httpx.Client:
    """A server of each form."""
    found: httpx.Client = request.getfixturevalue(
        "client" if request.param == "pipeline" else "compiled"
    )
    return found


def post(client: httpx.Client, body: Any) -> httpx.Response:
    return client.post("/predict", json=body)


def problems(response: httpx.Response) -> dict[str, str]:
    assert response.status_code == 422, response.text
    found = response.json()["error"]["problems"]
    return {problem["field"]: problem["message"] for problem in found}


def expected(pipeline: Pipeline, frame: pd.DataFrame) -> list[tuple[Any, float]]:
    labels = pipeline.predict(frame).tolist()
    return list(zip(labels, pipeline.predict_proba(frame)[:, 1].tolist(), strict=True))


def answered(response: httpx.Response) -> list[tuple[Any, float]]:
    assert response.status_code == 200, response.text
    return [(row["prediction"], row["probability"]) for row in response.json()["predictions"]]


def exactly(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {name: None if value != value else value for name, value in row.items()}
        for row in frame.to_dict("records")
    ]


@pytest.mark.parametrize("form", ["records", "bare list", "columns", "pandas split", "split"])
def test_rows_come_as_records_columns_or_split(
    either: httpx.Client, pipeline: Pipeline, frame: pd.DataFrame, form: str
) -> None:
    rows = exactly(frame.head(20))
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    split = {"columns": list(columns), "data": [list(row.values()) for row in rows]}
    body = {
        "records": {"records": rows},
        "bare list": rows,
        "columns": {"columns": columns},
        "pandas split": {**split, "index": list(range(20))},
        "split": {"split": split},
    }[form]
    labels, scores = zip(*answered(post(either, body)), strict=True)
    wanted, probabilities = zip(*expected(pipeline, frame.head(20)), strict=True)
    assert labels == wanted
    assert scores == pytest.approx(probabilities, abs=1e-9)


def test_a_single_record_is_a_row(client: httpx.Client, row: dict[str, Any]) -> None:
    assert len(answered(post(client, row))) == 1


def test_every_answer_says_which_version_gave_it_and_names_each_prediction(
    client: httpx.Client, row: dict[str, Any]
) -> None:
    one, two = post(client, [row]), post(client, [row, row])
    assert one.headers["x-model-version"] == "7"
    assert one.json()["model"] == "shop.late"
    assert one.json()["model_version"] == "7"
    (prediction,) = one.json()["predictions"]
    assert prediction["prediction_id"] == one.json()["prediction_id"]
    ids = [prediction["prediction_id"] for prediction in two.json()["predictions"]]
    assert ids == [f"{two.json()['prediction_id']}-{row}" for row in range(2)]
    assert one.json()["prediction_id"] < two.json()["prediction_id"]


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        pytest.param({"distance": None}, "distance", "must not be null", id="null"),
        pytest.param({"distance": ...}, "distance", "is missing", id="missing"),
        pytest.param({"distanse": 1}, "distanse", "the model has no such field", id="unknown"),
        pytest.param({"distance": "far"}, "distance", "must be a number, not 'far'", id="text"),
        pytest.param({"distance": True}, "distance", "must be a number, not true", id="truth"),
        pytest.param({"distance": [1]}, "distance", "must be a number, not a list", id="list"),
        pytest.param({"stops": 1.5}, "stops", "must be a whole number, not 1.5", id="fraction"),
        pytest.param({"stops": 2**63}, "stops", "must be a whole number of 64 bits", id="64 bits"),
        pytest.param({"carrier": 7}, "carrier", "must be text, not 7", id="number for text"),
        pytest.param({"weekend": 1}, "weekend", "must be true or false, not 1", id="1 for true"),
        pytest.param({"flight_id": 3}, "flight_id", "must be text, not 3", id="carried column"),
    ],
)
def test_a_wrong_value_is_refused_with_a_message_for_its_field(
    client: httpx.Client, row: dict[str, Any], change: dict[str, Any], field: str, message: str
) -> None:
    changed = {name: value for name, value in {**row, **change}.items() if value is not ...}
    found = problems(post(client, [changed]))
    assert list(found) == [field]
    assert found[field].startswith(message)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_is_not_finite_is_refused_by_the_name_of_its_field(
    either: httpx.Client, row: dict[str, Any], number: str
) -> None:
    body = json.dumps(row).replace("1800.0", number)
    found = problems(either.post("/predict", content=body))
    assert found["distance"].startswith("must be finite")


def test_all_problems_are_told_at_once_with_their_rows(
    client: httpx.Client, row: dict[str, Any]
) -> None:
    response = post(client, [row, {**row, "stops": "one"}, {**row, "wing": 1, "carrier": None}])
    error = response.json()["error"]
    found = {(problem["row"], problem["field"]) for problem in error["problems"]}
    assert found == {(1, "stops"), (2, "carrier"), (2, "wing")}
    assert error["problem_count"] == 3
    hints = [problem.get("hint") for problem in error["problems"]]
    assert "did you mean 'wind'?" in hints


def test_an_optional_column_may_be_null_or_missing(
    either: httpx.Client, row: dict[str, Any]
) -> None:
    null = answered(post(either, {**row, "wind": None}))
    missing = answered(post(either, {name: row[name] for name in row if name != "wind"}))
    assert null == missing


def test_whole_numbers_are_numbers_and_numbers_may_be_whole(
    either: httpx.Client, row: dict[str, Any]
) -> None:
    said = {**row, "distance": 1800, "stops": 1.0}
    assert answered(post(either, said)) == answered(post(either, row))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut off"),
        pytest.param(b"\xff\xfe", id="no text"),
        pytest.param(b"[" * 90_000, id="nested too deeply"),
        pytest.param(b"3", id="a number"),
        pytest.param(b'"rows"', id="text"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[1, 2]", id="a list of no records"),
        pytest.param(b'{"records": [{}], "more": 1}', id="an unknown key"),
        pytest.param(b'{"columns": {"a": [1], "b": [1, 2]}}', id="columns of different lengths"),
        pytest.param(b'{"columns": {"a": 1}}', id="columns that are no lists"),
        pytest.param(b'{"columns": ["a", "a"], "data": [[1, 2]]}', id="a column twice"),
        pytest.param(b'{"columns": ["a"], "data": [[1, 2]]}', id="too many values in a row"),
        pytest.param(b'{"columns": ["a"], "data": {}}', id="no data"),
        pytest.param(b'{"split": {}}', id="split without columns"),
        pytest.param(b'{"split": null}', id="split that is null"),
        pytest.param(b'{"records": {"distance": 1}}', id="records that are an object"),
        pytest.param(b'{"records": null}', id="records that are null"),
        pytest.param(b'{"instances": [{"distance": 1}]}', id="a form of MLflow's"),
    ],
)
def test_rubbish_is_refused(client: httpx.Client, body: bytes) -> None:
    response = client.post("/predict", content=body)
    assert response.status_code == 400
    assert response.json()["error"]["message"]
    assert response.json()["model_version"] == "7"


def test_an_empty_body_is_told_as_such(client: httpx.Client) -> None:
    said = client.post("/predict", content=b" ").json()["error"]["message"]
    assert said.startswith('the body is empty: send {"records": [{...}, ...]}')


def test_a_form_of_mlflows_protocol_is_told_where_it_belongs(client: httpx.Client) -> None:
    said = post(client, {"instances": [{"distance": 1}]}).json()["error"]["message"]
    assert said.startswith("'instances' is of MLflow's protocol, which /invocations speaks; here: ")


@pytest.mark.parametrize("body", [[], {"records": []}, {"columns": {}}, {"columns": {"a": []}}])
def test_no_rows_are_refused(client: httpx.Client, body: Any) -> None:
    assert post(client, body).json()["error"]["code"] == "no_rows"


def test_too_many_rows_are_refused(client: httpx.Client) -> None:
    response = post(client, [{"distance": 1}] * 51)
    assert response.status_code == 413
    assert "51 rows are more than the 50" in response.json()["error"]["message"]


@pytest.mark.parametrize("chunked", [False, True], ids=["length known", "chunked"])
def test_a_large_body_is_refused_before_it_is_read_whole(
    client: httpx.Client, chunked: bool
) -> None:
    body = b"[" + b" " * 200_000 + b"]"
    parts = (body[start : start + 10_000] for start in range(0, len(body), 10_000))
    response = client.post("/predict", content=parts if chunked else body)
    assert response.status_code == 413
    assert "larger than 0.1 MiB" in response.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/predict", "/invocations", "/v2/models/shop.late/infer"])
def test_a_compressed_body_is_refused(client: httpx.Client, row: dict[str, Any], path: str) -> None:
    body = gzip.compress(json.dumps(row).encode())
    for how in ("gzip", "Deflate", "identity, gzip"):
        refused = client.post(path, content=body, headers={"content-encoding": how})
        assert refused.status_code == 415
        assert f"content-encoding {how!r} isn't read: send it as it is" in refused.text
        assert refused.headers["accept-encoding"] == "identity"
    answered = client.post("/predict", json=row, headers={"content-encoding": "Identity"})
    assert answered.status_code == 200


def test_a_large_body_within_the_limit_is_answered_from_a_thread(
    client: httpx.Client, row: dict[str, Any]
) -> None:
    body = b" " * 50_000 + json.dumps(row).encode()
    assert client.post("/predict", content=body).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/predict", 405),
        ("POST", "/healthz", 405),
        ("GET", "/", 404),
        ("GET", "/predict/", 404),
        ("HEAD", "/healthz", 200),
    ],
)
def test_paths_and_methods_are_checked(
    client: httpx.Client, method: str, path: str, status: int
) -> None:
    response = client.request(method, path)
    assert response.status_code == status
    if status == 405:
        assert response.headers["allow"] in ("POST, OPTIONS", "GET, HEAD, OPTIONS")


def test_it_says_that_it_lives_is_ready_and_what_answers(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"ready": True, "model_version": "7", "problem": None}
    version = client.get("/info").json()
    assert (version["model"], version["model_version"]) == ("shop.late", "7")
    assert version["loaded_at"].endswith("+00:00")


def test_the_page_of_documentation_needs_nothing_from_elsewhere(client: httpx.Client) -> None:
    response = client.get("/docs")
    assert response.headers["content-type"].startswith("text/html")
    assert "http://" not in response.text
    assert "https://" not in response.text
    for name in SIGNATURE.known:
        assert name in response.text


def test_a_value_that_the_model_has_no_finite_answer_for_is_refused() -> None:
    learned = pd.DataFrame({"a": [1.0, 2.0], "b": [1.0, 3.0]})
    app = create_app(LinearRegression().fit(learned, [1e3, 3e3]), learned)
    with running(app) as client:
        response = post(client, [{"a": 1, "b": 1}, {"a": 1.7e308, "b": 1.7e308}])
        assert response.json()["error"]["code"] == "no_answer"
        assert [problem["row"] for problem in response.json()["error"]["problems"]] == [1]


def test_a_model_that_breaks_is_an_incident_and_the_server_goes_on(row: dict[str, Any]) -> None:
    class Broken:
        calls = 0

        def predict(self, frame: pd.DataFrame) -> list[float]:
            self.calls += 1
            if self.calls == 5:
                raise RuntimeError("secret /path of the model")
            return [1.0] * len(frame)

    with running(create_app(Broken(), SIGNATURE)) as client:
        broken = post(client, row)
        assert broken.status_code == 500
        assert "secret" not in broken.text
        assert "incident" in broken.json()["error"]["message"]
        assert post(client, row).status_code == 200


def test_a_model_that_does_not_answer_is_not_served() -> None:
    with pytest.raises(la.StepError, match="the model can't answer"):
        create_app(LinearRegression(), SIGNATURE)


def test_health_does_not_wait_for_a_slow_model(row: dict[str, Any]) -> None:
    class Slow:
        def predict(self, frame: pd.DataFrame) -> list[float]:
            time.sleep(0.4)
            return [1.0] * len(frame)

    with running(create_app(Slow(), SIGNATURE)) as client:
        asked = threading.Thread(target=post, args=(client, row))
        asked.start()
        time.sleep(0.1)
        started = time.perf_counter()
        assert client.get("/healthz").status_code == 200
        assert time.perf_counter() - started < 0.25
        asked.join()


def test_a_client_that_goes_away_harms_nobody(client: httpx.Client, row: dict[str, Any]) -> None:
    with socket.create_connection((client.base_url.host, client.base_url.port)) as half:
        half.sendall(b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
    assert post(client, row).status_code == 200


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from([*SIGNATURE.known, "records", "columns", "data", "split", "x"]), inner
        )
    ),
    max_leaves=25,
)
near_rows = st.fixed_dictionaries(
    {
        "distance": st.floats(allow_nan=False) | st.integers(),
        "stops": st.integers(-(2**63), 2**63 - 1),
        "carrier": st.text(),
        "weekend": st.booleans(),
    },
    optional={"wind": st.none() | st.floats(), "flight_id": st.text()},
)


@FUZZ
@given(st.one_of(json_values, near_rows, st.lists(near_rows, max_size=3)))
def test_any_json_is_answered_or_refused(client: httpx.Client, value: Any) -> None:
    response = client.post("/predict", content=json.dumps(value).encode())
    assert response.status_code in (200, 400, 413, 422)
    json.loads(response.content, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))


@FUZZ
@given(st.binary(max_size=300))
def test_any_bytes_are_refused(client: httpx.Client, body: bytes) -> None:
    response = client.post("/predict", content=body)
    assert response.status_code in (400, 413, 422)
    assert response.json()["error"]["code"]


@FUZZ
@given(rows=st.lists(near_rows, min_size=1, max_size=4))
def test_answers_are_those_of_the_pipeline(
    client: httpx.Client, pipeline: Pipeline, rows: list[dict[str, Any]]
) -> None:
    response = client.post("/predict", content=json.dumps(rows).encode())
    if response.status_code != 200:
        assert response.status_code == 422
        return
    frame = pd.DataFrame(
        {
            "distance": [float(row["distance"]) for row in rows],
            "stops": [row["stops"] for row in rows],
            "carrier": pd.Series([row["carrier"] for row in rows], dtype=object),
            "weekend": [row["weekend"] for row in rows],
            "wind": [float("nan") if row.get("wind") is None else row["wind"] for row in rows],
        }
    )
    assert answered(response) == expected(pipeline, frame)
