"""The whole of a ``liminal.yml`` as one immutable value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from liminal_assets.language.alerts import Alert
from liminal_assets.language.base import Name, Owner, Spec
from liminal_assets.language.datasets import Connection, Dataset
from liminal_assets.language.deployments import Deployment
from liminal_assets.language.features import Feature
from liminal_assets.language.models import Model
from liminal_assets.language.monitoring import Monitoring
from liminal_assets.language.monitors import Monitor, Schedule
from liminal_assets.language.storage import StorageSpec

__all__ = ["ProjectSpec"]


def _allowed_env(value: Any) -> Any:
    """``env: [A, B]`` is short for ``env: {A: null, B: null}``: no default."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return dict.fromkeys(value)
    return value


Items = tuple[dict[str, Any], ...]
Section = dict[str, Any]


class ProjectSpec(Spec):
    """A project: named blocks in the order of the phases."""

    name: Name
    description: str | None = None
    owner: Owner | None = None
    """Dagster owner of every asset: ``team:name`` or an e-mail address."""
    variables: dict[str, Any] = {}
    """Values for ``{{ name }}``."""
    env: Annotated[
        dict[str, str | None],
        BeforeValidator(_allowed_env, json_schema_input_type=list[str] | dict[str, str | None]),
    ] = {}
    """Environment variables that ``{{ NAME }}`` may take: a list, or a mapping to defaults."""
    environments: dict[str, dict[str, Any]] = {}
    """Overlays by name (``dev``, ``staging``, ``prod``): what they hold replaces the same keys;
    lists of named blocks are matched by name."""
    storage: StorageSpec = StorageSpec()
    connections: tuple[Connection, ...] = ()
    datasets: tuple[Dataset, ...] = ()
    features: tuple[Feature, ...] = ()
    models: tuple[Model, ...] = ()
    deployments: tuple[Deployment, ...] = ()
    monitors: tuple[Monitor, ...] = ()
    alerts: tuple[Alert, ...] = ()
    schedules: tuple[Schedule, ...] = ()
    pipelines: Items = ()
    """Apache Liminal's pipelines of tasks, and below what goes with them: read, inherited and
    filled in as there, with its `{{ name }}`; see [Apache Liminal's projects](apache.md). A task
    or pipeline may say `after:` (blocks, `pipeline/task`), a task `produces:` (datasets)."""
    executors: Items = ()
    """Where tasks run."""
    images: Items = ()
    """What container images are built from."""
    volumes: Items = ()
    """Folders that tasks mount."""
    secrets: Items = ()
    """Secret files that tasks mount."""
    services: Items = ()
    """Servers."""
    task_defaults: Section = {}
    """Keys that tasks of a type get."""
    pipeline_defaults: Section = {}
    """Keys that pipelines get."""
    service_defaults: Section = {}
    """Keys that services get."""
    metrics: Section = {}
    """Where the tasks `job_start` and `job_end` report."""
    monitoring: Monitoring = Monitoring()
    """Where metrics of all runs, assets and sensors are sent, and alarms on them."""
    always_run: bool | None = None
    """Whether the end of a job is reported after a failure too."""
    super_: Annotated[str | None, Field(alias="super")] = None
    """The file that the pipelines inherit from."""
    type: str | None = None
    """`sub`: files to be inherited from have none of our sections."""

    @property
    def blocks(self) -> Iterator[Dataset | Feature | Model | Deployment | Monitor]:
        """Every block that becomes an asset, in the order of the phases."""
        yield from self.datasets
        yield from self.features
        yield from self.models
        yield from self.deployments
        yield from self.monitors
