"""A model server as a SageMaker endpoint: what is made, and what stays when a version fails."""

from __future__ import annotations

import io
import json
import sys
import tarfile
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import boto3
import pytest

import liminal_assets as la
from liminal_assets.integrations.sagemaker import Endpoint, Measured
from liminal_assets.steps.deploy import deploy, target_mistakes, target_of
from liminal_assets_tests.champions import Shop

AtTarget = Callable[..., tuple[la.Project, Any]]
BEFORE = "model: late\n    serve:"
NAME = "shop--late-api"


class Cloud:
    """SageMaker as moto plays it, with the updates that moto doesn't know.

    Attributes:
        updates: the parameters of each.
        rolls_back: updates end by the configuration before, as when an alarm goes off.
        prediction: what the endpoint answers.
        asked: the variants that were asked, None for the endpoint as a whole.
        weights: of the variants, each time that they were set.
    """

    def __init__(self, prediction: Any) -> None:
        self.updates: list[dict[str, Any]] = []
        self.rolls_back = False
        self.prediction = prediction
        self.asked: list[str | None] = []
        self.weights: list[dict[str, float]] = []
        self.client = boto3.client("sagemaker")
        self.s3 = boto3.client("s3")

    def update(self, response: Any) -> str:
        said = json.loads(response.body)
        self.updates.append(said)
        endpoint = response.sagemaker_backend.endpoints[said["EndpointName"]]
        if not self.rolls_back:
            name = endpoint.endpoint_config_name = said["EndpointConfigName"]
            configuration = response.sagemaker_backend.endpoint_configs[name]
            endpoint.production_variants = endpoint._process_production_variants(
                configuration.production_variants
            )
        return json.dumps({"EndpointArn": endpoint.arn})

    def shares(self) -> dict[str, Any]:
        """The variants that answer, and their weights."""
        found = self.client.describe_endpoint(EndpointName=NAME)["ProductionVariants"]
        return {item["VariantName"]: item.get("DesiredWeight") for item in found}

    def alarm(self, name: str) -> None:
        watch = boto3.client("cloudwatch")
        watch.put_metric_alarm(
            AlarmName=name,
            MetricName="Invocation5XXErrors",
            Namespace="AWS/SageMaker",
            Period=60,
            EvaluationPeriods=1,
            Threshold=1,
            ComparisonOperator="GreaterThanThreshold",
            Statistic="Sum",
        )
        watch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="a test")

    def counting(self, weigh: Any, requests: int, errors: int) -> Any:
        """Weights that bring a variant so many requests."""

        def counted(endpoint: Endpoint, weights: dict[str, float]) -> None:
            weigh(endpoint, weights)
            *_, candidate = weights
            dimensions = {"EndpointName": NAME, "VariantName": candidate}
            boto3.client("cloudwatch").put_metric_data(
                Namespace="AWS/SageMaker",
                MetricData=[
                    {
                        "MetricName": name,
                        "Dimensions": [
                            {"Name": key, "Value": value} for key, value in dimensions.items()
                        ],
                        "Timestamp": datetime.now(timezone.utc),
                        "Value": value,
                    }
                    for name, value in {
                        "Invocations": requests,
                        "Invocation5XXErrors": errors,
                    }.items()
                ],
            )

        return counted

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

    def ask(endpoint: Endpoint, body: bytes, variant: str | None = None) -> bytes:
        cloud.asked.append(variant)
        return json.dumps({"predictions": [cloud.prediction]}).encode()

    monkeypatch.setattr(SageMakerResponse, "update_endpoint", update, raising=False)
    monkeypatch.setattr(Endpoint, "ask", ask)
    weigh = Endpoint.weigh

    def weighed(endpoint: Endpoint, weights: dict[str, float]) -> None:
        cloud.weights.append(dict(weights))
        weigh(endpoint, weights)

    monkeypatch.setattr(Endpoint, "weigh", weighed)
    monkeypatch.setattr("liminal_assets.execution.targets.sagemaker._EVERY", 0.01)
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


def changed(rows: int) -> tuple[str, str]:
    """Another configuration of the server, and so another release."""
    return "port: 0,", f"port: 0, max_rows: {rows},"


def rollout(said: str) -> tuple[str, str]:
    return BEFORE, f"model: late\n    rollout: {{{said}}}\n    serve:"


def test_versions_take_over_and_older_ones_go(at_target: AtTarget, cloud: Cloud) -> None:
    for rows in (10, 20, 30):
        deploy(*at_target("sagemaker", changed(rows), ("role:", "alarms: errors, role:")))
    assert len(cloud.updates) == 2
    how = cloud.updates[0]["DeploymentConfig"]
    assert how["AutoRollbackConfiguration"] == {"Alarms": [{"AlarmName": "errors"}]}
    traffic = how["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
    assert traffic["Type"] == "ALL_AT_ONCE"
    names = cloud.names()
    assert (len(names["configurations"]), len(names["models"])) == (2, 2)


def test_a_canary_is_a_variant_whose_weight_grows(at_target: AtTarget, cloud: Cloud) -> None:
    deploy(*at_target("sagemaker"))
    ((stable, _),) = cloud.shares().items()
    project, block = at_target(
        "sagemaker",
        changed(9),
        rollout("strategy: canary, steps: [5, 25, 100], wait: 30ms"),
    )
    assert list(target_mistakes(project)) == []
    cloud.asked.clear()
    deploy(project, block)
    ((candidate, _),) = cloud.shares().items()
    assert candidate != stable
    assert cloud.weights == [{stable: 95, candidate: 5}, {stable: 75, candidate: 25}]
    # by its name, before it had a share of the requests; and all at the end
    assert cloud.asked == [candidate, None]
    assert len(cloud.names()["configurations"]) == 2


@pytest.mark.parametrize(
    ("why", "message"),
    [
        ("an alarm", "CloudWatch's alarm errors is on"),
        ("errors", "7 of 120 requests failed"),
        ("latency", r"99 % of its answers took 80 ms, not 50 ms"),
        ("a wrong answer", "prediction is 7"),
    ],
)
def test_a_canary_that_fails_loses_its_weight_at_once(
    at_target: AtTarget, cloud: Cloud, why: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(*at_target("sagemaker"))
    names, before = cloud.names(), cloud.shares()
    (stable,) = before
    limits = "rollback_on: {error_rate: 0.05, p99_ms: 50}"
    target = at_target(
        "sagemaker",
        changed(9),
        rollout(f"strategy: canary, steps: [5, 100], wait: 10s, {limits}"),
        ("role:", "alarms: errors, role:"),
    )
    if why == "an alarm":
        cloud.alarm("errors")
    elif why == "errors":
        monkeypatch.setattr(Endpoint, "weigh", cloud.counting(Endpoint.weigh, 120, 7))
    elif why == "latency":
        said = Measured(120, 0, 80.0)
        monkeypatch.setattr(Endpoint, "measured", lambda *_: said)
    else:
        cloud.prediction = 7
    with pytest.raises(la.StepError, match=message):
        deploy(*target)
    if why != "a wrong answer":
        tried, taken_back = cloud.weights
        (candidate,) = set(tried) - set(before)
        assert tried == {stable: 95, candidate: 5}
        assert taken_back == {stable: 1, candidate: 0}
    assert cloud.shares() == before
    assert cloud.names() == names


def test_a_version_from_before_goes_back_at_once(
    at_target: AtTarget, cloud: Cloud, shop: Shop, answer_of: Callable[[int], Any]
) -> None:
    second = shop.register(promote=False)
    project, block = at_target("sagemaker", rollout("strategy: canary, wait: 30ms"))
    target = target_of(project, block)
    cloud.prediction = answer_of(second.version)["predictions"][0]["prediction"]
    target.deploy(project, block, second)
    cloud.prediction = answer_of(1)["predictions"][0]["prediction"]
    target.deploy(project, block, shop.registry.version("late", 1))
    assert cloud.weights == []
    assert target.status(project, block).version == "1"


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
    ("said", "message"),
    [
        ("strategy: shadow", "can't do a shadow rollout"),
        ("strategy: canary, steps: [10, 100]", "how long a step lasts"),
        ("strategy: canary, wait: 1m, rollback_on: {disagreement: 0.1}", "compare answers"),
    ],
)
def test_what_sagemaker_can_not_do_is_told_at_its_line(
    at_target: AtTarget, said: str, message: str
) -> None:
    project, _ = at_target("sagemaker", rollout(said))
    (mistake,) = target_mistakes(project)
    assert message in mistake.message
    assert mistake.location.line == 19
