"""Answered requests as records of the spool: sampled and masked before anything is kept."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import msgspec

from liminal_assets.serving.log.segments import Layout, Request, frame
from liminal_assets.serving.model import ServedModel
from liminal_assets.steps.scores import Scores
from liminal_assets.steps.signature import Field
from liminal_assets.storage.ids import sampled

__all__ = ["Answered", "Recorder", "Recording", "masked"]

_MODELS = 8
"""Versions whose layouts are kept: more than ever answer at a time."""


class Recording(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is recorded of the answered requests.

    Attributes:
        sample: the share of requests, from 0 to 1.
        mask: what is kept of a column instead of its values: ``drop``, ``null`` or ``hash``.
        salts: the key of each hashed column.
    """

    sample: float = 1.0
    mask: Mapping[str, str] = {}
    salts: Mapping[str, str] = {}


@dataclass(frozen=True)
class Answered:
    """The rows of one answered request.

    Attributes:
        model: the version that answered.
        columns: the values that it was asked, with those carried along.
        scores: its answers.
        ids: the id of each row.
        requested_at: seconds since 1970.
        scored_at: seconds since 1970.
        sent: the inputs that the request itself held, where others came from the online store.
        shadow: whether nobody was answered by it. What was asked is in the record of the answer.
    """

    model: ServedModel
    columns: Mapping[str, Sequence[Any]]
    scores: Scores
    ids: Sequence[str]
    requested_at: float
    scored_at: float
    sent: Sequence[str] | None = None
    shadow: bool = False


@dataclass(frozen=True)
class _Known:
    """How the requests of one version are written."""

    signature: Any
    layout: Layout
    frame: bytes
    names: tuple[str, ...]
    changes: tuple[tuple[int, Callable[[Sequence[Any]], Sequence[Any]]], ...]


class Recorder:
    """Turns answered requests into frames of a segment.

    Args:
        recording: what is kept.
    """

    def __init__(self, recording: Recording | None = None) -> None:
        self.recording = recording or Recording()
        self._sample = self.recording.sample
        self._known: dict[tuple[str, str, int, bool], _Known] = {}
        self._encode = msgspec.msgpack.Encoder(enc_hook=_plain).encode

    def __call__(self, answered: Answered) -> tuple[Layout, bytes, bytes] | None:
        """The layout of a request, its frame and the frame of the request; None outside of the
        sample.

        Raises:
            TypeError, ValueError, OverflowError: a value that MessagePack can't hold.
        """
        ids = answered.ids
        request = ids[0] if len(ids) == 1 else ids[0].removesuffix("-0")
        if self._sample < 1 and not sampled(request, self._sample):
            return None
        model = answered.model
        key = (model.name, model.version, id(model.signature), answered.shadow)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._learn(answered)
        columns = [answered.columns[name] for name in known.names]
        for position, change in known.changes:
            columns[position] = change(columns[position])
        record = Request(
            known.layout.key,
            request,
            len(ids),
            answered.requested_at,
            answered.scored_at,
            columns,
            [column.tolist() for column in answered.scores.columns.values()],
            answered.sent,
        )
        return known.layout, known.frame, frame(self._encode(record))

    def _learn(self, answered: Answered) -> _Known:
        model, mask = answered.model, self.recording.mask
        fields = [
            field
            for field in (*model.signature.carried, *model.signature.fields)
            if mask.get(field.name) != "drop" and not answered.shadow
        ]
        layout = Layout(
            0,
            model.name,
            model.version,
            model.run_id,
            [(field.name, _logged_type(field, mask)) for field in fields],
            list(answered.scores.columns),
            self._sample,
            answered.shadow,
        )
        layout = msgspec.structs.replace(layout, key=crc32(self._encode(layout)))
        known = _Known(
            model.signature,  # held, so that its address isn't another's
            layout,
            frame(self._encode(layout)),
            tuple(field.name for field in fields),
            tuple(self._changes(fields)),
        )
        while len(self._known) >= _MODELS:
            del self._known[next(iter(self._known))]
        return known

    def _changes(
        self, fields: Sequence[Field]
    ) -> list[tuple[int, Callable[[Sequence[Any]], Sequence[Any]]]]:
        changes: list[tuple[int, Callable[[Sequence[Any]], Sequence[Any]]]] = []
        for position, field in enumerate(fields):
            if field.name in self.recording.mask:
                name = field.name

                def change(values: Sequence[Any], name: str = name) -> Sequence[Any]:
                    return [masked(self.recording, name, value) for value in values]

                changes.append((position, change))
            elif field.type == "any":
                changes.append((position, _texts))
        return changes


def masked(recording: Recording, column: str, value: Any) -> Any:
    """What is kept of a value: itself, nothing, or 32 digits that equal values share and that
    don't tell it without the salt."""
    how = recording.mask.get(column)
    if how is None or value is None:
        return value
    if how != "hash":
        return None
    key = recording.salts.get(column, "").encode()
    return hmac.digest(key, str(value).encode(), "sha256").hex()[:32]


def _logged_type(field: Field, mask: Mapping[str, str]) -> str:
    return "string" if field.type == "any" or mask.get(field.name) == "hash" else field.type


def _texts(values: Sequence[Any]) -> Sequence[Any]:
    """Values of unknown type as text, so that every file has one type for a column."""
    return [None if value is None else str(value) for value in values]


def _plain(value: Any) -> Any:
    """Arrays and scalars of NumPy as what MessagePack holds."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} can't be logged")
