"""The work of both sides: a small project from a CSV file to a drift report."""

from __future__ import annotations

from pathlib import Path

__all__ = ["CATEGORICAL", "EXPECTATIONS", "MONTHS", "NUMERIC", "YAML", "write_project"]

MONTHS = 4
ROWS = 20_000
"""Rows a month."""
NUMERIC = ("amount", "items", "age", "visits")
CATEGORICAL = ("channel", "region")
EXPECTATIONS = (
    ("expect_column_values_to_not_be_null", {"column": "client"}),
    ("expect_column_values_to_be_between", {"column": "amount", "min_value": 0}),
    ("expect_column_values_to_be_between", {"column": "items", "min_value": 1, "max_value": 9}),
    (
        "expect_column_values_to_be_in_set",
        {"column": "channel", "value_set": ["web", "shop", "phone"]},
    ),
)

YAML = f"""\
name: shop
owner: team:shops
datasets:
  - dataset: sales_raw
    fetch: {{file: sales.csv}}
  - dataset: sales
    clean: {{from: sales_raw, sql: SELECT DISTINCT * FROM sales_raw}}
    columns: {{id: integer, sold_at: timestamp, amount: float, returned: boolean}}
    checks:
{"".join(f"      - {name}: {arguments}" + chr(10) for name, arguments in EXPECTATIONS)}\
features:
  - feature: sale_features
    from: sales
    entity: id
    timestamp: sold_at
    sql: SELECT id, sold_at, {", ".join(NUMERIC)}, {", ".join(CATEGORICAL)}, returned FROM sales
models:
  - model: returned
    features: sale_features
    target: returned
    columns: {{numeric: [{", ".join(NUMERIC)}], categorical: [{", ".join(CATEGORICAL)}]}}
    estimator: sklearn.ensemble.HistGradientBoostingClassifier
    params: {{max_iter: 60, random_state: 0}}
    prepare: {{numeric: {{impute: none}}, categorical: {{encode: ordinal}}}}
    split: {{by: time, test: 0.2}}
    evaluate: {{metrics: [roc_auc, f1, brier], slices: [channel], explain: permutation}}
    validate: [{{metric: roc_auc, at_least: 0.6}}, {{integrity: true}}]
deployments:
  - {{deployment: returned_scores, model: returned, batch: {{from: sale_features}}}}
monitors:
  - monitor: returned_watch
    deployment: returned_scores
    drift: {{method: psi, threshold: 0.25}}
"""


def write_project(folder: Path) -> Path:
    """Writes the project and its rows; the same bytes each time."""
    import duckdb

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "liminal.yml").write_text(YAML)
    rows = MONTHS * ROWS
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("SELECT setseed(0.5)")
    connection.execute(
        f"""COPY (
            WITH drawn AS (
                SELECT i AS id, TIMESTAMP '2024-01-01' + to_minutes(i * 2) AS sold_at,
                    'c' || (random() * 3000)::INT AS client,
                    round(exp(3 + random() * 2), 2) AS amount, 1 + (random() * 5)::INT AS items,
                    18 + (random() * 60)::INT AS age, (random() * 40)::INT AS visits,
                    ['web', 'web', 'shop', 'phone'][1 + (random() * 3.99)::INT % 4] AS channel,
                    ['north', 'south', 'east', 'west'][1 + (random() * 3.99)::INT % 4] AS region
                FROM range({rows}) AS r(i)
            )
            SELECT *, random() < 1 / (1 + exp(
                1.5 - 0.5 * items + 0.3 * ln(amount) - (channel = 'web')::INT + 0.02 * visits
            )) AS returned
            FROM drawn ORDER BY id
        ) TO '{folder / "sales.csv"}' (HEADER)"""
    )
    return folder
