"""Converters by the type that they convert, ours and those of plugins."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, TypeVar

from liminal_assets.steps.compile.values import Columns, Matrix, Node, UnsupportedError

__all__ = [
    "COMPILERS",
    "compiled_names",
    "convert_estimator",
    "convert_transformer",
    "estimator",
    "transformer",
]

COMPILERS = "liminal_assets.compilers"
"""The entry-point group of converters for estimators of other libraries: the name is that of the
class with its package, such as ``lightgbm.LGBMClassifier``."""

Transform = Callable[[Any, Columns | Matrix], Matrix | Columns]
Estimate = Callable[[Any, Columns | Matrix], tuple[Matrix, Node]]

_Function = TypeVar("_Function", bound=Callable[..., Any])

_TRANSFORMERS: dict[str, Transform] = {}
_ESTIMATORS: dict[str, Estimate] = {}
_MODULES = (
    "bayes",
    "composition",
    "curves",
    "encoders",
    "ensembles",
    "linear",
    "networks",
    "preparation",
    "trees",
    "wrappers",
)


def transformer(*names: str) -> Callable[[_Function], _Function]:
    """Registers a converter of transformers: ``package.Class``."""

    def register(function: _Function) -> _Function:
        _TRANSFORMERS.update(dict.fromkeys(names, function))
        return function

    return register


def estimator(*names: str) -> Callable[[_Function], _Function]:
    """Registers a converter of estimators: ``package.Class``."""

    def register(function: _Function) -> _Function:
        _ESTIMATORS.update(dict.fromkeys(names, function))
        return function

    return register


def convert_transformer(fitted: Any, value: Columns | Matrix) -> Matrix | Columns:
    """What a fitted transformer makes of a value.

    Raises:
        UnsupportedError: nothing converts its type.
    """
    return _converter(_TRANSFORMERS, fitted)(fitted, value)  # type: ignore[no-any-return]


def convert_estimator(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    """The matrix that a fitted estimator takes, and the operator that answers it.

    Raises:
        UnsupportedError: nothing converts its type.
    """
    return _converter(_ESTIMATORS, fitted)(fitted, value)  # type: ignore[no-any-return]


def compiled_names() -> tuple[frozenset[str], frozenset[str]]:
    """The transformers and the estimators, as ``package.Class``, that have a converter here."""
    _load()
    return frozenset(_TRANSFORMERS), frozenset(_ESTIMATORS)


@cache
def _load() -> None:
    for module in _MODULES:
        import_module(f"liminal_assets.steps.compile.{module}")


def _converter(known: dict[str, Any], fitted: Any) -> Any:
    _load()
    kind = type(fitted)
    # the exact type: a subclass may do anything
    name = f"{kind.__module__.partition('.')[0]}.{kind.__qualname__}"
    if name in known:
        return known[name]
    for point in entry_points(group=COMPILERS, name=name):
        return point.load()
    raise UnsupportedError(f"{kind.__qualname__} has no compiled form")
