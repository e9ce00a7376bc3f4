"""MLflow's scoring protocol, as its own server speaks it (``mlflow.pyfunc.scoring_server``).

Its forms of rows, its statuses and its errors; but the signature is enforced as everywhere here.
Where MLflow would make another value of one (1.7 to 1, ``"12"`` to 12, a missing number to NaN in a
required column), the row is refused.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from liminal_assets.serving.engine import Engine
from liminal_assets.serving.errors import RequestError
from liminal_assets.serving.messages import Response
from liminal_assets.serving.model import ServedModel
from liminal_assets.serving.protocols import arrow
from liminal_assets.serving.protocols.records import (
    Rows,
    from_columns,
    from_records,
    from_split,
    loads,
)
from liminal_assets.serving.protocols.routes import Page, Request, Scoring
from liminal_assets.steps.signature import NUMBERS, Field, Signature

__all__ = ["MlflowProtocol"]

_SPOKEN = "3.17.2"
"""The version of MLflow whose protocol this is; told where MLflow itself isn't installed."""

_TYPES = ["text/csv", "application/json", "application/vnd.apache.parquet"]
_PLAIN = b"text/plain; charset=utf-8"

_FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_REQUIRED = (
    f"The input must be a JSON dictionary with exactly one of the input fields {set(_FORMS)}"
)
_CHANGED = (
    "IMPORTANT: The MLflow Model scoring protocol has changed in MLflow version 2.0. If you are"
    " seeing this error, you are likely using an outdated scoring request format. To resolve the"
    " error, either update your request format or adjust your MLflow Model's requirements file to"
    " specify an older version of MLflow (for example, change the 'mlflow' requirement specifier"
    " to 'mlflow==1.30.0'). If you are making a request using the MLflow client"
    " (e.g. via `mlflow.pyfunc.spark_udf()`), upgrade your MLflow client to a version >= 2.0 in"
    " order to use the new request format. For more information about the updated MLflow"
    " Model scoring protocol in MLflow 2.0, see"
    " https://mlflow.org/docs/latest/models.html#deploy-mlflow-models."
)
"""What its server adds to two of its refusals."""
_LANGUAGE_MODELS = ("messages", "prompt", "input")
"""Keys by which MLflow takes a body for one of a language model."""

_CODES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "ENDPOINT_NOT_FOUND",
    429: "REQUEST_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}

_UNENFORCED = ("no_rows", "unnamed_columns", "language_model")
"""Our codes of what MLflow finds only as it enforces the signature; so it does a missing column."""

_NULLS = frozenset(
    [
        *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND"),
        *("1.#QNAN", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
    ]
)
"""What pandas reads as missing in CSV."""
_TRUTHS = {"true": True, "1": True, "false": False, "0": False}


class MlflowProtocol:
    """Answers ``/invocations``, ``/ping``, ``/health`` and ``/version``.

    Args:
        engine: what it asks.
        max_bytes: the largest body.
    """

    def __init__(self, engine: Engine, max_bytes: int) -> None:
        self._engine = engine
        self._max_bytes = max_bytes
        self.routes = (
            Scoring("/invocations", refusal, self._invocations),
            Page("/ping", refusal, self._ping),
            Page("/health", refusal, self._ping),
            Page("/version", refusal, self._version),
        )

    def _ping(self, request: Request) -> Response:
        return Response(200 if self._engine.live.state.model else 404, b"\n")

    def _version(self, request: Request) -> Response:
        return Response(200, self._spoken.encode())

    @cached_property
    def _spoken(self) -> str:
        try:
            return version("mlflow")
        except PackageNotFoundError:
            return _SPOKEN

    def _invocations(self, model: ServedModel, request: Request) -> Response:
        kind = request.header(b"content-type").decode("latin-1")
        if wrong := _unsupported(kind):
            return Response(415, wrong.encode(), version=model.version, kind=_PLAIN)
        rows = self._rows(kind.split(";")[0].strip(), request.body, model.signature)
        # MLflow's enforcement of a signature ignores columns that it doesn't name
        known = {name: rows.columns[name] for name in rows.columns if name in model.signature.known}
        rows = replace(rows, columns=known)
        answer = self._engine.answer(model, rows, request.requested_at)
        said = json.dumps({"predictions": answer.scores.prediction.tolist()})
        response = Response(200, said.encode(), version=model.version)
        response.headers.append((b"x-prediction-id", answer.id.encode()))
        return response

    def _rows(self, kind: str, body: bytes, signature: Signature) -> Rows:
        if kind == "text/csv":
            return from_csv(body, signature, self._engine.max_rows)
        if kind == "application/vnd.apache.parquet":
            return arrow.from_parquet(body, self._engine.max_rows, self._max_bytes)
        return from_json(body, signature, self._engine.max_rows)


def refusal(error: RequestError, version: str | None) -> Response:
    """Why a request can't be answered, as MLflow says it."""
    if error.status == 405:
        return Response.refused(error, {"detail": "Method Not Allowed"}, version)
    said: dict[str, Any] = {"error_code": _CODES.get(error.status, "BAD_REQUEST")}
    said["message"] = error.sentence
    if said["error_code"] == "BAD_REQUEST":
        said |= {"sqlstate": "KAM00", "error_class": "INVALID_PARAMETER_VALUE"}
        if error.code in _UNENFORCED or any(one.message == "is missing" for one in error.problems):
            said |= {
                "error_code": "INVALID_PARAMETER_VALUE",
                "sqlstate": "KAM01",
                "error_class": "SCHEMA_ENFORCEMENT_FAILED",
            }
    status = 400 if error.status == 422 else error.status
    return Response.refused(error, said, version, status=status)


def _unsupported(content_type: str) -> str | None:
    """What is wrong with a content type, in MLflow's words."""
    kind, *pairs = map(str.strip, content_type.split(";"))
    parameters = dict(pair.partition("=")[::2] for pair in pairs)
    if parameters.pop("charset", "utf-8").lower() != "utf-8":
        return "The scoring server only supports UTF-8"
    if parameters:
        return f"Unrecognized content type parameters: {', '.join(parameters)}. {_CHANGED}"
    if kind not in _TYPES:
        return (
            "This predictor only supports the following content types:"
            f" Types: {_TYPES}. Got '{content_type}'."
        )
    return None


def from_json(body: bytes, signature: Signature, max_rows: int) -> Rows:
    """The rows of one of MLflow's JSON forms.

    Raises:
        RequestError: 400 for another body, 413 for too many rows.
    """
    said = loads(body)
    if not isinstance(said, dict):
        what = "a list" if isinstance(said, list) else f"input type '{type(said).__name__}'"
        raise RequestError(400, "invalid_rows", f"{_REQUIRED}. Received {what}.")
    forms = [key for key in said if key in _FORMS]
    if asked := [key for key in _LANGUAGE_MODELS if key in said]:
        message = f"{asked[0]!r} is for language models: this one takes columns"
        raise RequestError(400, "language_model", message)
    if len(forms) != 1:
        message = f"{_REQUIRED}. Received dictionary with input fields: {forms}. {_CHANGED}"
        raise RequestError(400, "invalid_rows", message)
    return _READERS[forms[0]](said[forms[0]], signature, max_rows)


def _dataframe_records(said: Any, signature: Signature, max_rows: int) -> Rows:
    if not isinstance(said, list):
        what = "dictionary" if isinstance(said, dict) else f"type {type(said).__name__}"
        message = f"Dataframe records format must be a list of records. Got {what}."
        raise RequestError(400, "invalid_rows", message)
    if said and all(isinstance(record, list) for record in said):
        raise _unnamed(signature)
    return from_records(said, signature, max_rows)


def _dataframe_split(said: Any, signature: Signature, max_rows: int) -> Rows:
    if not isinstance(said, dict):
        what = "list" if isinstance(said, list) else f"type {type(said).__name__}"
        message = f"Dataframe split format must be a dictionary. Got {what}."
        raise RequestError(400, "invalid_rows", message)
    if "data" not in said or said.keys() - {"columns", "data", "index"}:
        message = (
            "Dataframe split format must have 'data' field and optionally 'columns' "
            f"and 'index' fields. Got {sorted(said)}."
        )
        raise RequestError(400, "invalid_rows", message)
    names = said.get("columns")
    if names is None:
        raise _unnamed(signature)
    if not isinstance(names, list):
        raise RequestError(400, "invalid_rows", "'columns' must be a list of names")
    return _split(names, said["data"], max_rows)


def _split(names: list[Any], data: Any, max_rows: int) -> Rows:
    if names and data == []:
        # with names there is nothing that MLflow would miss: it is the model that fails there
        raise RequestError(400, "named_no_rows", "there are no rows")
    return from_split(names, data, max_rows)


def _unnamed(signature: Signature) -> RequestError:
    message = f"the values must have names, for the model takes {len(signature.fields)} columns"
    return RequestError(400, "unnamed_columns", message)


def _tensors(said: Any, signature: Signature, max_rows: int) -> Rows:
    """Lists by name, values by name (one row), objects, or the values of the only column."""
    if isinstance(said, dict):
        if any(isinstance(value, list) for value in said.values()):
            return from_columns(said, max_rows)
        return from_records([said], signature, max_rows)
    listed = said if isinstance(said, list) else [said]
    if any(isinstance(value, dict) for value in listed):
        return from_records(listed, signature, max_rows)
    if len(signature.fields) == 1:
        return from_columns({signature.names[0]: listed}, max_rows)
    raise _unnamed(signature)


_READERS = {
    "dataframe_split": _dataframe_split,
    "dataframe_records": _dataframe_records,
    "instances": _tensors,
    "inputs": _tensors,
}


def from_csv(body: bytes, signature: Signature, max_rows: int) -> Rows:
    """The rows of CSV with a line of names, as pandas reads it.

    Raises:
        RequestError: 400 for another body, 413 for too many rows.
    """
    try:
        text = body.decode("utf-8-sig")
        lines = [line for line in csv.reader(io.StringIO(text)) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise RequestError(400, "invalid_rows", f"the body is no CSV in UTF-8: {error}") from None
    if not lines:
        raise RequestError(400, "invalid_rows", "the body is no CSV: it has no line of names")
    names, *data = lines
    longest = max(map(len, data), default=0)
    if longest > len(names):
        message = f"a line has {longest} values, and there are {len(names)} names"
        raise RequestError(400, "invalid_rows", message)
    padded = [[*line, *[""] * (len(names) - len(line))] for line in data]
    rows = _split(names, padded, max_rows)
    return Rows(_read(rows.columns, signature.known), rows.count)


def _read(columns: Mapping[str, Sequence[str]], known: Mapping[str, Field]) -> dict[str, Any]:
    return {
        name: [None if text in _NULLS else _value(text, known[name]) for text in values]
        for name, values in columns.items()
        if name in known
    }


def _value(text: str, field: Field) -> Any:
    """What a text means in a column; itself if it means nothing there."""
    if field.type == "boolean":
        return _TRUTHS.get(text.strip().lower(), text)
    if field.type in NUMBERS:
        for number in (int, float):
            try:
                # Python alone knows 1_000
                return text if "_" in text else number(text)
            except ValueError:
                continue
    return text
