"""The models that every side serves: a scaler, then 100 boosted trees or a logistic regression, on
20 numbers; and the files that the sides serve them from."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["COLUMNS", "MODELS", "fitted", "learned", "prepare", "row"]

COLUMNS = [f"c{number}" for number in range(20)]
MODELS = ("booster", "linear")


def learned() -> pd.DataFrame:
    """The rows that they learn from."""
    return pd.DataFrame(np.random.default_rng(0).normal(size=(5000, 20)), columns=COLUMNS)


def fitted(model: str = "booster") -> Any:
    """The fitted pipeline."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = learned()
    noise = np.random.default_rng(1).normal(size=len(rows))
    target = rows["c0"] + rows["c1"] * rows["c2"] + noise > 0
    estimators = {
        "booster": HistGradientBoostingClassifier(max_iter=100, random_state=0),
        "linear": LogisticRegression(),
    }
    return make_pipeline(StandardScaler(), estimators[model]).fit(rows, target.astype(int))


def row() -> dict[str, float]:
    """The row that is asked."""
    first: dict[str, float] = learned().iloc[0].to_dict()
    return first


def prepare(folder: Path) -> None:
    """Writes each pipeline as our release, as MLflow's model and with joblib."""
    import joblib
    import mlflow

    from liminal_assets.serving.model import PipelinePredictor
    from liminal_assets.serving.releases.release import Release, write_release
    from liminal_assets.steps.compile import compile_pipeline
    from liminal_assets.steps.compile.certificate import certify
    from liminal_assets.steps.signature import Signature

    signature = Signature.of(learned())
    for model in MODELS:
        pipeline = fitted(model)
        joblib.dump(pipeline, folder / f"{model}.joblib")
        mlflow.sklearn.save_model(
            pipeline,
            str(folder / f"{model}-mlflow"),
            pip_requirements=["scikit-learn"],
            serialization_format="cloudpickle",
            signature=mlflow.models.infer_signature(learned()),
        )
        description = compile_pipeline(pipeline, signature)
        release = Release(
            name=model,
            version="1",
            signature=signature,
            form=description.form,
            example=row(),
            settings={"compiled": description.said},
        )
        written = write_release(folder / f"{model}-releases", release, description.write)
        _prove(written.folder, description.form, PipelinePredictor(pipeline, signature), certify)
        (folder / f"{model}-release").symlink_to(written.folder)


def _prove(folder: Path, name: str, pipeline: Any, certify: Any) -> None:
    """The form that is measured answers as the pipeline does."""
    from liminal_assets.serving.forms import load_form
    from liminal_assets.serving.releases.release import read_release

    release = read_release(folder)
    rows = learned().head(100).to_dict("records")
    proof = certify(name, load_form(release), pipeline, release.signature, rows)
    print(asdict(proof))
