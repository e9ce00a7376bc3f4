"""Models as assets: the candidate, the gate, the champion; what they leave in MLflow; crashes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest
import yaml

import liminal_assets as la
from liminal_assets.factories.models import until_of
from liminal_assets.language.loading import Project, load_project
from liminal_assets.steps import record
from liminal_assets.storage.registry import ModelRegistry
from liminal_assets.storage.tables import TableStore
from liminal_assets.storage.tracking import import_mlflow, tracking_client, tracking_uri
from liminal_assets_tests.forking import exit_code_of

MONTHS = ("2024-01", "2024-02", "2024-03")

YAML: dict[str, Any] = {
    "name": "shop",
    "datasets": [
        {
            "dataset": "raw",
            "fetch": {"file": "raw.csv"},
            "partitions": {"every": "month", "start": "2024-01-01"},
        }
    ],
    "features": [{"feature": "sale_features", "from": "raw", "entity": "id", "timestamp": "at"}],
}

MODEL: dict[str, Any] = {
    "model": "returned",
    "features": "sale_features",
    "target": "returned",
    "estimator": "sklearn.linear_model.LogisticRegression",
    "prepare": {"numeric": {"scale": "standard"}},
    "split": {"by": "time", "test": 0.25},
    "evaluate": {"metrics": ["roc_auc", "brier"], "slices": ["shop"], "min_slice_rows": 20},
    "validate": [
        {"metric": "roc_auc", "at_least": 0.6},
        {"metric": "roc_auc", "beats_champion_by": 0.0},
        {"integrity": True},
    ],
}


def sales(month: str, count: int = 200) -> pd.DataFrame:
    number = MONTHS.index(month)
    random = np.random.default_rng(number)
    rows = pd.DataFrame(
        {
            "id": np.arange(count) + number * count,
            "at": pd.date_range(f"{month}-01", periods=count, freq="h"),
            "amount": random.lognormal(size=count),
            "items": random.integers(1, 9, count),
            "shop": random.choice(["north", "south"], count),
        }
    )
    rows.loc[::11, "shop"] = None
    rows["returned"] = rows["amount"] + random.normal(size=count) > 1.5
    return rows


class Shop:
    """A project with rows, and runs of its model's assets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.instance = dg.DagsterInstance.ephemeral()

    def write(self, **model: Any) -> Project:
        said = {key: value for key, value in {**MODEL, **model}.items() if value is not None}
        (self.folder / "liminal.yml").write_text(yaml.safe_dump({**YAML, "models": [said]}))
        self.project = load_project(self.folder)
        return self.project

    def fill(self, *months: str) -> None:
        for month in months:
            TableStore(self.project).write("sale_features", month, sales(month))

    def run(self, *assets: str, tags: Mapping[str, str] | None = None) -> dg.ExecuteInProcessResult:
        model = self.project.spec.models[0]
        names = assets or ("returned", "returned__evaluation", "returned__champion")
        return dg.materialize(
            la.model_assets(model, project=self.project),
            selection=[dg.AssetKey(["shop", name]) for name in names],
            instance=self.instance,
            tags=dict(tags or {}),
            raise_on_error=False,
        )

    @property
    def registry(self) -> ModelRegistry:
        return ModelRegistry(self.project)

    def champion(self) -> int | None:
        champion = self.registry.champion("returned")
        return champion.version if champion else None

    def mlflow_runs(self) -> list[Any]:
        client = tracking_client(self.project)
        experiment = client.get_experiment_by_name("shop.returned")
        runs = client.search_runs([experiment.experiment_id])  # type: ignore[union-attr]
        return sorted(runs, key=lambda run: run.info.start_time)


@pytest.fixture
def shop(tmp_path: Path, with_mlflow: Callable[[Path], Path]) -> Iterator[Shop]:
    made = Shop(with_mlflow(tmp_path))
    made.write()
    made.fill("2024-01", "2024-02")
    with made.instance:
        yield made


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    (event,) = result.asset_materializations_for_node(f"shop__{asset}")
    return {key: value.value for key, value in event.metadata.items()}


def failure(result: dg.ExecuteInProcessResult) -> str:
    (event,) = [event for event in result.all_events if event.is_step_failure]
    error = event.step_failure_data.user_failure_data
    assert error is not None
    return error.description or ""


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {check.check_name: check.passed for check in result.get_asset_check_evaluations()}


@pytest.fixture(scope="module")
def first(
    tmp_path_factory: pytest.TempPathFactory, mlflow_database: Path
) -> Iterator[tuple[Shop, dg.ExecuteInProcessResult]]:
    """A shop whose first candidate became champion; tests only look at it."""
    folder = tmp_path_factory.mktemp("shop")
    target = folder / ".liminal" / "mlflow" / "mlflow.db"
    target.parent.mkdir(parents=True)
    target.write_bytes(mlflow_database.read_bytes())
    shop = Shop(folder)
    shop.write(evaluate={**MODEL["evaluate"], "cross_validate": 3, "explain": "permutation"})
    shop.fill("2024-01", "2024-02")
    with shop.instance:
        yield shop, shop.run(tags={"liminal/cause": "a test"})


First = tuple[Shop, dg.ExecuteInProcessResult]


def test_a_run_registers_judges_and_promotes(first: First) -> None:
    shop, result = first
    assert result.success
    assert checks(result) == {
        "roc_auc_at_least": True,
        "roc_auc_beats_champion": True,
        "integrity": True,
    }
    assert shop.champion() == 1
    version = shop.registry.version("returned", 1)
    assert version.validated is True
    assert set(version.metrics) == {"roc_auc", "brier"}


def test_the_candidates_metadata_name_version_metrics_and_run(first: First) -> None:
    _, result = first
    told = metadata(result, "returned")
    assert told["version"] == 1
    assert 0.6 < told["roc_auc"] < 1
    assert told["trained_until"] == "2024-02"
    assert (told["learned_from_rows"], told["held_out_rows"]) == (300, 100)
    assert told["mlflow_run"].startswith("http://127.0.0.1:5000/#/experiments/")
    assert len(told["cross_validation"].records) == 3


def test_the_report_shows_tables_and_plots(first: First) -> None:
    _, result = first
    told = metadata(result, "returned__evaluation")
    assert told["validation"] == "passed"
    assert [row.data["metric"] for row in told["metrics"].records] == ["roc_auc", "brier"]
    assert {row.data["value"] for row in told["slices"].records} == {"north", "south", "(others)"}
    for plot in ("roc_curve", "confusion_matrix", "calibration", "permutation_importance"):
        assert told[plot].startswith("![")
        assert len(told[plot]) < 60_000


def test_the_journal_keeps_the_evidence(first: First) -> None:
    shop, result = first
    (decision,) = shop.registry.history("returned")
    assert decision.action == "promote"
    assert decision.reason == "version 1 passed all 3 rules, trained because a test"
    assert decision.evidence["dagster_run"] == result.run_id
    assert decision.evidence["metrics"]["roc_auc"] > 0.6


def test_mlflow_run_and_dagster_run_are_linked_both_ways(first: First) -> None:
    shop, result = first
    (run,) = shop.mlflow_runs()
    assert run.info.status == "FINISHED"
    assert run.data.tags["dagster.run_id"] == result.run_id
    assert run.data.tags["dagster.url"].endswith(f"/runs/{result.run_id}")
    assert run.info.run_id in metadata(result, "returned")["mlflow_run"]


def test_mlflow_holds_inputs_params_metrics_and_report(first: First) -> None:
    shop, _ = first
    (run,) = shop.mlflow_runs()
    (inputs,) = run.inputs.dataset_inputs
    assert inputs.dataset.name == "sale_features"
    assert inputs.dataset.digest == run.data.tags["liminal.data_version"][:36]
    assert run.data.params["C"] == "1.0"
    assert run.data.params["rows_learned_from"] == "300"
    assert {"roc_auc", "folds/roc_auc", "slices/shop/north/roc_auc"} < set(run.data.metrics)
    client = tracking_client(shop.project)
    files = {file.path for file in client.list_artifacts(run.info.run_id, "evaluation")}
    assert {"evaluation/roc_curve.png", "evaluation/validation.json"} < files


def test_the_model_loads_through_mlflow_with_an_enforced_signature(first: First) -> None:
    shop, _ = first
    mlflow = import_mlflow()
    mlflow.set_tracking_uri(tracking_uri(shop.project))
    loaded = mlflow.pyfunc.load_model("models:/shop.returned@champion")
    assert [(c.name, c.type.name, c.required) for c in loaded.metadata.signature.inputs] == [
        ("amount", "double", False),
        ("items", "long", False),
        ("shop", "string", False),
    ]
    rows = sales("2024-03")[["amount", "items", "shop"]]
    answered = loaded.predict(rows)
    expected = shop.registry.load(shop.registry.version("returned", 1)).predict(rows)
    np.testing.assert_array_equal(answered, expected)
    assert loaded.input_example is not None
    with pytest.raises(mlflow.exceptions.MlflowException, match="schema"):
        loaded.predict(rows.assign(amount="much"))


def test_the_requirements_are_pinned(first: First) -> None:
    shop, _ = first
    folder = shop.registry.version("returned", 1).folder()
    lines = (folder / "requirements.txt").read_text().split()
    assert all("==" in line for line in lines)
    assert {"scikit-learn", "mlflow", "skops"} <= {line.partition("==")[0] for line in lines}


def test_the_reference_is_kept_per_version(first: First) -> None:
    shop, _ = first
    store = TableStore(shop.project)
    assert store.partitions("returned__reference") == ["1"]
    reference = store.read("returned__reference").to("pandas")
    assert len(reference) == 100
    assert {"id", "at", "amount", "shop", "returned", "prediction", "probability"} <= {*reference}


def test_an_equal_candidate_follows_the_champion(shop: Shop) -> None:
    one, two = shop.run(), shop.run()
    assert one.success
    assert two.success
    assert shop.champion() == 2
    assert metadata(one, "returned")["roc_auc"] == metadata(two, "returned")["roc_auc"]


def test_a_candidate_that_fails_is_kept_and_tagged_and_the_champion_stays(shop: Shop) -> None:
    shop.run()
    shop.write(validate=[{"metric": "roc_auc", "at_least": 0.999}, {"integrity": True}])
    result = shop.run()
    assert not result.success
    assert checks(result) == {"roc_auc_at_least": False, "integrity": True}
    message = failure(result)
    assert "version 2 of returned did not pass 1 of 2 rules and is not deployed" in message
    assert "below 0.999" in message
    assert "version 1 stays" in message
    assert f"{shop.folder}/liminal.yml:" in message
    assert shop.champion() == 1
    assert not result.asset_materializations_for_node("shop__returned__champion")
    rejected = shop.registry.version("returned", 2)
    assert rejected.validated is False
    assert "below 0.999" in rejected.tags["liminal.validation.reasons"]
    assert shop.registry.history("returned")[-1].action == "reject"
    assert [run.info.status for run in shop.mlflow_runs()] == ["FINISHED", "FAILED"]


def test_a_failed_candidate_is_not_promoted_later(shop: Shop) -> None:
    shop.run()
    shop.write(validate=[{"metric": "roc_auc", "at_least": 0.999}])
    shop.run()
    later = shop.run("returned__champion")
    assert later.success
    assert metadata(later, "returned__champion")["moved"] is False
    assert shop.champion() == 1


def test_without_a_champion_a_failed_candidate_is_an_error(shop: Shop) -> None:
    shop.write(validate=[{"metric": "roc_auc", "at_least": 0.999}])
    assert "there is no champion yet" in failure(shop.run())
    assert "did not pass its validation" in failure(shop.run("returned__champion"))
    assert shop.champion() is None


def test_a_worse_candidate_does_not_replace_the_champion(shop: Shop) -> None:
    shop.run()
    shop.write(estimator="sklearn.dummy.DummyClassifier")
    message = failure(shop.run())
    assert "that of version 1 on the same 100 rows" in message
    assert shop.champion() == 1


def test_an_unjudged_candidate_is_not_promoted(shop: Shop) -> None:
    shop.run("returned")
    assert "was not evaluated yet" in failure(shop.run("returned__champion"))


def test_steps_of_several_runs_follow_each_other(shop: Shop) -> None:
    for asset in ("returned", "returned__evaluation", "returned__champion"):
        assert shop.run(asset).success
    assert shop.champion() == 1


def test_without_a_candidate_the_evaluation_says_what_to_do(shop: Shop) -> None:
    message = failure(shop.run("returned__evaluation"))
    assert "returned has no candidate yet" in message
    assert "materialise returned first" in message


@pytest.mark.parametrize(
    ("tags", "until"),
    [
        ({}, None),
        ({"dagster/partition": "2024-01"}, "2024-01"),
        (
            {
                "dagster/asset_partition_range_start": "2024-01",
                "dagster/asset_partition_range_end": "2024-02",
            },
            "2024-02",
        ),
        ({"dagster/partition": "2024-01", "liminal/until": "2024-03"}, "2024-03"),
    ],
    ids=str,
)
def test_the_tags_of_a_run_say_until_when_it_learns(
    tags: dict[str, str], until: str | None
) -> None:
    assert until_of(tags) == until


def test_a_run_until_a_partition_knows_no_later_rows(shop: Shop) -> None:
    result = shop.run("returned", tags={"liminal/until": "2024-01", "liminal/cause": "drift"})
    told = metadata(result, "returned")
    assert told["learned_from_rows"] + told["held_out_rows"] == 200
    version = shop.registry.version("returned", 1)
    assert version.tags["liminal.trained_until"] == "2024-01"
    assert version.tags["liminal.cause"] == "drift"


def test_an_estimator_of_the_project_loads_elsewhere_with_the_code_of_its_time(
    shop: Shop,
) -> None:
    package = shop.folder / "own"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "bias.py").write_text("BIAS = 0.25\n")
    model = package / "model.py"
    model.write_text(
        "import numpy as np\n"
        "from sklearn.base import BaseEstimator, ClassifierMixin\n"
        "from own.bias import BIAS\n"
        "class Always(ClassifierMixin, BaseEstimator):\n"
        "    def fit(self, X, y):\n"
        "        self.classes_ = np.unique(y)\n"
        "        return self\n"
        "    def predict_proba(self, X):\n"
        "        return np.tile([1 - BIAS, BIAS], (len(X), 1))\n"
        "    def predict(self, X):\n"
        "        return np.full(len(X), False)\n"
        "def build():\n"
        "    return Always()\n"
    )
    shop.write(python="own.model:build", estimator=None, validate=[{"integrity": True}])
    assert shop.run().success
    version = shop.registry.version("returned", 1)
    code = version.folder() / "code"
    assert {path.relative_to(code).as_posix() for path in code.rglob("*.py")} == {
        "own/__init__.py",
        "own/bias.py",
        "own/model.py",
    }
    (package / "bias.py").write_text("BIAS = 0.75\n")
    for name in [name for name in sys.modules if name.partition(".")[0] == "own"]:
        # the next run is another process
        del sys.modules[name]
    assert shop.run().success
    rows = sales("2024-03")
    old, new = (shop.registry.load(shop.registry.version("returned", n)) for n in (1, 2))
    assert [p.predict_proba(rows)[0, 1] for p in (old, new)] == [0.25, 0.75]
    elsewhere = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, mlflow, pandas as pd;"
            "model = mlflow.sklearn.load_model(sys.argv[1]);"
            "print(model.predict_proba(pd.DataFrame({'amount': [1.0]}))[0, 1])",
            str(version.folder()),
        ],
        cwd=shop.folder / ".liminal",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert elsewhere.stdout == "0.25\n", elsewhere.stderr


def test_a_training_that_fails_ends_its_mlflow_run_as_failed(shop: Shop) -> None:
    shop.write(params={"C": -1})
    message = failure(shop.run())
    assert "fitting sklearn.linear_model.LogisticRegression raised" in message
    assert [run.info.status for run in shop.mlflow_runs()] == ["FAILED"]
    assert shop.registry.versions("returned") == []


def test_a_search_is_shown(shop: Shop) -> None:
    space = {"C": {"low": 0.01, "high": 10.0, "log": True}}
    shop.write(tune={"trials": 3, "metric": "roc_auc", "space": space})
    told = metadata(shop.run("returned"), "returned")
    assert told["search"].startswith("![Search for roc_auc]")
    assert len(told["best_trials"].records) == 3
    best = told["best_trials"].records[0].data["C"]
    assert float(told["params"]["C"]) == pytest.approx(best, rel=1e-4)


def test_a_team_uses_the_assets_in_its_own_definitions(
    tmp_path: Path, with_mlflow: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(with_mlflow(tmp_path))
    assets = la.model_assets(
        model="churned",
        features="churn_features",
        target="returned",
        estimator="sklearn.tree.DecisionTreeClassifier",
        columns={"drop": ["id", "at"]},
        params={"max_depth": 3},
        validate=[{"metric": "roc_auc", "at_least": 0.5}],
        project="team",
    )

    @dg.asset(key=["team", "churn_features"])
    def churn_features() -> None:
        TableStore(Project.of("team", check=False)).write("churn_features", None, sales("2024-01"))

    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize([churn_features, *assets], instance=instance).success
    champion = ModelRegistry(Project.of("team", check=False)).champion("churned")
    assert champion is not None
    assert champion.version == 1


def killed(moment: str, folder: str) -> None:
    """A run whose process dies at some moment."""

    def dying(*args: Any, **kwargs: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    owner, name = {
        "before it is logged": (record, "_log_model"),
        "before it is the challenger": (ModelRegistry, "challenge"),
        "before it is the champion": (ModelRegistry, "promote"),
    }[moment]
    setattr(owner, name, dying)
    shop = Shop(Path(folder))
    shop.write()
    shop.run()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "status"),
    [
        ("before it is logged", "KILLED"),
        ("before it is the challenger", "KILLED"),
        ("before it is the champion", "FINISHED"),
    ],
)
def test_a_run_that_is_killed_leaves_the_registry_whole_and_the_next_succeeds(
    moment: str, status: str, shop: Shop, processes: ForkServerContext
) -> None:
    assert exit_code_of(processes, killed, moment, str(shop.folder)) == -signal.SIGKILL
    assert shop.champion() is None
    result = shop.run()
    assert result.success
    assert shop.champion() == metadata(result, "returned")["version"]
    assert [run.info.status for run in shop.mlflow_runs()] == [status, "FINISHED"]
    assert [decision.action for decision in shop.registry.history("returned")] == ["promote"]
