"""Runs inside a process of its own: Apache Liminal 0.0.5 resolves what it is asked to.

Reads pickled ``(folder, render, environ)`` from standard input and answers on standard output with
the pickled list of configurations, or with the name of the exception that it ended in.
"""

from __future__ import annotations

import logging
import os
import pickle
import sys
import types
from typing import Any


class _Variable:
    """Airflow's variables, which are asked for only where there is an Airflow."""

    @staticmethod
    def get(key: str, default_var: Any = None) -> Any:
        raise AssertionError("the original asked Airflow instead of the environment")


def _import_original() -> Any:
    airflow, models = types.ModuleType("airflow"), types.ModuleType("airflow.models")
    models.Variable = _Variable  # type: ignore[attr-defined]
    sys.modules.update({"airflow": airflow, "airflow.models": models})
    logging.disable(logging.CRITICAL)
    from liminal.core.config import config

    return config.ConfigUtil


def _portable(value: Any) -> Any:
    """Plain values; a generator, which nobody can read twice, as a tuple that says so."""
    if isinstance(value, dict):
        return {key: _portable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_portable(item) for item in value]
    if isinstance(value, types.GeneratorType):
        return ("generator", [_portable(item) for item in value])
    return value


def _answer(config_util: Any, folder: str, render: bool, environ: dict[str, str]) -> Any:
    os.environ.update(environ)
    try:
        return _portable(config_util(folder).safe_load(is_render_variables=render))
    except Exception as error:
        return type(error).__name__
    finally:
        for name in environ:
            del os.environ[name]


def main() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what it prints must not mix with the answers
    config_util = _import_original()
    while True:
        try:
            question = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(_answer(config_util, *question), answers)
        answers.flush()


if __name__ == "__main__":
    main()
