"""A file of Apache Liminal with models, deployments and schedules beside its pipelines.

What can be read from the file is carried over; what it doesn't say is left to the user, in
functions that say so until they are written and in comments that begin with ``TODO``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from liminal_assets.apache.migration.estimators import Estimator, estimator_in, program_of
from liminal_assets.apache.migration.mending import Mended, Reason
from liminal_assets.apache.migration.outline import Edit, Outline, apply_edits, entries, written
from liminal_assets.apache.migration.skeletons import Deployed, Learned, functions, sections
from liminal_assets.apache.resolve import examine_projects
from liminal_assets.apache.settings import settings_of
from liminal_assets.apache.workflow import Pipeline, Service, TaskSpec, Workflow
from liminal_assets.language.base import as_name, is_owner
from liminal_assets.language.diagnostics import Diagnostic, Location
from liminal_assets.language.environments import OUR_SECTIONS

__all__ = ["modernised"]

_TRAINS = re.compile(r"(?:^|[^a-z])(?:re)?(?:train|fit|learn)(?:ing|s)?(?![a-z])", re.I)
_JUDGES = re.compile(
    r"(?:^|[^a-z])(?:validat|evaluat|deploy|promot|releas)(?:e|es|ing|ion|ment)?(?![a-z])", re.I
)
"""Words of tasks that make a model, and of those that decide about one."""


def modernised(mended: Mended) -> Mended:
    """A project after :func:`~liminal_assets.apache.migration.mend`, with our sections in each
    file that learns or serves something and hasn't got them."""
    tree = mended.after.tree()
    after, reasons, left = mended.after, list(mended.reasons), list(mended.left)
    for project in examine_projects(tree).projects if tree else ():
        outline = Outline(after.texts[project.file])
        if not OUR_SECTIONS.isdisjoint(entry.key.value for entry in entries(outline.root)):
            continue
        workflow = Workflow.of(project)
        pipelines = workflow.pipelines.values()
        learned = [item for pipeline in pipelines if (item := _learned(pipeline, workflow))]
        deployed = list(_deployed(workflow, learned))
        if not learned:
            continue
        at = Location(str(project.file))
        if outline.root.flow_style:
            message = "the file is one mapping in braces: sections can't be added to it"
            left.append(Diagnostic(at, "in-braces", message, None, "warning"))
            continue
        module = _free_module(project.file.parent, workflow.name)
        new = apply_edits(outline.text, list(_renamed(outline)))
        new = new.rstrip() + outline.newline * 2
        new += sections(learned, deployed, module).replace("\n", outline.newline)
        after = after.with_text(project.file, new)
        after = after.with_text(project.file.parent / f"{module}.py", functions(learned))
        names = ", ".join(item.model for item in learned)
        reasons.append(Reason(at, f"models beside the pipelines: {names}; look for TODO"))
    return Mended(mended.before, after, tuple(sorted(reasons)), mended.moves, tuple(left))


def _learned(pipeline: Pipeline, workflow: Workflow) -> Learned | None:
    """What a pipeline learns, if one of its tasks trains something."""
    tasks = [task for task in pipeline.tasks if task.type not in ("job_start", "job_end")]
    trains = [task for task in tasks if task.type == "python" and _is(task, _TRAINS)]
    if not trains:
        return None
    judges = [task for task in tasks if task not in trains and _is(task, _JUDGES)]
    before = tasks[: tasks.index(trains[0])]
    settings = settings_of(pipeline.configuration, workflow.configuration)
    name = as_name(pipeline.name, "pipeline")
    return Learned(
        name=name,
        trains=tuple(map(_said, trains)),
        judges=tuple(map(_said, judges)),
        after=before[-1].path if before else None,
        cron=settings.cron,
        images=frozenset(str(task.get("image")) for task in (*trains, *judges)),
        estimator=_estimator(trains[0], workflow),
    )


def _estimator(task: TaskSpec, workflow: Workflow) -> Estimator | None:
    """What the program of a task trains, if its source says it."""
    image = workflow.images.get(str(task.get("image")))
    program = program_of(str(task.get("cmd", "")))
    if image is None or program is None:
        return None
    return estimator_in(workflow.root / str(image.get("source", ".")) / program)


def _is(task: TaskSpec, pattern: re.Pattern[str]) -> bool:
    """Whether a task's name says what it does, or, where no name does, its command."""
    named = any(kind.search(task.name) for kind in (_TRAINS, _JUDGES))
    return bool(pattern.search(task.name if named else str(task.get("cmd", ""))))


def _said(task: TaskSpec) -> str:
    command = " ".join(str(task.get("cmd", "")).split())
    return f"{task.path}: {command}" if command else task.path


def _deployed(workflow: Workflow, learned: Sequence[Learned]) -> Iterator[Deployed]:
    """The servers of endpoints: of the model whose tasks have the same image, or the only one."""
    for service in workflow.services.values():
        image = workflow.images.get(str(service.get("image")))
        if image is None or image.type != "python_server":
            continue
        sharing = [item for item in learned if image.name in item.images]
        models = sharing if len(sharing) == 1 else list(learned)
        if models:
            yield Deployed(
                name=as_name(f"{_service_name(service)}_api", "api"),
                service=_service_name(service),
                model=models[0].model,
                choices=tuple(item.model for item in models[1:]),
                endpoints=tuple(
                    f"{item.get('endpoint')} ({item.get('module')}:{item.get('function')})"
                    for item in image.get("endpoints", ())
                ),
            )


def _service_name(service: Service) -> str:
    return str(service.configuration.get("service") or service.get("name", "server"))


def _free_module(folder: Path, project: str) -> str:
    """A module of the project's folder that isn't there."""
    name = f"{as_name(project, 'project').lower()}_steps"
    number = 1
    while (folder / f"{name}{'' if number == 1 else number}.py").exists():
        number += 1
    return f"{name}{'' if number == 1 else number}"


def _renamed(outline: Outline) -> Iterator[Edit]:
    """A name and an owner as our sections can have them."""
    for entry in entries(outline.root):
        if not isinstance(entry.value, yaml.ScalarNode):
            continue
        said = entry.value.value
        if entry.key.value == "name" and as_name(said, "project") != said:
            yield _replaced(outline, entry.value, as_name(said, "project"))
        elif entry.key.value == "owner" and not is_owner(said):
            yield _replaced(outline, entry.value, f"team:{as_name(said, 'owner')}")


def _replaced(outline: Outline, node: yaml.ScalarNode, text: str) -> Edit:
    edit = outline.replace(node, written(text))
    end = outline.text.find("\n", edit.end)
    rest = outline.text[edit.end : end if end >= 0 else None]
    note = "" if rest.strip() else f" # was: {' '.join(node.value.split())}"
    return Edit(edit.start, edit.end, f"{edit.text}{note}")
