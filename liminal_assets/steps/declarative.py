"""Declarative cleaning steps → one DuckDB query, checked step by step, with exact lineage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from liminal_assets.errors import StepError
from liminal_assets.language.cleaning import (
    Cast,
    CleaningStep,
    Clip,
    DropDuplicates,
    DropNull,
    Fill,
    ParseTimestamp,
    ReplaceText,
)
from liminal_assets.language.diagnostics import Location, did_you_mean
from liminal_assets.steps.types import DUCKDB_TYPES
from liminal_assets.storage.forms import engine_errors, identifier, literal

if TYPE_CHECKING:
    import duckdb

__all__ = ["Plan", "compile_steps"]

Lineage = Mapping[str, frozenset[str]]
_ORDER = "__liminal_order"
"""The rows' order within a step that picks the first or the last of several."""
_PLACE = "__liminal_place"
"""The rows' order before a step that DuckDB answers in any order."""


@dataclass(frozen=True)
class Plan:
    """A query over the view ``source``, its columns, and what each is made of."""

    sql: str
    columns: Mapping[str, str]
    """Column names and DuckDB types."""
    lineage: Lineage = field(default_factory=dict)
    """Output column → columns of the source."""


def compile_steps(
    session: duckdb.DuckDBPyConnection,
    source: str,
    steps: Sequence[CleaningStep],
    locate: Callable[..., Location],
) -> Plan:
    """Turns steps into a query over the view ``source`` of a session.

    Args:
        locate: the place in the YAML of a path below ``steps``.

    Raises:
        StepError: a step names a column that isn't there, or its expression is wrong.
    """
    columns = _columns(session, f"FROM {identifier(source)}")
    plan = Plan(
        f"FROM {identifier(source)}",
        columns,
        {name: frozenset([name]) for name in columns},
    )
    for index, step in enumerate(steps):
        kind, said = step.kind, getattr(step, step.kind)
        at = locate(index, kind)
        try:
            _check_columns(plan, said, kind)
            if _scatters(step) and _order_matters(steps[index + 1 :]):
                sql = _in_place(plan, kind, said)
            else:
                sql = _COMPILERS[kind](plan, said)
            with engine_errors(f"compile the step {kind}"):
                columns = _columns(session, sql)
        except StepError as error:
            raise error.at(at) from error.__cause__
        plan = replace(plan, sql=sql, columns=columns, lineage=_lineage(plan, kind, said, columns))
    return plan


def _scatters(step: CleaningStep) -> bool:
    """Whether DuckDB answers a step in whatever order its threads come to an end."""
    if step.fill_null:
        return any(fill.method is not None for fill in step.fill_null.values())
    return step.kind in ("drop_duplicates", "sort")


def _order_matters(steps: Sequence[CleaningStep]) -> bool:
    """Whether which rows come out of steps depends on the order of those that go in."""
    for step in steps:
        if step.kind == "limit":
            return True
        alike = step.drop_duplicates
        if alike is not None and alike.by and alike.keep != "none":
            return True
    return False


def _in_place(plan: Plan, kind: str, said: Any) -> str:
    """The query of a step after which rows that it doesn't move stand as they stood before."""
    numbered = replace(
        plan,
        sql=f"SELECT *, row_number() OVER () AS {_PLACE} FROM {_over(plan)}",
        columns={**plan.columns, _PLACE: "BIGINT"},
    )
    order = _PLACE
    if kind == "sort":
        order = f"{_ordering(said)}, {_PLACE}"
    elif isinstance(said, DropDuplicates) and not said.by:
        said = said.model_copy(update={"by": tuple(plan.columns)})
    sql = _COMPILERS[kind](numbered, said)
    return f"SELECT * EXCLUDE ({_PLACE}) FROM ({sql}) ORDER BY {order}"


def _columns(session: duckdb.DuckDBPyConnection, sql: str) -> dict[str, str]:
    relation = session.sql(sql)
    return dict(zip(relation.columns, map(str, relation.types), strict=True))


def _check_columns(plan: Plan, said: Any, kind: str) -> None:
    for name in _named(said, kind):
        if name not in plan.columns:
            raise StepError(
                f"{kind} names a column {name!r} that isn't there",
                hint=did_you_mean(name, plan.columns),
            )


def _named(said: Any, kind: str) -> Iterator[str]:
    """The columns that a step needs to be there."""
    if kind in ("filter", "derive", "limit"):
        return
    if kind == "sort":
        yield from (_direction(name)[0] for name in said)
    elif isinstance(said, DropDuplicates):
        yield from said.by
        yield from (_direction(name)[0] for name in said.order_by)
    elif isinstance(said, DropNull):
        yield from said.columns
    else:
        yield from said
    if kind == "fill_null":
        for fill in said.values():
            yield from fill.by
            yield from (_direction(name)[0] for name in fill.order_by)


def _direction(name: str) -> tuple[str, str]:
    return (name[1:], "DESC") if name.startswith("-") else (name, "ASC")


def _ordering(names: Sequence[str], *, reverse: bool = False) -> str:
    parts = []
    for name in names:
        column, direction = _direction(name)
        if reverse:
            direction = "ASC" if direction == "DESC" else "DESC"
        nulls = "FIRST" if reverse else "LAST"
        parts.append(f"{identifier(column)} {direction} NULLS {nulls}")
    return ", ".join(parts)


def _over(plan: Plan) -> str:
    return f"({plan.sql})"


def _replaced(plan: Plan, expressions: Mapping[str, str]) -> str:
    """The query with some columns replaced and new ones added, in place and at the end."""
    parts = [
        f"{expressions[name]} AS {identifier(name)}" if name in expressions else identifier(name)
        for name in plan.columns
    ]
    parts += [
        f"{sql} AS {identifier(name)}"
        for name, sql in expressions.items()
        if name not in plan.columns
    ]
    return f"SELECT {', '.join(parts)} FROM {_over(plan)}"


def _each(make: Callable[[str, Any], str]) -> Callable[[Plan, Any], str]:
    """A compiler of steps that replace columns one by one."""

    def compile_step(plan: Plan, said: Any) -> str:
        items = said.items() if isinstance(said, Mapping) else dict.fromkeys(said).items()
        return _replaced(plan, {name: make(identifier(name), value) for name, value in items})

    return compile_step


def _select(plan: Plan, names: Sequence[str]) -> str:
    return f"SELECT {', '.join(map(identifier, names))} FROM {_over(plan)}"


def _drop(plan: Plan, names: Sequence[str]) -> str:
    kept = [name for name in plan.columns if name not in names]
    if not kept:
        raise StepError("drop takes every column away")
    return _select(plan, kept)


def _rename(plan: Plan, names: Mapping[str, str]) -> str:
    result = [names.get(name, name) for name in plan.columns]
    for name in names.values():
        if result.count(name) > 1:
            raise StepError(f"rename makes two columns called {name!r}")
    parts = [f"{identifier(name)} AS {identifier(names.get(name, name))}" for name in plan.columns]
    return f"SELECT {', '.join(parts)} FROM {_over(plan)}"


def _cast(column: str, cast: Cast) -> str:
    function = "TRY_CAST" if cast.invalid == "null" else "CAST"
    return f"{function}({column} AS {DUCKDB_TYPES[cast.type]})"


def _filter(plan: Plan, condition: str) -> str:
    return f"FROM {_over(plan)} WHERE ({condition}\n)"


def _derive(plan: Plan, expressions: Mapping[str, str]) -> str:
    return _replaced(plan, {name: f"({sql}\n)" for name, sql in expressions.items()})


def _fill_null(column: str, fill: Fill) -> str:
    if fill.method is None:
        return f"coalesce({column}, {literal(fill.value)})"
    by = f"PARTITION BY {', '.join(map(identifier, fill.by))}" if fill.by else ""
    if fill.method in ("previous", "next"):
        order = _ordering(fill.order_by, reverse=fill.method == "next")
        frame = "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"
        return f"last_value({column} IGNORE NULLS) OVER ({by} ORDER BY {order} {frame})"
    function = {
        "mean": "avg",
        "median": "median",
        "most_frequent": "mode",
        "min": "min",
        "max": "max",
    }[fill.method]
    return f"coalesce({column}, {function}({column}) OVER ({by}))"


def _null_if(column: str, value: Any) -> str:
    values = value if isinstance(value, tuple) else (value,)
    return f"CASE WHEN {column} NOT IN ({', '.join(map(literal, values))}) THEN {column} END"


def _drop_null(plan: Plan, said: DropNull) -> str:
    word = " AND " if said.how == "any" else " OR "
    tests = [f"{identifier(name)} IS NOT NULL" for name in said.columns or plan.columns]
    return f"FROM {_over(plan)} WHERE {word.join(tests)}"


def _drop_duplicates(plan: Plan, said: DropDuplicates) -> str:
    by = list(said.by or plan.columns)
    keys = ", ".join(map(identifier, by))
    if said.keep == "none":
        return f"FROM {_over(plan)} QUALIFY count(*) OVER (PARTITION BY {keys}) = 1"
    if set(by) == set(plan.columns):
        return f"SELECT DISTINCT * FROM {_over(plan)}"
    last = said.keep == "last"
    order = _ordering(said.order_by, reverse=last)
    own = f"{_ORDER} {'DESC' if last else 'ASC'}"
    ordering = ", ".join(filter(None, (order, own)))
    numbered = f"(SELECT *, row_number() OVER () AS {_ORDER} FROM {_over(plan)})"
    return (
        f"SELECT * EXCLUDE ({_ORDER}) FROM {numbered} "
        f"QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY {ordering}) = 1"
    )


def _replace(column: str, values: Mapping[str, Any]) -> str:
    cases = " ".join(
        f"WHEN CAST({column} AS VARCHAR) = {literal(old)} THEN {literal(new)}"
        for old, new in values.items()
    )
    return f"CASE {cases} ELSE {column} END"


def _replace_text(column: str, said: ReplaceText) -> str:
    return f"regexp_replace({column}, {literal(said.pattern)}, {literal(said.with_)}, 'g')"


def _clip(column: str, clip: Clip) -> str:
    clipped = column
    if clip.at_least is not None:
        clipped = f"greatest({clipped}, {literal(clip.at_least)})"
    if clip.at_most is not None:
        clipped = f"least({clipped}, {literal(clip.at_most)})"
    # greatest and least pass over nulls, which are to stay
    return f"CASE WHEN {column} IS NOT NULL THEN {clipped} END"


def _parse_timestamp(column: str, said: ParseTimestamp) -> str:
    strict = said.invalid == "error"
    if said.format == "iso":
        parsed = f"{'CAST' if strict else 'TRY_CAST'}({column} AS TIMESTAMP)"
    else:
        formats = literal([said.format] if isinstance(said.format, str) else list(said.format))
        parsed = f"{'strptime' if strict else 'try_strptime'}(CAST({column} AS VARCHAR), {formats})"
    return f"({parsed} AT TIME ZONE {literal(said.timezone)})" if said.timezone else parsed


def _sort(plan: Plan, names: Sequence[str]) -> str:
    return f"FROM {_over(plan)} ORDER BY {_ordering(names)}"


def _limit(plan: Plan, rows: int) -> str:
    return f"FROM {_over(plan)} LIMIT {rows}"


_COMPILERS: Mapping[str, Callable[[Plan, Any], str]] = {
    "select": _select,
    "drop": _drop,
    "rename": _rename,
    "cast": _each(_cast),
    "filter": _filter,
    "derive": _derive,
    "fill_null": _each(_fill_null),
    "null_if": _each(_null_if),
    "drop_null": _drop_null,
    "drop_duplicates": _drop_duplicates,
    "trim": _each(lambda column, _: f"trim({column}, E' \\t\\r\\n')"),
    "lower": _each(lambda column, _: f"lower({column})"),
    "upper": _each(lambda column, _: f"upper({column})"),
    "replace": _each(_replace),
    "replace_text": _each(_replace_text),
    "clip": _each(_clip),
    "round": _each(lambda column, digits: f"round({column}, {digits})"),
    "parse_timestamp": _each(_parse_timestamp),
    "sort": _sort,
    "limit": _limit,
}


def _lineage(plan: Plan, kind: str, said: Any, columns: Mapping[str, str]) -> Lineage:
    if kind == "rename":
        return {said.get(name, name): made_of for name, made_of in plan.lineage.items()}
    lineage = {name: plan.lineage.get(name, frozenset()) for name in columns}
    if kind == "derive":
        for name, sql in said.items():
            used = [plan.lineage[column] for column in _columns_in(sql) if column in plan.lineage]
            lineage[name] = frozenset().union(*used)
    if kind == "fill_null":
        for name, fill in said.items():
            others = [*fill.by, *(_direction(column)[0] for column in fill.order_by)]
            lineage[name] = lineage[name].union(*(plan.lineage[column] for column in others))
    return lineage


def _columns_in(expression: str) -> set[str]:
    """The column names in an expression; none where sqlglot can't read what DuckDB can."""
    import sqlglot
    import sqlglot.errors
    import sqlglot.expressions as sge

    try:
        tree = sqlglot.parse_one(f"SELECT {expression}", dialect="duckdb")
    except sqlglot.errors.SqlglotError:
        return set()
    return {column.name for column in tree.find_all(sge.Column)}
