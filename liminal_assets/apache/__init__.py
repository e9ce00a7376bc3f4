"""Apache Liminal's projects: what their ``liminal.yml`` files come to, as version 0.0.5 had it.

>>> from liminal_assets import apache
>>> [project] = apache.resolve_projects("my_project")
>>> project.configuration["pipelines"][0]["tasks"]
"""

from __future__ import annotations

from liminal_assets.apache.find import Tree, find_apache
from liminal_assets.apache.resolve import (
    Examination,
    ResolvedProject,
    examine_projects,
    resolve_projects,
)

__all__ = [
    "Examination",
    "ResolvedProject",
    "Tree",
    "examine_projects",
    "find_apache",
    "resolve_projects",
]
