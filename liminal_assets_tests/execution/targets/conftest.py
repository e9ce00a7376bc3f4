"""A project with a champion, which goes to targets elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from liminal_assets.language.deployments import Deployment
from liminal_assets.language.loading import Project, load_project
from liminal_assets.steps.proof import Proof
from liminal_assets_tests.aws import aws
from liminal_assets_tests.champions import YAML, Shop
from liminal_assets_tests.stored_resources import Store, stored_resources

__all__ = ["aws"]

SERVE = """{
      port: 0,
      target: %s,
      kubernetes: {image: 'org/server:1', release_store: store, namespace: ml, timeout: 200ms},
      kserve: {image: 'org/server:1', release_store: store, namespace: ml, timeout: 200ms},
      sagemaker: {image: '123456789012.dkr.ecr.us-east-1.amazonaws.com/server:1',
        role: 'arn:aws:iam::123456789012:role/server', release_store: 's3://releases/models'}}"""


@pytest.fixture(scope="module")
def shop(served_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """One project for a module: no test changes it but by versions of its own."""
    folder = tmp_path_factory.mktemp("targets") / "shop"
    shutil.copytree(served_template, folder)
    return Shop(load_project(folder), folder.parent)


@pytest.fixture(scope="module")
def at_target(shop: Shop) -> Callable[..., tuple[Project, Deployment]]:
    """The project with its server at a target, and that deployment."""

    def change(target: str, *changes: tuple[str, str]) -> tuple[Project, Deployment]:
        text = YAML.replace("{port: 0, reload_every: 200ms}", SERVE % target)
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        shop.project.file.write_text(text)
        project = load_project(shop.project.file)
        return project, project.spec.deployments[0]

    return change


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A cluster that this machine is configured for."""
    with stored_resources() as store:
        monkeypatch.setenv("KUBECONFIG", str(store.kubeconfig(tmp_path)))
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        monkeypatch.setattr("liminal_assets.execution.targets.cluster._EVERY", 0.01)
        yield store


@pytest.fixture(scope="module")
def answer_of(shop: Shop) -> Callable[[int], Any]:
    """What a server of a version answers to the row that it is asked."""

    def answer(version: int) -> Any:
        block = shop.project.spec.deployments[0]
        proof = Proof.of(shop.project, block, shop.registry.version("late", version))
        return {"model_version": str(version), "predictions": [dict(proof.expected)]}

    return answer
