"""What ``workspace.yaml`` loads: every project found, as one code location.

``LIMINAL_PROJECT`` names the folders or files to load (separated as in ``PATH``); by default it is
every project at or below the current folder.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path

import dagster as dg

from liminal_assets.apache.projects import load_projects
from liminal_assets.execution.threads import let_idle_threads_sleep
from liminal_assets.factories.build import build_definitions

__all__ = ["defs", "load_projects"]


def _definitions() -> dg.Definitions:
    chosen = os.environ.get("LIMINAL_PROJECT")
    paths = chosen.split(os.pathsep) if chosen else [Path.cwd()]
    return dg.Definitions.merge(*(build_definitions(project) for project in load_projects(paths)))


let_idle_threads_sleep()
defs = _definitions()
# they live as long as the process, and the processes of steps are forked from it
gc.freeze()
