"""``liminal predict``: the rows of a file scored without a server."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from liminal_assets.cli.options import as_json, open_project, project_options
from liminal_assets.cli.output import duration, is_terminal, print_json, print_table, say
from liminal_assets.cli.serve import deployment_of
from liminal_assets.errors import StepError

if TYPE_CHECKING:
    from liminal_assets.steps.files import ScoredFile

__all__ = ["command"]

_SHOWN_ROWS = 20


@click.command("predict")
@project_options
@click.argument("deployment")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--output",
    "-o",
    metavar="FILE",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Where scored rows go: csv, json or parquet by its name.",
)
@as_json
def command(
    project: Path,
    env: str | None,
    deployment: str,
    file: Path,
    output: Path | None,
    as_json: bool,
) -> None:
    """Score the rows of FILE (csv, json or parquet) with the champion of DEPLOYMENT.

    Columns that the model doesn't know are kept. Without --output the first rows are shown on a
    terminal, and all rows go into a pipe as CSV, or as JSON with --json.
    """
    opened = open_project(project, env)
    block = deployment_of(opened, deployment)
    from liminal_assets.steps.files import file_kind, score_file, write_rows

    try:
        for path in filter(None, (file, output)):
            file_kind(path)
    except StepError as error:
        raise click.BadParameter(f"{error.message} ({error.hint})") from None
    if output is not None and not output.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder {output.absolute().parent}")
    started = time.perf_counter()
    scored = score_file(opened, block, file)
    if output is None:
        _print(scored, as_json)
        return
    rows = write_rows(scored, output)
    seconds = time.perf_counter() - started
    version = str(scored.champion.version.version)
    if as_json:
        print_json(
            {"rows": rows, "output": str(output), "model_version": version, "seconds": seconds}
        )
    else:
        say(f"{rows:,} rows scored by version {version} in {duration(seconds)}: {output}")


def _print(scored: ScoredFile, as_json: bool) -> None:
    if as_json:
        _print_json(scored)
    elif is_terminal():
        _print_head(scored)
    else:
        _print_csv(scored)


def _print_json(scored: ScoredFile) -> None:
    """One array, written as it is computed."""
    import msgspec

    separator = "["
    for batch in scored.reader():
        for row in batch.to_pylist():
            text = msgspec.json.encode(row, enc_hook=str).decode()
            click.echo(f"{separator}{text}", nl=False)
            separator = ",\n "
    click.echo("]" if separator != "[" else "[]")


def _print_csv(scored: ScoredFile) -> None:
    from pyarrow import csv

    reader = scored.reader()
    with csv.CSVWriter(sys.stdout.buffer, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)


def _print_head(scored: ScoredFile) -> None:
    reader = scored.reader()
    names = reader.schema.names
    rows: list[list[str]] = []
    count = 0
    for batch in reader:
        count += batch.num_rows
        if len(rows) < _SHOWN_ROWS:
            head = batch.slice(0, _SHOWN_ROWS - len(rows)).to_pylist()
            rows.extend([_shown(row[name]) for name in names] for row in head)
    print_table(names, rows)
    if count > len(rows):
        say(f"… and {count - len(rows):,} more rows; --output FILE writes all of them")


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else str(value)
