"""Names that Airflow filled in when a task ran: the moment of the run in many forms."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone

__all__ = ["MACROS", "macros"]

_DAY = timedelta(days=1)


def macros(
    moment: datetime,
    *,
    until: datetime | None = None,
    run_id: str = "",
    pipeline: str = "",
    task: str = "",
) -> Mapping[str, str]:
    """What each name stands for.

    Args:
        moment: the execution date: when the interval begins that the run is for.
        until: when the interval ends; default: ``moment``, as in a run that someone started.

    References: Airflow 2.1, ``TaskInstance.get_template_context``.
    """
    moment = moment.astimezone(timezone.utc)
    until = moment if until is None else until.astimezone(timezone.utc)
    days = {
        "ds": moment,
        "yesterday_ds": moment - _DAY,
        "tomorrow_ds": moment + _DAY,
        "next_ds": until,
    }
    return {
        **{name: f"{day:%Y-%m-%d}" for name, day in days.items()},
        **{f"{name}_nodash": f"{day:%Y%m%d}" for name, day in days.items()},
        "execution_date": moment.isoformat(),
        "next_execution_date": until.isoformat(),
        "ts": moment.isoformat(),
        "ts_nodash": f"{moment:%Y%m%dT%H%M%S}",
        "ts_nodash_with_tz": f"{moment:%Y%m%dT%H%M%S%z}",
        "run_id": run_id,
        "dag_run.run_id": run_id,
        "dag.dag_id": pipeline,
        "task.task_id": task,
        "task_instance_key_str": f"{pipeline}__{task}__{moment:%Y%m%d}",
    }


MACROS = frozenset(macros(datetime(2000, 1, 1, tzinfo=timezone.utc)))
"""The names."""
