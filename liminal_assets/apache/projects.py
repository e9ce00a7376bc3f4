"""Apache Liminal's files, and the sections of theirs in ours, as projects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from liminal_assets.apache.find import (
    Tree,
    find_apache,
    find_files,
    is_apache,
    is_ours,
    read_apache,
)
from liminal_assets.apache.inheritance import is_super
from liminal_assets.apache.references import one_word
from liminal_assets.apache.resolve import ResolvedProject, examine_projects
from liminal_assets.apache.workflow import Workflow
from liminal_assets.language.diagnostics import Diagnostic, InvalidProjectError, Location
from liminal_assets.language.environments import APACHE_SECTIONS, OUR_SECTIONS, overlay
from liminal_assets.language.loading import (
    Project,
    find_projects,
    load_project,
    own_file,
)
from liminal_assets.language.project import ProjectSpec
from liminal_assets.language.references import check_references
from liminal_assets.language.source import LocatedDict, top_level_keys

__all__ = ["as_project", "load_projects", "mixed_workflow", "projects_at", "tree_projects"]

_SHARED = frozenset({"description", "name", "owner", "variables"})
"""Keys that both kinds of sections read."""


def tree_projects(
    tree: Tree, *, environment: str | None = None, environ: Mapping[str, str] | None = None
) -> list[Project]:
    """The projects of Apache Liminal's files: one for each that is no super.

    Args:
        environment: what the projects say that they are; it changes nothing in them.
        environ: environment variables for placeholders; default: the process's.

    Raises:
        InvalidProjectError: every mistake in the files; warnings are left to ``validate``.
    """
    found = examine_projects(tree, environ=environ)
    mistakes = [finding for finding in found.diagnostics if finding.is_error]
    place = tree.chosen or tree.folder
    projects = [as_project(resolved, place, environment) for resolved in found.projects]
    mistakes += [mistake for project in projects for mistake in check_references(project)]
    if mistakes:
        raise InvalidProjectError(mistakes)
    return projects


def projects_at(path: Path | str, *, environment: str | None = None) -> list[Project]:
    """The project at a path, or those of all Apache Liminal's files below it, which then share
    the state of the folder.

    Raises:
        InvalidProjectError: everything that is wrong with them, or there is none.
    """
    file = own_file(path)
    if file is not None and OUR_SECTIONS & top_level_keys(file):
        return [load_project(file, environment=environment)]
    tree = find_apache(path)
    if tree is None:
        return [load_project(path, environment=environment)]
    projects = tree_projects(tree, environment=environment)
    if not projects:
        hint = "files of 'type: super' are there to be inherited from"
        raise InvalidProjectError.at(tree.folder, "no-project", "all files here are supers", hint)
    return projects


def as_project(
    resolved: ResolvedProject, place: Path | None = None, environment: str | None = None
) -> Project:
    """A file of Apache Liminal's as a project.

    Args:
        place: the path that it was found at, with its supers.
        environment: what the project says that it is.
    """
    workflow = Workflow.of(resolved, None if place is None or place.is_file() else place)
    # its name may be one that ours can't have
    spec = ProjectSpec.model_construct(name=workflow.name, monitoring=workflow.monitoring)
    return Project(spec, resolved.file, environment, resolved.configuration, workflow, place)


def mixed_workflow(
    file: Path, environment: str | None, environ: Mapping[str, str]
) -> tuple[Workflow | None, list[Diagnostic]]:
    """What Apache Liminal's sections of a file of ours come to, read and filled in as theirs are.

    An overlay of the file replaces values in them as well; supers may stand in files below the
    file's folder.

    Returns:
        The workflow, None if there are obstacles; and every mistake and warning.
    """
    document, mistakes = read_apache(file)
    if document is None:
        return None, mistakes
    # that there is no such overlay is told with our own sections
    with suppress(InvalidProjectError):
        document = overlay(document, environment)
    own = LocatedDict(document.location)
    for key, value in document.items():
        if key in APACHE_SECTIONS | _SHARED:
            own.put(key, value, document.keys_at[key], document.values_at[key])
    supers = [] if document.get("super") is None else list(_supers(file))
    found = examine_projects(
        Tree(file.parent, (own, *supers), tuple(mistakes), file), environ=environ
    )
    workflow = Workflow.of(found.projects[0]) if found.projects and not found.obstacles else None
    return workflow, found.diagnostics


def _supers(file: Path) -> Iterator[LocatedDict]:
    for other in find_files(file.parent):
        document = read_apache(other)[0] if other != file else None
        if document is not None and is_super(document) and not is_ours(document):
            yield document


def load_projects(paths: Sequence[Path | str], *, environment: str | None = None) -> list[Project]:
    """Every project at or below some folders, also several of Apache Liminal's.

    Raises:
        InvalidProjectError: all mistakes of all projects; two projects, or the pipelines of two,
            have one name.
    """
    projects: dict[str, Project] = {}
    pipelines: dict[str, Project] = {}
    mistakes: list[Diagnostic] = []
    for found in (item for path in paths for item in _projects_below(Path(path), environment)):
        if isinstance(found, InvalidProjectError):
            mistakes.extend(found.diagnostics)
        elif (first := projects.setdefault(found.name, found)).file != found.file:
            message = f"the project name {found.name!r} is taken by {first.file}"
            hint = "rename one, or name the one to load in LIMINAL_PROJECT"
            at = Location(str(found.file))
            mistakes.append(Diagnostic(at, "duplicate-name", message, hint))
        else:
            mistakes.extend(_taken(found, pipelines))
    if mistakes:
        raise InvalidProjectError(mistakes)
    return list(projects.values())


def _taken(project: Project, pipelines: dict[str, Project]) -> Iterator[Diagnostic]:
    """Pipelines whose jobs would be called as those of another project."""
    for pipeline in project.workflow.pipelines.values() if project.workflow else ():
        first = pipelines.setdefault(one_word(pipeline.name), project)
        if first is not project:
            message = f"the pipeline name {pipeline.name!r} is taken by {first.file}"
            hint = "rename one, or name the project to load in LIMINAL_PROJECT"
            yield Diagnostic(pipeline.locate("pipeline"), "duplicate-name", message, hint)


def _projects_below(path: Path, environment: str | None) -> Iterator[Project | InvalidProjectError]:
    """The projects at or below a path, ours first; in the place of those that are wrong, what is
    wrong with them."""
    files = [path.resolve()] if path.is_file() else list(find_projects(path))
    ours = [file for file in files if OUR_SECTIONS & top_level_keys(file)]
    others = [read_apache(file) for file in files if file not in ours]
    documents = [document for document, _ in others if document is not None]
    if path.is_file() or not any(map(is_apache, documents)):
        ours, others = files, []
    for file in ours:
        try:
            yield load_project(file, environment=environment)
        except InvalidProjectError as error:
            yield error
    if others:
        mistakes = tuple(mistake for _, found in others for mistake in found)
        tree = Tree(path.resolve(), tuple(documents), mistakes)
        try:
            yield from tree_projects(tree, environment=environment)
        except InvalidProjectError as error:
            yield error
