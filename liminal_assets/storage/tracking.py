"""Where MLflow keeps runs and models: SQLite in the state folder, or ``storage.mlflow``.

MLflow is imported here only, late and silent: no telemetry, no progress bars, no news.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liminal_assets.errors import StepError
from liminal_assets.language.loading import Project
from liminal_assets.storage.locks import file_lock
from liminal_assets.storage.spark import mark_missing_spark_connect

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = [
    "artifact_root",
    "import_mlflow",
    "tracking_client",
    "tracking_errors",
    "tracking_exists",
    "tracking_uri",
]

_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # a server that is away is reported within seconds, not minutes
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "GIT_PYTHON_REFRESH": "quiet",
}


def import_mlflow() -> Any:
    """MLflow, imported without its chatter."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    mark_missing_spark_connect()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return mlflow


def tracking_uri(project: Project) -> str:
    """MLflow's tracking URI; a relative SQLite path starts at the project's folder."""
    chosen = project.spec.storage.mlflow
    if chosen is None:
        return f"sqlite:///{_database(project)}"
    prefix = "sqlite:///"
    if chosen.startswith(prefix) and not chosen.startswith(f"{prefix}/"):
        return f"{prefix}{project.root / chosen.removeprefix(prefix)}"
    return chosen


def tracking_exists(project: Project) -> bool:
    """Whether anything can be in MLflow's store; that of the state folder is made when it is first
    written."""
    return project.spec.storage.mlflow is not None or _database(project).exists()


def artifact_root(project: Project) -> str | None:
    """Where MLflow keeps files; None where a tracking server decides."""
    chosen = project.spec.storage.mlflow_artifacts
    if chosen:
        return chosen if "://" in chosen else str(project.root / chosen)
    if tracking_uri(project).startswith(("http://", "https://", "databricks")):
        return None
    return str(project.state / "mlflow" / "artifacts")


def tracking_client(project: Project) -> MlflowClient:
    """MLflow's client for a project; its database is made if it isn't there.

    Raises:
        StepError: the tracking store can't be reached.
    """
    if project.spec.storage.mlflow is None:
        _make_database(_database(project), artifact_root(project) or "")
    return _client(tracking_uri(project))


@lru_cache(maxsize=64)
def _client(uri: str) -> MlflowClient:
    import_mlflow()
    from mlflow import MlflowClient

    with tracking_errors(f"open the MLflow store {_without_password(uri)}"):
        return MlflowClient(tracking_uri=uri, registry_uri=uri)


@contextmanager
def tracking_errors(doing: str) -> Iterator[None]:
    """What MLflow and its database report, as one :class:`StepError`."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, RequestException) as error:
        message = str(error).strip().split("\n")[0]
        hint = None
        if "out-of-date database schema" in str(error):
            hint = "'mlflow db upgrade' with this URI brings the database up to date"
        elif "disk is full" in message or "No space left" in message:
            hint = "free some space and run again: what was there before is untouched"
        transient = isinstance(error, RequestException) or "locked" in message
        raise StepError(f"cannot {doing}: {message}", hint=hint, transient=transient) from error
    except OSError as error:
        raise StepError(f"cannot {doing}: {error}") from error


def _database(project: Project) -> Path:
    return project.state / "mlflow" / "mlflow.db"


def _make_database(path: Path, artifacts: str) -> None:
    """Makes MLflow's SQLite database, once even if several processes ask at a time.

    MLflow applies all its migrations, which takes seconds; the file appears when they are done.
    """
    if path.exists():
        return
    import_mlflow()
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with tracking_errors("make MLflow's database"), file_lock(path.with_suffix(".lock")):
        if path.exists():
            return
        draft = path.with_name("draft.db")
        draft.unlink(missing_ok=True)
        store: Any = SqlAlchemyStore(f"sqlite:///{draft}", artifacts)  # type: ignore[no-untyped-call]
        store.engine.dispose()
        draft.replace(path)


def _without_password(uri: str) -> str:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(uri).render_as_string(hide_password=True)
    except ArgumentError:
        return uri
