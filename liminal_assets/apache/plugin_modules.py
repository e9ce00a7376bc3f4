"""Plugins imported: the one class of a module, from a project or an installed package."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from liminal_assets.apache.plugins import Kind, find_plugin, installed_plugin, plugin_folders
from liminal_assets.errors import StepError, user_errors
from liminal_assets.language.diagnostics import Location
from liminal_assets.storage.modules import module_file, top_imports

__all__ = ["class_of_module", "importable", "plugin_class", "written_for_original"]

PluginT = TypeVar("PluginT")

_TOP = "plugins"
_IMPORTS = threading.RLock()
_KEPT: dict[Path, dict[str, ModuleType]] = {}
"""The modules of each project's plugins, while another project's are in use."""
_active: list[Path] = []
"""The project whose plugins are in ``sys.modules``; empty before the first."""


def plugin_class(
    kind: Kind, name: str, folder: Path, base: type[PluginT], at: Location | None = None
) -> type[PluginT] | None:
    """The class of a type that is not built in: from the project's ``plugins`` folder, else from
    an installed package; None if neither has it.

    Args:
        kind: what it is a type of.
        name: the type.
        folder: the project's.
        base: what the class must be a subclass of.
        at: where the type is written.

    Raises:
        StepError: the module can't be imported, was written for Apache Liminal itself, or holds
            no such class or several.
    """
    if path := find_plugin(kind, name, folder):
        if written_for_original(path):
            raise _for_original(kind, name, path, at)
        home = next(item for item in plugin_folders(folder) if path.is_relative_to(item))
        with user_errors(home, f"importing the plugin {path}", at):
            module = _imported(path, home, folder)
        return class_of_module(module, base, at)
    if entry := installed_plugin(kind, name):
        package = entry.dist.name if entry.dist else entry.module
        with user_errors(folder, f"importing {entry.value} of the package {package}", at):
            found = entry.load()
        if isinstance(found, ModuleType):
            return class_of_module(found, base, at)
        if not (isinstance(found, type) and issubclass(found, base)):
            raise StepError(
                f"{entry.value} of the package {package} is no subclass of {_name(base)}",
                location=at,
                hint=f"its entry point {name!r} in liminal_assets.{kind} must name one",
            )
        return found
    return None


def class_of_module(module: ModuleType, base: type[PluginT], at: Location | None) -> type[PluginT]:
    """The one public class of a module that is a subclass of ``base``.

    Classes that are imported, abstract or called ``_…`` don't count; nor do those that
    ``__all__`` leaves out, where there is one.

    Raises:
        StepError: there is none, or there are several.
    """
    named = getattr(module, "__all__", None)
    found = [
        value
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, base)
        and value.__module__ == module.__name__
        and not inspect.isabstract(value)
        and (name in named if named is not None else not name.startswith("_"))
    ]
    if len(found) == 1:
        return found[0]
    file = getattr(module, "__file__", None) or module.__name__
    if not found:
        raise StepError(
            f"the plugin {file} has no subclass of {_name(base)} that can be used",
            location=at,
            hint=_no_class_hint(module, base),
        )
    names = ", ".join(kind.__name__ for kind in found)
    raise StepError(
        f"the plugin {file} has {len(found)} subclasses of {_name(base)}: {names}",
        location=at,
        hint="a module is one type: put the others into modules of their own, or name in __all__ "
        "the one that counts",
    )


def _no_class_hint(module: ModuleType, base: type[Any]) -> str:
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, base) and inspect.isabstract(value):
            missing: Iterable[str] = getattr(value, "__abstractmethods__", ())
            if value.__module__ == module.__name__:
                return f"{value.__name__} lacks: {', '.join(sorted(missing))}"
    return f"from liminal_assets.plugins import {base.__name__}"


def written_for_original(path: Path) -> bool:
    """Whether a plugin's module imports Apache Liminal, or Airflow without anything of ours."""
    tops = top_imports(path)
    return "liminal" in tops or ("airflow" in tops and "liminal_assets" not in tops)


def _for_original(kind: Kind, name: str, path: Path, at: Location | None) -> StepError:
    parent, method = {
        "tasks": ("InProcessTask", "run(run)"),
        "executors": ("Executor", "execute(task, run)"),
        "images": ("ImageBuilder", "dockerfile()"),
    }[kind]
    return StepError(
        f"the plugin {name!r} was written for Apache Liminal, whose modules aren't here: {path}",
        location=at,
        hint=f"make its class a subclass of liminal_assets.plugins.{parent}, and what it does the "
        f"method {method}; docs/plugins.md shows how",
    )


def _name(base: type[Any]) -> str:
    return f"liminal_assets.plugins.{base.__name__}"


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Imports of ``plugins.…`` and of a project's own modules find this project's.

    The modules of its plugins are its own: two projects of one process may each have a
    ``plugins.tasks.copy``.
    """
    with _IMPORTS:
        _activate(folder)
        sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with suppress(ValueError):
            sys.path.remove(str(folder))


def _imported(path: Path, home: Path, folder: Path) -> ModuleType:
    """A plugin's module, called as it was there: ``plugins.tasks.my_type``."""
    file = path.parent if path.name == "__init__.py" else path.with_suffix("")
    name = ".".join([_TOP, *file.relative_to(home).parts])
    with _IMPORTS, importable(folder):
        importlib.invalidate_caches()
        if name in sys.modules:
            return sys.modules[name]
        importlib.import_module(name.rpartition(".")[0])
        return _executed(name, path)


def _executed(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _activate(folder: Path) -> None:
    if _active == [folder]:
        return
    if _active:
        _KEPT[_active[0]] = _taken_out(_active[0])
    _active[:] = [folder]
    kept = _KEPT.pop(folder, {})
    sys.modules.update(kept)
    if _TOP not in kept:
        package = ModuleType(_TOP, "Plugins of a project.")
        package.__path__ = [str(item) for item in plugin_folders(folder)]
        sys.modules[_TOP] = package


def _taken_out(folder: Path) -> dict[str, ModuleType]:
    """The modules of plugins, and those of the project that they imported."""
    tops = {_TOP, *(name for name in sys.modules if _stands_in(folder, name))}
    return {
        name: sys.modules.pop(name) for name in [*sys.modules] if name.partition(".")[0] in tops
    }


def _stands_in(folder: Path, name: str) -> bool:
    if "." in name or name == "liminal_assets":
        return False
    file = getattr(sys.modules[name], "__file__", None)
    return file is not None and module_file(folder, name) == Path(file)
