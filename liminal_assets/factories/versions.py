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
from pathlib import Path

from liminal_assets.language.base import Block
from liminal_assets.language.loading import Project
from liminal_assets.storage.modules import module_file, modules_below, syntax_tree

__all__ = ["code_version", "function_file"]

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
    configuration = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    code = hashlib.sha256()
    for function in functions:
        for path in sorted(modules_below(project.root, function.partition(":")[0])):
            code.update(_module_digest(path, path.stat().st_mtime_ns).encode())
    for file in files:
        path = project.root / file
        if path.is_file():
            code.update(path.read_bytes())
    return configuration.hexdigest()[:8] + code.hexdigest()[:8]


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
