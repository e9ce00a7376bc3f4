"""Endpoints of Amazon SageMaker: their models and configurations, made, changed, waited for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from liminal_assets.errors import StepError
from liminal_assets.integrations.aws import aws_client, aws_errors, error_code
from liminal_assets.language.diagnostics import Location

__all__ = ["Endpoint", "put_object"]

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
        found = self._found("describe_endpoint_config", EndpointConfigName=configuration)
        if found is None:
            return {}
        name = found["ProductionVariants"][0]["ModelName"]
        return self._found("describe_model", ModelName=name) or {}

    def make_model(self, name: str, parameters: Mapping[str, Any]) -> None:
        """Makes a model, unless it is there.

        Args:
            parameters: as of SageMaker's ``CreateModel``, the name left out.
        """
        if self._found("describe_model", ModelName=name) is None:
            with aws_errors(f"make the model {name}", self._location):
                self._client.create_model(ModelName=name, **parameters)

    def make_configuration(self, name: str, parameters: Mapping[str, Any]) -> None:
        """Makes an endpoint configuration, unless it is there.

        Args:
            parameters: as of SageMaker's ``CreateEndpointConfig``, the name left out.
        """
        if self._found("describe_endpoint_config", EndpointConfigName=name) is None:
            with aws_errors(f"make the endpoint configuration {name}", self._location):
                self._client.create_endpoint_config(EndpointConfigName=name, **parameters)

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

    def ask(self, body: bytes) -> bytes:
        """What the endpoint answers to a JSON body.

        Raises:
            StepError: it doesn't answer with success.
        """
        client = aws_client("sagemaker-runtime", **self._access)
        with aws_errors(f"ask the endpoint {self.name}", self._location):
            answer = client.invoke_endpoint(
                EndpointName=self.name, Body=body, ContentType="application/json"
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
        stay = {self.model_of(name).get("ModelName") for name in kept if name}
        gone = [name for name in self._names("endpoint_configs") if name not in kept]
        models = [name for name in self._names("models") if name not in stay]
        with aws_errors(f"delete what the endpoint {self.name} had", self._location):
            for name in gone:
                self._client.delete_endpoint_config(EndpointConfigName=name)
            for name in models:
                self._client.delete_model(ModelName=name)
        return bool(gone or models)

    def _names(self, kind: str) -> Iterator[str]:
        key, field = {
            "endpoint_configs": ("EndpointConfigs", "EndpointConfigName"),
            "models": ("Models", "ModelName"),
        }[kind]
        with aws_errors(f"list what the endpoint {self.name} has", self._location):
            pages = self._client.get_paginator(f"list_{kind}").paginate(NameContains=self.name)
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
