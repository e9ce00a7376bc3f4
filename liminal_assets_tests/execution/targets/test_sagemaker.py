"""A model server as a SageMaker endpoint: what is made, and what stays when a version fails."""

from __future__ import annotations

import io
import json
import sys
import tarfile
from collections.abc import Callable
from typing import Any

import pytest

import liminal_assets as la
from liminal_assets.execution.targets.sagemaker import _shift
from liminal_assets.integrations.sagemaker import Endpoint
from liminal_assets.language.deployments import Rollout
from liminal_assets.steps.deploy import deploy, target_mistakes, target_of

AtTarget = Callable[..., tuple[la.Project, Any]]
BEFORE = "model: late\n    serve:"
NAME = "shop--late-api"


class Cloud:
    """SageMaker as moto plays it, with the updates that moto doesn't know.

    Attributes:
        updates: the parameters of each.
        rolls_back: updates end by the configuration before, as when an alarm goes off.
        prediction: what the endpoint answers.
    """

    def __init__(self, prediction: Any) -> None:
        import boto3

        self.updates: list[dict[str, Any]] = []
        self.rolls_back = False
        self.prediction = prediction
        self.client = boto3.client("sagemaker")
        self.s3 = boto3.client("s3")

    def update(self, response: Any) -> str:
        said = json.loads(response.body)
        self.updates.append(said)
        endpoint = response.sagemaker_backend.endpoints[said["EndpointName"]]
        if not self.rolls_back:
            endpoint.endpoint_config_name = said["EndpointConfigName"]
        return json.dumps({"EndpointArn": endpoint.arn})

    def names(self) -> dict[str, list[str]]:
        models = self.client.list_models()["Models"]
        configurations = self.client.list_endpoint_configs()["EndpointConfigs"]
        return {
            "endpoints": [e["EndpointName"] for e in self.client.list_endpoints()["Endpoints"]],
            "configurations": [item["EndpointConfigName"] for item in configurations],
            "models": [item["ModelName"] for item in models],
        }

    def live(self) -> dict[str, Any]:
        """The model that answers."""
        found = self.client.describe_endpoint(EndpointName=NAME)["EndpointConfigName"]
        of = self.client.describe_endpoint_config(EndpointConfigName=found)["ProductionVariants"]
        model: dict[str, Any] = self.client.describe_model(ModelName=of[0]["ModelName"])
        return model


@pytest.fixture
def cloud(aws: None, monkeypatch: pytest.MonkeyPatch, answer_of: Callable[[int], Any]) -> Cloud:
    from moto.sagemaker.responses import SageMakerResponse

    cloud = Cloud(answer_of(1)["predictions"][0]["prediction"])

    def update(response: Any) -> str:
        return cloud.update(response)

    def ask(endpoint: Endpoint, body: bytes) -> bytes:
        return json.dumps({"predictions": [cloud.prediction]}).encode()

    monkeypatch.setattr(SageMakerResponse, "update_endpoint", update, raising=False)
    monkeypatch.setattr(Endpoint, "ask", ask)
    cloud.s3.create_bucket(Bucket="releases")
    return cloud


def test_a_version_is_a_model_a_configuration_and_an_endpoint(
    at_target: AtTarget, cloud: Cloud
) -> None:
    project, block = at_target(
        "sagemaker",
        ("sagemaker: {", "sagemaker: {data_capture: {to: 's3://log/x'}, tags: {team: delays}, "),
    )
    deployed = deploy(project, block)
    assert deployed.endpoint == f"sagemaker://{NAME}"
    assert deployed.evidence["first_prediction"] == cloud.prediction
    container = cloud.live()["PrimaryContainer"]
    assert container["Environment"]["LIMINAL_RELEASE"] == "/opt/ml/model"
    bucket, key = container["ModelDataUrl"].removeprefix("s3://").split("/", 1)
    archive = cloud.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(archive)) as found:
        assert {"serving.json", "release/release.json"} <= set(found.getnames())
    names = cloud.names()
    configuration = cloud.client.describe_endpoint_config(
        EndpointConfigName=names["configurations"][0]
    )
    assert configuration["DataCaptureConfig"]["DestinationS3Uri"] == "s3://log/x"
    assert configuration["ProductionVariants"][0]["InstanceType"] == "ml.m5.large"

    status = target_of(project, block).status(project, block)
    assert (status.state, status.version) == ("ready", "1")
    deploy(project, block)
    assert (cloud.names(), cloud.updates) == (names, [])
    assert target_of(project, block).delete(project, block)
    assert not any(cloud.names().values())
    assert not target_of(project, block).delete(project, block)
    assert target_of(project, block).status(project, block).state == "absent"


def test_versions_take_over_and_older_ones_go(at_target: AtTarget, cloud: Cloud) -> None:
    rollout = "{strategy: canary, steps: [10, 100], wait: 5m}"
    canary = f"model: late\n    rollout: {rollout}\n    serve:"
    for rows in (10, 20, 30):
        change = (("port: 0,", f"port: 0, max_rows: {rows},"), (BEFORE, canary))
        project, block = at_target("sagemaker", *change, ("role:", "alarms: errors, role:"))
        assert list(target_mistakes(project)) == []
        deploy(project, block)
    assert len(cloud.updates) == 2
    traffic = cloud.updates[0]["DeploymentConfig"]
    assert traffic["AutoRollbackConfiguration"] == {"Alarms": [{"AlarmName": "errors"}]}
    assert traffic["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"] == {
        "Type": "CANARY",
        "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 10},
        "WaitIntervalInSeconds": 300,
    }
    names = cloud.names()
    assert (len(names["configurations"]), len(names["models"])) == (2, 2)


@pytest.mark.parametrize("how", ["rolls back", "answers wrong"])
def test_a_version_that_fails_leaves_the_one_before(
    at_target: AtTarget, cloud: Cloud, how: str
) -> None:
    deploy(*at_target("sagemaker"))
    names = cloud.names()
    before = cloud.client.describe_endpoint(EndpointName=NAME)["EndpointConfigName"]
    cloud.rolls_back = how == "rolls back"
    if how == "answers wrong":
        cloud.prediction = 7
    with pytest.raises(la.StepError, match=r"rolled back by SageMaker|prediction is 7"):
        deploy(*at_target("sagemaker", ("port: 0,", "port: 0, max_rows: 9,")))
    assert cloud.client.describe_endpoint(EndpointName=NAME)["EndpointConfigName"] == before
    assert cloud.names() == names


def test_a_first_version_that_fails_leaves_nothing(at_target: AtTarget, cloud: Cloud) -> None:
    cloud.prediction = 7
    with pytest.raises(la.StepError, match=r"liminal.yml:\d+:.*the server's prediction is 7"):
        deploy(*at_target("sagemaker"))
    assert not any(cloud.names().values())


def test_what_amazon_refuses_is_told_at_its_line(at_target: AtTarget, cloud: Cloud) -> None:
    change = ("s3://releases/models", "s3://no-such-bucket/models")
    with pytest.raises(la.StepError, match=r"liminal.yml:\d+:.*s3://no-such-bucket") as raised:
        deploy(*at_target("sagemaker", change))
    assert "testing" not in str(raised.value)


def test_without_boto3_the_extra_is_named(
    at_target: AtTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, block = at_target("sagemaker")
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(la.StepError, match=r"boto3 isn't installed .*liminal-assets\[aws\]"):
        deploy(project, block)


@pytest.mark.parametrize(
    ("steps", "shift"),
    [
        ((10, 100), ("CANARY", 10)),
        ((20, 40, 60, 80, 100), ("LINEAR", 20)),
        ((30, 60, 90, 100), ("LINEAR", 30)),
        ((5, 25, 100), None),
        ((60, 100), None),
        ((10, 50), None),
        ((0.5, 100), None),
    ],
)
def test_steps_are_those_that_sagemaker_has(
    steps: tuple[float, ...], shift: tuple[str, int] | None
) -> None:
    found = _shift(Rollout(strategy="canary", steps=steps))
    size = found and (found.get("CanarySize") or found["LinearStepSize"])["Value"]
    assert (found and (found["Type"], size)) == shift


@pytest.mark.parametrize(
    ("rollout", "message"),
    [
        ("strategy: shadow", "can't do a shadow rollout"),
        ("strategy: canary, wait: 1m", "can't shift traffic by the steps 5, 25, 100"),
        ("strategy: canary, steps: [10, 100]", "up to an hour"),
        (
            "strategy: canary, steps: [10, 100], wait: 1m, rollback_on: {p99_ms: 5}",
            "CloudWatch's alarms",
        ),
    ],
)
def test_what_sagemaker_can_not_do_is_told_at_its_line(
    at_target: AtTarget, rollout: str, message: str
) -> None:
    changed = f"model: late\n    rollout: {{{rollout}}}\n    serve:"
    project, _ = at_target("sagemaker", (BEFORE, changed))
    (mistake,) = target_mistakes(project)
    assert message in mistake.message
    assert mistake.location.line == 19
