"""Dagster's own state: SQLite in the state folder, PostgreSQL by environment variable."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from dagster._cli.utils import TMP_DAGSTER_HOME_PREFIX
from dagster._core.instance.ref import InstanceRef
from dagster._serdes import ConfigurableClassData

from liminal_assets.language.loading import home_of

__all__ = ["POSTGRES_URL", "LiminalInstance", "dagster_home", "open_instance"]

POSTGRES_URL = "LIMINAL_POSTGRES_URL"
"""The environment variable that moves Dagster's runs, events and schedules to PostgreSQL."""

_TEMPLATE = Path(__file__).with_name("dagster.yaml")


class LiminalInstance(dg.DagsterInstance):
    """The instance that ``dagster.yaml`` asks for by ``instance_class``.

    It decides where state lives when the instance is first loaded; Dagster hands the answer, plain
    storages with absolute paths, on to its daemon, webserver and run processes.
    """

    @classmethod
    def config_schema(cls) -> Mapping[str, Any]:
        """Keys of ``dagster.yaml`` besides Dagster's own: none."""
        return {}

    @classmethod
    def config_defaults(cls, base_dir: str) -> Mapping[str, ConfigurableClassData | None]:
        """The storages used where ``dagster.yaml`` names none.

        Args:
            base_dir: ``DAGSTER_HOME``. Without one ``dagster dev`` makes up a folder that it
                deletes at the end; the state folder takes its place.
        """
        if Path(base_dir).name.startswith(TMP_DAGSTER_HOME_PREFIX):
            base_dir = str(home_of(Path(base_dir).parent) / ".liminal" / "dagster")
            Path(base_dir).mkdir(parents=True, exist_ok=True)
        defaults = dict(InstanceRef.config_defaults(base_dir))
        if os.environ.get(POSTGRES_URL):
            # the variable's name, not its value: a reference is shown in command lines
            config = yaml.dump({"postgres_url": {"env": POSTGRES_URL}})
            for key, name in _POSTGRES.items():
                defaults[key] = ConfigurableClassData("dagster_postgres", name, config)
        return defaults


_POSTGRES = {
    "storage": "DagsterPostgresStorage",
    "run_storage": "PostgresRunStorage",
    "event_log_storage": "PostgresEventLogStorage",
    "schedule_storage": "PostgresScheduleStorage",
}


def dagster_home(home: Path) -> Path:
    """The folder of Dagster's state for projects whose state is below ``home``, ready for use.

    ``DAGSTER_HOME`` wins where it is set. Otherwise it is ``.liminal/dagster``, configured by the
    ``dagster.yaml`` in ``home`` or, without one, by the package's own.
    """
    if chosen := os.environ.get("DAGSTER_HOME"):
        return Path(chosen).expanduser()
    folder = home / ".liminal" / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    source = home / "dagster.yaml"
    target = folder / "dagster.yaml"
    if source.is_file() or not target.is_file():
        text = (source if source.is_file() else _TEMPLATE).read_text(encoding="utf-8")
        if not target.is_file() or target.read_text(encoding="utf-8") != text:
            fresh = target.with_suffix(f".{os.getpid()}")
            fresh.write_text(text, encoding="utf-8")
            fresh.replace(target)
    return folder


def open_instance(home: Path) -> dg.DagsterInstance:
    """The persistent instance of projects whose state is below ``home``.

    A context manager; leaving it closes the databases.
    """
    return dg.DagsterInstance.from_config(str(dagster_home(home)))
