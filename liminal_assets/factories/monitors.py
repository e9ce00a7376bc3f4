"""Monitors → assets: each window judged, its checks, plots, report and decision."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg

from liminal_assets.errors import StepError
from liminal_assets.factories.common import (
    StepEvents,
    asset_key,
    asset_spec,
    partition_keys,
    project_of,
    spec_of,
    step_asset,
)
from liminal_assets.factories.materializations import Materializations
from liminal_assets.factories.partitions import input_dep, partitions_definition
from liminal_assets.factories.reports import check_result, check_spec, metadata_of
from liminal_assets.factories.tables import merged
from liminal_assets.language.datasets import Partitions
from liminal_assets.language.loading import Project
from liminal_assets.language.monitors import Monitor
from liminal_assets.language.queries import is_sql_file
from liminal_assets.steps.judgement import Judgement, check_names
from liminal_assets.steps.observation import Observation
from liminal_assets.steps.report import Markdown, Outcome, Records, Svg

if TYPE_CHECKING:
    from liminal_assets.steps.windows import WatchedRows

__all__ = ["JUDGEMENT", "Rows", "monitor_asset"]

JUDGEMENT = "liminal/judgement"
"""The metadata of a materialisation that sensors read."""

Rows = Callable[[str | None], Any]
"""Gives the rows of a partition (None: of all) in any form."""

_PLOTS = 2
_TREND_WINDOWS = 60
_TABLE_WINDOWS = 12


def monitor_asset(
    spec: Monitor | Mapping[str, Any] | None = None,
    *,
    project: Project | str | None = None,
    rows: Rows | None = None,
    reference: Rows | None = None,
    labels: Rows | None = None,
    partitions: dg.PartitionsDefinition[str] | Partitions | Mapping[str, Any] | None = None,
    **keywords: Any,
) -> dg.AssetsDefinition:
    """The asset of a monitor, with a check for drift, for the predictions' drift, for performance
    and for each KPI. A failed check is a finding: it stops nothing, and the run succeeds.

    >>> la.monitor_asset(
    ...     monitor="churn_watch", deployment="churn_scores", drift={"method": "psi"},
    ...     rows=lambda partition: read_scores(partition), reference=lambda partition: training,
    ... )

    Args:
        spec: the monitor; or ``keywords`` as in YAML.
        project: the project, or the name of one of its own.
        rows: the rows to judge, where they aren't a deployment's of the project.
        reference: the rows to compare with, along with ``rows``.
        labels: the rows with the truth, along with ``rows``.
        partitions: as in YAML; or, along with ``rows``, Dagster's own definition.

    Raises:
        ValueError: the keywords make no monitor.
    """
    theirs = partitions if isinstance(partitions, dg.PartitionsDefinition) else None
    if partitions and theirs is None:
        keywords["partitions"] = partitions
    block = spec_of(Monitor, spec, **keywords)
    owner = project_of(project, block, "monitors")
    own = None if rows is None else _OwnRows(block, rows, reference, labels)
    watcher = _Watcher(owner, block, own)
    asset = asset_spec(
        owner,
        block,
        block.name,
        group="monitor",
        deps=_deps(owner, block),
        kinds=["duckdb"],
        files=[kpi.sql.strip() for kpi in block.kpis if is_sql_file(kpi.sql)],
        description=block.description or f"Watches {block.deployment}.",
        partitions=theirs or partitions_definition(owner, block),
    )
    checks = [
        check_spec(owner, block.name, name, blocking=False, description=asked)
        for name, asked in check_names(block).items()
    ]
    return step_asset(owner, block, watcher.step, specs=[asset], checks=checks)


def _deps(project: Project, block: Monitor) -> list[dg.AssetKey | dg.AssetDep]:
    before = block.drift is not None and block.drift.reference == "previous"
    deps = [input_dep(project, block, block.deployment, history=before)]
    if block.labels and not block.labels.from_feedback:
        # labels are read wherever they are; those of a window's own time are what it waits for
        window = block.window if block.partitions else None
        deps.append(input_dep(project, block, block.labels.from_, window=window))
    return deps


class _OwnRows:
    """Rows that a team gives itself."""

    def __init__(
        self, block: Monitor, rows: Rows, reference: Rows | None, labels: Rows | None
    ) -> None:
        self.block = block
        self.rows, self.reference, self.labels = rows, reference, labels

    def watched(self, partition: str | None) -> WatchedRows:
        """The window of a partition."""
        from liminal_assets.steps.windows import given_rows

        given = (self.rows, self.reference, self.labels)
        found = (None if rows is None else rows(partition) for rows in given)
        return given_rows(partition, *found, monitor=self.block)


@dataclass(frozen=True)
class _Judged:
    """A window as Dagster is told of it."""

    seen: Observation
    judgement: Judgement
    metadata: Mapping[str, Any]
    data_version: str


class _Watcher:
    """The op of one monitor."""

    def __init__(self, project: Project, block: Monitor, own: _OwnRows | None) -> None:
        self.project, self.block, self.own = project, block, own
        self.key = asset_key(project, block.name)

    def step(self, context: dg.AssetExecutionContext) -> StepEvents:
        """Judges every window of a run."""
        from liminal_assets.steps.window_metrics import log_window, send_metrics

        keys = partition_keys(context)
        made = Materializations(context, several=len(keys) > 1)
        outcomes: dict[str, dict[str | None, Outcome]] = {}
        breaches: list[Judgement] = []
        for late in self._late(context, keys):
            self._tell(context, log_window, late.seen)
            breaches += [late.judgement] if late.judgement.breach else []
            for outcome in late.judgement.outcomes:
                outcomes.setdefault(outcome.name, {})[late.judgement.window.key] = outcome
            yield made.again(
                self.key, late.judgement.window.partition, late.metadata, late.data_version
            )
        for partition in keys:
            rows = self._rows(partition)
            if self._stays(context, rows):
                continue
            judged = self._judged(rows)
            judgement = judged.judgement
            self._tell(context, log_window, judged.seen)
            context.log.info(_sentence(judgement))
            for outcome in judgement.outcomes:
                outcomes.setdefault(outcome.name, {})[judgement.window.key or None] = outcome
            if judgement.breach:
                breaches.append(judgement)
            yield from made.add(self.key, partition, judged.metadata, judged.data_version)
        if not made.any:
            raise StepError(
                f"the prediction log no longer holds the rows of {', '.join(map(str, keys))}: what "
                "was found when it did stays",
                location=self.project.locate(self.block, "partitions"),
                hint="let the partitions start where the log does",
            )
        self._tell(context, send_metrics)
        yield from made.results(list(self._checks(context, outcomes)))
        if breaches and self.block.on_breach.fail:
            raise StepError(
                "; ".join(map(_sentence, breaches)),
                location=self.project.locate(self.block, "on_breach", "fail"),
                hint="the report of the window is in the asset's metadata",
            )

    def _tell(
        self, context: dg.AssetExecutionContext, others: Callable[..., object], *what: Any
    ) -> None:
        """Tells others of a window; who doesn't listen changes nothing of what was found."""
        try:
            others(self.project, self.block, *what)
        except StepError as error:
            context.log.warning(str(error))

    def _rows(self, partition: str | None) -> WatchedRows:
        from liminal_assets.steps.windows import watched_rows

        if self.own:
            return self.own.watched(partition)
        return watched_rows(self.project, self.block, partition)

    def _stays(self, context: dg.AssetExecutionContext, rows: WatchedRows) -> bool:
        """Whether a window was judged on rows that are gone, and stays as it was found."""
        from liminal_assets.steps.lost_rows import judged_before_loss

        past = None if self.own else judged_before_loss(self.project, self.block, rows)
        if past is not None:
            context.log.warning(
                f"{past.key} stays as it was judged: the prediction log no longer holds all of "
                f"its {past.rows:,} rows"
            )
        return past is not None

    def _late(
        self, context: dg.AssetExecutionContext, keys: Sequence[str | None]
    ) -> Iterator[_Judged]:
        """Earlier windows whose labels have changed, judged again."""
        from liminal_assets.steps.late import late_windows, rows_again

        for late in () if self.own else late_windows(self.project, self.block, keys):
            before, count = late.past.labelled, late.labels.count
            said = f"judged again with {count:,} labels; with {before:,} before"
            try:
                judged = self._judged(rows_again(self.project, self.block, late.past), said)
            except StepError as error:
                context.log.warning(f"{late.past.key} can't be judged again: {error}")
                continue
            context.log.info(f"{_sentence(judged.judgement)} ({said})")
            yield judged

    def _judged(self, rows: WatchedRows, again: str | None = None) -> _Judged:
        from liminal_assets.steps.history import history, record_window
        from liminal_assets.steps.monitor import watch
        from liminal_assets.steps.monitor_report import html_report, write_report

        project, block = self.project, self.block
        done = watch(project, block, rows)
        seen, judgement = done.observation, done.judgement
        record_window(project, block, seen, judgement)
        past = history(project, block, newest=_TREND_WINDOWS)
        report = write_report(
            project, block, judgement, html_report(project, block, seen, judgement, past)
        )
        if judgement.breach:
            _decide(project, judgement, report)
        described = _described(block, seen, judgement, past, report)
        metadata = metadata_of({"judged_again": again, **described})
        return _Judged(seen, judgement, metadata, _version(seen, judgement))

    def _checks(
        self,
        context: dg.AssetExecutionContext,
        outcomes: Mapping[str, Mapping[str | None, Outcome]],
    ) -> Iterator[dg.AssetCheckResult]:
        selected = {key.name for key in context.selected_asset_check_keys}
        for name, each in outcomes.items():
            if name in selected:
                window, outcome = merged(each)
                yield check_result(self.project, self.block.name, outcome, window)


def _sentence(judgement: Judgement) -> str:
    window = judgement.window.key or "all rows"
    if judgement.breach:
        return f"{window}: breach: {'; '.join(map(str, judgement.causes))}"
    return f"{window}: " + ("within bounds" if judgement.judged else "too few rows to judge")


def _decide(project: Project, judgement: Judgement, report: str) -> None:
    """Keeps a breach in the journal, once however often its window is judged."""
    from liminal_assets.steps.monitor_report import evidence_of
    from liminal_assets.storage.journal import Journal

    journal = Journal(project, judgement.monitor)
    version = judgement.model_version
    number = int(version) if version and version.isdigit() else None
    with journal.lock():
        if any(d.evidence.get("cause") == judgement.id for d in journal.decisions()):
            return
        journal.append(
            "breach",
            version=number,
            champion=number,
            reason="; ".join(map(str, judgement.causes)),
            actor=f"monitor {judgement.monitor}",
            evidence=evidence_of(judgement, report),
        )


def _version(seen: Observation, judgement: Judgement) -> str:
    """Equal measures of equal rows are the same data."""
    columns = seen.drift.compared if seen.drift else ()
    said = [
        judgement.as_dict(),
        [(c.column, c.distance) for c in columns],
        [seen.labelled, seen.score, dict(seen.kpis or {})],
    ]
    return hashlib.sha256(json.dumps(said, default=str).encode()).hexdigest()[:16]


def _described(
    block: Monitor,
    seen: Observation,
    judgement: Judgement,
    past: Sequence[Mapping[str, Any]],
    report: str,
) -> dict[str, Any]:
    """What people see of a window."""
    from liminal_assets.steps.window_table import window_table

    drift, window = seen.drift, judgement.window
    link = dg.MetadataValue.url(report) if "://" in report else dg.MetadataValue.path(report)
    described: dict[str, Any] = {
        "verdict": Markdown(_markdown(judgement)),
        "dagster/row_count": seen.rows,
        "window": window.key or "all rows",
        "since": window.since,
        "until": window.until,
        "model_version": seen.model_version,
        "rows_of_other_versions": seen.others or None,
        "sample_rate": seen.sample_rate,
        "answered_rows": round(seen.rows / seen.sample_rate) if seen.sample_rate else None,
        "reference": seen.reference or None,
        "report": link,
    }
    if drift and drift.compared:
        described["drifted_columns"] = len(drift.drifted)
        described["largest_distance"] = drift.compared[0].distance
        described["columns"] = Records(drift.records())
    if block.performance and seen.score is not None:
        described[block.performance.metric] = seen.score
        described["labelled_rows"] = seen.labelled
    if seen.unmatched:
        described["unmatched_labels"] = seen.unmatched.unknown
        described["labels_outside_of_the_sample"] = seen.unmatched.unsampled or None
    described |= {f"kpi_{name}": value for name, value in (seen.kpis or {}).items()}
    described["history"] = Records(window_table(past)[:_TABLE_WINDOWS])
    described |= _plots(block, seen, past)
    # for sensors: people read the rest
    return {**described, JUDGEMENT: dg.MetadataValue.json(judgement.as_dict())}


def _plots(block: Monitor, seen: Observation, past: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    from liminal_assets.steps.charts import bars, lines
    from liminal_assets.steps.trends import trends, worst_columns

    plots: dict[str, Any] = {}
    for place, column in enumerate(worst_columns(seen, _PLOTS), 1):
        if column.histograms:
            title = f"{column.column}: {column.distance:.3g} ({column.method})"
            plots[f"farthest_column_{place}"] = Svg(bars(column.histograms, title=title), title)
    for line in trends(block, seen, past):
        drawn = lines(line.series, line.windows, title=line.title, bounds=line.bounds)
        if drawn:
            plots[line.name] = Svg(drawn, line.title)
    return plots


def _markdown(judgement: Judgement) -> str:
    if judgement.breach:
        return "**breach**\n" + "\n".join(f"- {cause}" for cause in judgement.causes)
    return "within bounds" if judgement.judged else "too few rows to judge"
