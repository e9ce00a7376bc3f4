"""SQL as users write it: in the YAML or in a file, with placeholders filled in safely."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping

from liminal_assets.errors import StepError
from liminal_assets.language.base import Block
from liminal_assets.language.diagnostics import Location, did_you_mean
from liminal_assets.language.loading import Project
from liminal_assets.language.partitions import moments_of, partitions_of, window_of
from liminal_assets.language.queries import is_sql_file
from liminal_assets.language.variables import PARTITION_VARIABLES, PLACEHOLDER, substitute_text

__all__ = ["fill_path", "fill_sql", "is_sql_file", "partition_values", "sql_of"]

_PARTS = re.compile(
    r"""(?P<text>'(?:[^']|'')*')      # 'text'
      | (?P<name>"(?:[^"]|"")*")      # "name"
      | (?P<comment>--[^\n]*|/\*.*?\*/)
      | (?P<plain>[^'"/-]+|[/-]|['"])""",
    re.VERBOSE | re.DOTALL,
)
_WORD = re.compile(r"\w+")


def sql_of(
    project: Project, block: Block, sql: str, partition: str | None, location: Location
) -> str:
    """The query of a block for one partition: its file read, its placeholders filled in.

    Raises:
        StepError: the file is missing, or a placeholder can't be filled in.
    """
    if is_sql_file(sql):
        sql = _with_variables(project, _read(project, sql.strip(), location), location)
    return fill_sql(sql, partition_values(project, block, partition, location), location)


def _read(project: Project, file: str, location: Location) -> str:
    path = project.root / file
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = "there is no file" if isinstance(error, FileNotFoundError) else "cannot read"
        raise StepError(
            f"{reason} {path}",
            location=location,
            hint="a relative path starts at the project's folder",
        ) from error


def _with_variables(project: Project, text: str, location: Location) -> str:
    spec = project.spec
    filled, mistakes = substitute_text(text, spec.variables, spec.env, os.environ, location)
    if mistakes:
        raise StepError(mistakes[0].message, location=location, hint=mistakes[0].hint)
    return filled


def partition_values(
    project: Project, block: Block, partition: str | None, location: Location | None = None
) -> dict[str, str]:
    """What the placeholders of a partition stand for; nothing for a block in one piece.

    Raises:
        StepError: ``partition`` is none of the block's partitions.
    """
    partitions = partitions_of(project, block)
    if partition is None or partitions is None:
        return {}
    try:
        start, end = window_of(partitions, partition)
        values = {"partition_key": partition, "partition_start": start, "partition_end": end}
        if partitions.every:
            first, after = moments_of(partitions, partition)
            utc = {"partition_start_utc": first, "partition_end_utc": after}
            values |= {name: moment.isoformat(sep=" ") for name, moment in utc.items()}
    except ValueError as error:
        raise StepError(
            f"there is no partition {partition!r}: {error}", location=location
        ) from None
    return values


def fill_sql(sql: str, values: Mapping[str, str], location: Location | None = None) -> str:
    """SQL with the placeholders of its partition filled in, so that no value can end a quote.

    Between quotes a value is escaped, on its own it becomes a quoted text, and as part of a word
    (``sales_{{ partition_key }}``) it must be letters, digits and underscores.

    >>> fill_sql("SELECT * FROM t WHERE day = {{ partition_key }}", {"partition_key": "2013-01-01"})
    "SELECT * FROM t WHERE day = '2013-01-01'"

    Raises:
        StepError: a placeholder has no value here, or the value doesn't fit where it stands.
    """
    filled = []
    for kind, part in _parts(sql):
        if kind == "comment" or not PLACEHOLDER.search(part):
            filled.append(part)
        elif kind == "plain":
            filled.append(_fill_plain(part, values, location))
        else:
            filled.append(_fill_quoted(part, values, location))
    return "".join(filled)


def _fill_quoted(part: str, values: Mapping[str, str], location: Location | None) -> str:
    quote = part[0]

    def fill(match: re.Match[str]) -> str:
        return _value(match[1], values, location).replace(quote, quote * 2)

    return PLACEHOLDER.sub(fill, part)


def _parts(sql: str) -> Iterator[tuple[str, str]]:
    """Pieces of SQL that are quoted, a comment or neither, in order; plain pieces in one."""
    plain = ""
    for match in _PARTS.finditer(sql):
        kind = match.lastgroup or "plain"
        if kind == "plain":
            plain += match[0]
            continue
        if plain:
            yield "plain", plain
            plain = ""
        yield kind, match[0]
    if plain:
        yield "plain", plain


def _fill_plain(part: str, values: Mapping[str, str], location: Location | None) -> str:
    def fill(match: re.Match[str]) -> str:
        value = _value(match[1], values, location)
        before, after = part[: match.start()][-1:], part[match.end() :][:1]
        if not re.match(r"[\w{}.]", before or " ") and not re.match(r"[\w{}.]", after or " "):
            return "'" + value.replace("'", "''") + "'"
        if not _WORD.fullmatch(value):
            raise StepError(
                f"{match[0]} stands within a name, which {value!r} can't be part of",
                location=location,
                hint="put it in quotes",
            )
        return value

    return PLACEHOLDER.sub(fill, part)


def fill_path(path: str, values: Mapping[str, str], location: Location | None = None) -> str:
    """A path or URL with the placeholders of its partition filled in.

    Raises:
        StepError: a placeholder has no value here, or the value would lead out of the folder.
    """

    def fill(match: re.Match[str]) -> str:
        value = _value(match[1], values, location)
        if ".." in value.split("/") or value.startswith("/"):
            raise StepError(f"the partition {value!r} would leave its folder", location=location)
        return value

    return PLACEHOLDER.sub(fill, path)


def _value(name: str, values: Mapping[str, str], location: Location | None) -> str:
    if name in values:
        return values[name]
    if name in PARTITION_VARIABLES:
        message = f"there is no {name} here" if values else f"{name} needs partitions"
        hint = did_you_mean(name, values) if values else "add 'partitions:' to the block"
    else:
        message, hint = f"no variable is called {name!r}", did_you_mean(name, PARTITION_VARIABLES)
    raise StepError(message, location=location, hint=hint)
