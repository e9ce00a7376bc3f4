"""Traces as a collector gets them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from liminal_assets.serving.app import ServingApp
from liminal_assets.serving.config import Grpc
from liminal_assets.serving.guards.auth import AuthConfig, Authenticator, digest
from liminal_assets.serving.guards.guard import Guard
from liminal_assets.serving.log.spool import Spool, SpoolSettings
from liminal_assets.serving.observing.telemetry import Telemetry, TelemetryConfig, _ToldOnce
from liminal_assets.serving.observing.watch import Watch
from liminal_assets.serving.port import bound_socket
from liminal_assets_tests.serving.conftest import running

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@contextmanager
def collector(port: int = 0) -> Iterator[tuple[str, list[Any]]]:
    """A collector's address, and the resource spans that it got."""
    got: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                import gzip

                body = gzip.decompress(body)
            got.extend(ExportTraceServiceRequest.FromString(body).resource_spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def attributes(said: Any) -> dict[str, Any]:
    return {
        each.key: getattr(each.value, each.value.WhichOneof("value")) for each in said.attributes
    }


def test_a_request_is_a_span_of_its_callers_trace(app: ServingApp, row: dict[str, Any]) -> None:
    with collector() as (url, got):
        watch = Watch(telemetry=Telemetry(TelemetryConfig(url, "late", sample=0.0)))
        traced = ServingApp(app.live, watch=watch)
        with running(traced) as client:
            sent = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
            answer = client.post("/predict", json=row, headers=sent)
            client.post("/predict", json={}, headers=sent)
            # nobody asked for a trace, and none is begun
            client.post("/predict", json=row)
    assert answer.headers["traceparent"].startswith(f"00-{TRACE}-")
    spans = [span for each in got for scope in each.scope_spans for span in scope.spans]
    assert {attributes(each.resource)["service.name"] for each in got} == {"late"}
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    good, bad = [span for span in spans if span.name == "POST /predict"]
    assert good.parent_span_id.hex() == PARENT
    said = attributes(good)
    assert said["liminal.model.version"] == "7"
    assert said["liminal.rows"] == 1
    assert said["liminal.prediction.id"] == answer.json()["prediction_id"]
    assert said["http.response.status_code"] == 200
    assert attributes(bad)["http.response.status_code"] == 422
    parts = [span for span in spans if span.parent_span_id == good.span_id]
    assert {"decode", "predict", "encode"} <= {part.name for part in parts}
    # one after the other, without a gap
    parts.sort(key=lambda part: int(part.start_time_unix_nano))
    ends = [part.end_time_unix_nano for part in parts]
    assert [part.start_time_unix_nano for part in parts][1:] == ends[:-1]
    assert good.span_id.hex() in answer.headers["traceparent"]
    for part in parts:
        assert part.start_time_unix_nano <= part.end_time_unix_nano <= good.end_time_unix_nano


def test_checks_and_a_durable_log_are_parts_of_their_own(
    app: ServingApp, row: dict[str, Any], tmp_path: Path
) -> None:
    log = Spool(tmp_path, SpoolSettings(durable=True))
    with collector() as (url, got):
        watch = Watch(telemetry=Telemetry(TelemetryConfig(url)))
        with running(ServingApp(app.live, watch=watch, log=log)) as client:
            body = {"dataframe_records": [row, row]}
            assert client.post("/invocations", json=body).status_code == 200
    spans = [span for each in got for scope in each.scope_spans for span in scope.spans]
    (whole,) = [span for span in spans if span.name == "POST /invocations"]
    parts = [span for span in spans if span.parent_span_id == whole.span_id]
    assert [part.name for part in parts] == ["decode", "validate", "predict", "encode", "log"]
    # the answer waited for the disk
    assert parts[-1].end_time_unix_nano > parts[-1].start_time_unix_nano


def test_the_environment_names_collector_and_service(
    app: ServingApp, row: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with collector() as (url, got):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "named-outside")
        watch = Watch(telemetry=Telemetry(TelemetryConfig(service_name="late")))
        with running(ServingApp(app.live, watch=watch)) as client:
            client.post("/predict", json=row)
    assert [attributes(each.resource)["service.name"] for each in got] == ["named-outside"]


def test_a_call_of_grpc_is_let_in_and_traced_like_a_request(
    app: ServingApp, row: dict[str, Any]
) -> None:
    import tritonclient.grpc as triton
    from tritonclient.utils import InferenceServerException

    guard = Guard(authenticator=Authenticator(AuthConfig(keys={"one": digest(b"a-key")})))
    with collector() as (url, got):
        watch = Watch(telemetry=Telemetry(TelemetryConfig(url)))
        served = ServingApp(app.live, guard=guard, watch=watch, grpc=Grpc())
        with running(served):
            assert served.grpc
            with triton.InferenceServerClient(f"127.0.0.1:{served.grpc.port}") as client:
                # probes need no key
                assert client.is_server_live()
                assert client.is_server_ready()
                with pytest.raises(InferenceServerException, match="UNAUTHENTICATED"):
                    client.get_server_metadata()
                assert client.get_server_metadata({"x-api-key": "a-key"})
    spans = [span for each in got for scope in each.scope_spans for span in scope.spans]
    assert [attributes(span)["http.response.status_code"] for span in spans] == [200, 200, 401, 200]
    assert {attributes(span)["url.scheme"] for span in spans} == {"grpc"}


def test_a_collector_that_is_away_is_told_once_and_when_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with bound_socket("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
    sender = _ToldOnce(OTLPSpanExporter(f"http://127.0.0.1:{port}/v1/traces", timeout=1.5))
    for _ in range(2):
        assert sender.export([]).name == "FAILURE"

    def messages() -> list[str]:
        ours = "liminal_assets.serving"
        return [record.getMessage() for record in caplog.records if record.name == ours]

    (said,) = messages()
    assert said.startswith("traces can't be sent, and are dropped: ")
    assert "Connection refused" in said
    with collector(port):
        assert sender.export([]).name == "SUCCESS"
    assert messages()[1:] == ["traces are sent again"]
