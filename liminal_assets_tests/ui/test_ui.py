"""What people see of a project that has run: over GraphQL, and in a browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from liminal_assets_tests.ui.conftest import Webserver

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ui")]

PHASES = {
    "sales_raw": "fetch",
    "stores": "fetch",
    "sales": "clean",
    "sales__quarantine": "clean",
    "sale_features": "prepare",
    "returned": "train",
    "returned__evaluation": "evaluate",
    "returned__champion": "deploy",
    "returned_api": "deploy",
    "returned_scores": "inference",
    "returned_watch": "monitor",
}
ASSETS = """
{ assetNodes {
    assetKey { path } groupName kinds description
    owners { ... on TeamAssetOwner { team } }
    dependencyKeys { path }
    hasAssetChecks
    metadataEntries { label ... on CodeReferencesMetadataEntry {
      codeReferences { ... on LocalFileCodeReference { filePath lineNumber } } } }
    assetMaterializations(limit: 1) { metadataEntries { __typename label } }
} }
"""


@pytest.fixture(scope="module")
def assets(webserver: Webserver) -> dict[str, dict]:
    found = webserver.ask(ASSETS)["assetNodes"]
    return {node["assetKey"]["path"][-1]: node for node in found}


def test_every_asset_is_in_its_phase_with_kinds_owner_and_description(
    assets: dict[str, dict],
) -> None:
    assert {name: node["groupName"] for name, node in assets.items()} == PHASES
    for node in assets.values():
        assert node["kinds"]
        assert node["owners"] == [{"team": "shops"}]
    described = {name for name, node in assets.items() if node["description"]}
    assert described >= set(PHASES) - {"stores"}


def test_every_asset_links_to_its_line_of_the_yaml(
    assets: dict[str, dict], webserver: Webserver
) -> None:
    lines = (webserver.project / "liminal.yml").read_text().splitlines()
    for name, node in assets.items():
        (references,) = (
            entry["codeReferences"]
            for entry in node["metadataEntries"]
            if entry.get("codeReferences")
        )
        line = lines[references[0]["lineNumber"] - 1]
        assert name.partition("__")[0] in line


def test_a_feature_links_to_its_function_too(assets: dict[str, dict]) -> None:
    files = [
        reference["filePath"]
        for entry in assets["sale_features"]["metadataEntries"]
        for reference in entry.get("codeReferences", ())
    ]
    assert [file.rpartition("/")[2] for file in files] == ["liminal.yml", "selling.py"]


def test_an_evaluation_shows_metrics_tables_and_plots(assets: dict[str, dict]) -> None:
    (made,) = assets["returned__evaluation"]["assetMaterializations"]
    kinds = {entry["label"]: entry["__typename"] for entry in made["metadataEntries"]}
    assert kinds["roc_auc"] == "FloatMetadataEntry"
    assert kinds["slices"] == kinds["importance"] == "TableMetadataEntry"
    assert kinds["roc_curve"] == kinds["calibration"] == "MarkdownMetadataEntry"


def test_the_graph_shows_the_phases_in_order(page: Page, webserver: Webserver) -> None:
    page.goto(f"{webserver.url}/asset-groups")
    boxes = {}
    for phase in dict.fromkeys(PHASES.values()):
        label = page.locator("svg").get_by_text(phase, exact=True).first
        expect(label).to_be_visible(timeout=60_000)
        box = label.bounding_box()
        assert box is not None
        boxes[phase] = box["x"]
    assert sorted(boxes, key=boxes.__getitem__) == [
        "fetch",
        "clean",
        "prepare",
        "train",
        "evaluate",
        "deploy",
        "inference",
        "monitor",
    ]


def test_a_models_page_shows_metrics_description_kinds_and_a_link_to_the_code(
    page: Page, webserver: Webserver
) -> None:
    page.goto(f"{webserver.url}/assets/shop/returned")
    for text in (
        "The probability that a sale is returned.",
        "roc_auc",
        "mlflow_run",
        "Scikit Learn",
        "shops",
        "liminal.yml",
    ):
        expect(page.get_by_text(text).first).to_be_visible(timeout=60_000)


def test_an_evaluations_page_opens_its_plots(page: Page, webserver: Webserver) -> None:
    page.goto(f"{webserver.url}/assets/shop/returned__evaluation")
    row = page.get_by_role("row").filter(has_text="roc_curve")
    row.get_by_text("Show Markdown").click(timeout=60_000)
    picture = page.locator("img[src^='data:image/']").first
    expect(picture).to_be_visible(timeout=60_000)
    assert picture.evaluate("image => image.naturalWidth") > 200


def test_the_gate_is_shown_as_blocking_checks_that_passed(page: Page, webserver: Webserver) -> None:
    page.goto(f"{webserver.url}/assets/shop/returned__evaluation?view=checks")
    for name in ("roc_auc_at_least", "roc_auc_beats_champion", "integrity"):
        expect(page.get_by_text(name).first).to_be_visible(timeout=60_000)
    page.get_by_text("roc_auc_at_least").first.click()
    expect(page.get_by_text("blocking", exact=False).first).to_be_visible()
    expect(page.get_by_text("Passed").first).to_be_visible()
