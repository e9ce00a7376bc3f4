"""The estimator that a task's program makes, read from its source without running it."""

from __future__ import annotations

import ast
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Estimator", "estimator_in", "program_of"]

_MODULES = frozenset(
    {
        "sklearn.discriminant_analysis",
        "sklearn.ensemble",
        "sklearn.gaussian_process",
        "sklearn.kernel_ridge",
        "sklearn.linear_model",
        "sklearn.naive_bayes",
        "sklearn.neighbors",
        "sklearn.neural_network",
        "sklearn.svm",
        "sklearn.tree",
    }
)


@dataclass(frozen=True)
class Estimator:
    """A class and the arguments that it is made with."""

    path: str
    """``sklearn.linear_model.LogisticRegression``."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Those that are plain values."""
    computed: tuple[str, ...] = ()
    """The names of the others."""


def program_of(command: str) -> str | None:
    """The Python file that a command runs: ``training.py`` of ``python -u training.py train``."""
    try:
        words = shlex.split(command)
    except ValueError:
        return None
    return next((word for word in words if word.endswith(".py")), None)


def estimator_in(file: Path) -> Estimator | None:
    """The estimator of scikit-learn that a file makes; None if that isn't one and only one."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return None
    imported = dict(_imports(tree))
    found = {
        path: call
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and (path := _path(call.func, imported))
    }
    if len(found) != 1:
        return None
    [(path, call)] = found.items()
    params: dict[str, Any] = {}
    computed = ["*"] * bool(call.args)
    for keyword in call.keywords:
        try:
            params[keyword.arg or "**"] = ast.literal_eval(keyword.value)
        except ValueError:
            computed.append(keyword.arg or "**")
    return Estimator(path, params, tuple(computed))


def _imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Each name that an import gives, and what it stands for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for name in node.names:
                yield name.asname or name.name, f"{node.module}.{name.name}"
        elif isinstance(node, ast.Import):
            for name in node.names:
                yield name.asname or name.name, name.name


def _path(function: ast.expr, imported: Mapping[str, str]) -> str | None:
    """The class of an estimator that is called; None for anything else."""
    written = ast.unparse(function)
    head, _, tail = written.rpartition(".")
    path = f"{imported.get(head, head)}.{tail}" if head else imported.get(tail, "")
    module, _, name = path.rpartition(".")
    return path if module in _MODULES and name[:1].isupper() else None
