"""What each path takes and answers. A path that isn't told of here can't be in a document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from liminal_assets.serving.openapi.described import Described
from liminal_assets.serving.openapi.schemas import ref
from liminal_assets.serving.protocols.routes import Called, Page, Scoring
from liminal_assets.serving.protocols.tensors import inputs_of

__all__ = ["OPERATIONS", "Operation", "operation_of"]

_JSON = "application/json"
_ARROW = "application/vnd.apache.arrow.stream"
_PLAIN = "text/plain"
_OCTETS = "application/octet-stream"

Content = Mapping[str, Mapping[str, Any]]
"""What a body may be, by media type."""


@dataclass(frozen=True)
class Operation:
    """One thing to ask a server.

    Attributes:
        tag: the protocol.
        summary: what it does.
        answers: the body of an answer.
        body: that of the request; None: it has none.
        refused: the schema of a refusal, by name.
        statuses: what else it answers, and when.
        others: what such an answer's body is, where that is no refusal.
        headers: the headers of every answer.
        sometimes: those of some.
        taken: the headers that a request may have.
    """

    tag: str
    summary: str
    answers: Content
    body: Content | None = None
    refused: str = "Error"
    statuses: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, Content] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    sometimes: Mapping[str, str] = field(default_factory=dict)
    taken: Mapping[str, str] = field(default_factory=dict)


def operation_of(described: Described, route: Page | Scoring | Called) -> Operation:
    """What a path does.

    Raises:
        KeyError: nobody said so.
    """
    if isinstance(route, Called):
        return Operation("functions", route.summary, {}, {"*/*": {}})
    return OPERATIONS[route.path](described)


def _content(schema: str, **examples: Any) -> Content:
    shown = {name: {"value": value} for name, value in examples.items() if value}
    return {_JSON: {"schema": ref(schema), **({"examples": shown} if shown else {})}}


_VERSION = {"x-model-version": "The version that answered."}
_ANSWERED = {**_VERSION, "x-prediction-id": "The id of the answer."}
_STALE = {"x-stale-rows": "Rows whose features were older than they should be."}
_WRONG = {
    "400": "The body is no JSON, or not one of the forms of rows.",
    "413": "The body is too large, or has too many rows.",
    "422": "Values are unknown, missing, of the wrong type or not finite: one message each; or "
    "nothing is known of an entity.",
}


def _forms(row: Mapping[str, Any]) -> dict[str, Any]:
    if not row:
        return {}
    return {
        "records": {"records": [dict(row)]},
        "columns": {"columns": {name: [value] for name, value in row.items()}},
        "split": {"columns": list(row), "data": [list(row.values())]},
    }


def _predict(described: Described) -> Operation:
    return Operation(
        "predictions",
        "One prediction per row.",
        {**_content("Answer", answer=described.answer), _ARROW: {}},
        {**_content("Request", **_forms(described.row)), _ARROW: {}},
        statuses=_WRONG,
        headers=_VERSION,
        sometimes=_STALE,
    )


def _feedback(described: Described) -> Operation:
    label = dict(described.prediction).get("prediction")
    row = {"prediction_id": described.answer.get("prediction_id"), "label": label}
    return Operation(
        "predictions",
        "Takes labels of predictions, by their id or by entity.",
        _content("Accepted"),
        _content("Labels", records={"records": [row]} if described.model else None),
        statuses={**_WRONG, "422": "Labels are wrong: one message each."},
    )


def _invocations(described: Described) -> Operation:
    row = dict(described.row)
    split = {"columns": list(row), "data": [list(row.values())]}
    values = {name: [value] for name, value in row.items()}
    shown = {
        "dataframe_records": {"dataframe_records": [row]},
        "dataframe_split": {"dataframe_split": split},
        "inputs": {"inputs": values},
        "instances": {"instances": [row]},
    }
    lines = [list(row), ["" if value is None else value for value in row.values()]]
    csv = "".join(",".join(map(str, line)) + "\n" for line in lines)
    label = described.prediction.get("prediction")
    return Operation(
        "MLflow",
        "One prediction per row, as MLflow's scoring server answers.",
        _content("MlflowAnswer", answer={"predictions": [label]} if row else None),
        {
            **_content("MlflowRequest", **(shown if row else {})),
            "text/csv": {"schema": {"type": "string"}, "example": csv},
            "application/vnd.apache.parquet": {},
        },
        "MlflowError",
        {
            "400": "The body isn't what it should be, or values are wrong.",
            "413": _WRONG["413"],
            "415": "The content type is none of these, or the body is compressed.",
        },
        {"415": {_PLAIN: {"schema": {"type": "string"}}}},
        headers=_ANSWERED,
        sometimes=_STALE,
    )


def _mlflow_page(summary: str, **statuses: str) -> Callable[[Described], Operation]:
    # its content type says JSON of what is none
    said: Content = {_JSON: {}}
    others = {status[1:]: said for status in statuses}
    told = {status[1:]: text for status, text in statuses.items()}
    return lambda described: Operation("MLflow", summary, said, None, "MlflowError", told, others)


def _tensors(described: Described) -> list[dict[str, Any]]:
    row = described.row
    return [
        {**tensor, "shape": [1], "data": [row[tensor["name"]]]}
        for tensor in inputs_of(described.signature)
        if row.get(tensor["name"]) is not None
    ]


def _infer(described: Described) -> Operation:
    tensors = _tensors(described)
    return Operation(
        "Open Inference Protocol",
        "Tensors of answers to tensors of rows.",
        {**_content("InferAnswer"), _OCTETS: {}},
        {**_content("InferRequest", tensors={"inputs": tensors} if tensors else None), _OCTETS: {}},
        "InferError",
        {"400": "The tensors, or values in them, are wrong.", "413": _WRONG["413"], **_NAMED},
        headers=_ANSWERED,
        sometimes=_STALE,
        taken={"inference-header-content-length": "Bytes of JSON before binary tensors."},
    )


_NAMED = {"404": "There is no such model, or that version doesn't answer now."}


def _v2(summary: str, schema: Mapping[str, Any], **more: Any) -> Callable[[Described], Operation]:
    content: Content = {_JSON: {"schema": schema}}
    others = {"503": {_JSON: {"schema": {"anyOf": [schema, ref("InferError")]}}}}
    return lambda described: Operation(
        "Open Inference Protocol", summary, content, None, "InferError", others=others, **more
    )


def _flags(*names: str) -> dict[str, Any]:
    said = {name: {"type": "boolean" if name in ("live", "ready") else "string"} for name in names}
    return {"type": "object", "properties": said, "required": list(names)}


def _page(summary: str, content: Content, **statuses: str) -> Callable[[Described], Operation]:
    told = {status[1:]: text for status, text in statuses.items()}
    return lambda described: Operation(
        "server", summary, content, statuses=told, others=dict.fromkeys(told, content)
    )


_TEXT: Content = {_PLAIN: {"schema": {"type": "string"}}}
_UNREADY = {"503": "There is no model, no online store, or the server is stopping."}
_OF_MODEL = {"statuses": {**_NAMED, **_UNREADY}}
_MODEL = "/v2/models/{name}"
_MODEL_READY = _v2("Whether the model is ready.", _flags("name", "version", "ready"), **_OF_MODEL)
_METADATA = _v2("Inputs, outputs and versions of the model.", ref("InferModel"), **_OF_MODEL)

OPERATIONS: Mapping[str, Callable[[Described], Operation]] = {
    "/predict": _predict,
    "/feedback": _feedback,
    "/invocations": _invocations,
    "/ping": _mlflow_page("A model is loaded.", _404="There is no model yet."),
    "/health": _mlflow_page("A model is loaded.", _404="There is no model yet."),
    "/version": _mlflow_page("The version of MLflow whose protocol this is."),
    "/v2": _v2("What the server is.", ref("InferServer")),
    "/v2/health/live": _v2("The process is alive.", _flags("live")),
    "/v2/health/ready": _v2("A model is ready.", _flags("ready"), statuses=_UNREADY),
    _MODEL: _METADATA,
    f"{_MODEL}/versions/{{version}}": _METADATA,
    f"{_MODEL}/ready": _MODEL_READY,
    f"{_MODEL}/versions/{{version}}/ready": _MODEL_READY,
    f"{_MODEL}/infer": _infer,
    f"{_MODEL}/versions/{{version}}/infer": _infer,
    "/healthz": _page("The process is alive.", _content("Alive")),
    "/readyz": _page("A model is loaded.", _content("Ready"), _503=_UNREADY["503"]),
    "/info": _page("Which version answers, from which MLflow run, since when.", _content("Info")),
    "/metrics": _page(
        "Counts and latencies for Prometheus.", {**_TEXT, "application/openmetrics-text": {}}
    ),
    "/openapi.json": _page("This document.", {_JSON: {"schema": {"type": "object"}}}),
    "/docs": _page("The same for people.", {"text/html": {"schema": {"type": "string"}}}),
}
"""What is told of each path of ours."""
