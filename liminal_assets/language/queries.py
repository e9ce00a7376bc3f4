"""SQL, checked without a database: DuckDB's own parser for what DuckDB runs, sqlglot for others."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from liminal_assets.language.base import Spec
from liminal_assets.language.cleaning import CleaningStep
from liminal_assets.language.datasets import Dataset
from liminal_assets.language.diagnostics import Diagnostic, Location, did_you_mean
from liminal_assets.language.features import Feature
from liminal_assets.language.loading import Project
from liminal_assets.language.variables import PLACEHOLDER

__all__ = ["is_sql_file", "readable", "sql_mistakes"]

_DIALECTS = {"postgresql": "postgres", "mssql": "tsql", "pyspark": "spark", "redshift": "redshift"}
"""URL schemes whose dialect sqlglot calls otherwise."""
_INCOMPLETE = re.compile(r"Required keyword: '\w+' missing for <class '.*\.(\w+)'>")
_CATALOGS = re.compile(r"^(duckdb_|pg_|sqlite_|information_schema)")


def is_sql_file(sql: str) -> bool:
    """Whether ``sql:`` names a file rather than being the query."""
    return sql.strip().endswith(".sql") and not re.search(r"\s", sql.strip())


def sql_mistakes(project: Project) -> Iterator[Diagnostic]:
    """Queries that can't be parsed, files of queries that aren't there, tables that no input is."""
    for dataset in project.spec.datasets:
        if dataset.clean and dataset.clean.sql:
            at = ("clean", "sql")
            yield from _duckdb_query(project, dataset, dataset.clean.sql, dataset.inputs, at)
        if dataset.clean and dataset.clean.steps:
            yield from _expressions(project, dataset, dataset.clean.steps)
        if dataset.fetch and dataset.fetch.sql:
            yield from _foreign_query(project, dataset, dataset.fetch.sql)
    for feature in project.spec.features:
        if feature.sql:
            yield from _duckdb_query(project, feature, feature.sql, readable(feature), ("sql",))
    for monitor in project.spec.monitors:
        for index, kpi in enumerate(monitor.kpis):
            at_kpi = ("kpis", index, "sql")
            yield from _duckdb_query(project, monitor, kpi.sql, ["predictions"], at_kpi)


def readable(feature: Feature) -> list[str]:
    """The inputs of a feature that its function or query can name: the joined spine and those
    that aren't joined to it."""
    return [name for name, join in feature.from_.items() if not join.joined]


def _duckdb_query(
    project: Project, block: Spec, sql: str, tables: Collection[str], path: tuple[str | int, ...]
) -> Iterator[Diagnostic]:
    """A query that the engine runs over inputs by name."""
    at = project.locate(block, *path)
    text, source, mistake = _text(project, sql, at)
    if mistake:
        yield mistake
        return
    parsed = _parsed(PLACEHOLDER.sub(_stand_in, text))
    if parsed["error"]:
        if parsed.get("error_type") != "not implemented":
            place = _place(source, text, int(parsed.get("position") or 0))
            yield Diagnostic(place, "sql", str(parsed["error_message"]).strip())
        return
    if len(parsed["statements"]) != 1:
        count = len(parsed["statements"])
        yield Diagnostic(at, "sql", f"it must be one query, not {count}")
        return
    known = {*tables, *_nodes(parsed, "key")}
    for name in sorted({*_tables(parsed)} - known):
        if not _CATALOGS.match(name) and name.lower() not in map(str.lower, known):
            found = re.search(rf"\b{re.escape(name)}\b", text)
            place = _place(source, text, found.start() if found else 0)
            hint = did_you_mean(name, tables)
            yield Diagnostic(place, "unknown-reference", f"no input is called {name!r}", hint)


def _expressions(
    project: Project, dataset: Dataset, steps: Sequence[CleaningStep]
) -> Iterator[Diagnostic]:
    """Expressions of declarative steps that can't be parsed."""
    for index, step in enumerate(steps):
        path: tuple[str | int, ...] = ("clean", "steps", index)
        expressions = {(*path, "derive", name): sql for name, sql in (step.derive or {}).items()}
        if step.filter is not None:
            expressions[(*path, "filter")] = step.filter
        for place, sql in expressions.items():
            parsed = _parsed(f"SELECT (\n{PLACEHOLDER.sub(_stand_in, sql)}\n)")
            if parsed["error"]:
                at = project.locate(dataset, *place)
                yield Diagnostic(at, "sql", str(parsed["error_message"]).strip())


def _foreign_query(project: Project, dataset: Dataset, sql: str) -> Iterator[Diagnostic]:
    """A query that a database runs."""
    at = project.locate(dataset, "fetch", "sql")
    text, source, mistake = _text(project, sql, at)
    if mistake:
        yield mistake
        return
    try:
        connection = project.connection(dataset.fetch.connection if dataset.fetch else None)
    except KeyError:
        return  # reported as a reference
    scheme = urlsplit(connection.url).scheme
    filled = PLACEHOLDER.sub(_stand_in, text)
    if scheme == "duckdb":
        parsed = _parsed(filled)
        if parsed["error"] and parsed.get("error_type") != "not implemented":
            place = _place(source, text, int(parsed.get("position") or 0))
            yield Diagnostic(place, "sql", str(parsed["error_message"]).strip())
        return
    yield from _by_sqlglot(text, filled, _DIALECTS.get(scheme, scheme), source)


def _by_sqlglot(text: str, filled: str, dialect: str, source: _Source) -> Iterator[Diagnostic]:
    import sqlglot
    from sqlglot.errors import ParseError, TokenError

    if not sqlglot.Dialect.get(dialect):
        return
    try:
        sqlglot.parse(filled, dialect=dialect)
    except ParseError as error:
        first = error.errors[0] if error.errors else {}
        lines = text.splitlines(keepends=True)
        before = sum(map(len, lines[: int(first.get("line") or 1) - 1]))
        start = before + max(0, int(first.get("col") or 1) - len(str(first.get("highlight") or "")))
        message = str(first.get("description") or error).strip().rstrip(".")
        if incomplete := _INCOMPLETE.fullmatch(message):
            message = f"{incomplete[1].upper()} lacks something"
        yield Diagnostic(_place(source, text, start), "sql", f"not {dialect} SQL: {message}")
    except TokenError as error:
        message = str(error).split("\n")[0]
        yield Diagnostic(source.at, "sql", f"not {dialect} SQL: {message}")


def _stand_in(match: re.Match[str]) -> str:
    """What keeps a query's positions where a placeholder stands."""
    return "p" * len(match[0])


@lru_cache(maxsize=256)
def _parsed(sql: str) -> dict[str, Any]:
    import duckdb

    # a value for a placeholder has DuckDB 1.5 import pandas
    text = sql.replace("'", "''")
    (row,) = duckdb.connect().execute(f"SELECT json_serialize_sql('{text}')").fetchall()
    parsed: dict[str, Any] = json.loads(row[0])
    return parsed


def _tables(node: Any) -> Iterator[str]:
    """The tables that a parsed query reads by a bare name; functions and files are none."""
    if isinstance(node, dict):
        if node.get("type") == "BASE_TABLE" and not node.get("schema_name"):
            name = node["table_name"]
            if not re.search(r"[./\\:*]", name):
                yield name
        for value in node.values():
            yield from _tables(value)
    elif isinstance(node, list):
        for value in node:
            yield from _tables(value)


def _nodes(node: Any, key: str) -> Iterator[str]:
    """The names of a parsed query's common table expressions."""
    if isinstance(node, dict):
        if "cte_map" in node:
            yield from (entry[key] for entry in node["cte_map"]["map"])
        for value in node.values():
            yield from _nodes(value, key)
    elif isinstance(node, list):
        for value in node:
            yield from _nodes(value, key)


class _Source:
    """Where the text of a query is written."""

    def __init__(self, at: Location, *, whole_file: bool = False) -> None:
        self.at = at
        self.whole_file = whole_file


def _text(project: Project, sql: str, at: Location) -> tuple[str, _Source, Diagnostic | None]:
    """The text of a query and where it is written, or what is wrong with its file."""
    if not is_sql_file(sql):
        return sql, _Source(at), None
    path = project.root / sql.strip()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        message = (
            f"there is no file {sql.strip()}"
            if isinstance(error, FileNotFoundError)
            else f"cannot read {sql.strip()}: {error}"
        )
        near = [str(file.relative_to(project.root)) for file in project.root.rglob("*.sql")]
        hint = did_you_mean(sql.strip(), near) or "a relative path starts at the project's folder"
        return "", _Source(at), Diagnostic(at, "missing-file", message, hint)
    return text, _Source(Location(str(path)), whole_file=True), None


def _place(source: _Source, text: str, position: int) -> Location:
    """The place of a character of a query; the query's own where it can't be told."""
    before = text[:position]
    line, column = before.count("\n"), position - (before.rfind("\n") + 1)
    at = source.at
    if source.whole_file:
        return Location(at.file, line + 1, column + 1)
    lines = _lines(at.file)
    written = text.split("\n")[line]
    if at.line > len(lines):
        return at
    first = lines[at.line - 1][at.column - 1 :]
    if first[:1] == "|" and at.line + line < len(lines):
        raw = lines[at.line + line]
        if raw.rstrip().endswith(written.rstrip()):
            return Location(at.file, at.line + line + 1, raw.find(written.rstrip()) + column + 1)
    elif "\n" not in text and text in first:
        return Location(at.file, at.line, at.column + first.find(text) + column)
    return at


@lru_cache(maxsize=16)
def _lines(file: str) -> list[str]:
    try:
        return Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
