"""``liminal backtest``: a monitor's policy replayed over the past."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from liminal_assets.cli.options import as_json, open_project, project_options
from liminal_assets.cli.output import console, duration, is_terminal, print_json, print_table, say
from liminal_assets.cli.scope import parse_scope
from liminal_assets.language.diagnostics import did_you_mean
from liminal_assets.language.loading import Project
from liminal_assets.language.monitors import Monitor

if TYPE_CHECKING:
    from liminal_assets.steps.backtest import Backtest, Progress
    from liminal_assets.steps.replay.results import Replay

__all__ = ["command"]

_DEFAULT = "default"
_SHOWN = 15
_LEGEND = "R new version, x rejected or failed, < taken back, ! alert only"


@click.command("backtest")
@click.argument("monitor")
@project_options
@click.option(
    "--partition-range",
    metavar="A..B",
    help="The windows to replay; the first model learns from what is before A. Default: it learns "
    "from the first quarter, or as much as it needs to pass its rules.",
)
@click.option(
    "grid",
    "--grid",
    is_flag=False,
    flag_value=_DEFAULT,
    multiple=True,
    metavar="[FILE|PARAMETER=A,B]",
    help="Compare policies, and print the YAML of the best: some worth a look, those of a YAML "
    "file, or every combination of PARAMETER=A,B (repeatable): when, consecutive, cooldown, "
    "at_most, min_rows, threshold (of drift), performance (its bound).",
)
@click.option(
    "--tune-always",
    is_flag=True,
    help="Search for parameters in each training, as live runs do. Default: the first model's are "
    "kept, which takes a fraction of the time.",
)
@click.option(
    "--output",
    "-o",
    metavar="FILE",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write a report, one HTML file that needs nothing else.",
)
@as_json
def command(
    monitor: str,
    project: Path,
    env: str | None,
    partition_range: str | None,
    grid: tuple[str, ...],
    tune_always: bool,
    output: Path | None,
    as_json: bool,
) -> None:
    """Replay the policy of MONITOR over past windows: alerts, retrainings, compute, and the
    metric gained against never training again, fixed cadences and an oracle.

    Models are trained as they could have been then, and the code that decides is the live one.
    Nothing is written to the project's tables, registry or journals.
    """
    opened = open_project(project, env)
    block = _monitor_of(opened, monitor)
    scope = parse_scope(None, partition_range)
    windows = (scope.first, scope.last) if scope.first and scope.last else None
    if output is not None and not output.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder {output.absolute().parent}")
    from liminal_assets.cli.grids import parse_grid
    from liminal_assets.steps.backtest import GridError, NothingToReplayError, backtest

    chosen = parse_grid(grid, _DEFAULT)
    try:
        with _progress(silent=as_json) as progress:
            found = backtest(
                opened,
                block,
                windows=windows,
                grid=chosen,
                tune_always=tune_always,
                progress=progress,
            )
    except GridError as error:
        raise click.BadParameter(_with_hint(error), param_hint="--grid") from None
    except NothingToReplayError as error:
        raise click.UsageError(_with_hint(error)) from None
    if output is not None:
        _write(found, output)
    if as_json:
        print_json(found.as_dict())
        return
    _print(found, compared=chosen is not False)
    if output is not None:
        say(f"report: {output}")


def _monitor_of(project: Project, name: str) -> Monitor:
    known = {block.monitor: block for block in project.spec.monitors}
    if name not in known:
        hint = did_you_mean(name, known)
        raise click.BadParameter(
            f"no monitor is called {name!r}" + (f" ({hint})" if hint else ""),
            param_hint="MONITOR",
        )
    return known[name]


def _with_hint(error: Any) -> str:
    from liminal_assets.cli.output import relative

    place = f"{relative(error.location)}: " if error.location else ""
    return f"{place}{error.message}" + (f" ({error.hint})" if error.hint else "")


@contextmanager
def _progress(*, silent: bool) -> Iterator[Progress | None]:
    """A bar on a terminal, a line per piece of work in a pipe."""
    if silent:
        yield None
        return
    if not is_terminal():
        yield lambda said, done, total: say(f"[{done:>3}/{total}] {said}")
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(bar_width=30), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console(), transient=True) as bar:
        task = bar.add_task("reading the past", total=None)

        def tell(said: str, done: int, total: int) -> None:
            bar.update(task, description=said, completed=done, total=total)

        yield tell


def _write(found: Backtest, output: Path) -> None:
    from liminal_assets.steps.backtest_report import backtest_report

    draft = output.with_name(f".{output.name}.{uuid.uuid4().hex[:8]}.draft")
    try:
        draft.write_text(backtest_report(found), encoding="utf-8")
        draft.replace(output)
    finally:
        draft.unlink(missing_ok=True)


def _print(found: Backtest, *, compared: bool) -> None:
    windows, first = found.windows, found.first
    say(
        f"{found.monitor.name}, {windows[0]}..{windows[-1]}: begins with a model of what was known "
        f"by {first.end:%Y-%m-%d} ({first.rows:,} rows)"
    )
    print_table(
        ["window", f"{found.metric} never", "as is", "oracle", "what broke"], _windows(found)
    )
    say()
    headings = ["policy", "windows", "alerts", "trained", "promoted", "rows", "time"]
    print_table([*headings, found.metric, "gain"], [_row(found, one) for one in _shown(found)])
    hidden = len(found.ranked) - len(_shown(found))
    more = f"; {hidden} more policies with --json or --output" if hidden else ""
    say(f"windows: {_LEGEND}{more}")
    if found.known_at_once:
        say(
            "labels were taken as known when their window ended: 'performance: {labels: "
            "{known_at: COLUMN}}' or '{delay: 3d}' says otherwise"
        )
    if compared:
        say()
        say(_why(found))
        say(found.yaml().rstrip())


def _windows(found: Backtest) -> Iterator[list[str]]:
    rows = zip(found.never.steps, found.project.steps, found.oracle.steps, strict=True)
    for never, own, best in rows:
        causes = own.judgement.causes if own.judgement else ()
        shown = "; ".join(map(str, causes[:3])) + (f"; {len(causes) - 3} more" * bool(causes[3:]))
        scores = [_number(step.score) for step in (never, own, best)]
        yield [own.window.key, *scores, shown]


def _shown(found: Backtest) -> list[Replay]:
    """The oracle and the baselines, and the policies of the grid that gain most."""
    grid = [replay for replay in found.ranked if replay.kind == "grid"]
    hidden = {replay for replay in grid[_SHOWN:] if replay is not found.best}
    return [replay for replay in found.ranked if replay not in hidden]


def _row(found: Backtest, replay: Replay) -> list[str]:
    alike = found.ranked[replay]
    name = replay.name + (f" (and {alike} alike)" if alike else "")
    return [
        name + (" *" if replay is found.best else ""),
        replay.timeline,
        str(replay.alerts) if replay.kind != "oracle" else "",
        str(replay.retrainings),
        str(replay.count("promoted")),
        f"{replay.rows:,}",
        duration(replay.seconds),
        _number(replay.score),
        f"{replay.gain(found.never):+.4f}",
    ]


def _why(found: Backtest) -> str:
    best = found.best
    if best is found.never:
        return "no policy gains anything over never training again:"
    return (
        f"best (*): {best.name}. Of the policies with at least half of the largest gain it gains "
        f"most per row trained on:"
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
