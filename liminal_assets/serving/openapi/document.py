"""The document: paths with their operations, guards as statuses and security, schemas."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from liminal_assets.serving.openapi.described import Described
from liminal_assets.serving.openapi.operations import Operation, operation_of
from liminal_assets.serving.openapi.schemas import components, ref, row_schemas
from liminal_assets.serving.protocols.routes import Called, Page, Scoring

__all__ = ["openapi"]

_JSON = "application/json"
_TAGS = {
    "predictions": "The server's own protocol.",
    "MLflow": "MLflow's scoring protocol.",
    "Open Inference Protocol": "Version 2, as KServe and Triton speak it; over gRPC besides.",
    "functions": "Functions beside the model.",
    "server": "What the server tells of itself.",
}
_RETRY = {"retry-after": "Seconds to wait."}
_CHALLENGE = {"www-authenticate": "How to say who asks (RFC 6750)."}


def openapi(described: Described) -> dict[str, Any]:
    """The OpenAPI document of a server."""
    model = described.model
    paths: dict[str, Any] = {}
    for route in described.routes:
        operation = operation_of(described, route)
        paths[route.path] = {
            method.lower(): _operation(described, route, operation, method)
            for method in route.methods
            if method != "HEAD"
        }
    used = {one["tags"][0] for path in paths.values() for one in path.values()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": described.title,
            "version": model.version if model else "0",
            "description": f"Predictions of {model.name}." if model else "No model yet.",
        },
        "tags": [{"name": n, "description": text} for n, text in _TAGS.items() if n in used],
        "paths": paths,
        "components": {
            "schemas": {**components(described), **_labels(described)},
            **({"securitySchemes": _schemes(described)} if described.auth else {}),
        },
    }


def _labels(described: Described) -> dict[str, Any]:
    """What ``/feedback`` takes, where labels are kept."""
    for route in described.routes:
        if isinstance(route, Scoring) and route.fields is not None and described.model:
            return row_schemas("Label", "Labels", route.fields(described.model))
    return {"Labels": {}}


def _operation(
    described: Described, route: Page | Scoring | Called, operation: Operation, method: str
) -> dict[str, Any]:
    said: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{method.lower()}{route.path}").strip("_"),
        "tags": [operation.tag],
        "summary": operation.summary,
        "responses": _responses(described, route, operation),
    }
    if parameters := [*_variables(described, route.path), *_taken(operation)]:
        said["parameters"] = parameters
    if operation.body is not None and method != "GET":
        needed = not isinstance(route, Called)
        said["requestBody"] = {"required": needed, "content": dict(operation.body)}
    if described.auth is not None:
        open_ = route.path in described.public
        said["security"] = [] if open_ else [{"bearer": []}, {"api_key": []}]
    return said


def _responses(
    described: Described, route: Page | Scoring | Called, operation: Operation
) -> dict[str, Any]:
    if isinstance(route, Called):
        # whatever the function says
        responses = {"default": {"description": "The answer of the function.", "content": {}}}
    else:
        answer = {"description": operation.summary, "content": dict(operation.answers)}
        responses = {"200": _with_headers(answer, operation.headers, operation.sometimes)}
    statuses = {**_guarded(described, route), **operation.statuses}
    for status, text in sorted(statuses.items()):
        content = dict(operation.others.get(status, {}))
        # a refusal of the guards has the protocol's form, whatever else a status may be
        content.setdefault(_JSON, {"schema": ref(operation.refused)})
        headers = {"401": _CHALLENGE, "429": _RETRY}.get(status, {})
        responses[status] = _with_headers({"description": text, "content": content}, headers)
    return responses


def _guarded(described: Described, route: Page | Scoring | Called) -> dict[str, str]:
    """The statuses of the guards, which stand before every path that isn't open."""
    limits = described.limits
    statuses = {"500": "The server failed; its log says why under the incident."}
    if route.path not in described.public:
        if described.auth is not None:
            statuses["401"] = "No, or an unknown, key or token."
            if described.auth.jwt is not None:
                statuses["403"] = "The token doesn't grant this."
                statuses["503"] = "The keys of tokens aren't known yet."
        if limits.rate:
            statuses["429"] = f"More than {limits.rate:g} requests a second."
    if not isinstance(route, Page):
        statuses |= {
            "408": f"The body wasn't there after {limits.timeout_seconds:g} s.",
            "413": f"The body is larger than {limits.max_body_mb:g} MiB.",
            "415": "The body is compressed.",
            "503": "Too much is under way, or there is no model yet.",
            "504": f"There was no answer after {limits.timeout_seconds:g} s.",
        }
    return statuses


def _with_headers(
    response: dict[str, Any], headers: Mapping[str, str], sometimes: Mapping[str, str] | None = None
) -> dict[str, Any]:
    told = {**headers, **(sometimes or {})}
    if told:
        response["headers"] = {
            name: {"description": text, "required": name in headers, "schema": {"type": "string"}}
            for name, text in told.items()
        }
    return response


def _variables(described: Described, path: str) -> list[dict[str, Any]]:
    model = described.model
    known: dict[str, Any] = {
        "name": {"enum": sorted({described.title, model.name}) if model else [described.title]},
        "version": {"enum": described.versions} if model else {"type": "string"},
    }
    return [
        {"name": name, "in": "path", "required": True, "schema": known[name]}
        for name in re.findall(r"{(\w+)}", path)
    ]


def _taken(operation: Operation) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "header",
            "description": text,
            "schema": {"type": "string", "pattern": "^[0-9]*$"},
        }
        for name, text in operation.taken.items()
    ]


def _schemes(described: Described) -> dict[str, Any]:
    token = described.auth is not None and described.auth.jwt is not None
    return {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            **({"bearerFormat": "JWT"} if token else {}),
        },
        "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
