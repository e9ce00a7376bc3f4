"""What docs/data.md shows runs."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

import liminal_assets as la
from liminal_assets.language.cleaning import CleaningStep
from liminal_assets.storage.online import OnlineStore
from liminal_assets_tests.runs import run, write_project

PAGE = (Path(__file__).parents[1] / "docs" / "data.md").read_text()


def test_the_example_runs_from_files_to_the_online_store(tmp_path: Path) -> None:
    text = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[0]
    (tmp_path / "sales").mkdir()
    header = "id,sold_at,store,amount,channel\n"
    (tmp_path / "sales" / "2024-01.csv").write_text(
        f"{header}1,2024-01-05,7,10.0, web\n1,2024-01-05,7,10.0, web\n2,2024-01-06,7,,shop\n"
    )
    (tmp_path / "sales" / "2024-02.csv").write_text(
        f"{header}3,2024-02-05,7,8.0,web\n4,2024-02-06,7,-1,web\n"
    )
    (tmp_path / "prices.csv").write_text(
        "store,valid_from,price\n7,2024-01-01,5.0\n7,2024-02-01,4.0\n"
    )
    project = write_project(tmp_path, text)
    done = run(project, partitions=("2024-01", "2024-02"))
    assert done.succeeded
    assert done.metadata("sales", "2024-02")["quarantined"] == 1
    pieces = [row and row["pieces"] for row in OnlineStore(project).get("sale_features", range(5))]
    assert pieces == [None, 2.0, 0.0, 2.0, None]
    assert la.steps.fetch(project, "sales_raw", "2024-01").rows == 3
    assert la.steps.build_features(project, "sale_features", partition="2024-02").rows == 1


def test_every_step_of_the_table_is_one_of_the_language() -> None:
    table = PAGE.split("| step | example |")[1].split("\n\n")[0]
    examples = [
        example
        for line in table.split("\n")[2:]
        for example in re.findall(r"`([^`]+)`", line.split("|")[2])
    ]
    named = set()
    for example in examples:
        text = example if ":" in example else f"{example}: {{}}"
        step = yaml.safe_load(text)
        named.add(CleaningStep.model_validate(step).kind)
    assert named == set(CleaningStep.model_fields) - {"drop", "lower", "upper"}
