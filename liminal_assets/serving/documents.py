"""What the server says of itself: an OpenAPI document with the model's real fields, and a page.

The page is made here, for the usual one (Swagger UI) loads its parts from the internet.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from liminal_assets.serving.model import ServedModel
from liminal_assets.steps.signature import Field, FieldType

__all__ = ["Documents", "openapi"]

_TYPES: Mapping[FieldType, Mapping[str, Any]] = {
    "boolean": {"type": "boolean"},
    "integer": {"type": "integer", "format": "int32"},
    "long": {"type": "integer", "format": "int64"},
    "float": {"type": "number", "format": "float"},
    "double": {"type": "number", "format": "double"},
    "string": {"type": "string"},
    "datetime": {"type": "string", "format": "date-time"},
    "binary": {"type": "string", "contentEncoding": "base64"},
    "any": {"type": ["string", "number", "boolean"]},
}


@dataclass(frozen=True)
class Documents:
    """The documents of one version of a model."""

    model: ServedModel | None
    openapi: bytes
    page: bytes

    @classmethod
    def of(cls, title: str, model: ServedModel | None, max_rows: int) -> Documents:
        """The documents of ``model``; without one, of the server alone."""
        document = openapi(title, model, max_rows)
        return cls(model, msgspec.json.encode(document), _page(document, model).encode())


def openapi(title: str, model: ServedModel | None, max_rows: int) -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": model.version if model else "0",
            "description": f"Predictions of {model.name}." if model else "No model yet.",
        },
        "paths": {
            "/predict": {"post": _predict(model, max_rows)},
            "/healthz": {"get": _get("The process is alive.")},
            "/readyz": {"get": _get("A model is loaded.", {"503": "No model yet, or stopping."})},
            "/info": {"get": _get("Which version answers, from which MLflow run, since when.")},
        },
        "components": {"schemas": _schemas(model)},
    }


def _get(summary: str, others: Mapping[str, str] | None = None) -> dict[str, Any]:
    content = {"application/json": {"schema": {"type": "object"}}}
    responses = {"200": {"description": summary, "content": content}}
    for status, text in (others or {}).items():
        responses[status] = {"description": text, "content": content}
    return {"summary": summary, "responses": responses}


def _predict(model: ServedModel | None, max_rows: int) -> dict[str, Any]:
    forms: dict[str, Any] = {}
    if model:
        row = model.signature.as_json(model.example)
        forms = {
            "records": {"value": {"records": [row]}},
            "columns": {"value": {"columns": {name: [value] for name, value in row.items()}}},
            "split": {"value": {"columns": list(row), "data": [list(row.values())]}},
        }
    errors = {
        "400": "The body is no JSON, or holds no rows.",
        "413": f"The body is too large, or has more than {max_rows} rows.",
        "422": "Values are unknown, missing, of the wrong type or not finite: one message each.",
        "503": "No model yet.",
    }
    content = {"application/json": {"schema": _ref("Error")}}
    return {
        "summary": "One prediction per row.",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _ref("Request"), "examples": forms}},
        },
        "responses": {
            "200": {
                "description": "Predictions in the order of the rows.",
                "headers": {"x-model-version": {"schema": {"type": "string"}}},
                "content": {"application/json": {"schema": _ref("Answer")}},
            },
            **{code: {"description": text, "content": content} for code, text in errors.items()},
        },
    }


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _schemas(model: ServedModel | None) -> dict[str, Any]:
    fields = dict(model.signature.known) if model else {}
    scalar = {"type": ["string", "number", "boolean", "null"]}
    records = {"type": "array", "items": _ref("Row"), "minItems": 1}
    columns = {name: {"type": "array", "items": _type(said)} for name, said in fields.items()}
    required = [name for name, said in fields.items() if said.required]
    return {
        "Row": {
            "type": "object",
            "properties": {name: _type(said) for name, said in fields.items()},
            "required": required,
            "additionalProperties": False,
        },
        "Request": {
            "anyOf": [
                _object({"records": records}),
                _object({"columns": {**_object(columns), "required": required}}),
                {
                    **_object(
                        {
                            "columns": {"type": "array", "items": {"type": "string"}},
                            "data": {"type": "array", "items": {"type": "array", "items": scalar}},
                            "index": {"type": "array"},
                        }
                    ),
                    "required": ["columns", "data"],
                },
                records,
                _ref("Row"),
            ]
        },
        "Prediction": {
            "type": "object",
            "properties": {
                "prediction": {"description": "The label, or the value of a regression."},
                "prediction_id": {"type": "string"},
            },
            "required": ["prediction", "prediction_id"],
            "additionalProperties": {"type": "number", "description": "A probability."},
        },
        "Answer": _object(
            {
                "model": {"type": "string"},
                "model_version": {"type": "string"},
                "prediction_id": {"type": "string"},
                "predictions": {"type": "array", "items": _ref("Prediction")},
            }
        ),
        "Error": _object(
            {
                "error": {
                    "type": "object",
                    "properties": {
                        "code": {"type": "string"},
                        "message": {"type": "string"},
                        "problems": {"type": "array", "items": _ref("Problem")},
                        "problem_count": {"type": "integer"},
                    },
                    "required": ["code", "message"],
                },
                "model_version": {"type": ["string", "null"]},
            }
        ),
        "Problem": {
            "type": "object",
            "properties": {
                "row": {"type": "integer"},
                "field": {"type": "string"},
                "message": {"type": "string"},
                "hint": {"type": "string"},
            },
            "required": ["row", "field", "message"],
        },
    }


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _type(said: Field) -> dict[str, Any]:
    schema = dict(_TYPES[said.type])
    if not said.required:
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        schema["type"] = [*kinds, "null"]
    return schema


def _page(document: Mapping[str, Any], model: ServedModel | None) -> str:
    info = document["info"]
    paths = "".join(
        f"<tr><td><code>{method.upper()} {html.escape(path)}</code></td>"
        f"<td>{html.escape(operation['summary'])}</td></tr>"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    )
    known = model.signature.known.values() if model else ()
    fields = "".join(_field_row(said, model) for said in known if model)
    row = model.signature.as_json(model.example) if model else {}
    example = msgspec.json.format(msgspec.json.encode({"records": [row]}), indent=2).decode()
    return _TEMPLATE.format(
        title=html.escape(info["title"]),
        description=html.escape(info["description"]),
        version=html.escape(info["version"]),
        paths=paths,
        fields=fields,
        example=html.escape(example),
        statuses="".join(
            f"<tr><td>{status}</td><td>{html.escape(said['description'])}</td></tr>"
            for status, said in document["paths"]["/predict"]["post"]["responses"].items()
        ),
    )


def _field_row(said: Field, model: ServedModel) -> str:
    needed = "required" if said.required else "may be null or missing"
    use = "goes to the model" if said.name in model.signature.names else "only logged"
    name = html.escape(said.name)
    cells = (f"<code>{name}</code>", said.type, needed, use)
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem;
  color: #1b2330; background: #fff }}
h1 small {{ font-weight: normal; color: #5a6675 }}
table {{ border-collapse: collapse; width: 100% }}
td {{ border-top: 1px solid #dde2e8; padding: .3rem .6rem .3rem 0; vertical-align: top }}
code, pre, textarea {{ font: 14px/1.4 ui-monospace, monospace }}
textarea {{ width: 100%; height: 16rem; box-sizing: border-box }}
pre {{ background: #f3f5f8; padding: .8rem; overflow: auto; min-height: 1rem }}
button {{ font: inherit; padding: .3rem 1rem }}
</style>
</head>
<body>
<h1>{title} <small>version {version}</small></h1>
<p>{description} The same as a document for programs: <a href="openapi.json">openapi.json</a>.</p>
<h2>Paths</h2>
<table>{paths}</table>
<h2>Fields of a row</h2>
<table>{fields}</table>
<h2>Answers of <code>/predict</code></h2>
<table>{statuses}</table>
<h2>Try it</h2>
<form id="form">
<textarea id="body" aria-label="Request body" spellcheck="false">{example}</textarea>
<p><button>POST /predict</button> <span id="status" role="status"></span></p>
</form>
<pre id="answer"></pre>
<script>
document.getElementById("form").addEventListener("submit", async (event) => {{
  event.preventDefault();
  const response = await fetch("predict", {{
    method: "POST",
    headers: {{"content-type": "application/json"}},
    body: document.getElementById("body").value,
  }});
  document.getElementById("status").textContent = response.status + " " + response.statusText;
  document.getElementById("answer").textContent = JSON.stringify(await response.json(), null, 2);
}});
</script>
</body>
</html>
"""
