"""The model that every side serves: a scaler and 100 boosted trees on 20 numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

__all__ = ["COLUMNS", "fitted", "learned", "row"]

COLUMNS = [f"c{number}" for number in range(20)]


def learned() -> pd.DataFrame:
    """The rows that it learns from."""
    return pd.DataFrame(np.random.default_rng(0).normal(size=(5000, 20)), columns=COLUMNS)


def fitted() -> Any:
    """The fitted pipeline."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = learned()
    noise = np.random.default_rng(1).normal(size=len(rows))
    model = HistGradientBoostingClassifier(max_iter=100, random_state=0)
    target = rows["c0"] + rows["c1"] * rows["c2"] + noise > 0
    return make_pipeline(StandardScaler(), model).fit(rows, target.astype(int))


def row() -> dict[str, float]:
    """The row that is asked."""
    first: dict[str, float] = learned().iloc[0].to_dict()
    return first
