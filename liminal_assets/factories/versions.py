"""Code versions of tasks, and where user functions are; blocks have theirs of
:mod:`liminal_assets.storage.specifications`."""

from __future__ import annotations

import ast
import hashlib
from itertools import islice
from pathlib import Path

from liminal_assets.apache.workflow import TaskSpec, Workflow
from liminal_assets.language.loading import Project
from liminal_assets.storage.modules import module_file, syntax_tree
from liminal_assets.storage.specifications import NO_INFLUENCE, digest_of, module_digest

__all__ = ["function_file", "task_version"]


def task_version(task: TaskSpec, workflow: Workflow) -> str:
    """The same for a task: what it, its executor and its image say, and the text files in the
    image's folder, which a task runs in."""
    image = workflow.images.get(str(task.get("image")))
    holders = [task, *filter(None, (task.executor, image))]
    said = [
        {str(key): value for key, value in item.configuration.items() if key not in NO_INFLUENCE}
        for item in holders
    ]
    code = hashlib.sha256()
    if image is not None and image.get("source"):
        for path in _sources(workflow.root / str(image.get("source"))):
            code.update(module_digest(path, path.stat().st_mtime_ns).encode())
    return digest_of(said)[:8] + code.hexdigest()[:8]


_SOURCES = frozenset({".py", ".r", ".scala", ".sh", ".sql", ".toml", ".txt"})
_MOST_SOURCES = 500
"""Files of a folder that are looked at, so that one with data in it costs little."""


def _sources(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    found = (
        path
        for path in folder.glob("**/*")
        if path.suffix.lower() in _SOURCES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )
    return sorted(islice(found, _MOST_SOURCES))


def function_file(project: Project, function: str) -> tuple[Path, int] | None:
    """The file and line of a user function, found without importing it."""
    module, _, name = function.partition(":")
    path = module_file(project.root, module)
    if path is None:
        return None
    tree = syntax_tree(path, path.stat().st_mtime_ns)
    for node in tree.body if tree else ():
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return path, node.lineno
    return path, 1
