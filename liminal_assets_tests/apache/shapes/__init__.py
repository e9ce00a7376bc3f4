"""Projects of the same shapes as the original's own examples and tests, in our own words.

A ``project.yml`` becomes the ``liminal.yml`` of a copy: under its own name a code location would
take it for one of this repository's projects.
"""

from __future__ import annotations

import shutil
from pathlib import Path

__all__ = ["NAMES", "copy_shape"]

_HERE = Path(__file__).parent

NAMES = ("greetings", "petals", "words", "demo", "diamonds", "extended", "layers")
"""Of its ``examples``: liminal-getting-started, spark-app-demo, aws-ml-app-demo,
sagemaker_example, extensibility; of its ``tests``: test_spark_app, test_app."""


def copy_shape(name: str, target: Path) -> Path:
    """A project of a shape in a folder of its own."""
    shutil.copytree(_HERE / name, target, ignore=shutil.ignore_patterns("__pycache__"))
    for file in target.rglob("project.y*ml"):
        file.rename(file.with_name(file.name.replace("project", "liminal")))
    return target
