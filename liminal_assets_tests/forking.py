"""Processes of tests that are killed. All have the imports of one, which take seconds."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from typing import Any

import pytest

__all__ = ["exit_code_of", "processes"]


@pytest.fixture(scope="session")
def processes() -> ForkServerContext:
    """Children that have imported everything and opened nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        [
            "mlflow.sklearn",
            "mlflow.store.tracking.sqlalchemy_store",
            "mlflow.store.model_registry.sqlalchemy_store",
            "onnxruntime",
            "optuna",
            "liminal_assets.factories.models",
            "liminal_assets.serving.control.controller",
            "liminal_assets_tests.champions",
        ]
    )
    # now, with the environment that tests find rather than what the first of them makes of it
    forkserver.ensure_running()
    return context


def exit_code_of(context: ForkServerContext, target: Callable[..., None], *args: Any) -> int:
    """What a function ends with in a process of its own."""
    child = context.Process(target=target, args=args)
    child.start()
    child.join(60)
    assert child.exitcode is not None
    return child.exitcode
