"""The modules of a project: found without importing, and kept beside the models that need them."""

from __future__ import annotations

import ast
import importlib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import ModuleType

__all__ = ["isolated_modules", "module_file", "modules_below", "syntax_tree", "top_imports"]

_IMPORTS = threading.RLock()


def module_file(root: Path, module: str) -> Path | None:
    """The file of a module of the project; none for a module from elsewhere."""
    base = root.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def modules_below(root: Path, module: str) -> set[Path]:
    """The files of a module and of the project's modules that it imports, and so on."""
    found: set[Path] = set()
    todo = [module]
    while todo:
        current = todo.pop()
        path = module_file(root, current)
        if path is None or path in found:
            continue
        found.add(path)
        tree = syntax_tree(path, path.stat().st_mtime_ns)
        package = current if path.name == "__init__.py" else current.rpartition(".")[0]
        todo.extend(_imports(tree, package) if tree else ())
    return found


def top_imports(path: Path) -> set[str]:
    """The top-level names of the modules that a file imports."""
    tree = syntax_tree(path, path.stat().st_mtime_ns)
    return {name.partition(".")[0] for name in _imports(tree, "")} - {""} if tree else set()


def _imports(tree: ast.Module, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join(parents) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


@lru_cache(maxsize=1024)
def syntax_tree(path: Path, modified: int) -> ast.Module | None:
    """The parsed source of a file, kept until ``modified`` changes; None if it doesn't parse."""
    try:
        return ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return None


@contextmanager
def isolated_modules(folder: Path) -> Iterator[None]:
    """Imports of what lies in ``folder`` come from there inside the block, and leave no trace.

    So the champion's code and the candidate's can differ in one process.
    """
    tops = {path.stem for path in folder.glob("*") if path.is_dir() or path.suffix == ".py"}
    tops.discard("__pycache__")
    if not tops:
        yield
        return
    with _IMPORTS:
        paths = list(sys.path)
        set_aside = _take_out(tops)
        sys.path.insert(0, str(folder))
        importlib.invalidate_caches()
        writing = sys.dont_write_bytecode
        sys.dont_write_bytecode = True
        try:
            yield
        finally:
            sys.dont_write_bytecode = writing
            sys.path[:] = paths
            _take_out(tops)
            sys.modules.update(set_aside)


def _take_out(tops: set[str]) -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name.partition(".")[0] in tops]
    return {name: sys.modules.pop(name) for name in names}
