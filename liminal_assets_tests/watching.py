"""A small project whose scores, training rows and labels are written as its steps would."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from liminal_assets.language.loading import Project, load_project
from liminal_assets.storage.tables import TableStore

YAML = """
name: shop
datasets:
  - dataset: orders
    fetch: {{file: orders.parquet}}
    timestamp: ordered_at
    partitions: {{every: month, start: '2024-01-01', end: '2025-01-01'}}
  - dataset: outcomes
    fetch: {{file: outcomes.parquet}}
features:
  - feature: order_features
    from: orders
    entity: order_id
    timestamp: ordered_at
models:
  - model: returned
    features: order_features
    target: returned
    columns: {{categorical: [region]}}
    estimator: sklearn.linear_model.LogisticRegression
deployments:
  - {{deployment: returned_scores, model: returned, batch: {{from: order_features}}}}
  - {{deployment: returned_api, model: returned, serve: {{port: 0}}}}
monitors:
{monitors}
{more}
"""
WATCH = """
  - monitor: returned_watch
    deployment: returned_scores
    min_rows: 50
    drift: {method: psi, threshold: 0.25}
    performance:
      metric: roc_auc
      at_least: 0.6
      labels: {from: outcomes, key: order_id, column: returned}
    kpis:
      - kpi: returned_share
        sql: SELECT avg(prediction::INT) FROM predictions
        between: [0.1, 0.9]
    on_breach: {retrain: returned, alert: ops}
"""
ALERTS = """
alerts:
  - {alert: ops, webhook: 'http://127.0.0.1:9/secret-path'}
"""


def project_in(folder: Path, monitors: str = WATCH, more: str = ALERTS) -> Project:
    """The project in a folder, with some monitors."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "liminal.yml").write_text(YAML.format(monitors=monitors, more=more))
    return load_project(folder)


def rows(count: int = 400, *, seed: int = 0, shift: float = 0.0, start: int = 0) -> pd.DataFrame:
    """Orders with the model's answers; ``shift`` moves their price by so many deviations."""
    random = np.random.default_rng(seed)
    price = random.normal(100 + 20 * shift, 20, count)
    probability = 1 / (1 + np.exp(-random.normal(0, 1, count)))
    return pd.DataFrame(
        {
            "order_id": np.arange(start, start + count),
            "ordered_at": datetime(2024, 1, 1),
            "price": price,
            "region": random.choice(["north", "south"], count),
            "prediction": probability > 0.5,
            "probability": probability,
        }
    )


def write_reference(project: Project, version: int = 1, *, seed: int = 100) -> None:
    """The training rows of a version."""
    frame = rows(1000, seed=seed).assign(returned=lambda f: f["prediction"])
    TableStore(project).write("returned__reference", str(version), frame)


def write_scores(
    project: Project, partition: str, version: int = 1, **options: Any
) -> pd.DataFrame:
    """The batch scores of a partition."""
    moment = datetime.now(timezone.utc)
    frame = rows(**options).assign(model_version=str(version), scored_at=moment)
    TableStore(project).write("returned_scores", partition, frame)
    return frame


def write_labels(project: Project, scores: pd.DataFrame, *, right: float = 1.0) -> None:
    """The truth of some scores; the answers are right in a share of them."""
    random = np.random.default_rng(7)
    wrong = random.random(len(scores)) >= right
    truth = scores["prediction"].to_numpy() ^ wrong
    frame = pd.DataFrame({"order_id": scores["order_id"], "returned": truth})
    TableStore(project).write("outcomes", None, frame)


def served(
    count: int, *, until: datetime, days: float, version: int, **options: Any
) -> pd.DataFrame:
    """Rows as a server logs them, spread evenly over the days before a moment."""
    step = timedelta(days=days) / max(count, 1)
    moments = pd.to_datetime([until - step * (count - index) for index in range(count)])
    moments = moments.astype("datetime64[us, UTC]")
    return rows(count, **options).assign(
        model_version=str(version),
        scored_at=moments,
        requested_at=moments,
        prediction_id=[f"{version}-{options.get('seed', 0)}-{index}" for index in range(count)],
    )
