"""What a pipeline says about its runs: when, how long, how often again, and after what."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from typing import Any, TypeVar

from liminal_assets.apache.vocabulary import words
from liminal_assets.language.cron import check_cron
from liminal_assets.language.diagnostics import Diagnostic, did_you_mean
from liminal_assets.language.source import LocatedDict

__all__ = ["PipelineSettings", "check_settings", "settings_of"]

Value = TypeVar("Value")

_ONCE = "@once"
_WORDS = {"true": True, "false": False, "yes": True, "no": False}

_PRESETS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@quarterly": "0 0 1 */3 *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
"""Airflow 2.1's words for schedules (``airflow.utils.dates.cron_presets``)."""

_AFTER_SUCCESS = ("all_success", "none_failed", "none_failed_or_skipped", "one_success")
_ALWAYS = ("all_done", "dummy")
_RETRY_DELAY = timedelta(seconds=300)
"""Airflow's."""
_DEFAULT_POOL = "default_pool"
"""Airflow's pool of whatever names none, which nothing waits for."""

_READ = words(
    """after depends_on_past description end_date execution_timeout owner pipeline pool
    priority_weight retries retry_delay retry_exponential_backoff schedule schedule_interval
    start_date tasks timeout_minutes trigger_rule wait_for_downstream"""
)


@dataclass(frozen=True)
class PipelineSettings:
    """A pipeline's own settings, and the arguments that it has for each of its tasks."""

    cron: str | None = None
    """When it runs, as five fields in UTC; None: only when asked to."""
    once: bool = False
    """``@once``: one run, as soon as it is there."""
    start: datetime | None = None
    """When the first interval of its schedule begins; it runs at the interval's end."""
    end: datetime | None = None
    """When the last interval may begin."""
    timeout: timedelta | None = None
    """How long a run may take."""
    task_timeout: timedelta | None = None
    """How long one task may take (``execution_timeout``)."""
    owner: str | None = None
    depends_on_past: bool = False
    """Whether a scheduled run needs the success of the run before."""
    retries: int = 0
    retry_delay: timedelta = _RETRY_DELAY
    exponential: bool = False
    """Whether the delay doubles with every try."""
    always_run: bool = False
    """``always_run`` of the file: ``job_start`` and ``job_end`` run after a failure too."""
    after_failure: bool = False
    """``trigger_rule: all_done``: every task runs after a failure too."""
    pool: str | None = None
    priority: int | None = None
    arguments: Mapping[str, Any] | None = None
    """What else the pipeline has for its tasks: Airflow handed it to each operator."""

    def runs_after_failure(self, kind: str) -> bool:
        """Whether a task of this type runs although the one before it failed.

        As in 0.0.5: ``always_run`` got to the tasks that report start and end, ``trigger_rule`` of
        a pipeline to all others, and a stack is deleted whatever happened before.
        """
        if kind in ("job_start", "job_end"):
            return self.always_run
        return self.after_failure or kind == "delete_cloudformation_stack"


def settings_of(pipeline: LocatedDict, workflow: Mapping[str, Any]) -> PipelineSettings:
    """The settings of a pipeline; what is wrong in it is left out (:func:`check_settings`).

    Args:
        pipeline: its final configuration.
        workflow: that of its file, which may have an ``owner`` and ``always_run``.
    """
    return _Reader(pipeline).settings(workflow)


def check_settings(pipeline: LocatedDict) -> Iterator[Diagnostic]:
    """What is wrong with a pipeline's settings."""
    reader = _Reader(pipeline)
    reader.settings({})
    yield from reader.mistakes


class _UnusableError(Exception):
    """A value that means nothing; the second argument is a hint."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class _Reader:
    """Values of a pipeline by their meaning; collects those that have none."""

    def __init__(self, pipeline: LocatedDict) -> None:
        self.pipeline = pipeline
        self.mistakes: list[Diagnostic] = []

    def settings(self, workflow: Mapping[str, Any]) -> PipelineSettings:
        key = "schedule_interval" if self.pipeline.get("schedule_interval") else "schedule"
        schedule = self.take(key, _schedule)
        owner = self.pipeline.get("owner") or workflow.get("owner")
        pool = self.pipeline.get("pool")
        past = [self.take(key, _flag) for key in ("depends_on_past", "wait_for_downstream")]
        return PipelineSettings(
            cron=schedule if schedule != _ONCE else None,
            once=schedule == _ONCE,
            start=self.take("start_date", _moment),
            end=self.take("end_date", _moment),
            timeout=self.take("timeout_minutes", lambda value: _length(value, minutes=1)),
            task_timeout=self.take("execution_timeout", lambda value: _length(value, seconds=1)),
            owner=str(owner) if owner else None,
            depends_on_past=any(past),
            retries=self.take("retries", _count) or 0,
            retry_delay=self.take("retry_delay", lambda value: _length(value, seconds=1))
            or _RETRY_DELAY,
            exponential=self.take("retry_exponential_backoff", _flag) or False,
            always_run=_WORDS.get(str(workflow.get("always_run")).lower(), False),
            after_failure=self.take("trigger_rule", _is_always) or False,
            pool="_".join(str(pool).split()) if pool and pool != _DEFAULT_POOL else None,
            priority=self.take("priority_weight", lambda value: int(_number(value))),
            arguments={k: v for k, v in self.pipeline.items() if k not in _READ},
        )

    def take(self, key: str, convert: Callable[[Any], Value]) -> Value | None:
        """What a key means; None where it isn't written, is blank, or means nothing."""
        value = self.pipeline.get(key)
        if value is None or value == "":
            return None
        try:
            return convert(value)
        except _UnusableError as error:
            at = self.pipeline.values_at.get(key, self.pipeline.location)
            message = f"{key}: {error}"
            self.mistakes.append(Diagnostic(at, "invalid-value", message, error.hint))
            return None


def _schedule(value: Any) -> str | None:
    """Five fields of cron, or ``@once``; None for a word that means none."""
    text = str(value).strip()
    if text in ("None", "@none"):
        return None
    if text == _ONCE or text in _PRESETS:
        return _PRESETS.get(text, text)
    if text.startswith("@"):
        raise _UnusableError(f"{text!r} is no schedule", did_you_mean(text, [_ONCE, *_PRESETS]))
    try:
        return check_cron(text)
    except ValueError as error:
        hint = "such as '0 2 * * *': every night at two, in UTC"
        raise _UnusableError(str(error), hint) from None


def _moment(value: Any) -> datetime:
    """A date or a moment, in UTC if it doesn't say."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip().replace("Z", "+00:00"))
        except ValueError:
            raise _UnusableError(f"{value!r} is no date", "write it as 2020-12-31") from None
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=timezone.utc)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=timezone.utc)
    raise _UnusableError(f"{value!r} is no date", "write it as 2020-12-31")


def _length(value: Any, **unit: int) -> timedelta:
    number = _number(value)
    try:
        length = number * timedelta(**unit)
    except OverflowError:
        raise _UnusableError("it must be shorter than that") from None
    if length <= timedelta(0):
        raise _UnusableError("it must be above 0")
    return length


def _count(value: Any) -> int:
    if (number := _number(value)) < 0:
        raise _UnusableError("it must be at least 0")
    return int(number)


def _number(value: Any) -> float:
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise _UnusableError(f"it must be a number, not {value!r}")
    return number


def _flag(value: Any) -> bool:
    flag = _WORDS.get(str(value).lower())
    if flag is None:
        raise _UnusableError(f"it must be true or false, not {value!r}")
    return flag


def _is_always(rule: Any) -> bool:
    if rule not in (*_AFTER_SUCCESS, *_ALWAYS):
        hint = f"known: {', '.join([*_AFTER_SUCCESS, *_ALWAYS])}"
        raise _UnusableError(f"tasks in sequence know no rule {rule!r}", hint)
    return rule in _ALWAYS
