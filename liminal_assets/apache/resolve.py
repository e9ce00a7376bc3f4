"""Apache Liminal's files → final configurations: inheritance, defaults, variables."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liminal_assets.apache.find import Tree, find_apache
from liminal_assets.apache.inheritance import Inheritance, is_super
from liminal_assets.apache.keys import ignored_keys
from liminal_assets.apache.monitoring import monitoring_mistakes
from liminal_assets.apache.references import check_references, check_unique_pipelines
from liminal_assets.apache.shapes import duplicate, usable
from liminal_assets.language.diagnostics import Diagnostic, InvalidProjectError, Location
from liminal_assets.language.source import LocatedDict

__all__ = ["Examination", "ResolvedProject", "examine_projects", "resolve_projects"]


@dataclass(frozen=True)
class ResolvedProject:
    """One file that is no super, with all that it inherits and its placeholders replaced."""

    file: Path
    configuration: LocatedDict
    """Its keys and values; every mapping and list knows where each of its items was written."""

    @property
    def name(self) -> str:
        return str(self.configuration["name"])

    def as_dict(self) -> dict[str, Any]:
        """The configuration as plain mappings and lists, keys that JSON can't have as text."""
        plain: dict[str, Any] = _plain(self.configuration)
        return plain


@dataclass(frozen=True)
class Examination:
    """What the files of a tree come to, and all that is wrong with them."""

    projects: tuple[ResolvedProject, ...]
    """In the order of their files."""
    obstacles: tuple[Diagnostic, ...]
    """Errors that left files without a configuration."""
    findings: tuple[Diagnostic, ...]
    """What is wrong with the configurations that there are: errors, and warnings for what has no
    effect."""

    @property
    def diagnostics(self) -> list[Diagnostic]:
        """Everything, in the order of the files."""
        return list(_in_order([*self.obstacles, *self.findings]))


def resolve_projects(
    path: Path | str = ".", *, render: bool = True, environ: Mapping[str, str] | None = None
) -> list[ResolvedProject]:
    """The final configuration of each file that is no super, at or below a folder.

    Args:
        path: a folder, or one file; its supers are looked for below its folder.
        render: whether placeholders are replaced; if not, ``variables`` holds all that are known.
        environ: environment variables for placeholders; default: the process's.

    Raises:
        InvalidProjectError: there is no Apache Liminal project, or a file that can't be resolved.
    """
    tree = find_apache(path)
    if tree is None:
        hint = "its files are called liminal.yml or liminal.yaml"
        message = "there is no Apache Liminal project here"
        raise InvalidProjectError.at(Path(path), "no-project", message, hint)
    found = examine_projects(tree, render=render, environ=environ)
    if found.obstacles:
        raise InvalidProjectError(found.obstacles)
    return list(found.projects)


def examine_projects(
    tree: Tree, *, render: bool = True, environ: Mapping[str, str] | None = None
) -> Examination:
    """What can be resolved in a tree, and every mistake in all of it.

    Args:
        tree: from :func:`~liminal_assets.apache.find.find_apache`.
        render: whether placeholders are replaced; types and names are checked only then.
        environ: environment variables for placeholders; default: the process's.
    """
    by_name, obstacles = _by_name(tree.documents)
    obstacles += [mistake for mistake in tree.mistakes if mistake.is_error]
    findings = [mistake for mistake in tree.mistakes if not mistake.is_error]
    findings += [finding for item in tree.documents for finding in ignored_keys(item)]
    inheritance = Inheritance(by_name, render=render, environ=environ)
    projects: list[ResolvedProject] = []
    for document in filter(None, by_name.values()):
        try:
            inheritance.parent(document)
            if not is_super(document):
                final = inheritance.resolve(document)
                projects.append(ResolvedProject(Path(document.location.file), final))
        except InvalidProjectError as error:
            obstacles.extend(error.diagnostics)
    findings.extend(inheritance.unresolved)
    if render:
        findings.extend(check_unique_pipelines(project.configuration for project in projects))
        for project in projects:
            findings.extend(check_references(project.configuration, project.file.parent))
            findings.extend(monitoring_mistakes(project.configuration))
    return Examination(
        tuple(project for project in projects if tree.asked_for(project.file)),
        _in_order(obstacles),
        _in_order(findings),
    )


def _by_name(
    documents: Iterable[LocatedDict],
) -> tuple[dict[Hashable, LocatedDict | None], list[Diagnostic]]:
    """The files as they can be used, by name; None for one that can't."""
    result: dict[Hashable, LocatedDict | None] = {}
    places: dict[Hashable, Location] = {}
    obstacles: list[Diagnostic] = []
    for written in documents:
        document, mistakes = usable(written)
        obstacles.extend(mistakes)
        name = document.get("name")
        if not isinstance(name, Hashable) or name in (None, ""):
            continue
        at = document.values_at["name"]
        if name in places:
            obstacles.append(duplicate("file", name, at, places[name]))
        else:
            places[name] = at
            result[name] = None if mistakes else document
    return result, obstacles


def _in_order(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """In the order of the files; what several heirs of a super have in common once."""
    seen = {(item.location, item.code, item.message): item for item in sorted(diagnostics)}
    return tuple(seen.values())


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {_plain_key(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _plain_key(key: Any) -> str | int | float | None:
    return key if isinstance(key, str | int | float | None) else str(key)
