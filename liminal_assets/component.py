"""A Dagster component: a project as a ``defs.yaml`` of a ``dg`` workspace."""

from __future__ import annotations

import dagster as dg

from liminal_assets.factories.build import build_definitions

__all__ = ["LiminalProject"]


class LiminalProject(dg.Component, dg.Model, dg.Resolvable):
    """The assets, sensors and schedules of one ``liminal.yml``.

    .. code-block:: yaml

        type: liminal_assets.LiminalProject
        attributes:
          project: ../../flights
    """

    project: str = "."
    """The project's folder or file, relative to the folder of the ``defs.yaml``."""

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The project's definitions."""
        return build_definitions(context.path / self.project)
