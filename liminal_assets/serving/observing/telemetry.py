"""Traces by OpenTelemetry: a span per request, and its parts. Nothing of it is imported unless a
deployment asks for it."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec

from liminal_assets.errors import StepError
from liminal_assets.serving.guards.flight import Flight
from liminal_assets.serving.messages import Message, Response

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

__all__ = ["Telemetry", "TelemetryConfig", "trace_id"]

_log = logging.getLogger("liminal_assets.serving")


class TelemetryConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where traces go.

    Attributes:
        otlp: the collector's URL for OTLP over HTTP; empty: what ``OTEL_*`` variables say.
        service_name: the service's name.
        sample: the share of requests that begin a trace; one that belongs to a trace follows it.
        headers: headers for the collector.
    """

    otlp: str = ""
    service_name: str = "model"
    sample: float = 1.0
    headers: Mapping[str, str] = {}


class Telemetry:
    """Makes the spans of a server.

    Args:
        config: where they go.
        exporter: instead of the configuration's collector.

    Raises:
        StepError: OpenTelemetry's SDK isn't installed.
    """

    def __init__(self, config: TelemetryConfig, exporter: SpanExporter | None = None) -> None:
        try:
            from opentelemetry import trace
            from opentelemetry.sdk.resources import SERVICE_NAME, Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError as error:
            raise StepError(
                f"traces need OpenTelemetry's SDK: {error}",
                hint="pip install 'liminal-assets[telemetry]'",
            ) from error
        self._provider = TracerProvider(
            # what the environment says of the service comes first, as everywhere
            resource=Resource({SERVICE_NAME: config.service_name}).merge(_environment()),
            sampler=ParentBased(TraceIdRatioBased(config.sample)),
        )
        self._sender = None if exporter else _ToldOnce(_exporter(config))
        # it has what a processor asks of an exporter, whose class is imported here alone
        sender = exporter or cast("SpanExporter", self._sender)
        self._provider.add_span_processor(BatchSpanProcessor(sender))
        self._tracer = self._provider.get_tracer("liminal_assets.serving")
        self._propagator = TraceContextTextMapPropagator()
        self._trace = trace

    def begin(self, flight: Flight, scope: Message, route: str) -> None:
        """A request is there: a span of the trace that its ``traceparent`` names, or of a new one.

        Args:
            route: the path as the server knows it, its varying parts as names.
        """
        carrier = {
            name.decode(): value.decode("latin-1")
            for name, value in scope["headers"]
            if name in (b"traceparent", b"tracestate")
        }
        flight.span = self._tracer.start_span(
            f"{scope['method']} {route}",
            context=self._propagator.extract(carrier),
            kind=self._trace.SpanKind.SERVER,
            attributes={
                "http.request.method": scope["method"],
                "http.route": route,
                "url.path": scope["path"],
                "url.scheme": scope.get("scheme", "grpc"),
            },
        )

    def end(self, flight: Flight, response: Response, now: float) -> None:
        """The answer is ready: the span gets its parts, and the answer the ``traceparent``.

        Args:
            now: seconds since 1970.
        """
        span = flight.span
        context = self._trace.set_span_in_context(span)
        outgoing: dict[str, str] = {}
        self._propagator.inject(outgoing, context)
        if "traceparent" in outgoing:
            response.headers.append((b"traceparent", outgoing["traceparent"].encode()))
        if span.is_recording():
            self._describe(flight, response, context, now)
        span.end(_ns(now))

    def close(self) -> None:
        """Sends what waits, unless there is nobody to take it."""
        if self._sender is not None and self._sender.away:
            # it would try again for some seconds
            self._sender.shutdown()
        self._provider.shutdown()

    def _describe(self, flight: Flight, response: Response, context: Any, now: float) -> None:
        span = flight.span
        span.set_attribute("http.response.status_code", response.status)
        if response.status >= 500:
            span.set_status(self._trace.StatusCode.ERROR)
        if flight.version is not None:
            span.set_attribute("liminal.model.version", flight.version)
        if flight.prediction_id is None:
            return
        span.set_attribute("liminal.prediction.id", flight.prediction_id)
        span.set_attribute("liminal.rows", flight.rows)
        read, written = flight.decoded or flight.asked, flight.encoded or now
        complete = flight.looked_up[1] if flight.looked_up else read
        parts = {
            "decode": (flight.received, read),
            **({"look up": flight.looked_up} if flight.looked_up else {}),
            **({"validate": (complete, flight.asked)} if flight.decoded else {}),
            "predict": (flight.asked, flight.answered),
            "encode": (flight.answered, written),
            **({"log": (written, now)} if flight.encoded else {}),
        }
        for name, (start, end) in parts.items():
            part = self._tracer.start_span(name, context=context, start_time=_ns(start))
            part.end(_ns(end))


class _ToldOnce:
    """An exporter of which is told once that its collector is away, and once that it is back:
    OpenTelemetry's own tells it at every try. It sends in a thread, so no answer waits for it.

    Args:
        exporter: sends.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._reason = _FirstWords()
        self.away = False
        """Whether the last spans couldn't be sent."""
        own = logging.getLogger("opentelemetry.exporter")
        own.addHandler(self._reason)
        own.propagate = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Sends spans; those that can't be sent are dropped."""
        self._reason.said = ""
        result = self._exporter.export(spans)
        away = result.name != "SUCCESS"
        if away and not self.away:
            _log.warning("traces can't be sent, and are dropped: %s", self._reason.said)
        elif self.away and not away:
            _log.warning("traces are sent again")
        self.away = away
        return result

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Sends what the exporter keeps."""
        return self._exporter.force_flush(timeout_millis)

    def shutdown(self) -> None:
        """Ends it."""
        self._exporter.shutdown()


class _FirstWords(logging.Handler):
    """Keeps the first thing that a logger is told, the cause: then it is about trying again."""

    said = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.said = self.said or record.getMessage().partition(" encountered while ")[0]


def trace_id(span: Any) -> str | None:
    """The id of a span's trace, as other systems write it."""
    return f"{span.get_span_context().trace_id:032x}" if span is not None else None


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)


def _environment() -> Any:
    """What ``OTEL_RESOURCE_ATTRIBUTES`` and ``OTEL_SERVICE_NAME`` say."""
    from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource

    found = OTELResourceDetector().detect()
    if "OTEL_SERVICE_NAME" not in os.environ and "service.name=" not in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    ):
        found = Resource({k: v for k, v in found.attributes.items() if k != SERVICE_NAME})
    return found


def _exporter(config: TelemetryConfig) -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    if not config.otlp:
        return OTLPSpanExporter()
    endpoint = config.otlp.rstrip("/")
    if not endpoint.endswith("/v1/traces"):
        endpoint += "/v1/traces"
    return OTLPSpanExporter(endpoint=endpoint, headers=dict(config.headers))
