"""Code versions: a hash of what a block says and of the user code that it runs.

A comment, a docstring or the order of keys changes nothing; a changed constant in a helper module
that the function's module imports does.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from liminal_assets.apache.workflow import TaskSpec, Workflow
from liminal_assets.language.base import Block
from liminal_assets.language.loading import Project
from liminal_assets.storage.modules import module_file, modules_below, syntax_tree

__all__ = ["code_version", "function_file", "task_version"]

_NO_INFLUENCE = {
    "description",
    "owner",
    "tags",
    "freshness",
    "automation",
    "executor",
    "retries",
    "pool",
}


def code_version(
    project: Project, block: Block, functions: Sequence[str] = (), files: Sequence[str] = ()
) -> str:
    """16 hexadecimal digits: the first half changes with what the block says, the second with
    its functions and files."""
    said = block.model_dump(
        mode="json", by_alias=True, exclude_defaults=True, exclude=_NO_INFLUENCE
    )
    configuration = _digest_of(said)
    code = hashlib.sha256()
    for function in functions:
        for path in sorted(modules_below(project.root, function.partition(":")[0])):
            code.update(_module_digest(path, path.stat().st_mtime_ns).encode())
    for file in files:
        path = project.root / file
        if path.is_file():
            code.update(path.read_bytes())
    return configuration[:8] + code.hexdigest()[:8]


def task_version(task: TaskSpec, workflow: Workflow) -> str:
    """The same for a task: what it, its executor and its image say, and the text files in the
    image's folder, which a task runs in."""
    image = workflow.images.get(str(task.get("image")))
    holders = [task, *filter(None, (task.executor, image))]
    said = [
        {str(key): value for key, value in item.configuration.items() if key not in _NO_INFLUENCE}
        for item in holders
    ]
    code = hashlib.sha256()
    if image is not None and image.get("source"):
        for path in _sources(workflow.root / str(image.get("source"))):
            code.update(_module_digest(path, path.stat().st_mtime_ns).encode())
    return _digest_of(said)[:8] + code.hexdigest()[:8]


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


def _digest_of(said: Any) -> str:
    text = json.dumps(said, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


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


@lru_cache(maxsize=1024)
def _module_digest(path: Path, modified: int) -> str:
    source = path.read_bytes()
    # what doesn't parse is reported by the run; until then every change counts
    with suppress(SyntaxError, ValueError):
        source = ast.dump(_without_docs(ast.parse(source))).encode()
    return hashlib.sha256(source).hexdigest()


def _without_docs(tree: ast.Module) -> ast.Module:
    holders = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in ast.walk(tree):
        if isinstance(node, holders) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return tree
