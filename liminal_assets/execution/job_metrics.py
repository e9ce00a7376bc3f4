"""The metrics of a pipeline's runs: that a job started, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from liminal_assets.apache.workflow import TaskSpec, Workflow
from liminal_assets.execution.task import TaskRun
from liminal_assets.integrations.metrics import BACKENDS, Metric, metrics_backend
from liminal_assets.language.diagnostics import Diagnostic, Location, did_you_mean
from liminal_assets.language.source import locate

__all__ = ["check_metrics", "report"]


def report(spec: TaskSpec, run: TaskRun, values: Mapping[str, float]) -> None:
    """Sends a job's metrics to every backend of ``metrics.backends``.

    They are in ``metrics.namespace``, and the tag ``ApplicationName`` is the pipeline's name.

    Raises:
        StepError: a backend is unknown, or didn't take them.
    """
    section = _section(run.workflow)
    namespace = str(section.get("namespace") or "")
    tags = {"ApplicationName": spec.pipeline}
    metrics = [Metric(namespace, name, value, tags) for name, value in values.items()]
    run.results.update(values)
    for name in _backends(section):
        metrics_backend(str(name), _locate(run.workflow, "backends")).report(metrics)
        for metric in metrics:
            run.log(f"{name}: {namespace} {metric.name} {metric.value:g}")


def check_metrics(spec: TaskSpec, workflow: Workflow) -> Iterator[Diagnostic]:
    """What is wrong with the file's ``metrics``."""
    section = workflow.configuration.get("metrics")
    if section is None:
        return
    if not isinstance(section, Mapping):
        example = "metrics: {namespace: my_team, backends: [cloudwatch]}"
        at = _locate(workflow)
        yield Diagnostic(at, "invalid-type", "metrics must be a mapping", example)
        return
    backends = section.get("backends")
    if backends is not None and not isinstance(backends, list):
        at, message = _locate(workflow, "backends"), "backends must be a list of names"
        yield Diagnostic(at, "invalid-type", message, "backends: [cloudwatch]")
    for index, name in enumerate(_backends(section)):
        if name not in BACKENDS:
            at, hint = _locate(workflow, "backends", index), did_you_mean(str(name), BACKENDS)
            message = f"no metrics backend is called {name!r}"
            yield Diagnostic(at, "unknown-metrics-backend", message, hint)
    if _backends(section) and not section.get("namespace"):
        at, message = _locate(workflow, "namespace"), "'namespace' is missing"
        yield Diagnostic(at, "missing-key", message, "CloudWatch keeps metrics in namespaces")


def _section(workflow: Workflow) -> Mapping[str, Any]:
    section = workflow.configuration.get("metrics")
    return section if isinstance(section, Mapping) else {}


def _backends(section: Mapping[str, Any]) -> Sequence[Any]:
    backends = section.get("backends")
    return backends if isinstance(backends, list) else ()


def _locate(workflow: Workflow, *path: str | int) -> Location:
    configuration = workflow.configuration
    return locate(configuration, ("metrics", *path)) or configuration.location
