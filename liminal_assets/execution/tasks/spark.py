"""A Spark application: ``spark-submit`` in a container, on this machine or as a step of EMR."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from liminal_assets.apache.workflow import TaskSpec, Workflow
from liminal_assets.errors import StepError
from liminal_assets.execution.containers import (
    check_container,
    environment_of,
    mounts_of,
    workers_of,
)
from liminal_assets.execution.task import Container, ContainerTask, HadoopTask, TaskRun
from liminal_assets.language.diagnostics import Diagnostic

__all__ = ["SparkTask"]

_HOST = {"SPARK_LOCAL_HOSTNAME": "localhost"}


class SparkTask(ContainerTask, HadoopTask):
    """``spark-submit`` with ``master``, ``class``, ``conf``, ``application_source`` and
    ``application_arguments``, in that order."""

    @classmethod
    def check(cls, spec: TaskSpec, workflow: Workflow) -> Iterable[Diagnostic]:
        yield from check_container(spec, workflow)
        if not spec.get("application_source"):
            at = spec.locate("application_source")
            hint = "application_source: my_app.py, or the path of a jar"
            yield Diagnostic(at, "missing-key", "'application_source' is missing", hint)
        if not isinstance(spec.get("conf", {}), Mapping):
            hint = "write spark.name: value below it"
            at = spec.locate("conf")
            yield Diagnostic(at, "invalid-type", "conf must be a mapping", hint)
        if not isinstance(spec.get("application_arguments", []), Mapping | list):
            message = "application_arguments must be a list, or a mapping of names to values"
            yield Diagnostic(spec.locate("application_arguments"), "invalid-type", message)
        if spec.get("cmd"):
            message = "a spark task has no cmd: it runs spark-submit"
            hint = "application_source and application_arguments say what runs"
            yield Diagnostic(spec.locate("cmd"), "ignored-key", message, hint, "warning")

    def command(self, run: TaskRun) -> Sequence[str]:
        """The command for a cluster: what the task says, and nothing else."""
        return self._spark_submit(self.spec.get("master"))

    def container(self, run: TaskRun) -> Container:
        """One container that is a Spark of its own, unless the task names a master.

        Without one, ``executors: N`` are N worker threads in it: ``--master local[N]``; else
        spark-submit takes its own default, a thread for each core.
        """
        spec = self.spec
        master, workers = spec.get("master"), workers_of(spec)
        if not master and "executors" in spec.configuration and not self._configured("master"):
            master = f"local[{workers}]"
        return Container(
            image=str(spec.get("image", "")),
            command=self._spark_submit(master),
            environment=environment_of(spec, _HOST),
            mounts=mounts_of(spec),
        )

    def check_machine(self, environment: Mapping[str, str]) -> None:
        path, home = environment.get("PATH"), environment.get("JAVA_HOME")
        at = self.spec.locate("type")
        if shutil.which("spark-submit", path=path) is None:
            raise StepError(
                "there is no Spark on this machine: spark-submit is not in PATH",
                location=at,
                hint="pip install 'liminal-assets[spark]', or write pyspark into the "
                "requirements.txt beside the application",
            )
        if not ((home and Path(home, "bin", "java").exists()) or shutil.which("java", path=path)):
            raise StepError(
                "Spark needs Java, and there is none on this machine",
                location=at,
                hint="install Java 17 or later (Debian: apt-get install default-jre-headless), or "
                "set JAVA_HOME",
            )

    def _configured(self, name: str) -> bool:
        """Whether ``conf`` sets ``spark.<name>``."""
        return any(key == f"spark.{name}" for key, _ in _flat(self.spec.get("conf", {})))

    def _spark_submit(self, master: Any) -> list[str]:
        spec = self.spec
        options = [("--master", master), ("--class", spec.get("class"))]
        conf = [("--conf", f"{key}={value}") for key, value in _flat(spec.get("conf", {}))]
        arguments = spec.get("application_arguments", [])
        if isinstance(arguments, Mapping):
            arguments = chain.from_iterable(arguments.items())
        return [
            "spark-submit",
            *(str(part) for option in options if option[1] for part in option),
            *chain.from_iterable(conf),
            str(spec.get("application_source")),
            *map(str, arguments),
        ]


def _flat(conf: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    """Spark's properties by their whole names, sorted as Apache Liminal did.

    It joined the names of nested mappings by colons, which Spark doesn't know.
    """
    yield from sorted(_leaves(conf, ()), key=lambda item: item[0])


def _leaves(conf: Mapping[Any, Any], above: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for key, value in conf.items():
        path = (*above, str(key))
        if isinstance(value, Mapping):
            yield from _leaves(value, path)
        else:
            yield ".".join(path), value
