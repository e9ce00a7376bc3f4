"""``volumes:`` of a project that are folders of a machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from liminal_assets.apache.workflow import Item, Workflow

__all__ = ["local_folder"]


def local_folder(volume: Item, workflow: Workflow) -> Path | None:
    """The folder of ``local.path``, from the file's folder on; None for a volume without one."""
    local = volume.get("local")
    path = local.get("path") if isinstance(local, Mapping) else None
    return (workflow.root / Path(str(path)).expanduser()).resolve() if path else None
