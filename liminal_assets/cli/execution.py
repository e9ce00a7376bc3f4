"""Executes Dagster runs in this process, and keeps account of what their steps did."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Literal

import dagster as dg
from dagster._core.definitions.job_base import IJob, InMemoryJob
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.events import DagsterEvent
from dagster._core.execution.api import execute_run_iterator

from liminal_assets.cli.batches import Batch
from liminal_assets.cli.output import label_of
from liminal_assets.cli.processes import PROCESS_TAG, this_process
from liminal_assets.cli.session import CODE_LOCATION, Session
from liminal_assets.execution.steps import executor_config

__all__ = [
    "Failure",
    "StepReport",
    "execute",
    "execute_job",
    "execute_requested",
    "keys_of",
    "unfinished",
]

Status = Literal["waiting", "running", "done", "failed", "skipped"]


@dataclass(frozen=True)
class Failure:
    """Why a step failed, for people."""

    message: str
    """What is wrong, the hint and the place in the YAML, a line each."""
    expected: bool
    """Whether a step told it; anything else is a surprise whose traceback is in the UI."""


@dataclass
class StepReport:
    """What one step of a run did."""

    name: str
    """The name of its block's main asset."""
    keys: Set[dg.AssetKey]
    status: Status = "waiting"
    seconds: float = 0.0
    failure: Failure | None = None
    tries: int = 1
    materializations: dict[dg.AssetKey, list[dg.AssetMaterialization]] = field(default_factory=dict)
    checks: dict[dg.AssetKey, list[dg.AssetCheckEvaluation]] = field(default_factory=dict)
    run_id: str = ""

    _started: float = field(default=0.0, repr=False)

    def blocking_failures(self) -> list[dg.AssetCheckEvaluation]:
        """The checks that stop what is downstream."""
        return [
            check
            for checks in self.checks.values()
            for check in checks
            if not check.passed and check.severity == dg.AssetCheckSeverity.ERROR
        ]


Listener = Callable[[StepReport], None]
"""Called when a step starts, is tried again or ends."""


def execute(
    session: Session, batch: Batch, *, executor: str, tags: Mapping[str, str], listen: Listener
) -> list[StepReport]:
    """Makes one batch as one Dagster run, recorded in the instance.

    Returns:
        A report per step, those that didn't run because of a failure as ``skipped``.

    Raises:
        KeyboardInterrupt: the run was interrupted; it is recorded as canceled.
    """
    if batch.job is not None:
        job = session.repository.get_job(batch.job)
        return execute_job(session, job, executor=executor, listen=listen)
    keys = frozenset(batch.keys)
    job = session.job.get_subset(asset_selection=set(keys))
    run = session.instance.create_run_for_job(
        job,
        run_config={**executor_config(executor), **_QUIET},
        tags={**batch.tags, **tags, PROCESS_TAG: this_process()},
        asset_selection=keys,
        remote_job_origin=session.origin.get_job_origin(session.job.name),
        repository_load_data=session.repository.repository_load_data,
    )
    return _execute(session, run, session.job, keys, executor, listen)


def execute_job(
    session: Session, job: dg.JobDefinition, *, executor: str, listen: Listener
) -> list[StepReport]:
    """Executes a job of the project, as its schedule would; see :func:`execute`."""
    run = session.instance.create_run_for_job(
        job,
        run_config={**executor_config(executor), **_QUIET},
        tags={**job.tags, PROCESS_TAG: this_process()},
        remote_job_origin=session.origin.get_job_origin(job.name),
        repository_load_data=session.repository.repository_load_data,
    )
    return _execute(session, run, job, keys_of(job), executor, listen)


def keys_of(job: dg.JobDefinition) -> frozenset[dg.AssetKey]:
    """The assets that a job makes."""
    return frozenset(job.asset_layer.selected_asset_keys) if job.asset_layer else frozenset()


def execute_requested(session: Session, run_id: str, *, listen: Listener) -> list[StepReport]:
    """Executes a run that a sensor requested; see :func:`execute`."""
    instance = session.instance
    run = instance.get_run_by_id(run_id)
    if run is None:
        return []
    instance.add_run_tags(run_id, {PROCESS_TAG: this_process()})
    job = session.repository.get_job(run.job_name)
    keys = frozenset(run.asset_selection or keys_of(job))
    quiet = run._replace(run_config={**run.run_config, **_QUIET})
    return _execute(session, quiet, job, keys, "in_process", listen)


_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""Dagster's log goes to the instance, where the UI shows it, not to the terminal as well."""


def _execute(
    session: Session,
    run: dg.DagsterRun,
    definition: dg.JobDefinition,
    keys: Set[dg.AssetKey],
    executor: str,
    listen: Listener,
) -> list[StepReport]:
    reports = dict(_reports(session, keys, run.run_id))
    job: IJob
    if executor == "in_process":
        job = InMemoryJob(definition)
    else:
        session.expose()
        repository = ReconstructableRepository.for_module(
            CODE_LOCATION, "defs", working_directory=os.getcwd()
        )
        job = repository.get_reconstructable_job(definition.name)
    interrupted = False
    try:
        for event in execute_run_iterator(job, run, session.instance):
            if _is_interrupt(event):
                # otherwise Dagster takes it for a failure of the step
                interrupted = True
                session.instance.report_run_canceling(run, "interrupted from the keyboard")
            else:
                _note(event, reports, listen)
    except DagsterExecutionInterruptedError:
        interrupted = True
    if interrupted:
        raise KeyboardInterrupt
    for report in reports.values():
        if report.status in ("waiting", "running"):
            report.status = "skipped"
    return list(reports.values())


def _is_interrupt(event: DagsterEvent) -> bool:
    if event.event_type_value != "STEP_FAILURE":
        return False
    error = event.step_failure_data.error
    while error is not None:
        if error.cls_name == DagsterExecutionInterruptedError.__name__:
            return True
        error = error.cause
    return False


def _reports(
    session: Session, keys: Set[dg.AssetKey], run_id: str
) -> Iterator[tuple[str, StepReport]]:
    """A report per step of some assets, in the order of the graph."""
    seen = set()
    for key in session.graph.toposorted_asset_keys:
        if key in keys:
            assets = session.graph.get(key).assets_def
            if assets.node_def.name not in seen:
                seen.add(assets.node_def.name)
                main = next(iter(assets.specs)).key
                yield assets.node_def.name, StepReport(label_of(main), assets.keys, run_id=run_id)


def _note(event: DagsterEvent, reports: Mapping[str, StepReport], listen: Listener) -> None:
    """Takes one event of a run into the report of its step."""
    report = reports.get(event.step_key or "")
    if report is None:
        if event.event_type_value == "PIPELINE_FAILURE":
            _fail_all(event, reports, listen)
        return
    kind = event.event_type_value
    if kind == "STEP_START":
        report.status, report._started = "running", monotonic()
        listen(report)
    elif kind == "ASSET_MATERIALIZATION":
        made = event.step_materialization_data.materialization
        report = _maker(made.asset_key, report, reports)
        report.materializations.setdefault(made.asset_key, []).append(made)
    elif kind == "ASSET_CHECK_EVALUATION":
        check = event.asset_check_evaluation_data
        report.checks.setdefault(check.asset_key, []).append(check)
    elif kind == "STEP_UP_FOR_RETRY":
        report.tries += 1
        listen(report)
    elif kind in ("STEP_SUCCESS", "STEP_FAILURE", "STEP_SKIPPED"):
        report.seconds = monotonic() - report._started if report._started else 0.0
        report.status = _ENDS[kind]
        if kind == "STEP_FAILURE":
            report.failure = _failure(event, report)
        listen(report)


def _maker(key: dg.AssetKey, report: StepReport, reports: Mapping[str, StepReport]) -> StepReport:
    """The report of the step that an asset belongs to: a task that runs after a failure is run by
    the step that failed."""
    if key in report.keys:
        return report
    owner = next((other for other in reports.values() if key in other.keys), report)
    if owner is not report and owner.status == "waiting":
        owner.status = "done"
    return owner


_ENDS: Mapping[str, Status] = {
    "STEP_SUCCESS": "done",
    "STEP_FAILURE": "failed",
    "STEP_SKIPPED": "skipped",
}


def _fail_all(event: DagsterEvent, reports: Mapping[str, StepReport], listen: Listener) -> None:
    """A run that fails before any step does, fails its first step."""
    if any(report.status == "failed" for report in reports.values()):
        return
    error = event.job_failure_data.error
    first = next(iter(reports.values()))
    text = (error.cause or error).message.strip() if error else event.message or "the run failed"
    first.status, first.failure = "failed", Failure(text, expected=False)
    listen(first)


def _failure(event: DagsterEvent, report: StepReport) -> Failure:
    data = event.step_failure_data
    told = data.user_failure_data
    if told is not None and told.description:
        return Failure(told.description, expected=True)
    broken = report.blocking_failures()
    if broken:
        lines = [f"{check.check_name}: {check.description or 'failed'}" for check in broken]
        return Failure("\n  ".join(["a blocking check failed", *lines]), expected=True)
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    text = error.message.strip().split("\n")[0] if error else "the step failed"
    return Failure(text, expected=False)


def unfinished(
    session: Session, batches: Sequence[Batch], reports: Sequence[StepReport]
) -> list[Batch]:
    """The batches still to run, without what lies downstream of failed and skipped steps."""
    lost = {
        key for report in reports if report.status in ("failed", "skipped") for key in report.keys
    }
    if not lost:
        return list(batches)
    for key in session.graph.toposorted_asset_keys:
        if session.graph.get(key).parent_keys & lost:
            lost.add(key)
    rest = []
    for batch in batches:
        keys = frozenset(batch.keys - lost)
        # a step whose assets are lost only in part can't run either
        keys = frozenset(key for key in keys if session.together({key}) & batch.keys <= keys)
        if keys:
            job = batch.job if keys == batch.keys else None
            rest.append(replace(batch, keys=keys, job=job))
    return rest
