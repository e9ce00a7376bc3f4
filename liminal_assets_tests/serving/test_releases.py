"""A registered version becomes a release, and a release answers as the registered model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import liminal_assets as la
from liminal_assets.language.deployments import Deployment
from liminal_assets.serving.model import ServedModel
from liminal_assets.serving.release import read_release
from liminal_assets.serving.releases import prepare_release
from liminal_assets_tests.champions import INPUTS, Shop, flights


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
