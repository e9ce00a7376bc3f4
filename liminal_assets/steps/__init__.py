"""What the blocks do, free of Dagster: for a notebook, an Airflow task or a script.

>>> import liminal_assets as la
>>> project = la.load_project("examples/flights")
>>> la.steps.fetch(project, "departures_raw", "2013-01").to("pandas")
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from liminal_assets.steps.arrivals import record_labels
    from liminal_assets.steps.backtest import backtest
    from liminal_assets.steps.checks import check_rows, run_checks
    from liminal_assets.steps.clean import clean
    from liminal_assets.steps.drift import drift
    from liminal_assets.steps.evaluate import evaluate
    from liminal_assets.steps.features import build_features
    from liminal_assets.steps.fetch import fetch
    from liminal_assets.steps.monitor import monitor
    from liminal_assets.steps.score import score
    from liminal_assets.steps.train import train
    from liminal_assets.steps.validate import validate

__all__ = [
    "backtest",
    "build_features",
    "check_rows",
    "clean",
    "drift",
    "evaluate",
    "fetch",
    "monitor",
    "record_labels",
    "run_checks",
    "score",
    "train",
    "validate",
]

_HOMES = {
    "backtest": "backtest",
    "build_features": "features",
    "check_rows": "checks",
    "clean": "clean",
    "drift": "drift",
    "evaluate": "evaluate",
    "fetch": "fetch",
    "monitor": "monitor",
    "record_labels": "arrivals",
    "run_checks": "checks",
    "score": "score",
    "train": "train",
    "validate": "validate",
}


class _Steps(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        # importing steps.fetch would put that module where its function fetch belongs
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Steps


def __getattr__(name: str) -> Any:
    # imported on first use
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"liminal_assets.steps.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
