"""``liminal trace``: where a prediction comes from."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from liminal_assets.cli.options import as_json, open_project, project_options
from liminal_assets.cli.output import print_json, print_table

if TYPE_CHECKING:
    from liminal_assets.serving.log.trace import Lineage, Traced

__all__ = ["command"]


@click.command("trace")
@project_options
@click.argument("prediction_id")
@as_json
def command(project: Path, env: str | None, prediction_id: str, as_json: bool) -> None:
    """Where the prediction PREDICTION_ID comes from: what was asked and answered, the model's
    version, its MLflow and Dagster runs, its data and code, and the label, if it came.

    The id is that of a request or of one of its rows, or the 'prediction_id' of batch scores.
    """
    opened = open_project(project, env)
    from liminal_assets.serving.log.trace import trace, why_unknown

    found = trace(opened, prediction_id)
    if not found:
        raise click.BadParameter(why_unknown(opened, prediction_id), param_hint="PREDICTION_ID")
    if as_json:
        said = [one.as_dict() for one in found]
        print_json(said[0] if len(said) == 1 else said)
        return
    for one in found:
        print_table(["", "", ""], list(_rows(one)), title=one.prediction_id)


def _rows(traced: Traced) -> Iterator[tuple[str, str, str]]:
    """Part, name and value of each fact; a part is named once."""
    for part, facts in _parts(traced):
        for name, value in facts.items():
            if value is not None:
                yield part, name, _said(value)
                part = ""


def _parts(traced: Traced) -> Iterator[tuple[str, dict[str, Any]]]:
    rate = traced.sample_rate
    yield (
        "prediction",
        {
            "deployment": traced.deployment,
            "partition": traced.partition,
            "requested": traced.requested_at,
            "scored": traced.scored_at,
            "log": "on its way to the log" if traced.waiting else None,
            "sample": f"{rate:.3g} of requests were logged" if rate and rate < 1 else None,
            **traced.about,
        },
    )
    inputs = {name: "null" if value is None else value for name, value in traced.inputs.items()}
    for name, how in traced.masked.items():
        kept = traced.inputs.get(name)
        inputs[name] = f"masked ({how})" + (f": {kept}" if kept is not None else "")
    if traced.sent is not None:
        stored = [name for name in traced.inputs if name not in traced.sent]
        inputs["(online store)"] = ", ".join(stored) or None
    yield "inputs", inputs
    yield "answer", dict(traced.answer)
    if traced.lineage:
        yield "model", _lineage(traced.lineage)
    label = traced.label
    if label is None:
        yield "label", {"truth": "none yet"}
        return
    before = ", ".join(_said(old.label) for old in traced.labels[:-1])
    yield (
        "label",
        {
            "truth": label.label,
            "from": label.source,
            "labelled": label.labelled_at,
            "arrived": label.received_at,
            "before": before or None,
        },
    )


def _lineage(lineage: Lineage) -> dict[str, Any]:
    from liminal_assets.factories.tracking import dagster_url

    run = lineage.dagster_run
    return {
        "version": f"{lineage.model} version {lineage.version}",
        "registered": lineage.registered_at,
        "digest": lineage.digest,
        "MLflow run": lineage.mlflow_run,
        "Dagster run": f"{run} ({dagster_url(run)})" if run else None,
        "data": lineage.features,
        "data version": lineage.data_version,
        "learned until": lineage.trained_until,
        "code version": lineage.code_version,
        "git commit": lineage.git_commit,
        "not known": lineage.problem,
    }


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, datetime) and value.tzinfo is not None:
        return f"{value.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC"
    return str(value)
