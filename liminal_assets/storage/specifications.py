"""What a block is made by, as a hash: its code version, and the specification of a feature.

A comment, a docstring or the order of keys changes nothing; a changed constant in a helper module
that the function's module imports does.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from liminal_assets.language.base import Block
from liminal_assets.language.datasets import Dataset
from liminal_assets.language.features import Feature
from liminal_assets.language.loading import Project
from liminal_assets.language.queries import is_sql_file
from liminal_assets.storage.modules import modules_below

__all__ = [
    "NO_INFLUENCE",
    "code_version",
    "digest_of",
    "feature_specification",
    "module_digest",
]

NO_INFLUENCE = frozenset(
    {
        "description",
        "owner",
        "tags",
        "freshness",
        "automation",
        "executor",
        "retries",
        "pool",
    }
)
"""Keys of a block that change nothing of what it makes."""

_NO_VALUES = NO_INFLUENCE | {"after", "checks", "online", "partitions"}
"""Keys that change no value of a row: which rows there are, or what is done with them."""


def code_version(
    project: Project, block: Block, functions: Sequence[str] = (), files: Sequence[str] = ()
) -> str:
    """16 hexadecimal digits: the first half changes with what the block says, the second with
    its functions and files."""
    said = block.model_dump(
        mode="json", by_alias=True, exclude_defaults=True, exclude=set(NO_INFLUENCE)
    )
    return digest_of(said)[:8] + _code_digest(project, functions, files)[:8]


def feature_specification(project: Project, feature: Feature) -> str:
    """What the values of a feature are defined by, as 16 hexadecimal digits: the feature and all
    datasets and features that it is made of, with their functions and queries.

    Two rows of the same specification that are made of the same sources are the same.
    """
    parts = {block.name: _made_by(project, block) for block in _upstream(project, feature)}
    return digest_of(parts)[:16]


def _upstream(project: Project, feature: Feature) -> Iterator[Dataset | Feature]:
    todo: list[str] = [feature.name]
    seen: set[str] = set()
    while todo:
        name = todo.pop()
        block = feature if name == feature.name else project.blocks.get(name)
        if name not in seen and isinstance(block, Dataset | Feature):
            seen.add(name)
            yield block
            todo.extend(block.inputs)


def _made_by(project: Project, block: Dataset | Feature) -> list[Any]:
    said = block.model_dump(
        mode="json", by_alias=True, exclude_defaults=True, exclude=set(_NO_VALUES)
    )
    for column in said.get("columns", {}).values():
        column.pop("description", None)
    makers = [block] if isinstance(block, Feature) else [block.fetch, block.clean]
    functions = [maker.python for maker in makers if maker and maker.python]
    queries = [maker.sql.strip() for maker in makers if maker and maker.sql]
    files = [query for query in queries if is_sql_file(query)]
    return [said, _code_digest(project, functions, files)]


def _code_digest(project: Project, functions: Sequence[str], files: Sequence[str]) -> str:
    code = hashlib.sha256()
    for function in functions:
        for path in sorted(modules_below(project.root, function.partition(":")[0])):
            code.update(module_digest(path, path.stat().st_mtime_ns).encode())
    for file in files:
        path = project.root / file
        if path.is_file():
            code.update(path.read_bytes())
    return code.hexdigest()


def digest_of(said: Any) -> str:
    """SHA-256 over what a block says, whatever the order of its keys."""
    text = json.dumps(said, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=1024)
def module_digest(path: Path, modified: int) -> str:
    """SHA-256 over what a module does, without comments and docstrings.

    Args:
        modified: its time stamp, so that a changed file is read again.
    """
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
