"""The rows that are checked, as something SQL can be asked of; and the asking in one pass."""

from __future__ import annotations

import uuid
from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, cast

from liminal_assets.integrations.expectations.metrics import Metric
from liminal_assets.integrations.expectations.sql import Schema

if TYPE_CHECKING:
    import duckdb

__all__ = ["Batch", "compute"]

Key = TypeVar("Key", bound=Hashable)


class Batch:
    """A relation under a name of its own.

    Args:
        relation: rows that can be read more than once.
    """

    def __init__(self, relation: duckdb.DuckDBPyRelation) -> None:
        self.relation = relation
        self.name = f"liminal_rows_{uuid.uuid4().hex}"

    @cached_property
    def schema(self) -> Schema:
        """The columns and the name to ask by."""
        types = map(str, self.relation.types)
        return Schema(dict(zip(self.relation.columns, types, strict=True)), self.name)

    def query(self, sql: str) -> duckdb.DuckDBPyRelation:
        """The answer to a query that calls the rows by :attr:`name`; nothing is read yet.

        Raises:
            duckdb.Error: the query is wrong.
        """
        return cast("duckdb.DuckDBPyRelation", self.relation.query(self.name, sql))

    def row(self, expressions: Sequence[str]) -> Sequence[Any]:
        """The values of several aggregates, computed in one pass over the rows.

        Raises:
            duckdb.Error: one of them is wrong, or fails.
        """
        if not expressions:
            return ()
        names = dict.fromkeys(expressions)
        # the count makes one row of expressions that are all subqueries
        listed = ", ".join([*names, "count(*)"])
        (values,) = self.query(f"SELECT {listed} FROM {self.name}").fetchall()
        found = dict(zip(names, values, strict=False))
        return [found[expression] for expression in expressions]


def compute(batch: Batch, metrics: Mapping[Key, Metric]) -> dict[Key, Any]:
    """The value of each metric, or the exception that it raised.

    Metrics that wait for their aggregates at the same time share one query. A wrong one among
    them doesn't spoil the others': they are then asked one by one.
    """
    results: dict[Key, Any] = {}
    waiting: dict[Key, tuple[Metric, list[str]]] = {}

    def advance(key: Key, metric: Metric, values: Sequence[Any] | None) -> None:
        try:
            asked = next(metric) if values is None else metric.send(values)
        except StopIteration as stop:
            results[key] = stop.value
        except Exception as error:
            results[key] = error
        else:
            waiting[key] = (metric, asked)

    for key, metric in metrics.items():
        advance(key, metric, None)
    while waiting:
        asked, waiting = waiting, {}
        answers = _ask(batch, {key: expressions for key, (_, expressions) in asked.items()})
        for key, (metric, _) in asked.items():
            answer = answers[key]
            if isinstance(answer, Exception):
                results[key] = answer
            else:
                advance(key, metric, answer)
    return results


def _ask(batch: Batch, asked: Mapping[Key, list[str]]) -> dict[Key, Any]:
    """The values of each one's aggregates, or the exception of its query."""
    import duckdb

    everything = [expression for expressions in asked.values() for expression in expressions]
    try:
        values = iter(batch.row(everything))
    except (duckdb.IOException, duckdb.InterruptException):
        raise
    except duckdb.Error as error:
        if len(asked) == 1:
            return dict.fromkeys(asked, error)
        return {
            key: answer
            for key, expressions in asked.items()
            for answer in _ask(batch, {key: expressions}).values()
        }
    return {key: [next(values) for _ in expressions] for key, expressions in asked.items()}
