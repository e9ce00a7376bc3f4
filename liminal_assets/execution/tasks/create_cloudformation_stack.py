"""Creates a stack of CloudFormation, unless it is up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from liminal_assets.apache.workflow import TaskSpec, Workflow
from liminal_assets.errors import StepError
from liminal_assets.execution.task import InProcessTask, TaskRun
from liminal_assets.integrations.cloudformation import UP, Stack
from liminal_assets.language.diagnostics import Diagnostic

__all__ = ["CreateCloudFormationStackTask"]


class CreateCloudFormationStackTask(InProcessTask):
    """Creates ``stack_name`` with ``properties``, the arguments of CloudFormation's
    ``CreateStack`` with ``Parameters`` as a mapping, and waits until it is up.

    A stack that is up stays as it is. One that another run is creating is waited for, one that is
    being deleted is created again.
    """

    @classmethod
    def check(cls, spec: TaskSpec, workflow: Workflow) -> Iterable[Diagnostic]:
        if not spec.get("stack_name"):
            at = spec.locate("stack_name")
            yield Diagnostic(at, "missing-key", "'stack_name' is missing")
        properties = spec.get("properties")
        if not isinstance(properties, Mapping):
            code = "missing-key" if properties is None else "invalid-type"
            hint = "write TemplateURL: and Parameters: below it"
            message = "'properties' must be a mapping"
            yield Diagnostic(spec.locate("properties"), code, message, hint)
            return
        if not {"TemplateURL", "TemplateBody"} & set(properties):
            hint = "write TemplateURL: https://…, or the template itself as TemplateBody:"
            at = spec.locate("properties")
            yield Diagnostic(at, "missing-key", "there is no 'TemplateURL'", hint)
        parameters = properties.get("Parameters")
        if parameters is not None and not isinstance(parameters, Mapping):
            hint = "write Name: value below it"
            at, message = spec.locate("properties", "Parameters"), "Parameters must be a mapping"
            yield Diagnostic(at, "invalid-type", message, hint)

    def run(self, run: TaskRun) -> None:
        spec = self.spec
        name = str(spec.get("stack_name"))
        stack = Stack(name, lambda: run.remaining, spec.locate("stack_name"))
        status = stack.status()
        if status in UP:
            run.log(f"the stack {name} is up: {status}")
        elif status == "CREATE_IN_PROGRESS":
            run.log(f"waiting for the stack {name}, which is being created")
            stack.wait_until_created()
        else:
            if status == "DELETE_IN_PROGRESS":
                run.log(f"waiting until the stack {name} is deleted")
                stack.wait_until_deleted()
            elif status not in (None, "DELETE_COMPLETE", "REVIEW_IN_PROGRESS"):
                raise StepError(
                    f"the stack {name} is in the way: {status}",
                    location=spec.locate("stack_name"),
                    hint=f"aws cloudformation delete-stack --stack-name {name}",
                )
            run.log(f"creating the stack {name}")
            stack.create(_arguments(spec.get("properties", {})))
            stack.wait_until_created()
            run.log(f"the stack {name} is up")
        run.results.update({"stack": name, **stack.outputs()})


def _arguments(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of ``CreateStack``: every parameter as a pair of texts."""
    return {
        **properties,
        "Parameters": [
            {"ParameterKey": key, "ParameterValue": value}
            for key, value in _flat(properties.get("Parameters") or {}, ())
        ],
    }


def _flat(parameters: Mapping[Any, Any], above: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for key, value in parameters.items():
        path = (*above, str(key))
        if isinstance(value, Mapping):
            yield from _flat(value, path)
        elif isinstance(value, list):  # CommaDelimitedList, List<Number>
            yield ":".join(path), ",".join(map(str, value))
        else:
            yield ":".join(path), str(value)
