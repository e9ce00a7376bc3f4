"""PySpark beside libraries that look for it without being asked to."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

__all__ = ["mark_missing_spark_connect"]

_CONNECT = "pyspark.sql.connect"
_NEEDED = ("grpc", "grpc_status", "google.rpc", "zstandard")


def mark_missing_spark_connect() -> None:
    """Has an import of Spark Connect fail as a missing module does, where its packages are missing.

    PySpark 4 takes a process whose main module is no file, such as one that Dagster forks for a
    step, for its doctests and *ends* it instead. MLflow and Great Expectations try that import
    wherever PySpark is installed.

    Source: ``pyspark.sql.connect.utils.check_dependencies``.
    """
    if _CONNECT in sys.modules or importlib.util.find_spec("pyspark") is None:
        return
    if not all(map(_is_there, _NEEDED)):
        modules: dict[str, Any] = sys.modules
        modules[_CONNECT] = None


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of the package above it
        return False
