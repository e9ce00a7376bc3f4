"""What is wrong with the checks of a project, at their lines, known without any rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from liminal_assets.integrations.expectations.library import (
    CheckMistakesError,
    Mistake,
    build_expectation,
)
from liminal_assets.language.cleaning import CleaningStep
from liminal_assets.language.datasets import Check, Dataset
from liminal_assets.language.diagnostics import Diagnostic, Location, did_you_mean
from liminal_assets.language.features import Feature
from liminal_assets.language.loading import Project

__all__ = ["expectation_mistakes"]

TableBlock: TypeAlias = Dataset | Feature
_RESERVED = {"columns", "one_row_per_entity"}
"""Checks of every block's own."""


def expectation_mistakes(project: Project) -> Iterator[Diagnostic]:
    """Unknown expectations, wrong or missing arguments, columns that can't be there.

    Great Expectations is imported only if there is a check whose name it knows.
    """
    blocks: list[TableBlock] = [*project.spec.datasets, *project.spec.features]
    for block in blocks:
        yield from _name_mistakes(project, block)
        for index, check in enumerate(block.checks):
            try:
                expectation = build_expectation(check)
            except CheckMistakesError as error:
                for mistake in error.mistakes:
                    at = _location(project, block, index, check, mistake)
                    yield Diagnostic(at, mistake.code, mistake.message, mistake.hint)
            else:
                yield from _column_mistakes(project, block, index, check, expectation)


def _location(
    project: Project, block: TableBlock, index: int, check: Check, mistake: Mistake
) -> Location:
    """The argument's line, else that of the expectation's name."""
    path = ("checks", index, check.expectation)
    if mistake.argument and mistake.written and mistake.argument in check.arguments:
        return project.locate(block, *path, "arguments", mistake.argument, key=_is_name(mistake))
    item = project.locate(block, "checks", index)
    name = project.locate(block, "checks", index, "expectation")
    return name if name != item else project.locate(block, *path, key=True)


def _is_name(mistake: Mistake) -> bool:
    return mistake.code == "unknown-argument"


def _name_mistakes(project: Project, block: TableBlock) -> Iterator[Diagnostic]:
    seen = dict.fromkeys(_RESERVED, "a check that every such block has")
    for index, check in enumerate(block.checks):
        if check.name is None:
            continue
        if check.name in seen:
            at = project.locate(block, "checks", index, check.expectation, "name")
            message = f"the check name {check.name!r} is taken by {seen[check.name]}"
            yield Diagnostic(at, "duplicate-name", message, None)
        seen.setdefault(check.name, "another check")


def _column_mistakes(
    project: Project, block: TableBlock, index: int, check: Check, expectation: Any
) -> Iterator[Diagnostic]:
    """Columns that the rows can't have, where it is sure which ones they have."""
    known = _sure_columns(block)
    if known is None:
        return
    for key in ("column", "column_A", "column_B", "column_list"):
        value = getattr(expectation, key, ()) if key in expectation.domain_keys else ()
        for column in value if isinstance(value, list | tuple) else [value]:
            if column.lower() not in {name.lower() for name in known}:
                at = project.locate(block, "checks", index, check.expectation, "arguments", key)
                message = f"the rows of {block.name} have no column {column!r}"
                yield Diagnostic(at, "unknown-column", message, did_you_mean(column, known))


def _sure_columns(block: TableBlock) -> set[str] | None:
    """The columns of a block's rows, as far as its SQL or its steps spell them out."""
    if isinstance(block, Feature):
        return _selected(block.sql) if block.sql else None
    if block.clean and block.clean.steps is not None:
        return _stepped(block.clean.steps)
    sql = block.clean.sql if block.clean else block.fetch.sql if block.fetch else None
    return _selected(sql) if sql else None


def _selected(sql: str) -> set[str] | None:
    """What a query selects by name; none if a star or a computed name is among it."""
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        query = sqlglot.parse_one(sql, read="duckdb")
    except SqlglotError:
        return None
    names = getattr(query, "named_selects", None)
    if not names or not all(names) or "*" in names:
        return None
    return set(names)


def _stepped(steps: Sequence[CleaningStep]) -> set[str] | None:
    """The columns after declarative steps, known once a ``select`` has named them."""
    known: set[str] | None = None
    for step in steps:
        if step.select is not None:
            known = set(step.select)
        elif known is None:
            continue
        elif step.rename is not None:
            known = {step.rename.get(name, name) for name in known}
        elif step.derive is not None:
            known |= set(step.derive)
        elif step.drop is not None:
            known -= set(step.drop)
    return known
