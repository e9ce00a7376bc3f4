"""Records of the spool as rows of the prediction log and of the feedback table."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from liminal_assets.serving.log.segments import Feedback, Layout, Request
from liminal_assets.storage.ids import row_ids

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["feedback_rows", "prediction_rows"]

_log = logging.getLogger("liminal_assets.serving")


def prediction_rows(requests: Sequence[tuple[Layout, Request]]) -> tuple[list[pa.Table], int]:
    """The rows of requests, in as few tables as the types of their columns allow.

    Returns:
        The tables, and how many rows Arrow can't hold.
    """
    by_layout: dict[int, list[tuple[Layout, Request]]] = {}
    for layout, request in requests:
        by_layout.setdefault(layout.key, []).append((layout, request))
    tables: list[pa.Table] = []
    lost = 0
    for group in by_layout.values():
        made, missing = _held(group[0][0], [request for _, request in group])
        tables += made
        lost += missing
    return _joined(tables), lost


def feedback_rows(feedback: Sequence[Feedback]) -> list[pa.Table]:
    """The rows of labels, in as few tables as the types of their entities allow."""
    by_kind: dict[tuple[tuple[str, str], ...], list[Feedback]] = {}
    for one in feedback:
        kind = tuple((name, type_) for name, type_, _ in one.entity)
        by_kind.setdefault(kind, []).append(one)
    return _joined([_feedback_table(kind, some) for kind, some in by_kind.items()])


def _held(layout: Layout, requests: Sequence[Request]) -> tuple[list[pa.Table], int]:
    """Rows that Arrow can't hold would keep all others from the log: they are lost."""
    try:
        return [_table(layout, requests)], 0
    except Exception:
        if len(requests) == 1:
            _log.exception("a request of %s can't be logged", layout.model)
            return [], requests[0].rows
    parts = [_held(layout, [request]) for request in requests]
    return [table for tables, _ in parts for table in tables], sum(lost for _, lost in parts)


def _joined(tables: Sequence[pa.Table]) -> list[pa.Table]:
    import pyarrow as pa

    joined: list[pa.Table] = []
    for table in tables:
        for position, other in enumerate(joined):
            try:
                joined[position] = pa.concat_tables([other, table], promote_options="default")
                break
            except (pa.ArrowInvalid, pa.ArrowTypeError):
                # a column has another type in another version
                continue
        else:
            joined.append(table)
    return joined


def _table(layout: Layout, requests: Sequence[Request]) -> pa.Table:
    import pyarrow as pa

    columns: dict[str, Any] = {}
    for position, (name, kind) in enumerate(layout.columns):
        values = list(itertools.chain.from_iterable(one.columns[position] for one in requests))
        columns[name] = _array(values, kind)
    for position, name in enumerate(layout.scores):
        columns[name] = pa.array(
            list(itertools.chain.from_iterable(one.scores[position] for one in requests))
        )
    counts = [request.rows for request in requests]
    columns["scored_at"] = _moments([one.scored_at for one in requests], counts)
    columns["requested_at"] = _moments([one.requested_at for one in requests], counts)
    columns["model_version"] = pa.repeat(layout.version, sum(counts))
    columns["prediction_id"] = [
        own for request in requests for own in row_ids(request.id, request.rows)
    ]
    columns["sample_rate"] = pa.repeat(layout.rate, sum(counts))
    if any(request.sent is not None for request in requests):
        sent = [None if one.sent is None else ",".join(one.sent) for one in requests]
        columns["sent"] = pa.array(_repeated(sent, counts), pa.string())
    return pa.table(columns)


def _feedback_table(kind: Sequence[tuple[str, str]], feedback: Sequence[Feedback]) -> pa.Table:
    import pyarrow as pa

    ones = [1] * len(feedback)
    columns: dict[str, Any] = {
        "feedback_id": [one.id for one in feedback],
        "prediction_id": pa.array([one.prediction_id for one in feedback], pa.string()),
    }
    for position, (name, type_) in enumerate(kind):
        columns[name] = _array([one.entity[position][2] for one in feedback], type_)
    return pa.table(
        {
            **columns,
            "at": _moments([one.at for one in feedback], ones),
            "label": [one.label for one in feedback],
            "labelled_at": _moments(
                [f.received_at if f.labelled_at is None else f.labelled_at for f in feedback], ones
            ),
            "received_at": _moments([one.received_at for one in feedback], ones),
        }
    )


def _array(values: list[Any], kind: str) -> pa.Array:
    import pyarrow as pa

    if kind == "datetime":
        values = [datetime.fromisoformat(v) if isinstance(v, str) else v for v in values]
    return pa.array(values, _arrow_type(kind))


def _moments(seconds: Sequence[float | None], counts: Sequence[int]) -> pa.Array:
    import pyarrow as pa

    at = [None if s is None else datetime.fromtimestamp(s, timezone.utc) for s in seconds]
    return pa.array(_repeated(at, counts), pa.timestamp("us", "UTC"))


def _repeated(values: Sequence[Any], counts: Sequence[int]) -> list[Any]:
    return list(itertools.chain.from_iterable(map(itertools.repeat, values, counts)))


def _arrow_type(kind: str) -> pa.DataType:
    import pyarrow as pa

    return {
        "boolean": pa.bool_(),
        "integer": pa.int32(),
        "long": pa.int64(),
        "float": pa.float32(),
        "double": pa.float64(),
        "string": pa.string(),
        "datetime": pa.timestamp("us"),
        "binary": pa.binary(),
    }[kind]
