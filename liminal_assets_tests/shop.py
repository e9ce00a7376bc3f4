"""A small project with every phase, for tests of the whole: which sales will be returned?

Four months of sales. In the last two, amounts are four times as high: drift that is real.
"""

from __future__ import annotations

import csv
import math
import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from liminal_assets_tests.commands import Done

__all__ = ["LEARN", "MONTHS", "ROWS", "Learned", "write_shop"]

MONTHS = ("2024-01", "2024-02", "2024-03", "2024-04")
ROWS = 400
"""Sales a month; of each month one row is a duplicate and one has an impossible amount."""

LEARN = ("--partition-range", "2024-01..2024-02")
"""The months that the first run learns from."""

YAML = """\
name: shop
description: Which sales will be returned?
owner: team:shops
connections:
  - {connection: warehouse, url: duckdb://warehouse.duckdb}
datasets:
  - dataset: sales_raw
    description: Every sale, a file a month.
    fetch: {file: 'sales/{{ partition_key }}.csv'}
    partitions: {every: month, start: '2024-01-01', end: '2024-05-01'}
    checks:
      - expect_table_row_count_to_be_between: {min_value: 100}
      - expect_column_values_to_not_be_null: {column: id}
  - dataset: sales
    description: Sales, each once and with amounts that can be.
    clean: {from: sales_raw, steps: [drop_duplicates: {}]}
    timestamp: sold_at
    quarantine: true
    columns:
      id: {type: integer, unique: true}
      sold_at: timestamp
      amount: {type: float, at_least: 0}
      channel: {type: category, one_of: [web, shop, phone]}
      returned: boolean
    checks:
      - expect_column_values_to_not_be_null: {column: store}
      - expect_column_values_to_be_between:
          {column: items, min_value: 1, max_value: 9, severity: warning}
  - dataset: stores
    fetch: {file: stores.csv}
features:
  - feature: sale_features
    description: What is known of a sale when it is made.
    from: {sales: {}, stores: {on: store}}
    entity: id
    timestamp: sold_at
    python: selling:build
models:
  - model: returned
    description: The probability that a sale is returned.
    features: sale_features
    target: returned
    columns: {numeric: [amount, items, staff], categorical: [channel]}
    estimator: sklearn.linear_model.LogisticRegression
    prepare: {numeric: {scale: standard}, categorical: {encode: one_hot}}
    split: {by: time, test: 0.25}
    evaluate: {metrics: [roc_auc, f1, brier], slices: channel, explain: permutation}
    validate:
      - {metric: roc_auc, at_least: 0.6}
      - {metric: roc_auc, beats_champion_by: 0.0}
      - {integrity: true}
deployments:
  - deployment: returned_api
    model: returned
    serve: {port: 0}
  - deployment: returned_scores
    model: returned
    batch: {from: sale_features, to: {connection: warehouse, table: scores}}
monitors:
  - monitor: returned_watch
    deployment: returned_scores
    min_rows: 50
    drift: {method: psi, threshold: 0.25}
    performance: {metric: roc_auc, at_least: 0.5, labels: {from: sales, key: id, column: returned}}
    kpis: [{kpi: expected_returns, sql: SELECT avg(probability) FROM predictions, between: [0, 1]}]
    on_breach: {retrain: returned, cooldown: 1d}
schedules:
  - {schedule: nightly, cron: '0 2 * * *', refresh: [returned_api, returned_watch]}
"""

CODE = '''\
"""The shop's own code."""

import pandas as pd


def build(sales: pd.DataFrame) -> pd.DataFrame:
    """What the model sees of a sale."""
    return sales[["id", "sold_at", "amount", "items", "channel", "staff", "returned"]]
'''


@dataclass(frozen=True)
class Learned:
    """The project after its first run."""

    folder: Path
    done: Done
    """What the run left."""


def write_shop(folder: Path) -> Path:
    """Writes the project and its files; the same bytes each time."""
    (folder / "sales").mkdir(parents=True, exist_ok=True)
    (folder / "liminal.yml").write_text(YAML)
    (folder / "selling.py").write_text(CODE)
    (folder / "stores.csv").write_text(
        "store,staff\n" + "".join(f"{n},{n + 2}\n" for n in range(5))
    )
    for number, month in enumerate(MONTHS):
        _write_month(folder / "sales" / f"{month}.csv", month, number)
    return folder


def _write_month(file: Path, month: str, number: int) -> None:
    chance = random.Random(number)
    start = datetime.fromisoformat(f"{month}-01")
    rows = []
    for i in range(ROWS):
        amount = round(chance.lognormvariate(3 if number < 2 else 4.4, 0.6), 2)
        items, channel = chance.randint(1, 6), chance.choice(["web", "web", "shop", "phone"])
        logit = -1.5 + 0.5 * items + (1.2 if channel == "web" else 0) - 0.3 * math.log(amount)
        returned = chance.random() < 1 / (1 + math.exp(-logit))
        sold_at = start + timedelta(minutes=i * 28 * 24 * 60 // ROWS)
        rows.append([number * ROWS + i, sold_at, amount, items, channel, i % 5, returned])
    rows.append(rows[7])
    rows[11] = [*rows[11][:2], -1.0, *rows[11][3:]]
    with file.open("w", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(["id", "sold_at", "amount", "items", "channel", "store", "returned"])
        writer.writerows(rows)
