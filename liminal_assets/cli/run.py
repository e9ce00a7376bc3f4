"""``liminal run``: materialises assets in this process, on the persistent instance."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from liminal_assets.cli.options import as_json, open_projects, project_options
from liminal_assets.cli.output import (
    complain,
    duration,
    label_of,
    print_diagnostics,
    print_json,
    say,
)

if TYPE_CHECKING:
    import dagster as dg

    from liminal_assets.cli.batches import Batch
    from liminal_assets.cli.execution import StepReport
    from liminal_assets.cli.progress import Display
    from liminal_assets.cli.scope import Scope
    from liminal_assets.cli.session import Session
    from liminal_assets.language.diagnostics import Diagnostic
    from liminal_assets.language.loading import Project

__all__ = ["command", "wanted_of"]


@click.command("run")
@project_options
@click.option(
    "--select",
    metavar="SEL",
    help="Dagster's asset selection, or a name: departures+, group:train, pipeline/task. "
    "Default: all.",
)
@click.option(
    "--pipeline", metavar="NAME", help="The job of one pipeline, as its schedule runs it."
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
    pipeline: str | None,
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

    Of a folder of several of Apache Liminal's files it runs all, one after the other. While another
    'liminal run' works on the same state, it waits.

    Exit code 1 if a step, a task or a blocking check fails.
    """
    projects = open_projects(project, env)
    if pipeline is not None:
        if select or partition or partition_range or changed:
            raise click.UsageError("--pipeline runs all of a pipeline: no --select, no partitions")
        projects = [_with_pipeline(projects, pipeline)]
    from liminal_assets.cli.scope import parse_scope

    asked = _Asked(select, pipeline, parse_scope(partition, partition_range), changed, sensors)
    documents: list[dict[str, Any]] = []
    codes = [_run(found, asked, executor, documents if as_json else None) for found in projects]
    if as_json and documents:
        print_json(documents if len(projects) > 1 else documents[0])
    return max(codes)


@dataclass(frozen=True)
class _Asked:
    """What a command was told to run."""

    select: str | None
    pipeline: str | None
    scope: Scope
    changed: bool
    sensors: bool


def _with_pipeline(projects: Sequence[Project], name: str) -> Project:
    """The project that has a pipeline of that name.

    Raises:
        click.UsageError: none has.
    """
    names: list[str] = []
    for project in projects:
        pipelines = project.workflow.pipelines if project.workflow else {}
        if name in pipelines and pipelines[name].tasks:
            return project
        names.extend(pipelines)
    from liminal_assets.language.diagnostics import did_you_mean

    hint = did_you_mean(name, names)
    raise click.UsageError(f"no pipeline is called {name!r}" + (f" ({hint})" if hint else ""))


def _run(
    project: Project, asked: _Asked, executor: str, documents: list[dict[str, Any]] | None
) -> int:
    """Runs what was asked for of one project; its exit code."""
    from liminal_assets.cli.processes import alone, close_dead_runs
    from liminal_assets.cli.session import open_session

    with alone(project.state), open_session(project) as session:
        close_dead_runs(session.instance)
        work = _Work(session, executor, silent=documents is not None)
        if asked.pipeline is not None:
            work.run_pipeline(asked.pipeline)
        else:
            keys = session.select(asked.select)
            batches = _batches(session, keys, asked.scope, asked.changed)
            if mistakes := _mistakes(session, {key for batch in batches for key in batch.keys}):
                print_diagnostics(mistakes)
                return 2
            work.make(batches)
        if asked.sensors:
            work.follow_sensors()
        return work.close(documents)


def _partitionings(session: Session, keys: Set[dg.AssetKey]) -> list[dg.PartitionsDefinition[str]]:
    """The ways in which some assets are cut."""
    nodes = (session.graph.get(key) for key in sorted(keys))
    return list(dict.fromkeys(node.partitions_def for node in nodes if node.partitions_def))


def _mistakes(session: Session, keys: Set[dg.AssetKey]) -> Sequence[Diagnostic]:
    """What is wrong with the blocks to run, and takes imports to know."""
    from liminal_assets.language.deep import deep_mistakes

    names = {label_of(key).partition("__")[0] for key in keys}
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
    from liminal_assets.cli.batches import batches_of, by_pipeline
    from liminal_assets.factories.common import task_key
    from liminal_assets.factories.pipelines import job_name, pipelines_of

    wanted = wanted_of(session, keys, scope)
    if changed:
        from liminal_assets.cli.planning import make_plan

        wanted = make_plan(session, wanted, scope).wanted
    jobs = {
        job_name(pipeline): {task_key(session.project, task) for task in pipeline.tasks}
        for pipeline in pipelines_of(session.project)
    }
    batches = batches_of(session.graph, wanted, scope)
    return [part for batch in batches for part in by_pipeline(batch, jobs, session.graph)]


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

    def run_pipeline(self, name: str) -> None:
        """Executes the job of a pipeline."""
        from liminal_assets.cli.execution import execute_job, keys_of
        from liminal_assets.cli.progress import show_progress
        from liminal_assets.factories.pipelines import dagster_name

        job = self.session.repository.get_job(dagster_name(name))
        with show_progress(len(keys_of(job)), silent=self.silent) as display:
            made = execute_job(self.session, job, executor=self.executor, listen=display.step)
        self.reports.extend(made)

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

    def close(self, documents: list[dict[str, Any]] | None) -> int:
        """Prints the closing table and what failed.

        Args:
            documents: takes them as JSON values instead.

        Returns:
            The exit code.
        """
        from liminal_assets.cli.closing import as_document, closing_rows, print_closing

        failed = [report for report in self.reports if report.status == "failed"]
        rows = closing_rows(self.session, self.reports)
        if documents is not None:
            documents.append(as_document(self.session, rows, self.reports, self.notes))
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
