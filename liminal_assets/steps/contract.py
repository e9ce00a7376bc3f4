"""The columns contract: casts without loss, rules per column, and which rows break them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from liminal_assets.language.datasets import Column
from liminal_assets.steps.types import DUCKDB_TYPES
from liminal_assets.storage.forms import identifier, literal
from liminal_assets.storage.tables import content_sum

if TYPE_CHECKING:
    import duckdb

__all__ = ["REASONS", "Contract", "Rule", "contract_of", "widened"]

REASONS = "quarantine_reasons"
"""The column of a quarantine table that lists what each row breaks."""

_RAW = "__liminal_raw_"
_REPEATED = "__liminal_repeated_"
_VALUE = "__liminal_value"
_SAFE_CASTS = {
    "BIGINT": {"TINYINT", "SMALLINT", "INTEGER", "UTINYINT", "USMALLINT", "UINTEGER"},
    "DOUBLE": {"FLOAT", "TINYINT", "SMALLINT", "INTEGER", "UTINYINT", "USMALLINT", "UINTEGER"},
    "TIMESTAMP": {"DATE", "TIMESTAMP_S", "TIMESTAMP_MS"},
}
"""DuckDB types whose every value has its equal in the wider type."""


@dataclass(frozen=True)
class Rule:
    """One thing that every row must hold to."""

    reason: str
    """What a row that breaks it is told: ``origin: none of EWR, LGA, JFK``."""
    breaks: str
    """SQL that is true for such a row, over the columns of :meth:`Contract.judged`."""
    check: str | None = None
    """The asset check that it stands for; none for the contract's own."""


@dataclass(frozen=True)
class Contract:
    """The contract of some columns against the rows of a relation.

    In the judged rows every column has its declared type under its own name, null where the value
    can't be cast, and the value as it came under a hidden one.
    """

    columns: tuple[str, ...]
    """All columns of the rows, in order."""
    types: Mapping[str, str]
    """The DuckDB type of each column once cast."""
    casts: Mapping[str, str]
    """Columns whose type changes, and the expression that does it."""
    rules: tuple[Rule, ...]
    unique: tuple[str, ...] = ()
    """Columns whose values may not repeat."""
    missing: tuple[str, ...] = ()
    """Declared columns that the rows lack."""

    def judged(self, source: str) -> str:
        """A query of the rows of ``source`` (SQL) that rules are written against."""
        parts = []
        for name in self.columns:
            column = identifier(name)
            cast = self.casts.get(name)
            parts.append(f"{cast} AS {column}" if cast else column)
            if cast:
                parts.append(f"{column} AS {identifier(_RAW + name)}")
        for name in self.unique:
            value = self.casts.get(name, identifier(name))
            repeated = (
                f"SELECT {_VALUE} FROM (SELECT {value} AS {_VALUE} FROM {source}) "
                f"WHERE {_VALUE} IS NOT NULL GROUP BY {_VALUE} HAVING count(*) > 1"
            )
            parts.append(f"{value} IN ({repeated}) AS {identifier(_REPEATED + name)}")
        return f"SELECT {', '.join(parts)} FROM {source}"

    def broken(self, rules: Sequence[Rule]) -> str:
        """SQL that is true for a judged row that breaks any of some rules."""
        return " OR ".join(f"({rule.breaks})" for rule in rules) or "false"

    def kept(self, source: str, rules: Sequence[Rule]) -> str:
        """A query of the rows, cast, that break none of some rules."""
        names = ", ".join(map(identifier, self.columns))
        where = f"WHERE NOT coalesce({self.broken(rules)}, false)" if rules else ""
        return f"SELECT {names} FROM ({self.judged(source)}) {where}"

    def quarantined(self, source: str, rules: Sequence[Rule]) -> str:
        """A query of the rows as they came that break some of the rules, with the reasons."""
        names = ", ".join(
            f"{self._as_it_came(name)} AS {identifier(name)}" for name in self.columns
        )
        reasons = ", ".join(
            f"CASE WHEN {rule.breaks} THEN {literal(rule.reason)} END" for rule in rules
        )
        listed = f"list_filter([{reasons}], lambda reason: reason IS NOT NULL)"
        if not rules:
            listed = "[]::VARCHAR[]"
        return (
            f"SELECT {names}, {listed} AS {identifier(REASONS)} FROM ({self.judged(source)}) "
            f"WHERE coalesce({self.broken(rules)}, false)"
        )

    def counts(self, source: str, rules: Sequence[Rule]) -> str:
        """A query of one row: all rows, the sum of their content as they came, rows that break
        any rule, rows that break each."""
        each = "".join(f", count(*) FILTER (WHERE {rule.breaks})" for rule in rules)
        return (
            f"SELECT count(*), {content_sum(map(self._as_it_came, self.columns))}, "
            f"count(*) FILTER (WHERE {self.broken(rules)}){each} FROM ({self.judged(source)})"
        )

    def _as_it_came(self, name: str) -> str:
        return identifier(_RAW + name if name in self.casts else name)


def contract_of(columns: Mapping[str, Column], relation: duckdb.DuckDBPyRelation) -> Contract:
    """The contract of declared columns against what a relation holds."""
    types = dict(zip(relation.columns, map(str, relation.types), strict=True))
    casts: dict[str, str] = {}
    rules: list[Rule] = []
    for name, declared in columns.items():
        if name not in types:
            continue
        before, after = types[name], _target(declared, types[name])
        if before != after:
            casts[name] = _cast(name, before, after)
            rules.append(_castable(name, declared, before, after))
        types[name] = after
        rules.extend(_rules(name, declared, after, cast=before != after))
    return Contract(
        tuple(relation.columns),
        types,
        casts,
        tuple(rules),
        unique=tuple(name for name in columns if name in types and columns[name].unique),
        missing=tuple(name for name in columns if name not in types),
    )


def widened(
    columns: Mapping[str, Column], relation: duckdb.DuckDBPyRelation
) -> duckdb.DuckDBPyRelation:
    """The relation with the casts of the contract that no value can break."""
    parts, changed = [], False
    for name, kind in zip(relation.columns, map(str, relation.types), strict=True):
        target = DUCKDB_TYPES[columns[name].type] if name in columns else kind
        safe = kind in _SAFE_CASTS.get(target, ()) or (target == "VARCHAR" and kind[:4] == "ENUM")
        changed = changed or safe
        parts.append(
            f"CAST({identifier(name)} AS {target}) AS {identifier(name)}"
            if safe
            else identifier(name)
        )
    return relation.project(", ".join(parts)) if changed else relation


def _target(declared: Column, before: str) -> str:
    """The type to cast to; a decimal keeps its own precision, text may be an ENUM until then."""
    if declared.type == "decimal" and before.startswith("DECIMAL"):
        return before
    return DUCKDB_TYPES[declared.type]


def _cast(name: str, before: str, after: str) -> str:
    column = identifier(name)
    if after == "JSON" and before != "VARCHAR":
        return f"to_json({column})"
    if before == "VARCHAR" and after not in ("VARCHAR", "BLOB", "JSON"):
        return f"TRY_CAST(trim({column}) AS {after})"
    return f"TRY_CAST({column} AS {after})"


def _castable(name: str, declared: Column, before: str, after: str) -> Rule:
    """No value may be lost in the cast: the way back must lead to where it came from."""
    cast, raw = identifier(name), identifier(_RAW + name)
    lossy = ""
    if before == "VARCHAR":
        # DuckDB rounds '1.5' to an integer and cuts the time off '2013-01-01 05:00'
        wider = {"BIGINT": "DOUBLE", "DATE": "TIMESTAMP"}.get(after)
        if wider:
            lossy = f"CAST({cast} AS {wider}) IS DISTINCT FROM TRY_CAST(trim({raw}) AS {wider})"
    elif after not in ("VARCHAR", "JSON", "BLOB"):
        lossy = f"TRY_CAST({cast} AS {before}) IS DISTINCT FROM {raw}"
    failed = f"{cast} IS NULL" + (f" OR {lossy}" if lossy else "")
    return Rule(f"{name}: not {_a(declared.type)}", f"{raw} IS NOT NULL AND ({failed})")


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _rules(name: str, declared: Column, kind: str, *, cast: bool) -> Iterator[Rule]:
    column = identifier(name)
    if not declared.nullable and None not in (declared.one_of or ()):
        # what can't be cast is null as well, and has its own reason
        yield Rule(f"{name}: null", f"{identifier(_RAW + name) if cast else column} IS NULL")
    if declared.one_of is not None:
        values = [value for value in declared.one_of if value is not None]
        listed = ", ".join(f"CAST({literal(value)} AS {kind})" for value in values)
        shown = ", ".join(map(str, values[:10])) + (", …" if len(values) > 10 else "")
        yield Rule(f"{name}: none of {shown}", f"{column} NOT IN ({listed})")
    for bound, word, operator in (
        (declared.at_least, "below", "<"),
        (declared.at_most, "above", ">"),
    ):
        if bound is not None:
            limit = f"CAST({literal(bound)} AS {kind})"
            yield Rule(f"{name}: {word} {_plain(bound)}", f"{column} {operator} {limit}")
    if declared.matches is not None:
        yield Rule(
            f"{name}: does not match {declared.matches}",
            f"NOT regexp_full_match(CAST({column} AS VARCHAR), {literal(declared.matches)})",
        )
    if declared.unique:
        yield Rule(f"{name}: not unique", identifier(_REPEATED + name))


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value
