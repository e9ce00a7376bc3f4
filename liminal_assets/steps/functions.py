"""User functions: found by ``module:name``, called with their inputs by parameter name."""

from __future__ import annotations

import importlib
import inspect
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from liminal_assets import errors
from liminal_assets.errors import StepError
from liminal_assets.language.diagnostics import Location, did_you_mean
from liminal_assets.language.loading import Project
from liminal_assets.storage.forms import FORMS, Form
from liminal_assets.storage.tables import Table

__all__ = [
    "Argument",
    "Chunks",
    "arguments_of",
    "call_function",
    "form_of",
    "import_module",
    "load_function",
    "user_errors",
]

_IMPORTS = threading.RLock()


def load_function(
    project: Project, path: str, location: Location | None = None
) -> Callable[..., Any]:
    """The function of ``"module:name"``; modules are looked for in the project's folder first.

    Raises:
        StepError: the module or the function is missing, or importing the module fails.
    """
    module_name, _, name = path.partition(":")
    module = import_module(project, module_name, location)
    function = getattr(module, name, None)
    if not callable(function):
        there = (n for n, it in vars(module).items() if callable(it) and not n.startswith("_"))
        hint = did_you_mean(name, there)
        raise StepError(f"{module_name} has no function {name!r}", location=location, hint=hint)
    return function  # type: ignore[no-any-return]


def import_module(project: Project, name: str, location: Location | None = None) -> ModuleType:
    """A module by name, from the project's folder first.

    Raises:
        StepError: it is missing, or importing it fails.
    """
    with _IMPORTS, user_errors(project, f"importing {name}", location):
        return _import(project.root, name, location)


def _import(root: Path, name: str, location: Location | None) -> ModuleType:
    _forget_other_projects(root, name.partition(".")[0])
    importlib.invalidate_caches()
    try:
        with _on_path(root):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            hint = f"expected {name.replace('.', '/')}.py in {root}"
            raise StepError(f"no module {name!r}", location=location, hint=hint) from None
        raise


@contextmanager
def _on_path(root: Path) -> Iterator[None]:
    """Modules of the project come first, also for what a function imports when it is called."""
    sys.path.insert(0, str(root))
    try:
        yield
    finally:
        with suppress(ValueError):
            sys.path.remove(str(root))


def _forget_other_projects(root: Path, top: str) -> None:
    """Two projects of one process may each have a module of one name."""
    loaded = sys.modules.get(top)
    own = root / top
    if loaded is None or not (own.is_dir() or own.with_suffix(".py").is_file()):
        return
    places = [getattr(loaded, "__file__", None) or "", *getattr(loaded, "__path__", [])]
    if not any(Path(place).is_relative_to(root) for place in places if place):
        for name in [name for name in sys.modules if name == top or name.startswith(f"{top}.")]:
            del sys.modules[name]


def call_function(
    project: Project,
    path: str,
    tables: Mapping[str, Table],
    *,
    context: Any = None,
    location: Location | None = None,
) -> Any:
    """Calls a user function with tables by parameter name, in the form that each annotates.

    A parameter ``context`` takes the context. A function with one parameter for rows takes the
    only table, whatever its name.

    Raises:
        StepError: a parameter fits no table, or the function fails.
    """
    function = load_function(project, path, location)
    arguments = {
        argument.parameter: context
        if argument.table is None
        else tables[argument.table].to(argument.form)
        for argument in arguments_of(function, path, tables, location)
    }
    with user_errors(project, path, location), _on_path(project.root):
        rows = function(**arguments)
    if isinstance(rows, Iterator) and not hasattr(rows, "__arrow_c_stream__"):
        return Chunks(rows, project, path, location)
    return rows


class Chunks(Iterator[Any]):
    """The rows of a generator, chunk by chunk, asked for by another library's thread.

    What the generator raises is kept in ``error``, for on its way through the library it becomes
    text.
    """

    def __init__(
        self, chunks: Iterator[Any], project: Project, path: str, location: Location | None
    ) -> None:
        self._chunks = chunks
        self._where = (project, path, location)
        self.error: StepError | None = None

    def __next__(self) -> Any:
        done = object()
        try:
            with user_errors(*self._where), _on_path(self._where[0].root):
                chunk = next(self._chunks, done)
        except StepError as error:
            self.error = error
            raise
        if chunk is done:
            raise StopIteration
        return chunk


@dataclass(frozen=True)
class Argument:
    """What one parameter of a user function takes."""

    parameter: str
    table: str | None = None
    """The name of an input; None for the context."""
    form: Form = "pandas"


def arguments_of(
    function: Callable[..., Any],
    path: str,
    tables: Collection[str],
    location: Location | None = None,
) -> list[Argument]:
    """What each parameter of a user function takes, from the names of its inputs.

    Raises:
        StepError: a parameter fits no input, or asks for a form that there isn't.
    """
    arguments: list[Argument] = []
    rest: list[inspect.Parameter] = []
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise StepError(f"{path} can't be called: {error}", location=location) from None
    for parameter in parameters:
        name = parameter.name
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if name == "context":
            arguments.append(Argument(name))
        elif name in tables:
            arguments.append(Argument(name, name, form_of(function, parameter, location)))
        else:
            rest.append(parameter)
    needed = [parameter for parameter in rest if parameter.default is parameter.empty]
    used = any(argument.table for argument in arguments)
    if len(needed) == 1 and len(tables) == 1 and not used:
        (table,) = tables
        form = form_of(function, needed[0], location)
        arguments.append(Argument(needed[0].name, table, form))
    elif needed:
        known = ", ".join([*tables, "context"])
        raise StepError(
            f"{path} has a parameter {needed[0].name!r} that no input is called",
            location=location,
            hint=did_you_mean(needed[0].name, tables) or f"its parameters may be {known}",
        )
    return arguments


def form_of(
    function: Callable[..., Any], parameter: inspect.Parameter, location: Location | None = None
) -> Form:
    """The form that a parameter's annotation asks for; pandas without one.

    Raises:
        StepError: the annotation is a form that there isn't.
    """
    annotation = parameter.annotation
    if annotation is parameter.empty:
        return "pandas"
    written = annotation if isinstance(annotation, str) else _qualified(annotation)
    module = getattr(function, "__globals__", {})
    head, _, tail = written.strip("'\"").partition(".")
    if isinstance(annotation, str) and head in module:
        # "pd.DataFrame" under "from __future__ import annotations"
        owner = module[head]
        written = f"{owner.__name__}.{tail}" if inspect.ismodule(owner) else _qualified(owner)
    top, kind = written.partition(".")[0], written.rpartition(".")[2]
    for known, form in FORMS.items():
        if (top, kind) == (known.partition(".")[0], known.rpartition(".")[2]):
            return form
    if top in ("Any", "typing", "object"):
        return "pandas"
    raise StepError(
        f"the parameter {parameter.name!r} asks for {written}, which rows can't be given as",
        location=location,
        hint=f"one of {', '.join(FORMS)}",
    )


def _qualified(kind: Any) -> str:
    top = getattr(kind, "__module__", "").partition(".")[0].lstrip("_")
    return f"{top}.{getattr(kind, '__name__', kind)}"


def user_errors(
    project: Project, doing: str, location: Location | None
) -> AbstractContextManager[None]:
    """An exception of a project's code as one message with the frames of its files.

    Raises:
        StepError: for any exception but a :class:`StepError` and an interrupt.
    """
    return errors.user_errors(project.root, doing, location)
