"""JSON Schemas of what goes in and comes out, from the signature of the model that answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from liminal_assets.serving.control.team import WorkerHealth
from liminal_assets.serving.log.spool import LogState
from liminal_assets.serving.openapi.described import Described
from liminal_assets.serving.protocols.tensors import TENSOR_TYPES
from liminal_assets.steps.signature import Field, FieldType, Signature

__all__ = ["array", "components", "ref", "row_schemas", "text"]

_TYPES: Mapping[FieldType, Mapping[str, Any]] = {
    "boolean": {"type": "boolean"},
    "integer": {"type": "integer", "format": "int32", "minimum": -(2**31), "maximum": 2**31 - 1},
    "long": {"type": "integer", "format": "int64", "minimum": -(2**63), "maximum": 2**63 - 1},
    "float": {"type": "number", "format": "float"},
    "double": {"type": "number", "format": "double"},
    "string": {"type": "string"},
    "datetime": {"type": "string", "format": "date-time"},
    "binary": {"type": "string", "contentEncoding": "base64"},
    "any": {"type": ["string", "number", "boolean"]},
}

text: Mapping[str, Any] = {"type": "string"}
_SCALAR = {"type": ["string", "number", "boolean", "null"]}


def ref(name: str) -> dict[str, str]:
    """A schema by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def array(items: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A list of something."""
    return {"type": "array", "items": dict(items), **more}


def components(described: Described) -> dict[str, Any]:
    """Every schema that a path may refer to."""
    return {
        **row_schemas("Row", "Request", described.signature),
        **_answers(described),
        **_mlflow(described.signature),
        **_inference(),
        **_OWN,
    }


def row_schemas(row: str, rows: str, signature: Signature) -> dict[str, Any]:
    """A row, by the name ``row``, and the forms in which a body has some, by the name ``rows``."""
    columns = {name: array(typed(said), minItems=1) for name, said in signature.known.items()}
    required = [name for name, said in signature.known.items() if said.needed]
    names = array({"enum": list(columns)}, minItems=1, uniqueItems=True)
    split = {
        "columns": names,
        "data": array(array(_SCALAR), minItems=1),
        "index": {"description": "As pandas writes it; it isn't looked at."},
    }
    by_name = _object(columns, required)
    return {
        row: _object({name: typed(said) for name, said in signature.known.items()}, required),
        rows: {
            "anyOf": [
                _object({"records": array(ref(row), minItems=1)}),
                _object({"columns": by_name}),
                _object(split, ["columns", "data"]),
                _object({"split": {"anyOf": [_object(split, ["columns", "data"])]}}),
                array(ref(row), minItems=1),
                ref(row),
            ]
        },
    }


def typed(said: Field) -> dict[str, Any]:
    """The schema of a column's value."""
    schema = dict(_TYPES[said.type])
    if not said.required:
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        schema["type"] = [*kinds, "null"]
    return schema


def _answers(described: Described) -> dict[str, Any]:
    label: Mapping[str, Any] = _TYPES[described.model.label_type] if described.model else {}
    scores = {name: {"type": "number", "minimum": 0, "maximum": 1} for name in described.prediction}
    prediction = {
        **scores,
        "prediction": {**label, "description": "The label, or the value of a regression."},
        "prediction_id": text,
    }
    answer = {
        "model": text,
        "model_version": text,
        "prediction_id": text,
        "predictions": array(ref("Prediction")),
    }
    return {
        "Prediction": _object(prediction),
        "Answer": _object(answer),
        "MlflowAnswer": _object({"predictions": array(label)}),
    }


def _mlflow(signature: Signature) -> dict[str, Any]:
    """MLflow's four forms: exactly one of them, columns that the model doesn't know besides."""
    columns = {name: array(typed(said), minItems=1) for name, said in signature.known.items()}
    required = [name for name, said in signature.known.items() if said.needed]
    row = {"allOf": [{**_object({n: typed(f) for n, f in signature.known.items()}, required)}]}
    row["allOf"][0].pop("additionalProperties")
    by_name = {"type": "object", "properties": columns, "required": required}
    rows = array(ref("MlflowRow"), minItems=1)
    tensors: list[Any] = [rows, by_name, ref("MlflowRow")]
    if len(signature.fields) == 1:
        value = typed(signature.fields[0])
        tensors += [array(value, minItems=1), value]
    split = _object(
        {
            "columns": array(text, minItems=1, uniqueItems=True),
            "data": array(array(_SCALAR), minItems=1),
            "index": {},
        },
        ["columns", "data"],
    )
    forms = {
        "dataframe_split": split,
        "dataframe_records": rows,
        "instances": {"anyOf": tensors},
        "inputs": {"anyOf": tensors},
    }
    others = dict.fromkeys(("messages", "prompt", "input"), False)
    return {
        "MlflowRow": row,
        "MlflowRequest": {
            "type": "object",
            "properties": {**others, "params": {"description": "Ignored."}},
            "oneOf": [
                {"required": [name], "properties": {name: form}} for name, form in forms.items()
            ],
        },
    }


def _inference() -> dict[str, Any]:
    parameters = {"type": "object"}
    tensor = {
        "name": text,
        "datatype": {"enum": list(TENSOR_TYPES)},
        "shape": array({"type": "integer", "minimum": 0}, minItems=1),
        "parameters": parameters,
        "data": {"type": "array", "description": "Flat, or nested as the shape is."},
    }
    needed = ["name", "datatype", "shape"]
    wanted = {"name": text, "parameters": parameters}
    request = {
        "id": text,
        "parameters": parameters,
        "inputs": array(_open(tensor, needed), minItems=1),
        "outputs": array(_open(wanted, ["name"])),
    }
    answer = {
        "model_name": text,
        "model_version": text,
        "id": text,
        "parameters": parameters,
        "outputs": array(_open(tensor, needed)),
    }
    about = array(_object({"name": text, "datatype": text, "shape": array({"type": "integer"})}))
    model = {"name": text, "versions": array(text), "platform": text}
    return {
        "InferRequest": _open(request, ["inputs"]),
        "InferAnswer": _object(answer),
        "InferServer": _object({"name": text, "version": text, "extensions": array(text)}),
        "InferModel": _object({**model, "inputs": about, "outputs": about}),
        "InferError": _object({"error": text}),
    }


def _object(properties: Mapping[str, Any], required: Sequence[str] | None = None) -> dict[str, Any]:
    """An object with these keys and no others; all of them unless some are named."""
    needed = list(properties) if required is None else list(required)
    return {**_open(properties, needed), "additionalProperties": False}


def _open(properties: Mapping[str, Any], required: Sequence[str]) -> dict[str, Any]:
    return {"type": "object", "properties": dict(properties), "required": list(required)}


_PROBLEM = {"row": {"type": "integer"}, "field": text, "message": text, "hint": text}
_ERROR = {
    "code": text,
    "message": text,
    "problems": array(ref("Problem")),
    "problem_count": {"type": "integer"},
}
_NULLABLE = {"type": ["string", "null"]}
(_worker, _log), _structs = msgspec.json.schema_components(
    (WorkerHealth, LogState), ref_template="#/components/schemas/{name}"
)
_OWN = {
    "Problem": _object(_PROBLEM, ["row", "field", "message"]),
    "Error": _object(
        {"error": _object(_ERROR, ["code", "message"]), "model_version": _NULLABLE},
    ),
    "MlflowError": _object(
        {"error_code": text, "message": text, "sqlstate": text, "error_class": text},
        ["error_code", "message"],
    ),
    "Alive": _object({"status": {"const": "alive"}}),
    "Ready": _object(
        {
            "ready": {"type": "boolean"},
            "model_version": _NULLABLE,
            "problem": _NULLABLE,
            "workers": _object(
                {"ready": {"type": "integer"}, "of": {"type": "integer"}, "each": array(_worker)}
            ),
        },
        ["ready", "model_version", "problem"],
    ),
    **_structs,
    "Info": _object(
        {
            **dict.fromkeys(
                ("model", "model_version", "run_id", "form", "champion", "candidate", "problem"),
                _NULLABLE,
            ),
            "loaded_at": {"type": ["string", "null"], "format": "date-time"},
            "candidate_share": {"type": "number"},
            "candidate_shadow": {"type": "number"},
            "certificate": {"type": ["object", "null"]},
            "features": {"type": ["object", "null"]},
            "prediction_log": {"anyOf": [_log, {"type": "null"}]},
        }
    ),
    "Accepted": _object({"accepted": {"type": "integer"}, "feedback_ids": array(text)}),
}
