"""The original, and projects to give it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from liminal_assets_tests.apache.original import Original

Write = Callable[..., Path]


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Original]:
    process = Original(tmp_path_factory.mktemp("liminal_home"))
    yield process
    process.close()


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes files into a project's folder: a text is its ``liminal.yml``, a mapping has paths."""

    def write(files: str | dict[str, str]) -> Path:
        for path, text in ({"liminal.yml": files} if isinstance(files, str) else files).items():
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(text), encoding="utf-8")
        return tmp_path

    return write
