"""Requests that are answered without a task are answered as all others are."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liminal_assets.serving.app import ServingApp
from liminal_assets.serving.config import AccessLogConfig, Limits
from liminal_assets.serving.control.live import LiveModel, State
from liminal_assets.serving.engine import Sticky, place_of
from liminal_assets.serving.guards.guard import Guard
from liminal_assets.serving.log.spool import Spool, SpoolSettings
from liminal_assets.serving.model import ServedModel
from liminal_assets.serving.observing.access import AccessLog
from liminal_assets.serving.observing.watch import Watch
from liminal_assets.steps.scores import Scores
from liminal_assets.steps.signature import Field, Signature
from liminal_assets_tests.serving.wire import Wire, exchanged

SIGNATURE = Signature((Field("x", "double"), Field("note", "string", required=False)))


class Doubling:
    """Doubles numbers; no model should, but it breaks on 13."""

    def __call__(self, columns: Mapping[str, Sequence[Any]], rows: int) -> Scores:
        if 13.0 in columns["x"]:
            raise RuntimeError("unlucky")
        return Scores(np.array(columns["x"], float) * 2, {})


def model(version: str = "1", *, slow: bool = False) -> ServedModel:
    return ServedModel("m", version, SIGNATURE, Doubling(), slow=slow)


def server(limits: Limits | None = None, state: State | None = None, **more: Any) -> ServingApp:
    live = LiveModel(state or State(model(), "1"))
    return ServingApp(live, guard=Guard(limits or Limits(max_body_mb=0.01)), **more)


class AsTasks:
    """The same application for a server that only knows ASGI."""

    def __init__(self, app: ServingApp) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app(scope, receive, send)


def request(
    body: bytes, path: str = "/predict", method: str = "POST", *headers: str, version: str = "1.1"
) -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "host: here", f"content-length: {len(body)}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


def told(wire: Wire) -> bytes:
    """What was written, but for what is another each time."""
    return re.sub(rb"[0-9a-f]{32}", b"<id>", b"".join(wire.written))


def asked(app: Any, *parts: bytes) -> Wire:
    return asyncio.run(exchanged(app, parts))


ONE = request(b'{"x": 4}')


def test_a_small_question_needs_no_task() -> None:
    wire = asked(server(), ONE)
    assert wire.tasks == 0
    assert len(wire.written) == 1
    assert b'"prediction":8.0' in wire.written[0]
    assert asked(AsTasks(server()), ONE).tasks == 1


def test_pipelined_requests_are_answered_in_their_order() -> None:
    wire = asked(server(), b"".join(request(b'{"x": %d}' % n) for n in range(10)))
    assert wire.tasks == 0
    said = re.findall(rb'"prediction":(\d+)', b"".join(wire.written))
    assert [int(n) for n in said] == [2 * n for n in range(10)]


def test_one_that_has_to_wait_is_answered_before_those_that_came_after_it() -> None:
    page = request(b"", "/version", "GET")
    wire = asked(server(), ONE + page + ONE + page + ONE)
    assert wire.tasks > 0
    heads = b"".join(wire.written).split(b"HTTP/1.1 200 OK")[1:]
    assert [b"prediction" in head for head in heads] == [True, False, True, False, True]


@pytest.mark.parametrize(
    "parts",
    [
        [ONE[:-3], ONE[-3:]],
        [request(b'{"x": 4}', "/predict", "POST", "content-encoding: gzip")],
        [request(b"x\n4\n", "/invocations", "POST", "content-type: text/csv")],
        [request(b"[" + b'{"x": 4},' * 2000 + b'{"x": 4}]')],
        [request(b'{"x": 4}', "/predict", "POST", "x-forwarded-for: 10.1.2.3")],
    ],
    ids=["in parts", "compressed", "csv", "large", "by a proxy"],
)
def test_others_have_a_task(parts: list[bytes]) -> None:
    app = server(Limits(max_body_mb=1))
    wire = asked(app, *parts)
    assert wire.tasks > 0
    assert told(wire) == told(asked(AsTasks(app), *parts))


def test_where_something_may_have_to_be_waited_for_all_have_a_task(tmp_path: Path) -> None:
    slow = State(model("1"), "1", candidate=model("2", slow=True), share=1)
    assert asked(server(state=slow), ONE).tasks == 1
    assert asked(server(state=State(model(slow=True), "1")), ONE).tasks == 1
    assert asked(server(state=State(problem="it is being loaded")), ONE).tasks == 1
    quick = Spool(tmp_path / "quick")
    assert asked(server(log=quick), ONE).tasks == 0
    assert quick.state.waiting == 1
    durable = Spool(tmp_path / "durable", SpoolSettings(durable=True))
    durable.start()
    assert asked(server(log=durable), ONE).tasks == 1
    durable.close()


def test_limits_hold() -> None:
    app = server(Limits(rate=0.001, burst=2))
    wire = asked(app, ONE + ONE + ONE + ONE)
    assert wire.tasks == 0
    assert re.findall(rb"HTTP/1.1 (\d+)", b"".join(wire.written)) == [
        b"200",
        b"200",
        b"429",
        b"429",
    ]
    assert b"retry-after: " in wire.written[-1]
    full = server(Limits(under_way=1))
    full.guard._under_way[object()] = None  # type: ignore[index]
    assert b"503" in asked(full, ONE).written[0]


def test_shares_and_entities_of_a_canary_hold() -> None:
    rollout = State(model("1"), "1", candidate=model("2"), share=40)
    body = b"".join(request(b'{"x": 1, "note": "%d"}' % n) for n in range(50))
    wire = asked(server(state=rollout, sticky=Sticky.of(None, ["note"])), body)
    assert wire.tasks == 0
    said = [json.loads(one.split(b"\r\n\r\n")[1])["model_version"] for one in wire.written]
    due = ["2" if place_of(repr([str(n)]).encode(), "2") < 0.4 else "1" for n in range(50)]
    assert said == due
    assert set(said) == {"1", "2"}


def test_a_failure_is_logged_under_its_incident(caplog: pytest.LogCaptureFixture) -> None:
    wire = asked(server(), request(b'{"x": 13}') + ONE)
    incident = re.search(rb"incident ([0-9a-f]{32})", wire.written[0])
    assert wire.written[0].startswith(b"HTTP/1.1 500 ")
    assert incident is not None
    assert incident[1].decode() in caplog.text
    assert "unlucky" in caplog.text
    assert wire.written[1].startswith(b"HTTP/1.1 200 ")


def test_it_is_in_the_access_log_and_counted(tmp_path: Path) -> None:
    access = AccessLog(AccessLogConfig(str(tmp_path / "access.jsonl")))
    app = server(watch=Watch(access=access))
    access.start()
    asked(app, ONE + request(b"{"))
    access.close()
    lines = [json.loads(line) for line in (tmp_path / "access.jsonl").read_text().splitlines()]
    assert [(line["status"], line["version"]) for line in lines] == [(200, "1"), (400, "1")]
    assert lines[0]["rows"] == 1
    text = app.watch.metrics.exposition()[0].decode()
    assert 'liminal_requests_total{outcome="ok",version="1"} 1.0' in text
    assert 'liminal_requests_total{outcome="client_error",version="1"} 1.0' in text


BODIES = st.sampled_from(
    [
        *(b'{"x": 4}', b'[{"x": 1}, {"x": 2.5, "note": "a"}]', b'{"columns": {"x": [1, 2]}}'),
        *(b'{"x": 13}', b'{"x": "a"}', b"{}", b"", b"[", b'{"x": 1e999}', b'{"x": NaN}'),
        *(b'{"y": 1}', b"\xff\xfe", b'{"inputs": [{"x": 4}]}', b'{"x":' + b" " * 11_000),
        b'{"dataframe_records": [{"x": 4}]}',
    ]
)
PATHS = st.sampled_from(
    [
        *("/predict", "/invocations", "/v2/models/m/infer", "/v2/models/m/versions/9/infer"),
        *("/nothing", "/version", "/predict?a=b", "/%70redict", "/ping"),
    ]
)
HEADERS = st.lists(
    st.sampled_from(
        [
            *("connection: close", "content-type: application/json", "accept: text/csv"),
            *("x-forwarded-for: x", "content-encoding: identity", "content-type: text/csv"),
            "expect: 100-continue",
        ]
    ),
    max_size=2,
    unique=True,
)
REQUESTS = st.builds(
    lambda body, path, method, headers, version: request(
        body, path, method, *headers, version=version
    ),
    BODIES,
    PATHS,
    st.sampled_from(["POST", "POST", "POST", "GET", "HEAD", "OPTIONS", "PUT"]),
    HEADERS,
    st.sampled_from(["1.1", "1.1", "1.0"]),
)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.lists(REQUESTS, min_size=1, max_size=5), st.lists(st.integers(1, 600), max_size=3))
def test_the_answers_are_those_of_tasks(requests: list[bytes], cuts: list[int]) -> None:
    sent = b"".join(requests)
    places = sorted({0, *(cut for cut in cuts if cut < len(sent)), len(sent)})
    parts = [sent[begin:end] for begin, end in pairwise(places)]
    app = server()
    one, other = asked(app, *parts), asked(AsTasks(app), *parts)
    assert told(one) == told(other)
    assert one.closed == other.closed
