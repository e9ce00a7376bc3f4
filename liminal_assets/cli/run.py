"""``liminal run``: materialises assets in this process, on the persistent instance."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from liminal_assets.cli.options import as_json, open_project, project_options
from liminal_assets.cli.output import complain, duration, print_diagnostics, print_json, say

if TYPE_CHECKING:
    import dagster as dg

    from liminal_assets.cli.batches import Batch
    from liminal_assets.cli.execution import StepReport
    from liminal_assets.cli.progress import Display
    from liminal_assets.cli.scope import Scope
    from liminal_assets.cli.session import Session
    from liminal_assets.language.diagnostics import Diagnostic

__all__ = ["command", "wanted_of"]


@click.command("run")
@project_options
@click.option(
    "--select",
    metavar="SEL",
    help="Dagster's asset selection, or a block's name: departures+, group:train. Default: all.",
)
@click.option("--partition", metavar="KEY", help="Make one partition only.")
@click.option(
    "--partition-range",
    metavar="A..B",
    help="Make a range of partitions. Default: every one that there is by now.",
)
@click.option("--changed", is_flag=True, help="Only what 'liminal plan' lists.")
@click.option("--sensors", is_flag=True, help="Then evaluate the sensors once, and do as they ask.")
@click.option(
    "--executor",
    type=click.Choice(["in_process", "multiprocess"]),
    default="in_process",
    show_default=True,
    help="Where the steps run.",
)
@as_json
def command(
    project: Path,
    env: str | None,
    select: str | None,
    partition: str | None,
    partition_range: str | None,
    changed: bool,
    sensors: bool,
    executor: str,
    as_json: bool,
) -> int:
    """Materialise assets, with live progress and a table of every asset at the end.

    Of a project with partitions it makes every partition that there is by now, unless one or a
    range is named. A model learns from the partitions up to the end of the range. Steps that fail
    leave earlier results as they are, and running again continues.

    Exit code 1 if a step or a blocking check fails.
    """
    checked = open_project(project, env)
    from liminal_assets.cli.processes import close_dead_runs
    from liminal_assets.cli.scope import parse_scope
    from liminal_assets.cli.session import open_session

    scope = parse_scope(partition, partition_range)
    with open_session(checked) as session:
        close_dead_runs(session.instance)
        keys = session.select(select)
        batches = _batches(session, keys, scope, changed)
        if mistakes := _mistakes(session, {key for batch in batches for key in batch.keys}):
            print_diagnostics(mistakes)
            return 2
        work = _Work(session, executor, silent=as_json)
        work.make(batches)
        if sensors:
            work.follow_sensors()
        return work.close(as_json=as_json)


def _partitionings(session: Session, keys: Set[dg.AssetKey]) -> list[dg.PartitionsDefinition[str]]:
    """The ways in which some assets are cut."""
    nodes = (session.graph.get(key) for key in sorted(keys))
    return list(dict.fromkeys(node.partitions_def for node in nodes if node.partitions_def))


def _mistakes(session: Session, keys: Set[dg.AssetKey]) -> Sequence[Diagnostic]:
    """What is wrong with the blocks to run, and takes imports to know."""
    from liminal_assets.language.deep import deep_mistakes

    names = {key.path[-1].partition("__")[0] for key in keys}
    return deep_mistakes(session.project.only(names))


def wanted_of(
    session: Session, keys: Set[dg.AssetKey], scope: Scope
) -> dict[dg.AssetKey, Sequence[str] | None]:
    """Some assets with their partitions in a scope; without those that it holds none of."""
    definitions = _partitionings(session, session.keys)
    scope.check(definitions)
    wanted: dict[dg.AssetKey, Sequence[str] | None] = {}
    for key in keys:
        partitions = session.graph.get(key).partitions_def
        found = scope.keys(partitions, definitions) if partitions else None
        if found is None or found:
            wanted[key] = found
    return wanted


def _batches(session: Session, keys: Set[dg.AssetKey], scope: Scope, changed: bool) -> list[Batch]:
    from liminal_assets.cli.batches import batches_of

    wanted = wanted_of(session, keys, scope)
    if changed:
        from liminal_assets.cli.planning import make_plan

        wanted = make_plan(session, wanted, scope).wanted
    return batches_of(session.graph, wanted, scope)


@dataclass
class _Work:
    """The runs of one command, and what their steps did."""

    session: Session
    executor: str
    silent: bool
    reports: list[StepReport] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def make(self, batches: Sequence[Batch]) -> None:
        """Executes batches in order; what lies downstream of a failure is left out."""
        from liminal_assets.cli.execution import execute, unfinished
        from liminal_assets.cli.progress import show_progress

        if not batches and not self.silent:
            say("nothing to do: everything is fresh", style="green")
        left = list(batches)
        with show_progress(self._steps(left), silent=self.silent) as display:
            while left:
                batch = left.pop(0)
                self._announce(display, batch, len(batches))
                made = execute(
                    self.session, batch, executor=self.executor, tags={}, listen=display.step
                )
                self.reports.extend(made)
                left = unfinished(self.session, left, made)

    def _steps(self, batches: Sequence[Batch]) -> int:
        graph = self.session.graph
        names = [
            {graph.get(key).assets_def.node_def.name for key in batch.keys} for batch in batches
        ]
        return sum(map(len, names))

    def _announce(self, display: Display, batch: Batch, count: int) -> None:
        if batch.stretch and (count > 1 or batch.partitioned):
            display.note(f"partitions {batch.stretch}")

    def follow_sensors(self) -> None:
        """Evaluates the sensors once, and executes what they request."""
        from liminal_assets.cli.execution import execute_requested
        from liminal_assets.cli.progress import show_progress
        from liminal_assets.cli.sensors import evaluate_sensors, lost_requests, requested_keys

        requested = lost_requests(self.session)
        for tick in evaluate_sensors(self.session):
            if tick.error:
                self._say(f"sensor {tick.sensor} failed: {tick.error}", style="red")
            elif tick.requested:
                count = len(tick.requested)
                runs = f"{count} run{'' if count == 1 else 's'}"
                self._say(f"sensor {tick.sensor} requests {runs}", style="bold yellow")
            else:
                reason = f": {tick.reason}" if tick.reason else " requests nothing"
                self._say(f"sensor {tick.sensor}{reason}")
            requested.extend(tick.requested)
        for run_id in requested:
            graph, keys = self.session.graph, requested_keys(self.session, run_id)
            steps = len({graph.get(key).assets_def.node_def.name for key in keys})
            with show_progress(steps, silent=self.silent) as display:
                self.reports.extend(execute_requested(self.session, run_id, listen=display.step))

    def _say(self, text: str, style: str | None = None) -> None:
        self.notes.append(text)
        if not self.silent:
            say(text, style=style)

    def close(self, *, as_json: bool) -> int:
        """Prints the closing table and what failed.

        Returns:
            The exit code.
        """
        from liminal_assets.cli.closing import as_document, closing_rows, print_closing

        failed = [report for report in self.reports if report.status == "failed"]
        rows = closing_rows(self.session, self.reports)
        if as_json:
            print_json(as_document(self.session, rows, self.reports, self.notes))
            return 1 if failed else 0
        print_closing(self.session, rows)
        for report in failed:
            self._explain(report)
        if failed:
            skipped = [report.name for report in self.reports if report.status == "skipped"]
            if skipped:
                say(f"skipped: {', '.join(dict.fromkeys(skipped))}")
            say("earlier results are untouched; run again continues: liminal run --changed")
            return 1
        took = sum(report.seconds for report in self.reports)
        done = sum(report.status == "done" for report in self.reports)
        steps = f"{done} step{'' if done == 1 else 's'}"
        say(f"{steps} in {duration(took)}; 'liminal ui' shows them", style="green")
        return 0

    def _explain(self, report: StepReport) -> None:
        failure = report.failure
        message = failure.message if failure else "the step failed"
        complain(message)
        if failure and not failure.expected:
            say(f"  in {report.name}; the traceback is in run {report.run_id} of 'liminal ui'")
