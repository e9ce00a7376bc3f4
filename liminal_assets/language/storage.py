"""Where a project keeps its data and its experiments."""

from __future__ import annotations

from liminal_assets.language.base import Options, Spec

__all__ = ["StorageSpec"]


class StorageSpec(Spec):
    """Production counterparts of the embedded defaults."""

    data: str | None = None
    """Folder or fsspec URL (``s3://bucket/liminal``) of all tables; default: in the
    state folder."""
    data_options: Options = {}
    """fsspec options of ``data``."""
    mlflow: str | None = None
    """MLflow tracking URI (``https://…``, ``postgresql://…``); default: SQLite in the state
    folder."""
    mlflow_artifacts: str | None = None
    """Where MLflow keeps files, when the tracking URI is a database."""
    tuning: str | None = None
    """SQLAlchemy URL of Optuna's searches; default: SQLite in the state folder."""
    online: str | None = None
    """URL of the online store of features: ``sqlite:///file``, ``postgresql://…``,
    ``redis://…`` (``rediss://…`` for TLS), or of a plugin; default: SQLite in the state folder."""
