"""A registered version becomes a release, and a release answers as the registered model."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

import liminal_assets as la
from liminal_assets.language.deployments import Deployment
from liminal_assets.serving.app import ServingApp
from liminal_assets.serving.control.live import LiveModel
from liminal_assets.serving.control.plan import Plan, write_plan
from liminal_assets.serving.model import ServedModel
from liminal_assets.serving.releases.folders import ServingFolders
from liminal_assets.serving.releases.preparation import prepare_release
from liminal_assets.serving.releases.registry import RegistrySource
from liminal_assets.serving.releases.release import read_release
from liminal_assets_tests.champions import INPUTS, Shop, flights
from liminal_assets_tests.serving.conftest import running


def api(shop: Shop) -> Deployment:
    (found,) = (block for block in shop.project.spec.deployments if block.name == "late_api")
    return found


def columns_of(frame: Any) -> dict[str, list[Any]]:
    return {
        name: [None if value != value else value for value in frame[name].tolist()]
        for name in frame
    }


def test_a_release_answers_as_the_registered_model(served: Shop) -> None:
    champion = served.registry.champion("late")
    assert champion
    release = prepare_release(served.project, api(served), "1")
    assert (release.name, release.version, release.run_id, release.digest) == (
        "shop.late",
        "1",
        champion.run_id,
        champion.digest,
    )
    assert [field.name for field in release.signature.carried] == ["flight_id", "departs_at"]
    model = ServedModel.from_release(read_release(release.folder))
    frame = flights(40, seed=5)[INPUTS]
    answered = model.predict(columns_of(frame), 40)
    pipeline = served.pipeline(champion)
    assert answered.prediction.tolist() == pipeline.predict(frame).tolist()
    expected = pipeline.predict_proba(frame)[:, 1].tolist()
    assert answered.probabilities["probability"].tolist() == pytest.approx(expected, abs=1e-9)


def test_the_same_version_is_the_same_release(served: Shop) -> None:
    first = prepare_release(served.project, api(served), 1)
    assert prepare_release(served.project, api(served), 1).folder == first.folder
    assert len(list(first.folder.parent.iterdir())) == 1


def test_files_that_were_changed_in_the_registry_make_no_release(served: Shop) -> None:
    version = served.register(promote=False)
    (Path(version.source) / "MLmodel").write_text("flavors: {}")
    with pytest.raises(la.StepError, match="aren't those that were registered"):
        prepare_release(served.project, api(served), version)


def test_the_form_of_a_release_is_proved_and_the_proof_is_kept(served: Shop) -> None:
    release = read_release(prepare_release(served.project, api(served), 1).folder)
    said = release.certificate
    assert release.form == said["form"] == "onnxruntime"
    assert (said["rows"], said["refused"]) == (50, {})
    assert said["edge_cases"] > 50
    assert said["largest_difference"] <= said["tolerance"] == 1e-9
    assert said["microseconds"].keys() == {"onnxruntime", "pipeline"}


def test_a_server_tells_the_form_that_answers_and_its_certificate(served: Shop) -> None:
    release = read_release(prepare_release(served.project, api(served), 1).folder)
    model = ServedModel.from_release(release)
    with running(ServingApp(LiveModel.fixed(model))) as client:
        said = client.get("/info").json()
    assert (said["form"], said["certificate"]) == (release.form, dict(release.certificate))


def test_a_deployment_may_ask_for_the_pipeline_itself(served: Shop) -> None:
    shop = served.rewritten("{port: 0, ", "{port: 0, form: pipeline, ")
    release = prepare_release(shop.project, api(shop), 1)
    assert (release.form, release.settings["format"]) == ("pipeline", "cloudpickle")


def test_a_mask_of_a_column_that_is_not_there_is_told(
    served: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    shop = served.rewritten(
        "{port: 0, ", "{port: 0, log_predictions: {mask: {flight_id: hash, carier: drop}}, "
    )
    release = prepare_release(shop.project, api(shop), 1)
    # a server that starts again makes no release of what answers
    folders = ServingFolders.of(shop.project.state, "late_api")
    write_plan(folders.plan, Plan(stable=release.key))
    RegistrySource(shop.project, api(shop), folders).warn()
    told = [one.getMessage() for one in caplog.records if "no column" in one.getMessage()]
    assert len(told) == 2
    for message in told:
        assert "version 1 of shop.late has no column 'carier' (did you mean 'carrier'?)" in message
        assert "liminal.yml:" in message


def test_a_deployment_may_take_no_pickle(served: Shop) -> None:
    shop = served.rewritten("{port: 0, ", "{port: 0, trust: skops_only, ")
    with pytest.raises(la.StepError, match="written by cloudpickle, which can hold code"):
        prepare_release(shop.project, api(shop), 1)


def test_a_pipeline_that_nothing_compiles_serves_itself_and_says_why(served: Shop) -> None:
    frame = flights(80, seed=4)
    numbers = make_column_transformer((SimpleImputer(), ["distance", "stops", "wind"]))
    pipeline = make_pipeline(numbers, KNeighborsClassifier()).fit(frame[INPUTS], frame["late"])
    release = prepare_release(served.project, api(served), served.register(pipeline))
    assert release.form == "pipeline"
    assert release.certificate["refused"] == {
        "compiled": "KNeighborsClassifier has no compiled form"
    }
    model = ServedModel.from_release(read_release(release.folder))
    answered = model.predict(columns_of(frame[INPUTS]), 80)
    assert answered.prediction.tolist() == pipeline.predict(frame[INPUTS]).tolist()


def test_a_worker_imports_no_more_than_its_form_needs(served: Shop) -> None:
    release = prepare_release(served.project, api(served), 1)
    code = (
        "import sys; from pathlib import Path\n"
        "from liminal_assets.serving.model import ServedModel\n"
        "from liminal_assets.serving.releases.release import read_release\n"
        f"model = ServedModel.from_release(read_release(Path({str(release.folder)!r})))\n"
        "row = {name: [value] for name, value in model.example.items()}\n"
        "assert model.predict(row, 1).prediction.tolist()\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"dagster", "duckdb", "mlflow", "pandas", "pyarrow", "pydantic", "scipy", "sklearn"}
    assert not heavy & set(ast.literal_eval(done.stdout))
