"""Endpoints of Amazon SageMaker: their models and configurations, made, changed, waited for."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Literal

from liminal_assets.errors import StepError
from liminal_assets.integrations.aws import aws_client, aws_errors, error_code
from liminal_assets.language.diagnostics import Location

__all__ = ["Endpoint", "Measured", "put_object"]

_DELAY = 15.0
"""Seconds between two questions for an endpoint's state."""
_CHANGING = frozenset({"Creating", "Updating", "SystemUpdating", "RollingBack"})


def put_object(path: Path, url: str, **access: Any) -> None:
    """Brings a file to S3, unless an object of that URL is there.

    Args:
        access: as of :func:`~liminal_assets.integrations.aws.aws_client`.

    Raises:
        StepError: S3 refuses.
    """
    from botocore.exceptions import ClientError

    bucket, _, key = url.removeprefix("s3://").partition("/")
    client = aws_client("s3", **access)
    with aws_errors(f"bring the release to {url}", access.get("location")):
        try:
            client.head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error_code(error) not in ("404", "NoSuchKey", "NotFound"):
                raise
            client.upload_file(str(path), bucket, key)


Kind = Literal["model", "endpoint_config"]
_KINDS: Mapping[Kind, tuple[str, str]] = {
    "model": ("ModelName", "Models"),
    "endpoint_config": ("EndpointConfigName", "EndpointConfigs"),
}
"""What SageMaker calls the name of one, and a list of them."""


@dataclass(frozen=True)
class Measured:
    """A variant's requests.

    Attributes:
        requests: all of them.
        errors: those that failed by its fault (5xx).
        p99_ms: the 99th percentile of its latency in milliseconds; None of no requests.
    """

    requests: int
    errors: int
    p99_ms: float | None


class Endpoint:
    """One endpoint by its name; its models and configurations are called like it, with a digest
    of what they hold.

    Args:
        name: the endpoint's name.
        access: as of :func:`~liminal_assets.integrations.aws.aws_client`.
    """

    def __init__(self, name: str, **access: Any) -> None:
        self.name = name
        self._access = access
        self._location: Location | None = access.get("location")
        self._client = aws_client("sagemaker", **access)

    def described(self) -> Mapping[str, Any] | None:
        """What SageMaker says of it; None if there is none.

        Raises:
            StepError: it can't be asked for.
        """
        return self._found("describe_endpoint", EndpointName=self.name)

    def model_of(self, configuration: str) -> Mapping[str, Any]:
        """What SageMaker says of the model of a configuration; empty if one of them is gone."""
        for variant in self.variants(configuration):
            return self._found("describe_model", ModelName=variant["ModelName"]) or {}
        return {}

    def make(self, kind: Kind, name: str, parameters: Mapping[str, Any]) -> None:
        """Makes a model or an endpoint configuration, unless it is there.

        Args:
            parameters: as of SageMaker's ``CreateModel`` or ``CreateEndpointConfig``, the name
                left out.
        """
        named = {_KINDS[kind][0]: name}
        if self._found(f"describe_{kind}", **named) is None:
            with aws_errors(f"make the {kind.replace('_', ' ')} {name}", self._location):
                getattr(self._client, f"create_{kind}")(**named, **parameters)

    def variants(self, configuration: str) -> list[Mapping[str, Any]]:
        """The production variants of a configuration; none if it is gone."""
        found = self._found("describe_endpoint_config", EndpointConfigName=configuration)
        return list(found["ProductionVariants"]) if found else []

    def create(self, configuration: str, tags: Sequence[Mapping[str, str]]) -> None:
        """Starts creating the endpoint."""
        with aws_errors(f"create the endpoint {self.name}", self._location):
            self._client.create_endpoint(
                EndpointName=self.name, EndpointConfigName=configuration, Tags=list(tags)
            )

    def update(self, configuration: str, rollout: Mapping[str, Any]) -> None:
        """Starts bringing the endpoint to another configuration.

        Args:
            rollout: SageMaker's ``DeploymentConfig``; empty for all at once.
        """
        more = {"DeploymentConfig": dict(rollout)} if rollout else {}
        with aws_errors(f"update the endpoint {self.name}", self._location):
            self._client.update_endpoint(
                EndpointName=self.name, EndpointConfigName=configuration, **more
            )

    def wait(self, configuration: str, seconds: float) -> None:
        """Waits until the endpoint answers by a configuration.

        Raises:
            StepError: it came to another end, with SageMaker's reason, or the time is over.
        """
        from botocore.exceptions import WaiterError

        delay = max(0.05, min(_DELAY, seconds))
        attempts = max(1, math.ceil(seconds / delay))
        with aws_errors(f"wait for the endpoint {self.name}", self._location):
            try:
                self._client.get_waiter("endpoint_in_service").wait(
                    EndpointName=self.name,
                    WaiterConfig={"Delay": delay, "MaxAttempts": attempts},
                )
            except WaiterError as error:
                late = "Max attempts exceeded" in str(error)
                raise self._failed("isn't in service in time" if late else "failed") from error
        if (self.described() or {}).get("EndpointConfigName") != configuration:
            raise self._failed("was rolled back by SageMaker")

    def _failed(self, how: str) -> StepError:
        said = self.described() or {}
        status = said.get("EndpointStatus", "gone")
        return StepError(
            f"the endpoint {self.name} {how}: {said.get('FailureReason') or status}",
            location=self._location,
            hint="SageMaker still goes on with it" if status in _CHANGING else None,
        )

    def weigh(self, weights: Mapping[str, float]) -> None:
        """Starts sharing requests out among the variants by weight."""
        wanted = [
            {"VariantName": name, "DesiredWeight": weight} for name, weight in weights.items()
        ]
        with aws_errors(f"share out the requests of the endpoint {self.name}", self._location):
            self._client.update_endpoint_weights_and_capacities(
                EndpointName=self.name, DesiredWeightsAndCapacities=wanted
            )

    def measured(self, variant: str, since: datetime) -> Measured:
        """What CloudWatch knows of a variant since a moment, which is a minute or two behind.

        Raises:
            StepError: it can't be asked.
        """
        client = aws_client("cloudwatch", **self._access)
        now = datetime.now(timezone.utc)

        def statistic(metric: str, **how: Any) -> list[Mapping[str, Any]]:
            points: list[Mapping[str, Any]] = client.get_metric_statistics(
                Namespace="AWS/SageMaker",
                MetricName=metric,
                Dimensions=[
                    {"Name": "EndpointName", "Value": self.name},
                    {"Name": "VariantName", "Value": variant},
                ],
                StartTime=since,
                # it takes no empty time
                EndTime=now + timedelta(minutes=1),
                **how,
            )["Datapoints"]
            return points

        def total(metric: str) -> int:
            return int(sum(p["Sum"] for p in statistic(metric, Period=60, Statistics=["Sum"])))

        # one point over all of the time: percentiles of minutes have no sum
        whole = max(60, 60 * math.ceil((now - since).total_seconds() / 60))
        with aws_errors(f"measure the endpoint {self.name}", self._location):
            slowest = statistic("ModelLatency", Period=whole, ExtendedStatistics=["p99"])
            return Measured(
                total("Invocations"),
                total("Invocation5XXErrors"),
                max((point["ExtendedStatistics"]["p99"] / 1000 for point in slowest), default=None),
            )

    def alarms(self, names: Sequence[str]) -> list[str]:
        """Which of these CloudWatch alarms are on.

        Raises:
            StepError: CloudWatch can't be asked.
        """
        if not names:
            return []
        client = aws_client("cloudwatch", **self._access)
        with aws_errors("ask for alarms", self._location):
            found = client.describe_alarms(AlarmNames=list(names), StateValue="ALARM")
        return [str(alarm["AlarmName"]) for alarm in found["MetricAlarms"]]

    def ask(self, body: bytes, variant: str | None = None) -> bytes:
        """What the endpoint, or one of its variants, answers to a JSON body.

        Raises:
            StepError: it doesn't answer with success.
        """
        client = aws_client("sagemaker-runtime", **self._access)
        with aws_errors(f"ask the endpoint {self.name}", self._location):
            answer = client.invoke_endpoint(
                EndpointName=self.name,
                Body=body,
                ContentType="application/json",
                **({"TargetVariant": variant} if variant else {}),
            )
            content: bytes = answer["Body"].read()
        return content

    def delete(self) -> bool:
        """Deletes the endpoint and waits until it is gone; whether it was there."""
        if self.described() is None:
            return False
        with aws_errors(f"delete the endpoint {self.name}", self._location):
            self._client.delete_endpoint(EndpointName=self.name)
            self._client.get_waiter("endpoint_deleted").wait(
                EndpointName=self.name, WaiterConfig={"Delay": _DELAY, "MaxAttempts": 80}
            )
        return True

    def forget(self, kept: Sequence[str | None] = ()) -> bool:
        """Deletes the endpoint's configurations and models.

        Args:
            kept: the configurations that stay, with their models.

        Returns:
            Whether there was one.
        """
        stay: Mapping[Kind, Collection[Any]] = {
            "endpoint_config": kept,
            "model": {
                variant["ModelName"] for name in kept if name for variant in self.variants(name)
            },
        }
        gone = [
            (kind, name) for kind in stay for name in self._names(kind) if name not in stay[kind]
        ]
        with aws_errors(f"delete what the endpoint {self.name} had", self._location):
            for kind, name in gone:
                getattr(self._client, f"delete_{kind}")(**{_KINDS[kind][0]: name})
        return bool(gone)

    def _names(self, kind: Kind) -> Iterator[str]:
        field, key = _KINDS[kind]
        with aws_errors(f"list what the endpoint {self.name} has", self._location):
            pages = self._client.get_paginator(f"list_{kind}s").paginate(NameContains=self.name)
            names = [str(item[field]) for page in pages for item in page[key]]
        # a digest is all that ours have more than the endpoint's name
        digits = len(self.name) + 1
        ours = (name for name in names if name.startswith(f"{self.name}-"))
        yield from (name for name in ours if "-" not in name[digits:])

    def _found(self, call: str, **parameters: str) -> Mapping[str, Any] | None:
        from botocore.exceptions import ClientError

        with aws_errors(f"ask for the endpoint {self.name}", self._location):
            try:
                found: Mapping[str, Any] = getattr(self._client, call)(**parameters)
            except ClientError as error:
                if error_code(error) == "ValidationException" and "Could not find" in str(error):
                    return None
                raise
        return found
