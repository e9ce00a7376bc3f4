"""What holds for every target, plugins too: the interface is small, and means one thing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from typing import Any, ClassVar

import pytest

import liminal_assets as la
from liminal_assets.integrations.sagemaker import Endpoint
from liminal_assets.language.deployments import OWN_TARGETS
from liminal_assets.steps.deploy import Deployed, Target, TargetStatus, deploy, target_of
from liminal_assets.storage.journal import Journal
from liminal_assets_tests.champions import Shop
from liminal_assets_tests.stored_resources import Store

AtTarget = Callable[..., tuple[la.Project, Any]]
STATES = {"ready", "starting", "failed", "stopped", "absent", "unknown"}


@dataclass
class Shelf(Target):
    """A plugin that inherits."""

    strategies: ClassVar[frozenset[str]] = frozenset({"all_at_once", "canary"})
    there: dict[str, str] = field(default_factory=dict)

    def deploy(self, project: Any, deployment: Any, version: Any) -> Deployed:
        self.there[deployment.name] = str(version.version)
        return Deployed(version, "https://shelf/predict", {"place": deployment.serve.options})

    def status(self, project: Any, deployment: Any) -> TargetStatus:
        version = self.there.get(deployment.name)
        return TargetStatus("ready", version) if version else TargetStatus("absent")

    def delete(self, project: Any, deployment: Any) -> bool:
        return self.there.pop(deployment.name, None) is not None


class Plain:
    """A plugin that doesn't."""

    def deploy(self, project: Any, deployment: Any, version: Any) -> Deployed:
        return Deployed(version, None)


SHELF, PLAIN = Shelf(), Plain()


@pytest.fixture(params=[*OWN_TARGETS, "shelf", "plain"])
def target_name(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, answer_of: Callable[..., Any]
) -> str:
    """Each target, with whatever it needs of the world."""
    name = str(request.param)
    answer = answer_of(1)
    if name in ("kubernetes", "kserve"):
        cluster: Store = request.getfixturevalue("cluster")
        cluster.answer = lambda body: (200, answer)
    elif name == "sagemaker":
        request.getfixturevalue("aws")
        import boto3

        boto3.client("s3").create_bucket(Bucket="releases")
        said = json.dumps({"predictions": [answer["predictions"][0]["prediction"]]}).encode()
        monkeypatch.setattr(Endpoint, "ask", lambda *_: said)
    points = [
        EntryPoint(name, f"{__name__}:{name.upper()}", "liminal_assets.targets")
        for name in ("shelf", "plain")
    ]
    monkeypatch.setattr("liminal_assets.language.deployments.entry_points", lambda group: points)
    return name


@pytest.mark.slow
def test_a_target_deploys_tells_and_takes_away(
    at_target: AtTarget, target_name: str, shop: Shop
) -> None:
    project, block = at_target(target_name)
    target = target_of(project, block)
    assert isinstance(target, Target)
    assert "all_at_once" in target.strategies
    assert list(target.check(project, block)) == []
    before = target.status(project, block)
    assert before.state in STATES - {"ready"}

    deployed = deploy(project, block)
    assert str(deployed.version.version) == "1"
    # it is kept in the journal, and shown
    json.dumps(dict(deployed.evidence))
    decisions = Journal(project, block.name).decisions()
    assert decisions[-1].version == 1

    after = target.status(project, block)
    assert after.state in STATES
    assert after.version in (None, "1")
    if after.state == "ready" and after.endpoint:
        assert after.endpoint == deployed.endpoint
    again = deploy(project, block)
    assert again.endpoint == deployed.endpoint
    assert target.status(project, block) == after
    assert Journal(project, block.name).decisions() == decisions

    if target_name == "plain":
        with pytest.raises(la.StepError, match="doesn't delete") as raised:
            target.delete(project, block)
        assert raised.value.location
        return
    assert target.delete(project, block) is not target.follows
    assert target.delete(project, block) is False
    assert target.status(project, block) == before


def test_a_rollout_that_a_target_can_not_do_is_a_mistake_at_its_line(
    at_target: AtTarget, target_name: str
) -> None:
    rollout = "model: late\n    rollout: {strategy: shadow}\n    serve:"
    project, block = at_target(target_name, ("model: late\n    serve:", rollout))
    target = target_of(project, block)
    mistakes = list(target.check(project, block))
    if "shadow" in target.strategies:
        assert mistakes == []
        return
    assert f"the target {target_name!r} can't do a shadow rollout" in mistakes[0].message
    assert mistakes[0].location.line == 19
    with pytest.raises(la.StepError, match="can't do a shadow rollout"):
        deploy(project, block)
