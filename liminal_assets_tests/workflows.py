"""Workflows, tasks and runs for tests, from YAML."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

from liminal_assets.apache import resolve_projects
from liminal_assets.apache.workflow import ExecutorSpec, TaskSpec, Workflow
from liminal_assets.execution.task import TaskRun
from liminal_assets.language.environments import OUR_SECTIONS
from liminal_assets.language.loading import load_project
from liminal_assets.language.source import top_level_keys

RUN_ID = "8a5c0d9e-7d1b-4f1a-9d0e-3c0f5f0a1b2c"


def workflow_of(folder: Path, text: str) -> Workflow:
    """The one workflow of a ``liminal.yml`` written in a folder."""
    file = folder / "liminal.yml"
    file.write_text(dedent(text), encoding="utf-8")
    if OUR_SECTIONS & top_level_keys(file):
        mixed = load_project(file).workflow
        assert mixed is not None
        return mixed
    [resolved] = resolve_projects(folder)
    return Workflow.of(resolved)


def task_of(folder: Path, task: str, rest: str = "") -> tuple[TaskSpec, Workflow]:
    """A task ``t`` of a pipeline ``nightly``.

    Args:
        task: the task's keys as YAML, its name left out.
        rest: other sections of the file.
    """
    keys = indent(dedent(task).strip(), " " * 8)
    workflow = workflow_of(
        folder,
        "name: shop\npipelines:\n  - pipeline: nightly\n    tasks:\n      - task: t\n"
        f"{keys}\n{dedent(rest)}",
    )
    [spec] = [spec for spec in workflow.pipelines["nightly"].tasks if spec.name == "t"]
    return spec, workflow


def executor_of(folder: Path, executor: str, rest: str = "") -> tuple[ExecutorSpec, Workflow]:
    """An executor ``e``; ``executor`` are its keys as YAML, its name left out."""
    keys = indent(dedent(executor).strip(), " " * 4)
    workflow = workflow_of(
        folder, f"name: shop\nexecutors:\n  - executor: e\n{keys}\n{dedent(rest)}"
    )
    return workflow.executors["e"], workflow


def run_of(
    workflow: Workflow, *, lines: list[str] | None = None, seconds: float | None = None, **more: Any
) -> TaskRun:
    """A run of the workflow's first pipeline.

    Args:
        lines: where its log goes.
        seconds: until its deadline.
        more: other fields of :class:`TaskRun`.
    """
    heard: list[str] = [] if lines is None else lines
    log = more.pop("log", heard.append)
    deadline = None if seconds is None else time.monotonic() + seconds
    pipeline = next(iter(workflow.pipelines.values()), None)
    return TaskRun(workflow, pipeline, RUN_ID, log, deadline, **more)  # type: ignore[arg-type]


def found(diagnostics: Any) -> Sequence[tuple[int, str]]:
    """Line and code of each diagnostic, in order."""
    return [(item.location.line, item.code) for item in sorted(diagnostics)]
