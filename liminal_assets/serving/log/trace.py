"""From a prediction's id to what it was asked, who answered, and what that was made of.

>>> (found,) = trace(project, "01a20fa76bc6e154f164075511f7aeb5")
>>> found.inputs, found.answer, found.lineage.mlflow_run, found.label
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from liminal_assets.errors import StepError
from liminal_assets.language.deployments import Deployment
from liminal_assets.language.loading import Project
from liminal_assets.language.models import Model
from liminal_assets.serving.log.logged import prediction_rows
from liminal_assets.serving.log.segment_files import segments_of
from liminal_assets.serving.log.segments import read_segment
from liminal_assets.serving.releases.folders import ServingFolders
from liminal_assets.steps.identity import identifying_columns
from liminal_assets.steps.labels import label_value
from liminal_assets.steps.observation import OUR_COLUMNS, is_answer
from liminal_assets.storage.feedback import REQUESTED, history_of
from liminal_assets.storage.ids import is_id, moment_of, of_request, request_of, sampled
from liminal_assets.storage.predictions import PredictionLog
from liminal_assets.storage.tables import Table, TableStore

__all__ = ["Label", "Lineage", "Traced", "trace", "why_unknown"]

_MOST_ROWS = 100
"""Rows of one request, or of one scoring, that are shown."""
_DIGEST = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Lineage:
    """What a model version was made of.

    Attributes:
        model: the registered model, ``<project>.<model>``.
        mlflow_run: the run that trained it.
        dagster_run: the run that asked for that.
        registered_at: when it was registered.
        digest: SHA-256 over its files.
        features: the feature or dataset that it learned from.
        data_version: that of the rows.
        trained_until: the last partition of them.
        code_version: that of its block, its functions and the modules that they import.
        git_commit: that of the project, where it is in a repository.
    """

    model: str
    version: str
    mlflow_run: str | None = None
    dagster_run: str | None = None
    registered_at: datetime | None = None
    digest: str | None = None
    features: str | None = None
    data_version: str | None = None
    trained_until: str | None = None
    code_version: str | None = None
    git_commit: str | None = None
    problem: str | None = None
    """Why the rest isn't known."""


@dataclass(frozen=True)
class Label:
    """The truth, as somebody said it.

    Attributes:
        source: ``feedback``, or the dataset.
        labelled_at: when it was known.
        received_at: when it arrived.
    """

    label: Any
    source: str
    labelled_at: datetime | None = None
    received_at: datetime | None = None


@dataclass(frozen=True)
class Traced:
    """One prediction.

    Attributes:
        kind: ``served`` or ``batch``.
        waiting: whether it is in the server's spool still, on its way to the log.
        partition: that of batch scores.
        sample_rate: the share of requests that the log held when it was made.
        about: entity and timestamp.
        inputs: the values that the model was asked, as far as the log holds them.
        sent: which of them the request itself held, where others came from the online store.
        masked: the columns that aren't held as they were, and how they were masked.
        answer: the columns of the answer.
        labels: every label that it had, the one that counts last.
    """

    prediction_id: str
    deployment: str
    kind: str
    model_version: str | None
    scored_at: datetime | None
    requested_at: datetime | None = None
    waiting: bool = False
    partition: str | None = None
    sample_rate: float | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)
    sent: tuple[str, ...] | None = None
    masked: Mapping[str, str] = field(default_factory=dict)
    answer: Mapping[str, Any] = field(default_factory=dict)
    lineage: Lineage | None = None
    labels: tuple[Label, ...] = ()

    @property
    def label(self) -> Label | None:
        """The one that counts."""
        return self.labels[-1] if self.labels else None

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "label": asdict(self.label) if self.label else None}


def trace(project: Project, own: str) -> list[Traced]:
    """What is known of a prediction, or of each row of a request (the first 100).

    It is looked for in the prediction logs of all servers, in what is on its way to them from this
    machine, and in all batch scores.

    Args:
        own: the id of a request, or of one of its rows.

    Returns:
        None at all if the id is unknown; :func:`why_unknown` says why.

    Raises:
        StepError: a log can't be read.
    """
    for deployment in project.spec.deployments:
        served = deployment.serve is not None
        for rows, place in (_served if served else _scores)(project, deployment, own):
            if rows.rows:
                return _traced(project, deployment, rows, place)
    return []


def why_unknown(project: Project, own: str) -> str:
    """Why an id is in none of the logs, in words."""
    told = f"no prediction {own!r} is in the logs of {project.name}"
    if not is_id(own):
        return f"{told}: an id has 32 hexadecimal digits, and '-<row>' for a row of several"
    request = request_of(own)
    for deployment in project.spec.deployments:
        if deployment.serve is None:
            continue
        rate = PredictionLog(project, deployment.name).sample
        if rate < 1 and not sampled(request, rate):
            return (
                f"{told}: {deployment.name} logs {rate:.3g} of its requests, and by its id this "
                "isn't one of them"
            )
    try:
        made = f"{moment_of(own):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError):
        return f"{told}: no moment has this id"
    return f"{told}; by its id it was made at {made}"


def _served(
    project: Project, deployment: Deployment, own: str
) -> Iterator[tuple[Table, dict[str, Any]]]:
    yield PredictionLog(project, deployment.name).find(own), {}
    for rows in _spooled(ServingFolders.of(project.state, deployment.name), own):
        yield rows, {"waiting": True}
    # it was merged in the meantime
    yield PredictionLog(project, deployment.name).find(own), {}


def _spooled(folders: ServingFolders, own: str) -> Iterator[Table]:
    """Rows that wait on this machine."""
    request = request_of(own)
    for path in reversed(segments_of(folders.spool)):
        try:
            found = [(lay, one) for lay, one in read_segment(path).requests if one.id == request]
        except OSError:
            # merged and removed
            continue
        for table in prediction_rows(found)[0]:
            rows = Table("spool", value=table).relation().filter(of_request(own))
            yield Table.from_rows(rows, "spool")


def _scores(
    project: Project, deployment: Deployment, own: str
) -> Iterator[tuple[Table, dict[str, Any]]]:
    store, name = TableStore(project), deployment.name
    if not store.exists(name):
        return
    for partition in reversed(store.partitions(name)) or [None]:
        table = store.read(name, [partition] if partition else None)
        if "prediction_id" in table.schema.names:
            found = table.relation().filter(of_request(own)).limit(_MOST_ROWS)
            yield Table.from_rows(found, name), {"partition": partition}


def _traced(
    project: Project, deployment: Deployment, rows: Table, place: Mapping[str, Any]
) -> list[Traced]:
    model = project.blocks.get(deployment.model)
    source = project.blocks.get(model.features) if isinstance(model, Model) else None
    about = identifying_columns(source)
    labels = _labels(project, deployment, rows)
    lineages: dict[str, Lineage] = {}
    traced = []
    for row in rows.to("arrow").slice(0, _MOST_ROWS).to_pylist():
        version = row.get("model_version")
        if version and version not in lineages:
            lineages[version] = _lineage(project, deployment.model, version)
        own = row["prediction_id"]
        found = _of_row(deployment, row, about)
        typed = [
            replace(label, label=label_value(str(label.label), row.get("prediction")))
            for label in labels.get(own, ())
        ]
        lineage = lineages.get(version or "")
        traced.append(replace(found, **place, lineage=lineage, labels=tuple(typed)))
    return traced


def _of_row(deployment: Deployment, row: Mapping[str, Any], about: Sequence[str]) -> Traced:
    serve = deployment.serve
    said = serve.log_predictions.mask if serve and serve.log_predictions else {}
    mask = {name: how if isinstance(how, str) else "hash" for name, how in said.items()}
    values = {name: _shown(value, mask.get(name)) for name, value in row.items()}
    values |= {name: None for name in mask if name not in values}
    inputs = {
        name: value
        for name, value in values.items()
        if name not in OUR_COLUMNS and name not in about and not is_answer(name)
    }
    return Traced(
        row["prediction_id"],
        deployment.name,
        "served" if serve else "batch",
        row.get("model_version"),
        row.get("scored_at"),
        row.get("requested_at"),
        sample_rate=row.get("sample_rate"),
        about={name: values[name] for name in about if name in values},
        inputs=inputs,
        sent=tuple(row["sent"].split(",")) if row.get("sent") is not None else None,
        masked=mask,
        answer={name: value for name, value in row.items() if is_answer(name)},
    )


def _shown(value: Any, how: str | None) -> Any:
    """A value as the log may hold it today, even if it was written before it was to be masked."""
    if how is None:
        return value
    return value if how == "hash" and _DIGEST.fullmatch(str(value)) else None


def _lineage(project: Project, model: str, version: str) -> Lineage:
    from liminal_assets.storage.registry import ModelRegistry
    from liminal_assets.storage.tracking import tracking_client, tracking_errors, tracking_exists

    registry = ModelRegistry(project)
    known = Lineage(registry.registered_name(model), version)
    block = project.blocks.get(model)
    if not tracking_exists(project):
        return replace(known, problem="MLflow's store isn't there")
    try:
        found = registry.version(model, version)
    except StepError as error:
        return replace(known, problem=error.message)
    tags = found.tags
    known = replace(
        known,
        mlflow_run=found.run_id or None,
        dagster_run=tags.get("liminal.dagster_run"),
        registered_at=found.created_at,
        digest=found.digest,
        features=block.features if isinstance(block, Model) else None,
        data_version=tags.get("liminal.data_version"),
        trained_until=tags.get("liminal.trained_until") or None,
        code_version=tags.get("liminal.code_version"),
    )
    if not found.run_id:
        return known
    try:
        with tracking_errors(f"read run {found.run_id}"):
            run = tracking_client(project).get_run(found.run_id)
    except StepError as error:
        return replace(known, problem=error.message)
    return replace(known, git_commit=run.data.tags.get("mlflow.source.git.commit"))


def _labels(project: Project, deployment: Deployment, rows: Table) -> dict[str, list[Label]]:
    """The labels of each row: what was sent, else what a monitor's dataset says."""
    log = PredictionLog(project, deployment.name)
    moment = REQUESTED if deployment.serve else "scored_at"
    found: dict[str, list[Label]] = {}
    for label in history_of(rows, log.feedback().read(), moment).to("arrow").to_pylist():
        said = Label(label["label"], "feedback", label["labelled_at"], label["received_at"])
        found.setdefault(label["prediction_id"], []).append(said)
    for monitor in project.spec.monitors:
        labels = monitor.labels
        if labels and not labels.from_feedback and monitor.deployment == deployment.name:
            for own, truth in _of_dataset(project, labels, rows):
                found.setdefault(own, [Label(truth, labels.from_)])
    return found


def _of_dataset(project: Project, labels: Any, rows: Table) -> Iterator[tuple[str, Any]]:
    from liminal_assets.steps.performance import truth_of

    store = TableStore(project)
    if store.exists(labels.from_) and set(labels.key) <= set(rows.schema.names):
        yield from truth_of(labels, rows, store.read(labels.from_))
