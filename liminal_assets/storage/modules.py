"""User modules beside a model: each version is loaded with the code that it was trained with."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

__all__ = ["isolated_modules"]

_IMPORTS = threading.RLock()


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
