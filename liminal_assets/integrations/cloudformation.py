"""Stacks of Amazon's CloudFormation: created, deleted, and waited for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from liminal_assets.errors import StepError
from liminal_assets.integrations.aws import aws_client, aws_errors, error_code
from liminal_assets.language.diagnostics import Location

__all__ = ["UP", "Stack"]

UP = frozenset(
    {
        "CREATE_COMPLETE",
        "DELETE_FAILED",
        "IMPORT_COMPLETE",
        "UPDATE_COMPLETE",
        "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS",
        "UPDATE_FAILED",
        "UPDATE_IN_PROGRESS",
        "UPDATE_ROLLBACK_COMPLETE",
        "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS",
        "UPDATE_ROLLBACK_IN_PROGRESS",
    }
)
"""States of a stack that is there and can be used."""

_DELAY = 15.0
"""Seconds between two questions for a stack's state."""
_LONGEST = 7 * 24 * 3600.0
"""Seconds to wait for a stack where nothing sets a limit: as long as an Airflow sensor did."""


class Stack:
    """One stack by its name.

    Args:
        name: the stack's name.
        remaining: seconds that waiting may still take; None for no limit.
        location: what an error points to.
    """

    def __init__(
        self,
        name: str,
        remaining: Callable[[], float | None],
        location: Location | None = None,
        *,
        connection: str | None = None,
    ) -> None:
        self.name = name
        self._remaining = remaining
        self._location = location
        self._client = aws_client("cloudformation", connection=connection, location=location)

    def status(self) -> str | None:
        """CloudFormation's word for its state; None if there is no such stack.

        Raises:
            StepError: it can't be asked for.
        """
        found = self._described()
        return None if found is None else str(found["StackStatus"])

    def outputs(self) -> dict[str, str]:
        """What the stack's template puts out, by key."""
        found = self._described() or {}
        return {item["OutputKey"]: item["OutputValue"] for item in found.get("Outputs", ())}

    def create(self, parameters: Mapping[str, Any]) -> None:
        """Starts creating it.

        Args:
            parameters: as of CloudFormation's ``CreateStack``, the name left out.

        Raises:
            StepError: CloudFormation refuses.
        """
        with aws_errors(f"create the stack {self.name}", self._location):
            self._client.create_stack(**{"StackName": self.name, **parameters})

    def delete(self) -> None:
        """Starts deleting it.

        Raises:
            StepError: CloudFormation refuses.
        """
        with aws_errors(f"delete the stack {self.name}", self._location):
            self._client.delete_stack(StackName=self.name)

    def wait_until_created(self) -> None:
        """Waits until the stack is up.

        Raises:
            StepError: it failed, with what failed in it first, or the time is over.
        """
        self._wait("stack_create_complete", "created", "CREATE_FAILED")

    def wait_until_deleted(self) -> None:
        """Waits until the stack is gone.

        Raises:
            StepError: it couldn't be deleted, with the reason, or the time is over.
        """
        self._wait("stack_delete_complete", "deleted", "DELETE_FAILED")

    def _wait(self, waiter: str, done: str, failure: str) -> None:
        from botocore.exceptions import WaiterError

        remaining = self._remaining()
        seconds = _LONGEST if remaining is None else remaining
        delay = max(0.1, min(_DELAY, seconds))
        attempts = max(1, math.ceil(seconds / delay))
        with aws_errors(f"wait for the stack {self.name}", self._location):
            try:
                self._client.get_waiter(waiter).wait(
                    StackName=self.name, WaiterConfig={"Delay": delay, "MaxAttempts": attempts}
                )
            except WaiterError as error:
                if "Max attempts exceeded" in str(error):
                    message = f"the stack {self.name} isn't {done} in time: {self.status()}"
                    hint: str | None = "CloudFormation goes on with it"
                else:
                    message = f"the stack {self.name} isn't {done}: {self.status()}"
                    hint = self._reason(failure)
                raise StepError(message, location=self._location, hint=hint) from error

    def _reason(self, failure: str) -> str | None:
        """What failed first in the stack: its name there, and why."""
        pages = self._client.get_paginator("describe_stack_events").paginate(StackName=self.name)
        events = [event for page in pages for event in page["StackEvents"]]
        failed = [event for event in events if event.get("ResourceStatus") == failure]
        if not failed:
            return None
        first = min(failed, key=lambda event: event["Timestamp"])
        return f"{first['LogicalResourceId']}: {first.get('ResourceStatusReason', failure)}"

    def _described(self) -> Mapping[str, Any] | None:
        from botocore.exceptions import ClientError

        with aws_errors(f"ask for the stack {self.name}", self._location):
            try:
                [found] = self._client.describe_stacks(StackName=self.name)["Stacks"]
            except ClientError as error:
                if error_code(error) == "ValidationError" and "does not exist" in str(error):
                    return None
                raise
        return dict(found)
