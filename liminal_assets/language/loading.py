"""A ``liminal.yml`` → :class:`Project`: checked without importing or running user code."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from liminal_assets.language.base import Block, Spec
from liminal_assets.language.datasets import Connection, Dataset, Partitions
from liminal_assets.language.deployments import Deployment
from liminal_assets.language.diagnostics import (
    Diagnostic,
    InvalidProjectError,
    Location,
)
from liminal_assets.language.environments import APACHE_SECTIONS, OUR_SECTIONS, overlay
from liminal_assets.language.features import Feature
from liminal_assets.language.models import Model
from liminal_assets.language.monitors import Monitor
from liminal_assets.language.partial import partial_spec
from liminal_assets.language.partitions import inherited_partitions
from liminal_assets.language.project import ProjectSpec
from liminal_assets.language.references import check_references
from liminal_assets.language.source import (
    LocatedDict,
    locate,
    mappings,
    read_document,
    top_level_keys,
)
from liminal_assets.language.storage import StorageSpec
from liminal_assets.language.variables import substitute

if TYPE_CHECKING:
    # files of Apache Liminal are read by the layer above, which is imported where there are any
    from liminal_assets.apache.workflow import Workflow

__all__ = [
    "FILE_NAMES",
    "Project",
    "examine_project",
    "find_project_file",
    "find_projects",
    "home_of",
    "load_project",
    "own_file",
]

FILE_NAMES = ("liminal.yml", "liminal.yaml")


@dataclass(frozen=True)
class Project:
    """A checked project and where it lives."""

    spec: ProjectSpec
    file: Path
    environment: str | None = None
    document: LocatedDict = field(repr=False, compare=False, default=None)  # type: ignore[assignment]
    """What was read, after overlay and variables, with positions."""
    workflow: Workflow | None = field(repr=False, compare=False, default=None)
    """Its pipelines, if it has sections of Apache Liminal's."""
    searched: Path | None = field(repr=False, compare=False, default=None)
    """Where the file, one of Apache Liminal's, was found along with its supers: the file, or a
    folder, all of whose projects share its state."""
    kept_in: Path | None = field(repr=False, compare=False, default=None)
    """The folder that holds the state in place of its own; see :meth:`isolated`."""

    @classmethod
    def of(
        cls, name: str, root: Path | str = ".", *, check: bool = True, **sections: Any
    ) -> Project:
        """A project made in Python instead of YAML.

        Args:
            name: the first part of every asset key.
            root: where relative paths and user modules start.
            check: whether every name must lead to a block of these sections.
            sections: as in ``liminal.yml``; lists may hold specs or mappings.

        Raises:
            InvalidProjectError: names clash, or a reference leads nowhere.
        """
        file = Path(root).expanduser().resolve() / FILE_NAMES[0]
        document = LocatedDict(Location(str(file)))
        spec = ProjectSpec.model_validate({"name": name, **sections})
        project = cls(spec, file, document=document)
        if check and (mistakes := check_references(project)):
            raise InvalidProjectError(mistakes)
        return project

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def root(self) -> Path:
        """The project's folder: relative paths and user modules start here."""
        return self.file.parent

    @property
    def home(self) -> Path:
        """The folder that holds the state (``.liminal``); see :func:`home_of`."""
        found = self.searched if self.searched and self.searched.is_dir() else self.root
        return self.kept_in or home_of(found)

    @property
    def state(self) -> Path:
        """The state folder: tables, Dagster's and MLflow's databases, predictions."""
        return self.home / ".liminal"

    def isolated(self, folder: Path) -> Project:
        """The same blocks and modules with all state in a folder of its own: nothing that is
        written with it reaches the project's tables, models, searches or journals."""
        spec = self.spec.model_copy(update={"storage": StorageSpec()})
        return replace(self, spec=spec, kept_in=folder)

    @property
    def place(self) -> Path:
        """The path that finds the project again."""
        return self.searched or self.file

    def block(self, name: str) -> Dataset | Feature | Model | Deployment | Monitor:
        """The block of that name.

        Raises:
            KeyError: there is none.
        """
        return self.blocks[name]

    @cached_property
    def blocks(self) -> Mapping[str, Dataset | Feature | Model | Deployment | Monitor]:
        """Every block that becomes an asset, by name."""
        return {block.name: block for block in self.spec.blocks}

    def awaited(self, block: Block) -> tuple[str, ...]:
        """What must be there before a block though it reads no rows of it: blocks, and tasks as
        ``pipeline/task``."""
        names: tuple[str, ...] = getattr(block, "after", ())
        if self.workflow is None:
            return names
        tasks = self.workflow.tasks
        after = (tasks[n].path if n in tasks and n not in self.blocks else n for n in names)
        return tuple(dict.fromkeys([*after, *self.workflow.producers.get(_name_of(block), ())]))

    @cached_property
    def partitions(self) -> Mapping[str, Partitions | None]:
        """How each block is cut, its own way or the one it inherits."""
        return inherited_partitions(self.blocks)

    def connection(self, name: str | None) -> Connection:
        """The connection of that name; the only one for None.

        Raises:
            KeyError: there is none, or None is ambiguous.
        """
        if name is None and len(self.spec.connections) == 1:
            return self.spec.connections[0]
        for connection in self.spec.connections:
            if connection.connection == name:
                return connection
        raise KeyError(name)

    def only(self, names: Collection[str]) -> Project:
        """The project with only some of its blocks, for checks of what is about to run."""
        sections = {
            section: tuple(block for block in getattr(self.spec, section) if block.name in names)
            for section in ("datasets", "features", "models", "deployments", "monitors")
        }
        return replace(self, spec=self.spec.model_copy(update=sections))

    @cached_property
    def _nodes(self) -> Mapping[Location, LocatedDict]:
        return {node.location: node for node in mappings(self.document)}

    def locate(self, spec: Spec | Block, *path: str | int, key: bool = False) -> Location:
        """Where ``spec`` or something in it was written; the file for a spec made in Python."""
        node = self._nodes.get(spec.location) if spec.location else None
        found = locate(node, path, key=key) if node is not None else None
        return found or spec.location or Location(str(self.file))


def _name_of(block: Block) -> str:
    return str(getattr(block, "name", ""))


def home_of(folder: Path) -> Path:
    """The folder that holds the state of a project in ``folder``: ``LIMINAL_HOME``, else the
    nearest folder at or above with a ``workspace.yaml``, else ``folder`` itself."""
    if chosen := os.environ.get("LIMINAL_HOME"):
        return Path(chosen).expanduser().resolve()
    for candidate in (folder, *folder.parents):
        if (candidate / "workspace.yaml").is_file():
            return candidate
    return folder


def find_project_file(path: Path | str) -> Path:
    """The ``liminal.yml`` that ``path`` is or holds.

    Raises:
        InvalidProjectError: there is none.
    """
    path = Path(path).expanduser()
    if path.is_file():
        return path.resolve()
    for name in FILE_NAMES:
        if (path / name).is_file():
            return (path / name).resolve()
    raise InvalidProjectError.at(
        path,
        "no-project",
        "there is no liminal.yml here" if path.is_dir() else "there is no such file or folder",
        "'liminal init DIR' makes a project; --project names one",
    )


def own_file(path: Path | str) -> Path | None:
    """The project file that ``path`` is or holds; None if there is none."""
    try:
        return find_project_file(path)
    except InvalidProjectError:
        return None


def find_projects(folder: Path | str) -> Iterator[Path]:
    """Every project file at or below a folder, hidden folders and environments left out."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and name not in ("node_modules", "__pycache__", "build", "dist")
            and not (Path(parent) / name / "pyvenv.cfg").exists()
        )
        for name in FILE_NAMES:
            if name in files:
                yield (Path(parent) / name).resolve()
                break


def load_project(
    path: Path | str = ".",
    *,
    environment: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Project:
    """Reads and checks a project: schema, names, references, cycles, cron and partitions.

    Args:
        path: a project's folder or its ``liminal.yml``, also one of Apache Liminal's.
        environment: the overlay to use; default: ``LIMINAL_ENV``.
        environ: environment variables for placeholders; default: the process's.

    Raises:
        InvalidProjectError: everything that is wrong, with positions.
    """
    file = own_file(path)
    if file is None or not OUR_SECTIONS & top_level_keys(file):
        if project := _apache_project(Path(path).expanduser(), environment, environ):
            return project
        file = find_project_file(path)
    project, mistakes = examine_project(file, environment=environment, environ=environ)
    errors = [mistake for mistake in mistakes if mistake.is_error]
    if project is None or errors:
        raise InvalidProjectError(errors)
    return project


def _apache_project(
    path: Path, environment: str | None, environ: Mapping[str, str] | None
) -> Project | None:
    from liminal_assets.apache.find import find_apache
    from liminal_assets.apache.projects import tree_projects

    tree = find_apache(path)
    if tree is None:
        return None
    projects = tree_projects(tree, environment=environment, environ=environ)
    if len(projects) == 1:
        return projects[0]
    names = ", ".join(str(project.file.relative_to(tree.folder)) for project in projects)
    message = f"there are {len(projects)} projects here"
    hint = f"choose one of {names}" if names else "all files are supers"
    raise InvalidProjectError.at(path, "several-projects", message, hint)


def examine_project(
    file: Path,
    *,
    environment: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> tuple[Project | None, list[Diagnostic]]:
    """What is right in a project file, and every mistake in the rest; see :func:`load_project`.

    Returns:
        The project, without its wrong parts if there are any; None for a file that holds no
        project at all.
    """
    environ = os.environ if environ is None else environ
    environment = environment or environ.get("LIMINAL_ENV") or None
    try:
        document, mistakes = resolve_document(file, environment, environ)
    except InvalidProjectError as error:
        return None, list(error.diagnostics)
    workflow: Workflow | None = None
    if not APACHE_SECTIONS.isdisjoint(document):
        from liminal_assets.apache.projects import mixed_workflow

        workflow, theirs = mixed_workflow(file, environment, environ)
        mistakes = [*mistakes, *theirs]
    ours = _without_pipelines(document)
    try:
        spec = ProjectSpec.model_validate(ours)
    except ValidationError:
        partial = partial_spec(ours)
        workflow = _with_connections(workflow, partial.spec)
        project = Project(partial.spec, file, environment, partial.document, workflow)
        found = [
            *partial.mistakes,
            *(
                mistake
                for mistake in check_references(project, partial.unusable)
                if mistake.code != "missing-key" or mistake.location not in partial.mended
            ),
        ]
    else:
        if workflow is not None:
            spec = spec.model_copy(update=_final_sections(workflow))
        workflow = _with_connections(workflow, spec)
        project = Project(spec, file, environment, document, workflow)
        found = check_references(project)
    # what a placeholder without a value, or a value that can't be read, leads to is no mistake
    # of its own
    places = {mistake.location for mistake in mistakes}
    return project, [*mistakes, *(m for m in found if m.location not in places)]


def _with_connections(workflow: Workflow | None, spec: ProjectSpec) -> Workflow | None:
    """A workflow whose tasks may use the connections of the file."""
    return None if workflow is None else replace(workflow, connections=tuple(spec.connections))


def _without_pipelines(document: LocatedDict) -> LocatedDict:
    """The sections of this language, which alone it has to judge."""
    if APACHE_SECTIONS.isdisjoint(document):
        return document
    result = LocatedDict(document.location)
    for key, value in document.items():
        if key not in APACHE_SECTIONS:
            result.put(key, value, document.keys_at[key], document.values_at[key])
    return result


def _final_sections(workflow: Workflow) -> dict[str, Any]:
    """The other sections as the spec shows them: inherited and filled in."""
    final = workflow.configuration
    found: dict[str, Any] = {}
    for name, field_info in ProjectSpec.model_fields.items():
        key = field_info.alias or name
        if key in APACHE_SECTIONS - {"monitoring"} and final.get(key) is not None:
            value = final[key]
            found[name] = tuple(value) if isinstance(value, list) else value
    # a section with mistakes, which are told, sends nothing
    with suppress(ValidationError):
        found["monitoring"] = workflow.monitoring
    return found


def resolve_document(
    file: Path, environment: str | None, environ: Mapping[str, str], *, render: bool = True
) -> tuple[LocatedDict, list[Diagnostic]]:
    """A project file after its overlay and, with ``render``, its variables.

    Returns:
        The document, and the mistakes that leave the rest of it readable.

    Raises:
        InvalidProjectError: the file can't be read as YAML.
    """
    document, mistakes = read_document(file)
    try:
        document = overlay(document, environment)
    except InvalidProjectError as error:
        mistakes.extend(error.diagnostics)
    if render:
        document, unresolved = substitute(document, environ)
        mistakes.extend(unresolved)
    return document, mistakes
