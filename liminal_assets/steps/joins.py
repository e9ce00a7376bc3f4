"""Joins of features: point in time (DuckDB's ASOF join) and on equal keys, as one query.

References: https://duckdb.org/docs/stable/guides/sql_features/asof_join
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from liminal_assets.errors import StepError
from liminal_assets.language.base import Names
from liminal_assets.language.diagnostics import Location, did_you_mean
from liminal_assets.language.features import Feature, Join
from liminal_assets.language.loading import Project
from liminal_assets.steps.context import StepContext
from liminal_assets.storage.forms import engine_errors, identifier, literal

if TYPE_CHECKING:
    import duckdb

__all__ = ["Joined", "join_inputs"]

_SAMPLES = 3


@dataclass(frozen=True)
class Joined:
    """A query of the spine with the columns of what is joined to it."""

    sql: str
    columns: Mapping[str, tuple[str, str]]
    """Output column → (input, column)."""


def join_inputs(
    context: StepContext,
    session: duckdb.DuckDBPyConnection,
    spine: str,
    views: Mapping[str, str],
) -> Joined:
    """The query of a feature's spine with everything joined to it.

    Args:
        spine: the view of the first input.
        views: the views of the joined inputs by input name.

    Raises:
        StepError: a column isn't there, or an equality join would repeat rows of the spine.
    """
    feature = context.block
    assert isinstance(feature, Feature)  # noqa: S101
    joined = Joined(
        f"SELECT * FROM {identifier(spine)}",
        {name: (feature.spine, name) for name in session.table(spine).columns},
    )
    for name, view in views.items():
        step = _JoinStep(context, feature, name, feature.from_[name], view, session)
        joined = step.onto(joined)
    return joined


@dataclass(frozen=True)
class _JoinStep:
    """One input joined to what was joined before."""

    context: StepContext
    feature: Feature
    name: str
    join: Join
    view: str
    session: duckdb.DuckDBPyConnection

    @property
    def project(self) -> Project:
        return self.context.project

    def at(self, *path: str) -> Location:
        """Where the join, or something in it, was written."""
        key = not path
        return self.project.locate(self.feature, "from", self.name, *path, key=key)

    def onto(self, left: Joined) -> Joined:
        right = self.session.table(self.view).columns
        keys = _pairs(self.join.by or self.join.on)
        key = "by" if self.join.by else "on"
        self._there([pair[0] for pair in keys], left.columns, self.feature.spine, key)
        self._there([pair[1] for pair in keys], right, self.name, key)
        taken = self._taken(left.columns, right, [pair[1] for pair in keys])
        if self.join.as_of:
            sql = self._as_of(left, right, keys, taken, self.join.as_of)
        else:
            sql = self._equal(left, keys, taken)
        columns = {**left.columns, **{new: (self.name, old) for old, new in taken.items()}}
        return Joined(sql, columns)

    def _there(self, names: Sequence[str], columns: Iterable[str], where: str, key: str) -> None:
        known = set(columns)
        for name in names:
            if name not in known:
                raise StepError(
                    f"{where} has no column {name!r}",
                    location=self.at(key),
                    hint=did_you_mean(name, known),
                )

    def _taken(
        self, left: Mapping[str, tuple[str, str]], right: Sequence[str], keys: Sequence[str]
    ) -> dict[str, str]:
        """The columns that are taken over and their names in the result."""
        prefix = self.join.prefix
        if self.join.columns is not None:
            self._there(self.join.columns, right, self.name, "columns")
            taken = {name: prefix + name for name in self.join.columns}
            for name, new in taken.items():
                if new in left:
                    raise StepError(
                        f"the column {new!r} of {self.name} is there already",
                        location=self.at("columns"),
                        hint=f"leave {name!r} out, or give the join a 'prefix'",
                    )
            return taken
        free = [name for name in right if name not in keys]
        return {name: prefix + name for name in free if prefix + name not in left}

    def _equal(
        self, left: Joined, keys: Sequence[tuple[str, str]], taken: Mapping[str, str]
    ) -> str:
        self._check_unique([pair[1] for pair in keys])
        condition = " AND ".join(f"l.{identifier(a)} = r.{identifier(b)}" for a, b in keys)
        parts = ["l.*", *(f"r.{identifier(a)} AS {identifier(b)}" for a, b in taken.items())]
        return (
            f"SELECT {', '.join(parts)} FROM ({left.sql}) l "
            f"{self.join.how.upper()} JOIN {identifier(self.view)} r ON {condition}"
        )

    def _check_unique(self, keys: Sequence[str]) -> None:
        """A key that the input has twice would repeat rows of the spine."""
        found = self._repeated([identifier(key) for key in keys])
        if not found:
            return
        shown = "; ".join(
            ", ".join(f"{key} = {value}" for key, value in zip(keys, row, strict=False))
            + f" ({row[-1]} rows)"
            for row in found
        )
        raise StepError(
            f"{self.name} has several rows for one key, which would repeat rows of "
            f"{self.feature.spine}: {shown}",
            location=self.at("on"),
            hint=f"clean {self.name} with 'drop_duplicates: {{by: [{', '.join(keys)}]}}', "
            "or join it 'as_of' a moment",
        )

    def _repeated(self, keys: Sequence[str], limit: int = _SAMPLES) -> list[tuple[object, ...]]:
        named = ", ".join(keys)
        present = " AND ".join(f"{key} IS NOT NULL" for key in keys)
        query = (
            f"SELECT {named}, count(*) FROM {identifier(self.view)} WHERE {present} "
            f"GROUP BY {named} HAVING count(*) > 1 ORDER BY ALL LIMIT {limit}"
        )
        with engine_errors(f"read {self.name}", location=self.at()):
            return self.session.sql(query).fetchall()

    def _as_of(
        self,
        left: Joined,
        right: Sequence[str],
        keys: Sequence[tuple[str, str]],
        taken: Mapping[str, str],
        as_of: str,
    ) -> str:
        self._there([as_of], left.columns, self.feature.spine, "as_of")
        timestamp = self._timestamp(as_of, right)
        self._check_moments(left, as_of, timestamp)
        moment = f"r.{identifier(timestamp)}"
        known = f"{moment} + {_interval(self.join.lag)}" if self.join.lag else moment
        condition = [f"l.{identifier(a)} = r.{identifier(b)}" for a, b in keys]
        condition.append(f"l.{identifier(as_of)} >= {known}")
        fresh = f"{moment} IS NOT NULL"
        if self.join.within:
            fresh = f"l.{identifier(as_of)} - {moment} <= {_interval(self.join.within)}"
        parts = [
            "l.*",
            *(
                f"CASE WHEN {fresh} THEN r.{identifier(a)} END AS {identifier(b)}"
                for a, b in taken.items()
            ),
        ]
        where = f" WHERE {fresh}" if self.join.how == "inner" else ""
        return (
            f"SELECT {', '.join(parts)} FROM ({left.sql}) l "
            f"ASOF LEFT JOIN {self._one_row_per_moment(keys, timestamp)} r "
            f"ON {' AND '.join(condition)}{where}"
        )

    def _timestamp(self, as_of: str, right: Sequence[str]) -> str:
        """The input's column that says when a row became known."""
        block = self.project.blocks.get(self.name)
        declared = self.join.timestamp or getattr(block, "timestamp", None)
        timestamp = declared or as_of
        if timestamp in right:
            return timestamp
        if declared:
            self._there([timestamp], right, self.name, "timestamp")
        raise StepError(
            f"which column of {self.name} says when a row became known?",
            location=self.at("as_of"),
            hint=f"add 'timestamp:' to the join or to {self.name}",
        )

    def _check_moments(self, left: Joined, as_of: str, timestamp: str) -> None:
        for sql, column, where, key in (
            (f"({left.sql})", as_of, self.feature.spine, "as_of"),
            (identifier(self.view), timestamp, self.name, "timestamp"),
        ):
            (kind,) = self.session.sql(f"SELECT {identifier(column)} FROM {sql}").types
            if not str(kind).startswith(("TIMESTAMP", "DATE")):
                raise StepError(
                    f"{column!r} of {where} is {kind}, not a moment",
                    location=self.at(key),
                    hint="cast it to a timestamp when cleaning",
                )

    def _one_row_per_moment(self, keys: Sequence[tuple[str, str]], timestamp: str) -> str:
        """The input; of several rows at one moment only the last, so that the join is the same
        every time."""
        named = [identifier(key) for _, key in keys] + [identifier(timestamp)]
        if not self._repeated(named, limit=1):
            return identifier(self.view)
        self.context.log.warning(
            f"{self.name} has several rows for one moment ({', '.join(named)}): the last is taken"
        )
        listed = ", ".join(named)
        return (
            f"(SELECT * EXCLUDE (liminal_row) FROM (SELECT *, row_number() OVER () AS liminal_row "
            f"FROM {identifier(self.view)}) QUALIFY "
            f"row_number() OVER (PARTITION BY {listed} ORDER BY liminal_row DESC) = 1)"
        )


def _pairs(keys: Names | Mapping[str, str]) -> list[tuple[str, str]]:
    """Columns that must be equal: (first input's, this input's)."""
    return list(keys.items()) if isinstance(keys, Mapping) else [(key, key) for key in keys]


def _interval(length: timedelta) -> str:
    microseconds = round(length.total_seconds() * 1_000_000)
    return f"to_microseconds({literal(microseconds)})"
