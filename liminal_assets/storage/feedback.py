"""Labels that arrive later: the log of them, and which prediction each is about."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from liminal_assets.language.loading import Project
from liminal_assets.storage.forms import identifier, to_relation
from liminal_assets.storage.logs import RowLog, in_utc
from liminal_assets.storage.sessions import session
from liminal_assets.storage.tables import Table

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

__all__ = ["FeedbackLog", "history_of", "labels_of", "unmatched_of"]

_OWN = ("feedback_id", "prediction_id", "at", "label", "labelled_at", "received_at")
"""Columns of the feedback table; others are the entity's."""
_ORDER = "labelled_at, received_at, feedback_id"
"""Of several labels the last in this order counts."""
REQUESTED = "requested_at"


class FeedbackLog(RowLog):
    """Labels that were sent to a deployment's server, or recorded in Python.

    Rows hold ``feedback_id``, ``prediction_id`` or the entity's columns, ``at`` (the moment that a
    label of an entity is about), ``label`` (text), ``labelled_at`` (when the truth was known) and
    ``received_at``. None is ever changed: the one labelled last counts.
    """

    def __init__(self, project: Project, deployment: str) -> None:
        super().__init__(project, deployment, "feedback", "received_at")

    def read(self, since: datetime | None = None, until: datetime | None = None) -> Table:
        """The labels received from ``since`` on and before ``until``, oldest first; one that only
        repeats the label before it is left out."""
        found = self._rows.read(in_utc(since), in_utc(until))
        if found is None:
            return Table(self.asset, value=_none())
        names = list(found.columns)
        if "labelled_at" not in names:
            found, names = found.select("*, received_at AS labelled_at"), [*names, "labelled_at"]
        about = ", ".join(identifier(name) for name in names if name not in _OWN[3:] + _OWN[:1])
        told = found.select(
            "*, lag(label) OVER (PARTITION BY "
            f"{about} ORDER BY {_ORDER}) IS NOT DISTINCT FROM label AS again"
        )
        columns = ", ".join(map(identifier, names))
        return Table(self.asset, value=told.filter("NOT again").select(columns).order(_ORDER))


def labels_of(predictions: Table, feedback: Table, moment: str = REQUESTED) -> Table:
    """The label of each prediction that has one: ``prediction_id``, ``label`` (text),
    ``labelled_at`` and ``received_at``.

    A label is that of a prediction by its id; or by its entity: of the newest prediction of the
    entity at or before the label's ``at``, and without ``at`` of every one; of requests, of those
    before the label arrived.

    Args:
        predictions: with ``prediction_id``, the entity's columns and ``moment``.
        moment: the column that says when a prediction was.
    """
    with session() as connection:
        told = _told(predictions, feedback, moment, connection)
        newest = ", ".join(
            f"max_by({name}, ({_ORDER})) AS {name}"
            for name in ("label", "labelled_at", "received_at")
        )
        found = told.aggregate(f"prediction_id, {newest}", "prediction_id")
        return Table(feedback.name, value=found.order("prediction_id").to_arrow_table())


def history_of(predictions: Table, feedback: Table, moment: str = REQUESTED) -> Table:
    """Every label that predictions had, the one that counts last: ``prediction_id``, ``label``,
    ``labelled_at``, ``received_at``, ``feedback_id``."""
    with session() as connection:
        told = _told(predictions, feedback, moment, connection)
        return Table(feedback.name, value=told.order(f"prediction_id, {_ORDER}").to_arrow_table())


def unmatched_of(
    predictions: Table, feedback: Table, moment: str = REQUESTED, *, sample: float = 1.0
) -> Table:
    """The labels of no prediction, with ``sampled``: false for those of requests that a log of a
    share of them leaves out.

    Args:
        sample: that share, from 0 to 1.
    """
    with session() as connection:
        _told(predictions, feedback, moment, connection).create_view("told")
        # as liminal_assets.storage.ids.sampled has it
        end = math.ceil(sample * 0x1_0000_0000)
        inside = "true" if sample >= 1 else f"substr(prediction_id, 13, 8) < '{end:08x}'"
        ours = "regexp_full_match(prediction_id, '[0-9a-f]{32}(-[0-9]{1,9})?')"
        found = connection.sql(
            f"SELECT *, prediction_id IS NULL OR NOT {ours} OR {inside} AS sampled "
            "FROM feedback ANTI JOIN (SELECT DISTINCT feedback_id FROM told) USING (feedback_id)"
        )
        return Table(feedback.name, value=found.order("received_at, feedback_id").to_arrow_table())


def _told(
    predictions: Table, feedback: Table, moment: str, connection: duckdb.DuckDBPyConnection
) -> duckdb.DuckDBPyRelation:
    """Every label beside every prediction that it is about."""
    labels = connection.from_arrow(feedback.to("arrow"))
    labels.create_view("feedback")
    rows = _concerned(predictions, _needed_columns(feedback, moment), labels, connection)
    told = "f.feedback_id, f.label, f.labelled_at, f.received_at, p.prediction_id"
    joins = [
        f"SELECT {told} FROM feedback f JOIN predictions p ON f.prediction_id = p.prediction_id"
    ]
    entity = [name for name in labels.columns if name not in _OWN]
    for columns in _entities(entity, connection):
        if moment in rows.columns and set(columns) <= set(rows.columns):
            joins += _by_entity(columns, entity, rows, labels, moment, told)
    return connection.sql(" UNION ALL ".join(joins))


def _entities(
    entity: Sequence[str], connection: duckdb.DuckDBPyConnection
) -> Iterator[tuple[str, ...]]:
    """The columns by which labels name an entity: other versions of a feature may have others."""
    if not entity:
        return
    there = ", ".join(f"{identifier(name)} IS NOT NULL" for name in entity)
    found = connection.execute(
        f"SELECT DISTINCT {there} FROM feedback WHERE prediction_id IS NULL"
    ).fetchall()
    for used in sorted(found):
        if any(used):
            yield tuple(name for name, is_used in zip(entity, used, strict=True) if is_used)


def _by_entity(
    columns: Sequence[str],
    entity: Sequence[str],
    rows: duckdb.DuckDBPyRelation,
    labels: duckdb.DuckDBPyRelation,
    moment: str,
    told: str,
) -> Iterator[str]:
    kinds = [dict(zip(r.columns, map(str, r.types), strict=True)) for r in (labels, rows)]
    compared = [_comparable(name, *(kind[name] for kind in kinds)) for name in columns]
    same = " AND ".join(f"f.{column} = p.{column}" for column in compared)
    others = [f"f.{identifier(name)} IS NULL" for name in entity if name not in columns]
    where = " AND ".join(["f.prediction_id IS NULL", *others])
    joined = f"SELECT {told} FROM feedback f JOIN predictions p ON {same} WHERE {where}"
    when = f"p.{identifier(moment)}::TIMESTAMPTZ"
    # a row of a table may be scored long after its truth is known
    before = f" AND {when} <= f.received_at" if moment == REQUESTED else ""
    yield f"{joined} AND f.at IS NULL{before}"
    yield (
        f"{joined} AND {when} <= f.at QUALIFY row_number() OVER "
        f"(PARTITION BY f.feedback_id ORDER BY {when} DESC, p.prediction_id DESC) = 1"
    )


def _comparable(name: str, label: str, prediction: str) -> str:
    """A column on both sides, as text where only one of them is text."""
    same = (label == "VARCHAR") == (prediction == "VARCHAR")
    return identifier(name) if same else f"{identifier(name)}::VARCHAR"


def _needed_columns(feedback: Table, moment: str = REQUESTED) -> tuple[str, ...]:
    """The columns of predictions by which labels find them."""
    entity = (name for name in feedback.schema.names if name not in _OWN)
    return tuple(dict.fromkeys(["prediction_id", moment, *entity]))


def _concerned(
    predictions: Table,
    columns: Sequence[str],
    labels: duckdb.DuckDBPyRelation,
    connection: duckdb.DuckDBPyConnection,
) -> duckdb.DuckDBPyRelation:
    """The predictions that any label may be about, as a view: of a log of any size they alone are
    in memory."""
    import duckdb

    value = predictions.value
    relation = value if isinstance(value, duckdb.DuckDBPyRelation) else predictions.relation()
    there = [name for name in columns if name in relation.columns]
    stream = to_relation(relation.select(*map(identifier, there)), connection)
    stream.create_view("all_predictions")
    kinds = [dict(zip(r.columns, map(str, r.types), strict=True)) for r in (labels, stream)]
    named = [n for n in there if n in kinds[0] and (n == "prediction_id" or n not in _OWN)]
    compared = [_comparable(name, *(kind[name] for kind in kinds)) for name in named]
    told = " OR ".join(
        f"{column} IN (SELECT {column} FROM feedback WHERE {column} IS NOT NULL)"
        for column in compared
    )
    found = connection.sql(f"FROM all_predictions WHERE {told}").to_arrow_table()
    kept = connection.from_arrow(found)
    kept.create_view("predictions")
    return kept


def _none() -> pa.Table:
    import pyarrow as pa

    text, moment = pa.string(), pa.timestamp("us", "UTC")
    moments = dict.fromkeys(("at", "labelled_at", "received_at"), moment)
    return pa.schema(list((dict.fromkeys(_OWN, text) | moments).items())).empty_table()
