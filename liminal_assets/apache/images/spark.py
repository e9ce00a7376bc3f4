"""``type: spark``: the user's application on Apache Spark's official image."""

from __future__ import annotations

from collections.abc import Iterable

from liminal_assets.apache.images.dockerfiles import PythonImageBuilder
from liminal_assets.apache.workflow import Image, Workflow
from liminal_assets.language.diagnostics import Diagnostic

__all__ = ["Spark"]

_BASE = "apache/spark:3.5.7-java17-python3"
_USER = 185
"""The id of the official image's user ``spark``."""


class Spark(PythonImageBuilder):
    """An image for ``spark-submit``, with PySpark and the packages of ``requirements.txt``."""

    @classmethod
    def check(cls, spec: Image, workflow: Workflow) -> Iterable[Diagnostic]:
        yield from super().check(spec, workflow)
        if spec.get("python_version") is not None:
            at = spec.locate("python_version")
            message = "the version of Python of a Spark image is that of Spark's own image"
            yield Diagnostic(at, "ignored-key", message, f"it is {_BASE}", "warning")

    def dockerfile(self) -> str:
        packages = (
            ["COPY requirements.txt /app/", f"{self.pip_install} -r requirements.txt"]
            if self.requirements
            else []
        )
        build = [f"RUN {self.build_cmd}"] if self.build_cmd else []
        parts = [
            f"FROM {_BASE}",
            "USER root",
            _ENVIRONMENT,
            f"RUN mkdir /app && chown {_USER}:{_USER} /app",
            "WORKDIR /app",
            *packages,
            f"COPY --chown={_USER}:{_USER} . /app/",
            *build,
            self.labels(_BASE),
            f"USER {_USER}",
        ]
        return "\n".join(parts) + "\n"


_ENVIRONMENT = """\
ENV PATH=/opt/spark/bin:$PATH \\
    PYTHONUNBUFFERED=1"""
