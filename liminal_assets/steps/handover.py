"""A project as plain values for another process: resolved here, read again nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from liminal_assets.language.loading import Project

__all__ = ["project_from", "project_values"]


def project_values(project: Project) -> dict[str, Any]:
    """What :func:`project_from` makes the project of; JSON can hold it."""
    return {
        "root": str(project.root),
        "environment": project.environment,
        "spec": project.spec.model_dump(mode="json", by_alias=True, exclude_unset=True),
    }


def project_from(values: Mapping[str, Any]) -> Project:
    """The project that :func:`project_values` describes; its specs know no positions."""
    sections = dict(values["spec"])
    project = Project.of(sections.pop("name"), values["root"], check=False, **sections)
    return replace(project, environment=values["environment"])
