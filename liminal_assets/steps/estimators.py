"""The estimator of a model: imported or built, its parameters checked, its task known."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from liminal_assets.errors import StepError
from liminal_assets.language.diagnostics import Location, did_you_mean
from liminal_assets.language.loading import Project
from liminal_assets.language.models import Model
from liminal_assets.steps.functions import import_module, load_function, user_errors
from liminal_assets.steps.metrics import Task

__all__ = ["build_estimator", "estimator_class", "parameters_of", "task_of", "unfitted"]


def unfitted(project: Project, model: Model, params: Mapping[str, Any] | None = None) -> Any:
    """The model's estimator before fitting.

    A ``random_state`` that nobody set becomes the split's seed, so that equal rows make equal
    models.

    Args:
        params: changes to the model's own ``params``.

    Raises:
        StepError: it can't be imported or built, has no such parameter, or isn't an estimator.
    """
    estimator = build_estimator(project, model, {**model.params, **(params or {})})
    known = estimator.get_params(deep=False) if hasattr(estimator, "get_params") else {}
    if known.get("random_state", 0) is None:
        estimator.set_params(random_state=model.split.seed)
    return estimator


def build_estimator(project: Project, model: Model, params: Mapping[str, Any]) -> Any:
    """Calls the estimator's class or the user's function with the parameters."""
    if model.python:
        at = _at(project, model, "python")
        function: Any = load_function(project, model.python, at)
        _check_function(function, model.python, params, project, model)
        with user_errors(project, model.python, at):
            estimator = function(**params)
        said = model.python
    else:
        at = _at(project, model, "estimator")
        kind = estimator_class(project, model)
        _check_params(kind, params, project, model)
        said = str(model.estimator)
        with user_errors(project, said, at):
            estimator = kind(**params)
    if not callable(getattr(estimator, "fit", None)) or not callable(
        getattr(estimator, "predict", None)
    ):
        raise StepError(
            f"{said} makes {type(estimator).__name__}, which is no estimator",
            location=at,
            hint="an estimator has 'fit' and 'predict', as scikit-learn's have",
        )
    return estimator


def estimator_class(project: Project, model: Model) -> type:
    """The class that ``estimator:`` names; modules of the project come first.

    Raises:
        StepError: the module or the class isn't there.
    """
    said = model.estimator or ""
    at = _at(project, model, "estimator")
    module_name, _, name = said.rpartition(".")
    if not module_name:
        raise StepError(
            f"{said!r} is no class that can be imported",
            location=at,
            hint="write it with its module, such as sklearn.linear_model.Ridge",
        )
    module = import_module(project, module_name, at)
    kind = getattr(module, name, None)
    if not isinstance(kind, type):
        raise StepError(
            f"{module_name} has no class {name!r}",
            location=at,
            hint=did_you_mean(name, _classes(module)),
        )
    return kind


def _classes(module: Any) -> Iterable[str]:
    # scikit-learn's classes are found by 'dir', which doesn't import what is lazy
    return [name for name in dir(module) if name[:1].isupper()]


def parameters_of(project: Project, model: Model) -> frozenset[str] | None:
    """The parameters that the estimator or the user's function takes; None for any."""
    if model.python:
        function = load_function(project, model.python, _at(project, model, "python"))
        return _arguments(function)
    return _arguments(estimator_class(project, model))


def _arguments(function: Any) -> frozenset[str] | None:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)
    return frozenset(parameter.name for parameter in parameters if parameter.kind not in positional)


def _check_params(kind: type, params: Mapping[str, Any], project: Project, model: Model) -> None:
    known = _arguments(kind)
    for name in params:
        if known is not None and name not in known:
            raise StepError(
                f"{kind.__name__} has no parameter {name!r}",
                location=_at(project, model, "params", name),
                hint=did_you_mean(name, known),
            )


def _check_function(
    function: Any, said: str, params: Mapping[str, Any], project: Project, model: Model
) -> None:
    known = _arguments(function)
    for name in params:
        if known is not None and name not in known:
            raise StepError(
                f"{said} takes no parameter {name!r}",
                location=_at(project, model, "params", name),
                hint=did_you_mean(name, known),
            )
    for parameter in inspect.signature(function).parameters.values():
        needed = parameter.default is parameter.empty and parameter.kind in (
            parameter.POSITIONAL_OR_KEYWORD,
            parameter.KEYWORD_ONLY,
        )
        if needed and parameter.name not in params:
            raise StepError(
                f"{said} needs a parameter {parameter.name!r}",
                location=_at(project, model, "python"),
                hint="give it under params",
            )


def task_of(project: Project, model: Model, estimator: Any) -> Task:
    """What the model does: as it says, else what the estimator is.

    Raises:
        StepError: neither says.
    """
    from sklearn.base import is_classifier, is_regressor

    if model.task:
        return model.task
    try:
        if is_classifier(estimator):
            return "classification"
        if is_regressor(estimator):
            return "regression"
    except AttributeError:
        # an estimator that isn't derived from scikit-learn's has no tags
        if hasattr(estimator, "predict_proba"):
            return "classification"
    raise StepError(
        f"{type(estimator).__name__} is neither a classifier nor a regressor",
        location=_at(project, model, "estimator" if model.estimator else "python"),
        hint="set task: classification or regression",
    )


def _at(project: Project, model: Model, *path: str) -> Location | None:
    return project.locate(model, *path) if model.location else None
