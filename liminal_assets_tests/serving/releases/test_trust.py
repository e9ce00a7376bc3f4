"""Which models are loaded: registered ones whose files are whole, and whom to trust in them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import Pipeline, make_pipeline

import liminal_assets as la
from liminal_assets.serving.model import ServedModel
from liminal_assets.serving.releases.preparation import prepare_release
from liminal_assets.serving.releases.release import read_release, write_release
from liminal_assets.storage.model_version import ModelVersion
from liminal_assets.storage.tracking import import_mlflow
from liminal_assets_tests.champions import INPUTS, Shop, fitted, flights

NAME = f"{__name__}.Same"


class Same(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A type of a user's own."""

    def fit(self, X: Any, y: Any = None) -> Same:  # noqa: N803
        return self

    def transform(self, X: Any) -> Any:  # noqa: N803
        return X

    def __sklearn_is_fitted__(self) -> bool:
        return True


def register(shop: Shop, folder: Path, pipeline: Pipeline) -> ModelVersion:
    """A version that skops wrote, whose file asks for trust in its own types."""
    mlflow = import_mlflow()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        signature = mlflow.models.infer_signature(flights(50, seed=99)[INPUTS])
    mlflow.sklearn.save_model(
        pipeline,
        str(folder),
        pip_requirements=["scikit-learn"],
        serialization_format="skops",
        skops_trusted_types=_types(pipeline),
        signature=signature,
    )
    run = shop._client.create_run(shop._experiment)
    return shop.registry.register("late", str(folder), run_id=run.info.run_id, tags={})


def _types(pipeline: Pipeline) -> list[str]:
    import skops.io

    found: list[str] = skops.io.get_untrusted_types(data=skops.io.dumps(pipeline))
    return found


def released(shop: Shop, version: ModelVersion) -> Any:
    (block,) = (one for one in shop.project.spec.deployments if one.name == "late_api")
    return prepare_release(shop.project, block, version)


def test_types_of_a_files_own_choice_are_trusted_by_name_alone(
    served: Shop, tmp_path: Path
) -> None:
    version = register(served, tmp_path / "own", make_pipeline(Same(), *fitted()))
    strict = "{port: 0, trust: skops_only, "
    shop = served.rewritten("{port: 0, ", strict)
    with pytest.raises(la.StepError, match=rf"makes objects of {NAME}, which .* trust") as raised:
        released(shop, version)
    assert raised.value.location
    shop = shop.rewritten(strict, f"{strict}trusted_types: {NAME}, ")
    model = ServedModel.from_release(read_release(released(shop, version).folder))
    row = {name: [value] for name, value in model.example.items()}
    assert model.predict(row, 1).prediction.tolist()[0] in (0, 1)


def test_scikit_learns_own_types_need_no_word(served: Shop, tmp_path: Path) -> None:
    version = register(served, tmp_path / "plain", fitted())
    shop = served.rewritten("{port: 0, ", "{port: 0, trust: skops_only, form: pipeline, ")
    release = released(shop, version)
    assert release.settings["format"] == "skops"
    ServedModel.from_release(read_release(release.folder))


def test_a_type_that_is_not_listed_is_not_made(served: Shop, tmp_path: Path) -> None:
    """Even by whoever could write a release of one's own."""
    from dataclasses import replace

    version = register(served, tmp_path / "own", make_pipeline(Same(), *fitted()))
    release = released(served, version)
    forged = replace(release, settings={**release.settings, "trusted": []})

    def fill(folder: Path) -> None:
        content = (release.folder / release.settings["model"]).read_bytes()
        (folder / release.settings["model"]).write_bytes(content)

    written = write_release(tmp_path / "forged", forged, fill)
    with pytest.raises(la.StepError, match=f"UntrustedTypesFound.*{NAME}"):
        ServedModel.from_release(read_release(written.folder))


@pytest.mark.parametrize("where", ["the registry", "the release"])
def test_a_file_that_was_tampered_with_is_not_loaded(
    served: Shop, tmp_path: Path, where: str
) -> None:
    version = register(served, tmp_path / "plain", make_pipeline(Same(), *fitted()))
    release = released(served, version)
    folder = version.folder() if where == "the registry" else release.folder
    (file,) = folder.rglob(release.settings["model"])
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    loads = {
        "the registry": lambda: released(served, version),
        "the release": lambda: read_release(release.folder),
    }
    with pytest.raises(la.StepError, match="aren't those that were re"):
        loads[where]()


def test_a_list_without_the_strict_mode_is_a_mistake(served: Shop) -> None:
    with pytest.raises(la.InvalidProjectError, match="goes with 'trust: skops_only'"):
        served.rewritten("{port: 0, ", f"{{port: 0, trusted_types: {NAME}, ")
