"""The table at the end of a run: every asset of the project, its champions and endpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from liminal_assets.cli.output import duration, label_of, print_table, say
from liminal_assets.factories.common import task_key
from liminal_assets.language.models import Model

if TYPE_CHECKING:
    from liminal_assets.cli.execution import StepReport
    from liminal_assets.cli.session import Session

__all__ = [
    "Row",
    "as_document",
    "checks_in_words",
    "closing_rows",
    "print_closing",
    "result_in_words",
]

_ROWS = "dagster/row_count"
_SHOWN_METRICS = 3


class Row(dict[str, Any]):
    """One asset: ``asset``, ``phase``, ``state``, ``rows``, ``metrics``, ``checks_passed``,
    ``checks``, ``seconds``."""


def closing_rows(session: Session, reports: Sequence[StepReport]) -> list[Row]:
    """A row per asset, in the order of the graph; those that the run left as they were are
    ``kept``, with their last values."""
    made = {key: report for report in reports for key in report.keys}
    order = _order(session)
    records = {r.asset_entry.asset_key: r for r in session.instance.get_asset_records(order)}
    return [_row(session, key, made.get(key), records.get(key)) for key in order]


def _order(session: Session) -> list[dg.AssetKey]:
    """The assets in the order of the graph; of pipelines alone, one pipeline after the other."""
    order = [key for key in session.graph.toposorted_asset_keys if key in session.keys]
    workflow = session.project.workflow
    if workflow is None or session.project.blocks:
        return order
    tasks = [task for pipeline in workflow.pipelines.values() for task in pipeline.tasks]
    place = {task_key(session.project, task): number for number, task in enumerate(tasks)}
    return sorted(order, key=lambda key: place[key])


def _row(session: Session, key: dg.AssetKey, report: StepReport | None, record: Any) -> Row:
    entry = record.asset_entry.last_materialization if record else None
    last = entry.asset_materialization if entry else None
    materializations = report.materializations.get(key, []) if report else []
    state = report.status if report else ("kept" if last else "missing")
    left = not materializations and last is not None
    if last is not None and left:
        materializations = [last]
    checks = report.checks.get(key, []) if report else []
    results = [check.passed for check in checks] or [*session.latest_checks(key).values()]
    metadata = [made.metadata for made in materializations]
    rows = _row_counts(metadata)
    count = sum(rows) if rows else None
    if rows and left and session.graph.get(key).is_partitioned:
        count = _stored_rows(session, label_of(key))
    return Row(
        asset=label_of(key),
        phase=session.graph.get(key).group_name,
        state=state,
        rows=count,
        metrics=_metrics(metadata[-1]) if metadata and not rows else {},
        checks_passed=sum(results),
        checks=len(results),
        seconds=round(report.seconds, 3) if report and report.seconds else None,
    )


def _stored_rows(session: Session, asset: str) -> int | None:
    """The rows of all partitions of a table."""
    from liminal_assets.storage.tables import TableStore

    store = TableStore(session.project)
    return store.read(asset).rows if store.exists(asset) else None


def _row_counts(metadata: Sequence[Mapping[str, Any]]) -> list[int]:
    """The rows of each materialisation that tells them, such as one per partition."""
    return [int(found[_ROWS].value) for found in metadata if _ROWS in found]


def _metrics(metadata: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a materialisation that are the step's own."""
    return {
        name: value.value
        for name, value in metadata.items()
        if "/" not in name
        and name != "seconds"
        and isinstance(getattr(value, "value", None), int | float)
        and not isinstance(value.value, bool)
    }


def result_in_words(report: StepReport) -> str:
    """Rows or metrics of the main asset of a step."""
    for key in report.keys:
        if label_of(key) == report.name:
            metadata = [made.metadata for made in report.materializations.get(key, [])]
            rows = _row_counts(metadata)
            if rows:
                return _rows(sum(rows))
            return _metrics_in_words(_metrics(metadata[-1])) if metadata else ""
    return ""


def checks_in_words(report: StepReport) -> str:
    """How many of a step's checks passed."""
    checks = [check.passed for found in report.checks.values() for check in found]
    return f"{sum(checks)}/{len(checks)} checks" if checks else ""


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"


def _metrics_in_words(metrics: Mapping[str, float]) -> str:
    shown = list(metrics.items())[:_SHOWN_METRICS]
    return ", ".join(f"{name} {value:.4g}" for name, value in shown)


def as_document(
    session: Session, rows: Sequence[Row], reports: Sequence[StepReport], notes: Sequence[str]
) -> dict[str, Any]:
    """The closing table as JSON values."""
    return {
        "project": session.project.name,
        "assets": rows,
        "failures": [
            {"step": report.name, "message": report.failure.message, "run": report.run_id}
            for report in reports
            if report.failure
        ],
        "skipped": [report.name for report in reports if report.status == "skipped"],
        "champions": {
            model.name: None
            if champion is None
            else {"version": champion.version, "metrics": dict(champion.metrics)}
            for model, champion in champions(session)
        },
        "notes": list(notes),
        "runs": list(dict.fromkeys(report.run_id for report in reports)),
    }


def print_closing(session: Session, rows: Sequence[Row]) -> None:
    """The table, the champions, the endpoints' first predictions, and how to see more."""
    say()
    print_table(
        ["asset", "phase", "result", "checks", "seconds", "state"],
        [
            [
                row["asset"],
                row["phase"] or "",
                _rows(row["rows"])
                if row["rows"] is not None
                else _metrics_in_words(row["metrics"]),
                f"{row['checks_passed']}/{row['checks']}" if row["checks"] else "",
                duration(row["seconds"]) if row["seconds"] else "",
                row["state"],
            ]
            for row in rows
        ],
    )
    for line in champions_in_words(session):
        say(line, style="bold")
    for line in first_predictions_in_words(session):
        say(line)


def champions(session: Session) -> Iterator[tuple[Model, Any]]:
    """Each model of the project with its champion, or None."""
    if not session.project.spec.models:
        return
    from liminal_assets.storage.registry import ModelRegistry

    registry = ModelRegistry(session.project)
    for model in session.project.spec.models:
        yield model, registry.champion(model.name)


def champions_in_words(session: Session) -> Iterator[str]:
    """One line per model."""
    for model, champion in champions(session):
        if champion is None:
            yield f"{model.name}: no champion yet"
        else:
            metrics = _metrics_in_words(champion.metrics)
            yield f"{model.name}: champion is version {champion.version}" + (
                f" ({metrics})" if metrics else ""
            )


def first_predictions_in_words(session: Session) -> Iterator[str]:
    """One line per served deployment that has proven itself."""
    for deployment in session.project.spec.deployments:
        key = dg.AssetKey([session.project.name, deployment.name])
        if deployment.serve is None or key not in session.keys:
            continue
        last = session.instance.get_latest_materialization_event(key)
        made = last.asset_materialization if last else None
        if made is not None and "first_prediction" in made.metadata:
            first = _prediction_in_words(made.metadata["first_prediction"].value)
            yield f"{deployment.name}: first prediction {first}"


def _prediction_in_words(answer: Any) -> str:
    """``True, probability 0.3207``."""
    if not isinstance(answer, Mapping):
        return str(answer)
    rest = [
        f"{name} {value:.4g}"
        for name, value in answer.items()
        if name.startswith("probability") and isinstance(value, int | float)
    ]
    return ", ".join([str(answer.get("prediction")), *rest])
