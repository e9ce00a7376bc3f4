"""The messages of the Open Inference Protocol's gRPC service, made from a table.

They are those of ``inference.proto`` (https://github.com/kserve/open-inference-protocol), in a pool
of their own: the default pool may hold another's messages of the same names (Triton's client).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = ["MESSAGES", "SERVICE", "messages"]

SERVICE = "inference.GRPCInferenceService"

_PARAMETERS = "map<string, InferParameter> parameters"
_TENSOR = ("string name = 1", "string datatype = 2", "repeated int64 shape = 3")

MESSAGES: Mapping[str, tuple[str, ...]] = {
    "ServerLiveRequest": (),
    "ServerLiveResponse": ("bool live = 1",),
    "ServerReadyRequest": (),
    "ServerReadyResponse": ("bool ready = 1",),
    "ModelReadyRequest": ("string name = 1", "string version = 2"),
    "ModelReadyResponse": ("bool ready = 1",),
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": (
        "string name = 1",
        "string version = 2",
        "repeated string extensions = 3",
    ),
    "ModelMetadataRequest": ("string name = 1", "string version = 2"),
    "ModelMetadataResponse": (
        "string name = 1",
        "repeated string versions = 2",
        "string platform = 3",
        "repeated ModelMetadataResponse.TensorMetadata inputs = 4",
        "repeated ModelMetadataResponse.TensorMetadata outputs = 5",
    ),
    "ModelMetadataResponse.TensorMetadata": _TENSOR,
    "InferParameter": (
        "oneof bool bool_param = 1",
        "oneof int64 int64_param = 2",
        "oneof string string_param = 3",
        "oneof double double_param = 4",
        "oneof uint64 uint64_param = 5",
    ),
    "InferTensorContents": (
        "repeated bool bool_contents = 1",
        "repeated int32 int_contents = 2",
        "repeated int64 int64_contents = 3",
        "repeated uint32 uint_contents = 4",
        "repeated uint64 uint64_contents = 5",
        "repeated float fp32_contents = 6",
        "repeated double fp64_contents = 7",
        "repeated bytes bytes_contents = 8",
    ),
    "ModelInferRequest": (
        "string model_name = 1",
        "string model_version = 2",
        "string id = 3",
        f"{_PARAMETERS} = 4",
        "repeated ModelInferRequest.InferInputTensor inputs = 5",
        "repeated ModelInferRequest.InferRequestedOutputTensor outputs = 6",
        "repeated bytes raw_input_contents = 7",
    ),
    "ModelInferRequest.InferInputTensor": (
        *_TENSOR,
        f"{_PARAMETERS} = 4",
        "InferTensorContents contents = 5",
    ),
    "ModelInferRequest.InferRequestedOutputTensor": ("string name = 1", f"{_PARAMETERS} = 2"),
    "ModelInferResponse": (
        "string model_name = 1",
        "string model_version = 2",
        "string id = 3",
        f"{_PARAMETERS} = 4",
        "repeated ModelInferResponse.InferOutputTensor outputs = 5",
        "repeated bytes raw_output_contents = 6",
    ),
    "ModelInferResponse.InferOutputTensor": (
        *_TENSOR,
        f"{_PARAMETERS} = 4",
        "InferTensorContents contents = 5",
    ),
}
"""Every message, its fields as in a ``.proto``; a message within another after a dot."""

_FIELD = re.compile(
    r"(?P<label>repeated |oneof |map<string, )?(?P<type>[\w.]+)>? (?P<name>\w+) = (?P<number>\d+)"
)
_Field = descriptor_pb2.FieldDescriptorProto


def messages() -> dict[str, Any]:
    """The classes of the messages, by name."""
    file = descriptor_pb2.FileDescriptorProto(
        name="inference.proto", package="inference", syntax="proto3"
    )
    made: dict[str, Any] = {}
    for name, fields in MESSAGES.items():
        outer, _, inner = name.rpartition(".")
        message = (made[outer].nested_type if outer else file.message_type).add()
        message.name = inner
        made[name] = message
        for field in fields:
            _add(message, field, f".inference.{name}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"inference.{name}"))
        for name in MESSAGES
    }


def _add(message: Any, text: str, path: str) -> None:
    said = _FIELD.fullmatch(text)
    if said is None:
        raise ValueError(f"{text!r} is no field")
    label = (said["label"] or "").strip()
    field = message.field.add(name=said["name"], number=int(said["number"]))
    field.label = _Field.LABEL_OPTIONAL
    if label == "map<string,":
        entry = message.nested_type.add(name="ParametersEntry")
        entry.options.map_entry = True
        _add(entry, "string key = 1", path)
        _add(entry, f"{said['type']} value = 2", path)
        field.type, field.type_name = _Field.TYPE_MESSAGE, f"{path}.ParametersEntry"
    elif said["type"][0].isupper():
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".inference.{said['type']}"
    else:
        field.type = _Field.Type.Value(f"TYPE_{said['type'].upper()}")
    if label in ("repeated", "map<string,"):
        field.label = _Field.LABEL_REPEATED
    if label == "oneof":
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
