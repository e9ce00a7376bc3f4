"""One machine: a task's image by docker or podman, else its command in the image's source."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from liminal_assets.apache.workflow import ExecutorSpec, Image, TaskSpec, Workflow
from liminal_assets.errors import StepError
from liminal_assets.execution.containers import worker_environment
from liminal_assets.execution.engine_containers import (
    CHOICES,
    has_image,
    remove_command,
    run_command,
    runner,
    why_no_runner,
)
from liminal_assets.execution.engines import Engine
from liminal_assets.execution.executors.airflow import AirflowExecutor, out_of_time
from liminal_assets.execution.logs import TaskLog, TaskOutput
from liminal_assets.execution.mounts import binds_of, to_mount
from liminal_assets.execution.namespaces import Bind
from liminal_assets.execution.processes import Ending, Order, run_together
from liminal_assets.execution.surroundings import base_environment, python_environment
from liminal_assets.execution.task import (
    Container,
    ContainerTask,
    Executor,
    InProcessTask,
    Task,
    TaskRun,
)
from liminal_assets.language.diagnostics import Diagnostic, did_you_mean

__all__ = ["LocalExecutor"]

_KIND = "local"


class LocalExecutor(Executor):
    """Runs containers on this machine, and tasks without one in the process of the step.

    Args:
        because: why it runs what another executor was to run, for the log.
    """

    supported = (ContainerTask, InProcessTask)

    def __init__(
        self, spec: ExecutorSpec, workflow: Workflow, *, because: str | None = None
    ) -> None:
        super().__init__(spec, workflow)
        self.because = because

    @classmethod
    def check(cls, spec: ExecutorSpec, workflow: Workflow) -> Iterable[Diagnostic]:
        engine = spec.get("engine")
        if engine is not None and engine not in CHOICES:
            hint = did_you_mean(str(engine), CHOICES)
            message = f"{engine!r} is no container engine that runs tasks"
            yield Diagnostic(spec.locate("engine"), "invalid-value", message, hint)

    def execute(self, task: Task, run: TaskRun) -> None:
        if not isinstance(task, ContainerTask):
            AirflowExecutor(self.spec, self.workflow).execute(task, run)
            return
        if self.because:
            run.log(f"runs on this machine: {self.because}")
        with TaskLog(task.spec, self.workflow, run.run_id) as log:
            output = TaskOutput(log, run, workers=1)
            try:
                self._run(task, run, output)
            finally:
                output.close()

    def _run(self, task: ContainerTask, run: TaskRun, output: TaskOutput) -> None:
        container = task.container(run)
        output.workers = container.workers
        orders = self._orders(task, container, run, output)
        endings = run_together(orders, output.hear, deadline=run.deadline)
        for index, ending in endings.items():
            if not ending.succeeded:
                raise _failed(task.spec, ending, index, container, output)
        if len(endings) < len(orders):
            raise out_of_time(run, task)
        run.results.update(exit_code=0, workers=container.workers)

    def _orders(
        self, task: ContainerTask, container: Container, run: TaskRun, output: TaskOutput
    ) -> list[Order]:
        spec = task.spec
        image = self.workflow.images.get(container.image)
        engine = self._engine(container)
        binds = binds_of(container.mounts, spec, self.workflow)
        workers = range(container.workers)
        if engine is not None:
            _check_built(engine, container.image, image, spec)
            output.note(f"runs the image {container.image} by {engine.name}")
            return [_in_engine(engine, spec, container, binds, run, index) for index in workers]
        folder = self._folder(container, image, spec)
        binds = to_mount(binds, spec)
        programs = python_environment(
            image, folder, self.workflow, log=output.note, deadline=run.deadline
        )
        order = Order(
            container.command,
            str(folder),
            {**base_environment(programs), "PWD": str(folder), **container.environment},
            binds,
        )
        task.check_machine(order.environment)
        return [
            replace(
                order,
                environment={**order.environment, **worker_environment(index, container.workers)},
            )
            for index in workers
        ]

    def _engine(self, container: Container) -> Engine | None:
        if not container.image:
            return None
        chosen = self.spec.get("engine") if self.spec.type == _KIND else None
        try:
            return runner(chosen)
        except StepError as error:
            raise error.at(self.spec.locate("engine")) from None

    def _folder(self, container: Container, image: Image | None, spec: TaskSpec) -> Path:
        """Where the command runs: the image's source, or the file's folder without an image."""
        root = self.workflow.root
        if not container.image:
            return root
        source = image.get("source") if image else None
        if image is None or source is None:
            raise StepError(
                f"the image {container.image!r} is not built from a folder of this project, and "
                f"there is no container engine to run it: {why_no_runner()}",
                location=spec.locate("image"),
                hint="install docker or podman; or give 'images' an entry with that name and the "
                "'source' of the command",
            )
        folder = (root / str(source)).resolve()
        if not folder.is_dir():
            raise StepError(
                f"the source of the image {container.image!r} is no folder: {folder}",
                location=image.locate("source"),
                hint=f"a path starts at {root}",
            )
        return folder


def _check_built(engine: Engine, name: str, image: Image | None, spec: TaskSpec) -> None:
    """Images of the project must have been built; others are pulled."""
    if image is not None and image.get("source") and not has_image(engine, name):
        raise StepError(
            f"the image {name!r} isn't built: {engine.name} doesn't have it",
            location=spec.locate("image"),
            hint="'liminal build' builds it; LIMINAL_ENGINE=none runs the command in its source "
            "folder instead",
        )


def _in_engine(
    engine: Engine,
    spec: TaskSpec,
    container: Container,
    binds: Sequence[Bind],
    run: TaskRun,
    index: int,
) -> Order:
    words = (spec.pipeline, spec.name, run.run_id[:8], str(index), uuid.uuid4().hex[:6])
    name = re.sub(r"[^a-zA-Z0-9_.-]", "-", "-".join(["liminal", *words]))
    variables = {**container.environment, **worker_environment(index, container.workers)}
    command, environment = run_command(
        engine, name, container.image, container.command, variables, binds
    )
    cleaning = remove_command(engine, name)
    return Order(command, str(run.workflow.root), environment, cleaning=cleaning)


def _failed(
    spec: TaskSpec, ending: Ending, index: int, container: Container, output: TaskOutput
) -> StepError:
    who = f"the task {spec.name!r}"
    if container.workers > 1:
        who = f"worker {index} of {container.workers} of {who}"
    said = "".join(f"\n  {line}" for line in output.last.get(index, ()))
    hint = f"all of its output is in {output.log.path}"
    if ending.code == 127 and "not found" in said:
        hint = f"{hint}; the command is looked for in PATH, and in its image's source with './'"
    at = spec.locate("mounts") if ending.problem == "mount" else spec.locate("cmd")
    return StepError(f"{who} {ending}{said}", location=at, hint=hint)
