"""Record: what a training leaves in MLflow: dataset inputs, params, metrics, the model, the report.

Free of Dagster. Everything is told to MLflow that it would otherwise find out slowly: the pinned
requirements, the signature, the code; so logging a model takes a fraction of a second.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liminal_assets.language.loading import Project
from liminal_assets.language.models import Model
from liminal_assets.steps.candidate import Candidate, answers_from
from liminal_assets.steps.evaluate import Evaluation
from liminal_assets.steps.integrity import integrity_sample
from liminal_assets.steps.packaging import (
    code_of,
    requirements_of,
    serialization_of,
    signature_of,
    typed_inputs,
)
from liminal_assets.steps.prepare import Roles
from liminal_assets.steps.report import Outcome, Plot
from liminal_assets.steps.train import Trained
from liminal_assets.storage.model_version import ModelVersion
from liminal_assets.storage.tracking import (
    import_mlflow,
    tracking_client,
    tracking_errors,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "LoggedModel",
    "candidate_of",
    "log_evaluation",
    "log_training",
]

_LONGEST_PARAM = 500
_TRAINING = "training"


@dataclass(frozen=True)
class LoggedModel:
    """A model's files in MLflow."""

    model_id: str
    source: str
    """The URI of the files."""


def log_training(
    project: Project, run_id: str, trained: Trained, tags: Mapping[str, str]
) -> LoggedModel:
    """Logs a trained model to an MLflow run that is active.

    Args:
        run_id: the active run.
        tags: lineage, added to the run.

    Raises:
        StepError: MLflow or its store fails.
    """
    from mlflow.entities import Metric, Param, RunTag

    client = tracking_client(project)
    now = int(time.time() * 1000)
    with tracking_errors(f"log {trained.model.model} to MLflow"), _calm():
        client.log_inputs(run_id, _inputs(project, trained))
        params = {name: _short(value) for name, value in _params(project, trained).items()}
        client.log_batch(
            run_id,
            params=[Param(name, value) for name, value in params.items()],
            tags=[RunTag(name, value) for name, value in tags.items()],
        )
        logged = _log_model(project, trained)
        metrics = [
            Metric(name, value, now, 0, model_id=logged.model_id)
            for name, value in trained.metrics.items()
        ]
        metrics += [
            Metric(f"folds/{name}", value, now, step)
            for name, values in trained.folds.items()
            for step, value in enumerate(values)
            if math.isfinite(value)
        ]
        client.log_batch(run_id, metrics=metrics)
        with tempfile.TemporaryDirectory(prefix="liminal-") as folder:
            _write_training(Path(folder), trained)
            client.log_artifacts(run_id, folder, _TRAINING)
    return logged


def log_evaluation(
    project: Project,
    version: ModelVersion,
    evaluation: Evaluation,
    outcomes: Sequence[Outcome],
) -> None:
    """Logs a report and what the gate said to the version's run.

    Raises:
        StepError: MLflow or its store fails.
    """
    from mlflow.entities import Metric

    client = tracking_client(project)
    now = int(time.time() * 1000)
    values = dict(evaluation.metrics)
    for name, error in evaluation.errors.items():
        values[f"errors/{name}"] = error
    for part in evaluation.slices:
        for name, value in part.metrics.items():
            values[f"slices/{_metric_word(part.column)}/{_metric_word(part.value)}/{name}"] = value
    with (
        tracking_errors(f"log the evaluation of {version.model} to MLflow"),
        tempfile.TemporaryDirectory(prefix="liminal-") as name,
    ):
        folder = Path(name)
        _write_evaluation(folder, evaluation, outcomes)
        client.log_artifacts(version.run_id, str(folder), "evaluation")
        metrics = [Metric(key, value, now, 0) for key, value in values.items() if _finite(value)]
        for start in range(0, len(metrics), 1000):
            client.log_batch(version.run_id, metrics=metrics[start : start + 1000])


def candidate_of(
    project: Project, model: Model, version: ModelVersion, pipeline: Any, reference: pd.DataFrame
) -> tuple[Candidate, tuple[pd.DataFrame, pd.DataFrame]]:
    """A registered version as the candidate that it was when it was trained, from its reference
    rows; and the rows with the answers that it must give again.

    Raises:
        StepError: the files of its training are missing.
    """
    import pandas as pd

    mlflow = import_mlflow()
    with tracking_errors(f"read the training of {model.model} version {version.version}"):
        folder = Path(
            mlflow.artifacts.download_artifacts(
                run_id=version.run_id,
                artifact_path=_TRAINING,
                tracking_uri=version.tracking_uri,
            )
        )
        said = json.loads((folder / "training.json").read_text())
        sample = pd.read_parquet(folder / "sample.parquet")
        expected = pd.read_parquet(folder / "answers.parquet")
    classes = tuple(said["classes"])
    candidate = Candidate(
        model=model,
        pipeline=pipeline,
        roles=Roles(**{name: tuple(columns) for name, columns in said["roles"].items()}),
        nullable=frozenset(said["nullable"]),
        task=said["task"],
        classes=classes,
        held_out=reference,
        answers=answers_from(reference, model.target, classes),
        folds=said["folds"],
    )
    return candidate, (sample, expected)


def _log_model(project: Project, trained: Trained) -> LoggedModel:
    from threadpoolctl import threadpool_limits

    mlflow = import_mlflow()
    client = tracking_client(project)
    serialization = serialization_of(trained.pipeline)
    with (
        code_of(project, trained.model) as code,
        _path_kept(),
        # MLflow asks the model about the example: one core is faster for a few rows
        threadpool_limits(1),
    ):
        info = mlflow.sklearn.log_model(
            trained.pipeline,
            name="model",
            signature=signature_of(trained),
            input_example=typed_inputs(trained, 3),
            pip_requirements=requirements_of(project, trained, serialization.library),
            code_paths=code or None,
            serialization_format=serialization.name,
            skops_trusted_types=serialization.trusted or None,
        )
    source = client.get_logged_model(info.model_id).artifact_location
    return LoggedModel(info.model_id, str(source).removeprefix("file://"))


def _inputs(project: Project, trained: Trained) -> Any:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    rows = trained.rows
    source = {"project": project.name, "asset": trained.model.features}
    if rows.partitions:
        source["partitions"] = f"{rows.partitions[0]}..{rows.partitions[-1]}"
    schema = [{"name": str(name), "type": str(kind)} for name, kind in rows.frame.dtypes.items()]
    dataset = Dataset(
        name=trained.model.features,
        digest=rows.version[:36],
        source_type="liminal",
        source=json.dumps(source),
        schema=json.dumps({"columns": schema}),
        profile=json.dumps({"num_rows": len(rows.frame), "rows_without_target": rows.left_out}),
    )
    return [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])]


def _params(project: Project, trained: Trained) -> dict[str, Any]:
    model = trained.model
    estimator = trained.pipeline[-1]
    inner = getattr(estimator, "estimator", estimator)
    own = inner.get_params(deep=False) if hasattr(inner, "get_params") else trained.params
    split = model.split
    return {
        "estimator": model.estimator or model.python,
        **own,
        **{name: value for name, value in trained.params.items() if name not in own},
        "prepare.numeric": _said(model.prepare.numeric),
        "prepare.categorical": _said(model.prepare.categorical),
        "split": f"{split.by}, {split.test:g} held out",
        "features": model.features,
        "target": model.target,
        "rows_learned_from": trained.learned_from,
        "rows_held_out": len(trained.held_out),
    }


def _said(spec: Any) -> str:
    values = spec.model_dump(mode="json")
    return ", ".join(f"{name}: {value}" for name, value in values.items() if value is not None)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST_PARAM else text[: _LONGEST_PARAM - 1] + "…"


def _write_training(folder: Path, trained: Trained) -> None:
    sample, answers = integrity_sample(trained.pipeline, trained.inputs)
    sample.to_parquet(folder / "sample.parquet")
    answers.to_parquet(folder / "answers.parquet")
    said = {
        "task": trained.task,
        "classes": list(trained.classes),
        "roles": asdict(trained.roles),
        "nullable": sorted(trained.nullable),
        "folds": dict(trained.folds),
        "params": {name: str(value) for name, value in trained.params.items()},
    }
    if trained.search:
        said["search"] = asdict(trained.search)
    (folder / "training.json").write_text(json.dumps(said, indent=1, default=str))


def _write_evaluation(folder: Path, evaluation: Evaluation, outcomes: Sequence[Outcome]) -> None:
    for name, plot in evaluation.plots.items():
        (folder / f"{name}.png").write_bytes(plot.png)
    tables: dict[str, Any] = {
        "metrics": list(evaluation.table().rows),
        "slices": list(evaluation.slice_table().rows),
        "importance": list(evaluation.importance),
        "validation": [
            {"rule": o.name, "passed": o.passed, "said": o.description} for o in outcomes
        ],
    }
    for outcome in outcomes:
        for name, value in outcome.metadata.items():
            if isinstance(value, Plot):
                (folder / f"{outcome.name}_{name}.png").write_bytes(value.png)
    for name, rows in tables.items():
        if rows:
            (folder / f"{name}.json").write_text(json.dumps(rows, indent=1, default=str))


def _metric_word(text: str) -> str:
    """A value as part of the name of a metric, for which MLflow allows few characters."""
    return "".join(c if c.isalnum() or c in "_-. " else "_" for c in text)[:60] or "_"


def _finite(value: float) -> bool:
    return math.isfinite(value)


@contextmanager
def _calm() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _path_kept() -> Iterator[None]:
    """MLflow puts a model's code on the path when it tries the model, and leaves it there."""
    before = list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = before
