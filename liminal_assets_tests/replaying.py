"""A project with a past: what an order's price says of its return turns round, and back again."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pandas as pd

from liminal_assets.language.loading import Project, load_project
from liminal_assets.language.partitions import moments_of
from liminal_assets.storage.tables import TableStore

__all__ = ["MONTHS", "WATCH", "ends_of", "project_in", "write_world"]

MONTHS = tuple(f"2024-{month:02d}" for month in range(1, 10))
TURNED = ("2024-04", "2024-05", "2024-08")
"""Months in which cheap orders come back, and not dear ones."""
SHIFTED = ("2024-06", "2024-07")
"""Months in which everything is dearer."""
ROWS = 300

YAML = """
name: shop
datasets:
  - dataset: orders
    fetch: {{file: orders.parquet}}
    timestamp: ordered_at
    partitions: {{every: month, start: '2024-01-01', end: '2025-01-01', timezone: Europe/Rome}}
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
    prepare: {{numeric: {{scale: standard}}}}
    split: {{by: time, test: 0.3}}
    window: 90d
    evaluate: {{metrics: [roc_auc]}}
    validate:
      - {{metric: roc_auc, beats_champion_by: 0.0}}
deployments:
  - {{deployment: returned_scores, model: returned, batch: {{from: order_features}}}}
  - {{deployment: returned_api, model: returned, serve: {{port: 0}}}}
monitors:
{monitors}
"""
WATCH = """
  - monitor: returned_watch
    deployment: returned_scores
    min_rows: 50
    drift: {method: psi, threshold: 0.4}
    performance:
      metric: roc_auc
      at_least: 0.6
      labels: {from: outcomes, key: order_id, column: returned, known_at: known_at}
    retrain: {model: returned}
"""


def project_in(folder: Path, monitors: str = WATCH) -> Project:
    """The project in a folder, with some monitors."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "liminal.yml").write_text(YAML.format(monitors=monitors))
    return load_project(folder)


def month_of(key: str) -> pd.DataFrame:
    """The orders of a month with what became of them, and when that was known."""
    random = np.random.default_rng(MONTHS.index(key))
    price = random.normal(140 if key in SHIFTED else 100, 20, ROWS)
    sign = -1 if key in TURNED else 1
    logit = sign * (price - price.mean()) / 12
    first = datetime.fromisoformat(f"{key}-02")
    ordered = pd.to_datetime([first + timedelta(hours=2 * n) for n in range(ROWS)])
    return pd.DataFrame(
        {
            "order_id": [f"{key}-{n}" for n in range(ROWS)],
            "ordered_at": ordered.astype("datetime64[us]"),
            "price": price,
            "region": random.choice(["north", "south"], ROWS),
            "returned": random.random(ROWS) < 1 / (1 + np.exp(-logit)),
            "known_at": (ordered + timedelta(days=10)).astype("datetime64[us]"),
        }
    )


def ends_of(project: Project) -> dict[str, datetime]:
    """When each month ends."""
    cut = project.partitions["order_features"]
    assert cut is not None
    return {key: moments_of(cut, key)[1] for key in MONTHS}


def write_world(project: Project, until: str = MONTHS[-1], *, hindsight: bool = True) -> None:
    """The rows of the months up to one, and the truth about them.

    Args:
        hindsight: with the truth that is known long after; else that of the moment when the last
            of these months ends.
    """
    store, moment = TableStore(project), ends_of(project)[until]
    now = moment.astimezone(timezone.utc).replace(tzinfo=None)
    truths = []
    for key in MONTHS[: MONTHS.index(until) + 1]:
        frame = month_of(key)
        known = frame["known_at"] <= now
        known |= hindsight
        truths.append(frame.loc[known, ["order_id", "returned", "known_at"]])
        seen = frame.assign(returned=frame["returned"].astype(object).where(known, None))
        store.write(
            "order_features", key, seen.drop(columns="known_at").astype({"returned": "boolean"})
        )
    store.write("outcomes", None, pd.concat(truths))
