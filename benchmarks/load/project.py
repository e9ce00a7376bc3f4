"""A project of any size: chains of ten blocks, from fetch to batch scores.

Eight tables, a model and its scores per chain; every second table has checks, and one chain in ten
is cut into months.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["BLOCKS_PER_CHAIN", "CHECKS", "write_project"]

BLOCKS_PER_CHAIN = 10
CHECKS = (
    ("expect_column_values_to_not_be_null", "{column: id}"),
    ("expect_column_values_to_be_between", "{column: amount, min_value: 0, max_value: 1000}"),
)

_CHAIN = """\
  - dataset: orders_{n}
    description: Orders of region {n}.
    fetch: {{file: 'orders_{n}.parquet'}}
    {partitions}
  - dataset: clients_{n}
    description: Clients of region {n}.
    fetch: {{file: 'clients_{n}.parquet'}}
  - dataset: goods_{n}
    description: Goods of region {n}.
    fetch: {{file: 'goods_{n}.parquet'}}
  - dataset: clean_orders_{n}
    description: Orders, each once.
    clean: {{from: orders_{n}, sql: SELECT DISTINCT * FROM orders_{n}}}
    checks: [{checks}]
  - dataset: clean_clients_{n}
    description: Clients, each once.
    clean: {{from: clients_{n}, sql: SELECT DISTINCT * FROM clients_{n}}}
    checks: [{checks}]
  - dataset: sold_{n}
    description: What was sold to whom.
    clean:
      from: [clean_orders_{n}, goods_{n}]
      sql: FROM clean_orders_{n} JOIN goods_{n} USING (good)
    checks: [{checks}]
"""
_FEATURES = """\
  - feature: client_features_{n}
    description: What is known of a client.
    from: clean_clients_{n}
    entity: id
    timestamp: seen_at
  - feature: sale_features_{n}
    description: What is known of a sale.
    from: {{sold_{n}: {{}}, client_features_{n}: {{as_of: sold_at, by: client}}}}
    entity: id
    timestamp: sold_at
    checks: [{checks}]
"""
_MODEL = """\
  - model: returned_{n}
    description: Whether it comes back.
    features: sale_features_{n}
    target: returned
    estimator: sklearn.linear_model.LogisticRegression
    validate: [{{metric: roc_auc, at_least: 0.7}}, {{integrity: true}}]
"""
_DEPLOYMENT = """\
  - deployment: scores_{n}
    description: How likely it is to come back.
    model: returned_{n}
    batch: {{from: sale_features_{n}}}
"""


def write_project(folder: Path, blocks: int) -> Path:
    """Writes the ``liminal.yml`` of a project with that many blocks (a multiple of ten)."""
    checks = ", ".join(f"{name}: {arguments}" for name, arguments in CHECKS)
    lines = ["name: big", "owner: team:load"]
    chains = range(blocks // BLOCKS_PER_CHAIN)
    for section, text in (
        ("datasets", _CHAIN),
        ("features", _FEATURES),
        ("models", _MODEL),
        ("deployments", _DEPLOYMENT),
    ):
        lines.append(f"{section}:")
        for n in chains:
            cut = "partitions: {every: month, start: '2024-01-01'}" if n % 10 == 0 else ""
            lines.append(text.format(n=n, checks=checks, partitions=cut).rstrip())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "liminal.yml").write_text("\n".join(lines) + "\n")
    return folder
