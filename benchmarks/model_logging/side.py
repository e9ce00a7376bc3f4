"""One side: logs and registers the same trained model, and says how long it took.

``told`` is this package: everything, the training's inputs, params and metrics included, with the
requirements given. ``inferred`` is ``mlflow.sklearn.log_model`` alone, which finds them out.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd

from liminal_assets.integrations.mlflow import DagsterRun, active_run
from liminal_assets.language.loading import Project
from liminal_assets.steps.record import log_training
from liminal_assets.steps.train import Trained, train
from liminal_assets.storage.registry import ModelRegistry
from liminal_assets.storage.tracking import (
    artifact_root,
    import_mlflow,
    tracking_client,
    tracking_uri,
)

ROWS, COLUMNS, REPEATS = 20_000, 20, 3


def trained_model(project: Project) -> Trained:
    """A booster of 100 iterations on 20 columns, four of them text."""
    random = np.random.default_rng(0)
    rows = pd.DataFrame(
        random.normal(size=(ROWS, COLUMNS - 4)), columns=[f"x{i}" for i in range(COLUMNS - 4)]
    )
    for name in ("a", "b", "c", "d"):
        rows[name] = random.choice(list("stuvwxyz"), ROWS)
    rows["late"] = rows["x0"] + rows["x1"] + random.normal(size=ROWS) > 0
    return train(
        rows,
        project=project,
        target="late",
        estimator="sklearn.ensemble.HistGradientBoostingClassifier",
        params={"max_iter": 100},
        prepare={"categorical": {"encode": "ordinal"}},
    )


def told(project: Project, trained: Trained) -> None:
    """What a training step does after fitting."""
    silent = SimpleNamespace(debug=lambda text: None)
    dagster = DagsterRun(f"run-{time.time_ns()}", "", silent, lambda run_id: True)
    with active_run(project, "model", dagster) as run:
        started = clocks()
        logged = log_training(project, run.run_id, trained, {"liminal.project": project.name})
        registry = ModelRegistry(project)
        version = registry.register(
            "model", logged.source, run_id=run.run_id, tags={}, model_id=logged.model_id
        )
        registry.challenge(version)
        times.append([now - then for now, then in zip(clocks(), started, strict=True)])


def inferred(project: Project, trained: Trained) -> None:
    """``log_model`` as its documentation shows it."""
    mlflow = import_mlflow()
    mlflow.set_tracking_uri(tracking_uri(project))
    if mlflow.get_experiment_by_name("inferred") is None:
        mlflow.create_experiment("inferred", artifact_root(project))
    mlflow.set_experiment("inferred")
    example = trained.inputs.head(3)
    with mlflow.start_run(), contextlib.redirect_stderr(io.StringIO()):
        started = clocks()
        mlflow.sklearn.log_model(
            trained.pipeline,
            name="model",
            signature=mlflow.models.infer_signature(trained.inputs.head(1000)),
            input_example=example,
            registered_model_name="inferred",
            serialization_format="cloudpickle",
        )
        times.append([now - then for now, then in zip(clocks(), started, strict=True)])


times: list[list[float]] = []


def clocks() -> tuple[float, float]:
    """Seconds on the wall, and seconds of computing, those of subprocesses included."""
    spent = os.times()
    return time.perf_counter(), sum(spent[:4])


def main(side: str) -> None:
    """Logs a few times; the first pays for imports."""
    warnings.simplefilter("ignore")
    folder = Path(tempfile.mkdtemp(prefix="liminal-benchmark-"))
    try:
        project = Project.of("benchmark", folder, check=False)
        trained = trained_model(project)
        tracking_client(project)
        for _ in range(REPEATS):
            {"told": told, "inferred": inferred}[side](project, trained)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    later = min(times[1:])
    names = ("first", "first_cpu", "later", "later_cpu")
    print(json.dumps(dict(zip(names, (*times[0], *later), strict=True))))


if __name__ == "__main__":
    main(sys.argv[1])
