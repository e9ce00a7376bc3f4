"""Expectations on rows: what each found, all in one pass, judged by Great Expectations."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from liminal_assets.integrations.expectations.mistakes import expectation_mistakes
from liminal_assets.integrations.expectations.names import snake_name
from liminal_assets.language.base import Block
from liminal_assets.language.datasets import Check
from liminal_assets.language.loading import Project
from liminal_assets.steps.report import Outcome, Records
from liminal_assets.storage.tables import Table

if TYPE_CHECKING:
    import pyarrow as pa
    from great_expectations.expectations.expectation import Expectation

    from liminal_assets.integrations.expectations.suite import Elsewhere, Finding

__all__ = [
    "CheckLike",
    "as_check",
    "check_names",
    "check_rows",
    "expectation_mistakes",
    "judge",
    "row_conditions",
    "run_checks",
]

CheckLike = Any
"""A :class:`Check`, the form of YAML (a name or a mapping), or Great Expectations' own object."""

_LONGEST_NAME = 120
_SEVERITIES = {"critical": "error", "warning": "warning", "info": "warning"}


def check_names(checks: Sequence[Check]) -> tuple[str, ...]:
    """The names of the asset checks: unique, in the order of the checks; imports nothing.

    The expectation and its columns (``expect_column_values_to_be_unique__flight_id``), unless a
    check has a ``name``. Of equal ones the second and later get a number.
    """
    taken = {check.name for check in checks if check.name}
    given: set[str] = set()
    names = []
    for check in checks:
        base = check.name or _made_name(check)
        blocked = given if check.name else given | taken
        name, number = base, 2
        while name in blocked:
            name, number = f"{base}__{number}", number + 1
        given.add(name)
        names.append(name)
    return tuple(names)


def _made_name(check: Check) -> str:
    parts: list[str] = [snake_name(check.expectation)]
    for key in ("column", "column_A", "column_B", "column_list"):
        value = check.arguments.get(key)
        parts.extend(map(str, value if isinstance(value, list | tuple) else [value] * bool(value)))
    name = re.sub(r"[^A-Za-z0-9_]", "_", "__".join(parts))
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME - 10]}__{sha256(name.encode()).hexdigest()[:8]}"


def as_check(check: CheckLike) -> Check | tuple[Check, Expectation]:
    """A check in any form as a :class:`Check`, with Great Expectations' object if it was one.

    Raises:
        ValueError: pydantic's, for what is no check.
    """
    if isinstance(check, tuple):
        return check
    if not hasattr(check, "expectation_type"):
        return check if isinstance(check, Check) else Check.model_validate(check)
    said = check.configuration
    severity = _SEVERITIES[str(getattr(said.severity, "value", said.severity))]
    named = {"expectation": type(check).__name__, "arguments": dict(said.kwargs)}
    return Check.model_validate({**named, "severity": severity}), check


def run_checks(
    project: Project, block: Block, rows: Table, checks: Sequence[Check]
) -> list[Outcome]:
    """What the checks of a block find in rows, in their order, computed in one pass.

    A check that can't be judged has failed, and says why.

    Raises:
        StepError: the rows can't be read.
    """
    if not checks:
        return []
    return judge(rows, checks, _elsewhere(project))


def check_rows(
    rows: Any, checks: Sequence[CheckLike], *, project: Project | None = None
) -> list[Outcome]:
    """What expectations find in a data frame: for a notebook, a script or an Airflow task.

    >>> check_rows(frame, [{"expect_column_values_to_not_be_null": {"column": "id"}}])

    Args:
        rows: a pandas or Polars frame, an Arrow table, a DuckDB relation, an Ibis expression, a
            list of mappings or a :class:`Table`.
        checks: names or mappings as in YAML, :class:`Check` or Great Expectations' own objects.
        project: whose tables and connections an expectation may compare with.

    Raises:
        StepError: the rows can't be read.
        ValueError: something is no check.
    """
    table = rows if isinstance(rows, Table) else Table.from_rows(rows)
    return judge(table, list(map(as_check, checks)), _elsewhere(project) if project else None)


def judge(
    rows: Table,
    checks: Sequence[Check | tuple[Check, Expectation]],
    elsewhere: Elsewhere | None = None,
) -> list[Outcome]:
    """The outcomes of checks, some of them with their expectation at hand."""
    if not checks:
        return []
    import duckdb

    from liminal_assets.integrations.expectations.batch import Batch
    from liminal_assets.integrations.expectations.library import (
        CheckMistakesError,
        build_expectation,
    )
    from liminal_assets.integrations.expectations.suite import Finding, validate
    from liminal_assets.storage.forms import engine_errors

    said = [check[0] if isinstance(check, tuple) else check for check in checks]
    expectations: dict[int, Expectation] = {}
    findings: dict[int, Finding] = {}
    for index, check in enumerate(checks):
        try:
            expectation = check[1] if isinstance(check, tuple) else build_expectation(check)
            expectations[index] = expectation
        except CheckMistakesError as error:
            hint = next((mistake.hint for mistake in error.mistakes if mistake.hint), None)
            findings[index] = Finding(False, error=str(error), hint=hint)
    with engine_errors(f"read {rows.name}"):
        value = rows.value
        relation = value if isinstance(value, duckdb.DuckDBPyRelation) else rows.relation()
        found = validate(list(expectations.values()), Batch(relation), elsewhere)
    findings |= dict(zip(expectations, found, strict=True))
    return [
        _outcome(name, said[index], expectations.get(index), findings[index])
        for index, name in enumerate(check_names(said))
    ]


def row_conditions(checks: Sequence[Check], schema: pa.Schema) -> dict[str, str]:
    """The row-level checks as SQL of DuckDB: check name → true for a row that breaks it.

    An expression looks at the columns of one row and is never null, so that it fits into any
    ``WHERE``. It agrees with Great Expectations row by row. What takes more than the row to judge
    (uniqueness, order, outliers) or what only Python can judge is missing.
    """
    if not checks:
        return {}
    from liminal_assets.integrations.expectations.library import (
        CheckMistakesError,
        build_expectation,
    )
    from liminal_assets.integrations.expectations.sql import Schema
    from liminal_assets.integrations.expectations.suite import breaking_condition
    from liminal_assets.storage.sessions import reader

    relation = reader().from_arrow(schema.empty_table())
    types = Schema(dict(zip(relation.columns, map(str, relation.types), strict=True)))
    conditions = {}
    for name, check in zip(check_names(checks), checks, strict=True):
        try:
            condition = breaking_condition(build_expectation(check), types)
        except CheckMistakesError:
            continue  # run_checks reports it
        if condition is not None:
            conditions[name] = condition
    return conditions


def _elsewhere(project: Project) -> Elsewhere:
    """The project's other tables and connections."""
    from liminal_assets.integrations.expectations.suite import Elsewhere
    from liminal_assets.storage.tables import TableStore

    def count(table: str) -> int:
        return TableStore(project).read(table).rows

    def query(connection: str, sql: str) -> list[dict[str, Any]]:
        from liminal_assets.storage import connections

        with connections.connected(project, connection) as backend:
            found = Table.from_rows(connections.query(backend, sql)).to("arrow")
        return list(found.to_pylist())

    return Elsewhere(count, query)


def _outcome(name: str, check: Check, expectation: Expectation | None, finding: Finding) -> Outcome:
    from liminal_assets.integrations.expectations.sentences import sentence

    asked = sentence(expectation) if expectation else snake_name(check.expectation)
    return Outcome(
        name,
        finding.success,
        check.severity,
        f"{asked.rstrip('.')}: {_found(finding)}",
        _metadata(check, finding),
    )


def _found(finding: Finding) -> str:
    result = finding.result
    if finding.error:
        hint = f" ({finding.hint})" if finding.hint else ""
        return f"could not be judged: {finding.error}{hint}"
    wrong, rows = result.get("unexpected_count"), result.get("element_count")
    if rows is not None and wrong is not None:
        judged = rows - (result.get("missing_count") or 0)
        percent = result.get("unexpected_percent")
        share = f" ({percent:.3g} %)" if percent else ""
        return f"{wrong} of {judged} rows break it{share}" if wrong else f"all {judged} rows do"
    observed = plain(result.get("observed_value"))
    if observed is not None:
        shown = str(observed)
        return f"found {shown if len(shown) <= 200 else shown[:200] + '…'}"
    listed = {
        "not expected": result.get("partial_unexpected_list"),
        "missing": result.get("partial_missing_list"),
    }
    told = "; ".join(
        f"{word}: {', '.join(map(str, plain(values)))}" for word, values in listed.items() if values
    )
    return told or ("so it is" if finding.success else "it is not so")


def _metadata(check: Check, finding: Finding) -> dict[str, Any]:
    result = finding.result
    shown = (
        *("observed_value", "element_count", "missing_count", "missing_percent"),
        *("unexpected_count", "unexpected_percent", "details"),
    )
    listed = {
        "unexpected_values": result.get("partial_unexpected_list"),
        "missing_values": result.get("partial_missing_list"),
    }
    return {
        "expectation": snake_name(check.expectation),
        "arguments": plain(check.arguments),
        **{key: plain(result[key]) for key in shown if result.get(key) is not None},
        **{key: plain(values) for key, values in listed.items() if values},
        **({"failing_rows": Records(plain(finding.rows))} if finding.rows else {}),
        **({"problem": finding.error} if finding.error else {}),
        **({"hint": finding.hint} if finding.hint else {}),
    }


def plain(value: Any) -> Any:
    """A value of Great Expectations or DuckDB as JSON holds it."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if hasattr(value, "item") and type(value).__module__ == "numpy":
        return plain(value.item() if value.ndim == 0 else value.tolist())
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return value.isoformat(sep=" ") if isinstance(value, datetime) else str(value)
