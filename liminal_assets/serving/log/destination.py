"""Where a server without a project finds the prediction log that its answers belong to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from liminal_assets.language.deployments import Deployment
    from liminal_assets.language.loading import Project

__all__ = ["LogDestination"]


class LogDestination(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A deployment's log, as its project has it.

    Attributes:
        project: the project's name.
        deployment: the deployment's.
        model: its model's.
        data: the URL of the project's tables, where the log is files.
        data_options: fsspec's options for it.
        connection: the connection of a log that is a table, as ``liminal.yml`` has it; it may hold
            a password.
        table: the table.
    """

    project: str
    deployment: str
    model: str
    data: str = ""
    data_options: Mapping[str, Any] = {}
    connection: Mapping[str, Any] = {}
    table: str = ""

    @classmethod
    def of(cls, project: Project, deployment: Deployment) -> LogDestination | None:
        """That of a deployment; None if it keeps no log, or one of files of this machine."""
        from liminal_assets.storage.connections import is_embedded
        from liminal_assets.storage.tables import TableStore

        said = deployment.serve.log_predictions if deployment.serve else None
        if said is None:
            return None
        plain = cls(project.name, deployment.name, deployment.model)
        if said.to is not None:
            if is_embedded(project, said.to.connection):
                return None
            connection = project.connection(said.to.connection).model_dump(mode="json")
            return msgspec.structs.replace(plain, connection=connection, table=said.to.table)
        if not TableStore(project).remote:
            return None
        storage = project.spec.storage
        return msgspec.structs.replace(
            plain, data=storage.data or "", data_options=storage.data_options
        )

    @property
    def public(self) -> LogDestination | None:
        """What anybody may read of it; None if nothing would be found by that."""
        return msgspec.structs.replace(self, data_options={}) if self.data else None

    def as_project(self, root: Path) -> tuple[Project, Deployment]:
        """A project that holds the log and nothing else.

        Args:
            root: a folder of its own.
        """
        from liminal_assets.language.loading import Project

        log: Any = True
        if self.table:
            log = {"to": {"connection": self.connection["connection"], "table": self.table}}
        project = Project.of(
            self.project,
            root,
            check=False,
            storage={"data": self.data, "data_options": self.data_options} if self.data else {},
            connections=[self.connection] if self.connection else [],
            deployments=[
                {
                    "deployment": self.deployment,
                    "model": self.model,
                    "serve": {"log_predictions": log},
                }
            ],
        )
        return project, project.spec.deployments[0]
