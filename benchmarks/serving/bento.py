"""BentoML's side, in an environment of its own: the booster as its documentation writes services.

Reads the folder from ``LIMINAL_BENCHMARK``; imports nothing of this package, which isn't there.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import bentoml
import joblib
import pandas as pd


@bentoml.service(workers=1)
class Booster:
    """Answers ``/predict``."""

    def __init__(self) -> None:
        self.pipeline = joblib.load(Path(os.environ["LIMINAL_BENCHMARK"]) / "booster.joblib")

    @bentoml.api
    def predict(self, row: dict[str, float]) -> dict[str, Any]:
        """One row."""
        (probability,) = self.pipeline.predict_proba(pd.DataFrame([row]))[:, 1].tolist()
        return {"prediction": int(probability > 0.5), "probability": probability}
