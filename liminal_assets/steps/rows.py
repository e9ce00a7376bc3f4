"""The rows that a block makes: what they are made of, and what goes wrong when they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from liminal_assets.errors import StepError
from liminal_assets.language.base import Block
from liminal_assets.language.diagnostics import Location
from liminal_assets.language.loading import Project
from liminal_assets.steps.functions import Chunks
from liminal_assets.steps.lineage import ColumnLineage
from liminal_assets.storage.forms import NotRowsError, engine_errors
from liminal_assets.storage.tables import Table

__all__ = ["Made", "as_table", "made_at", "reading", "table_of"]


@dataclass(frozen=True)
class Made:
    """Rows about to be written, and what their columns are made of, where that is known."""

    rows: Any
    """In any form that :meth:`TableStore.stage` takes."""
    lineage: Callable[[], ColumnLineage] = dict
    """Computed when asked for: a query of many columns takes its time."""


def made_at(project: Project, block: Block) -> Location:
    """The line that says how the rows of a block are made."""
    ways = ("sql", "table", "file", "python", "steps")
    for phase in ("fetch", "clean"):
        if spec := getattr(block, phase, None):
            return project.locate(
                block, phase, next(way for way in ways if getattr(spec, way, None))
            )
    return project.locate(block, next((way for way in ways if getattr(block, way, None)), "from"))


def as_table(rows: Any, name: str) -> Table:
    """Rows of any form as a table."""
    return rows if isinstance(rows, Table) else Table.from_rows(rows, name)


@contextmanager
def reading(rows: Any, name: str, location: Location) -> Iterator[None]:
    """What goes wrong when the rows that a block made are read, at the line that makes them.

    Args:
        rows: as they were made, by a function or a query.
        name: the block that they are of.

    Raises:
        StepError: they aren't rows, or computing them fails.
    """
    try:
        yield
    except NotRowsError as error:
        raise StepError(
            f"{name} got no rows: {error}",
            location=location,
            hint="return a data frame, an Arrow table or a list of mappings",
        ) from error
    except StepError as error:
        if isinstance(rows, Chunks) and rows.error is not None:
            raise rows.error from error
        raise error.at(location) from error.__cause__


def table_of(rows: Any, name: str, location: Location) -> Table:
    """The rows that a block made, in memory.

    Raises:
        StepError: they aren't rows, or computing them fails.
    """
    with reading(rows, name, location), engine_errors(f"read the rows of {name}"):
        return Table.from_rows(rows, name)
