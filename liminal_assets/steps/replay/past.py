"""What was there when: a monitor's windows of the past, their rows, and the rows to learn from."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from functools import cached_property, lru_cache
from pathlib import Path

from liminal_assets.language.alarm_rates import DEFAULT_WINDOW
from liminal_assets.language.datasets import Partitions
from liminal_assets.language.deployments import Deployment
from liminal_assets.language.loading import Project
from liminal_assets.language.models import Model
from liminal_assets.language.monitors import Monitor
from liminal_assets.language.partitions import ended_key, moments_of, partitions_of
from liminal_assets.steps.inputs import read_input
from liminal_assets.steps.learning import LearningRows, learning_rows, read_features
from liminal_assets.steps.observation import Window
from liminal_assets.steps.replay.truth import NothingToReplayError, Truth, epoch, micros_of
from liminal_assets.steps.retraining import learning_partitions
from liminal_assets.steps.served_windows import sliding_window, window_of_key
from liminal_assets.steps.windows import moment_column
from liminal_assets.storage.forms import engine_errors
from liminal_assets.storage.tables import Table, TableStore

__all__ = ["Past"]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MONDAY = datetime(1970, 1, 5, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)


class Past:
    """The past of a monitor, as it could be seen at any moment of it.

    A window is a partition of batch scores, or for served rows as much of the feature's rows as
    ``partitions`` and ``window`` say. All rows are the feature's; nothing that a model once
    answered is read.

    Attributes:
        project: only read from.
        isolated: the same with its state in a folder of the replay's.
        windows: in order.
        truth: their labels.

    Args:
        folder: where the replay keeps what it needs meanwhile.

    Raises:
        NothingToReplayError: there are no windows, or no labels.
    """

    def __init__(self, project: Project, monitor: Monitor, folder: Path) -> None:
        self.project, self.monitor = project, monitor
        self.isolated = project.isolated(folder)
        self.deployment = self._deployment()
        self.model = self._model()
        self.source = self.deployment.batch.from_ if self.deployment.batch else self.model.features
        self.cut = learning_partitions(project, monitor, self.model.model)
        self.moment = moment_column(project, monitor)
        self._store = TableStore(project)
        self.windows: tuple[Window, ...] = tuple(self._windows())
        if not self.windows:
            raise self._nothing(
                f"there are no complete partitions of {self.source} to replay",
                f"materialise {self.source} for some first",
            )
        self.rows = lru_cache(maxsize=2)(self._rows)
        scratch = TableStore(self.isolated)
        self.truth = Truth(project, monitor, scratch, self.rows, len(self.windows), self.moment)
        self.truth.check()

    def _nothing(self, message: str, hint: str, *path: str) -> NothingToReplayError:
        at = self.project.locate(self.monitor, *path)
        return NothingToReplayError(message, location=at, hint=hint)

    def _deployment(self) -> Deployment:
        found = self.project.blocks.get(self.monitor.deployment)
        if isinstance(found, Deployment):
            return found
        raise self._nothing(
            f"no deployment is called {self.monitor.deployment!r}",
            "a replay needs the model that the deployment uses",
            "deployment",
        )

    def _model(self) -> Model:
        found = self.project.blocks.get(self.deployment.model)
        policy = self.monitor.policy
        if not isinstance(found, Model):
            raise self._nothing(
                f"no model is called {self.deployment.model!r}",
                "a replay trains the model that the deployment uses",
                "deployment",
            )
        if policy and policy.model != found.model:
            raise self._nothing(
                f"it retrains {policy.model}, but {self.deployment.name} uses {found.model}",
                "a replay needs both to be the same model",
            )
        return found

    def _windows(self) -> list[Window]:
        now = datetime.now(timezone.utc)
        served = self.deployment.batch is None
        found = self._served_windows() if served else self._partition_windows()
        ended = (window for window in found if window.until and window.until <= now)
        return sorted(ended, key=lambda window: window.until or _EPOCH)

    def _partition_windows(self) -> Iterator[Window]:
        cut = partitions_of(self.project, self.deployment)
        if cut is None or cut.every is None:
            how = "in one piece" if cut is None else "cut by listed values, which are in no order"
            raise self._nothing(
                f"the scores of {self.deployment.name} are {how}: there are no windows of the past",
                f"partition what {self.source} is made of by time",
                "deployment",
            )
        for key in self._store.partitions(self.source):
            if window := _partition(cut, key):
                yield window

    def _served_windows(self) -> Iterator[Window]:
        name = self.source
        if self.moment is None or not self._store.exists(name):
            what, do = f"{name} has no rows yet", f"materialise {name} first"
            if self.moment is None:
                what, do = f"{name} has no timestamp", "set the feature's timestamp"
            raise self._nothing(f"{what}: there are no windows of the past", do, "deployment")
        with engine_errors(f"read {name}"):
            both = f"min({epoch(self.moment)}), max({epoch(self.moment)})"
            ((first, last),) = self._store.read(name).relation().aggregate(both).fetchall()
        if first is None:
            return
        first, last = (_EPOCH + timedelta(microseconds=micros) for micros in (first, last))
        # whole ones between the first row and the last
        window = self._newest_served(last)
        while window.since and window.until and window.since >= first:
            yield window
            window = self._newest_served(window.until - _MICROSECOND)

    def _newest_served(self, by: datetime) -> Window:
        """The newest window of served rows that has ended by a moment, be it before the monitor's
        partitions begin."""
        cut, monitor = self.monitor.partitions, self.monitor
        if cut:
            return window_of_key(monitor, cut, ended_key(cut, by))
        length = monitor.window or DEFAULT_WINDOW
        return sliding_window(monitor, _MONDAY + length * ((by - _MONDAY) // length))

    def before(self, place: int) -> int | None:
        """The place of the newest window that had ended when another begins, which live runs call
        the one before it; None for the first."""
        since = self.windows[place].since
        if since is None:
            return place - 1 if place else None
        ends = (one.until for one in self.windows[:place])
        return max((at for at, end in enumerate(ends) if end and end <= since), default=None)

    def partitions(self, at: datetime) -> dict[str, datetime]:
        """The ends of the model's partitions that were complete at a moment, by key."""
        return {key: end for key, end in self._ends.items() if end <= at}

    @cached_property
    def _ends(self) -> dict[str, datetime]:
        if self.cut is None:
            return {}
        found = (_partition(self.cut, key) for key in self._store.partitions(self.model.features))
        return {window.key: window.until for window in found if window and window.until}

    @cached_property
    def cut_by_time(self) -> bool:
        """Whether the rows to learn from are; the monitor's windows may be all the same."""
        cut = self.project.partitions.get(self.model.features)
        return bool(cut and cut.every)

    def last_partition(self, at: datetime) -> str | None:
        """The newest partition to learn from at a moment; None where they aren't cut by time."""
        ends = self.partitions(at)
        return max(ends, key=lambda key: ends[key], default=None)

    def end_of(self, partition: str | None, at: datetime) -> datetime:
        """The end of the data up to a partition; without one a moment itself."""
        return moments_of(self.cut, partition)[1] if self.cut and partition else at

    def _rows(self, place: int) -> Table:
        """A window's rows, before any model saw them."""
        window = self.windows[place]
        if self.deployment.batch:
            return read_input(self.project, self.deployment, self.source, window.partition)
        rows = self._store.read(self.source)
        if not (self.moment and window.since and window.until):
            return rows
        with engine_errors(f"read {self.source}"):
            inside = (
                f"{epoch(self.moment)} >= {micros_of(window.since)} "
                f"AND {epoch(self.moment)} < {micros_of(window.until)}"
            )
            return Table(self.source, value=rows.relation().filter(inside).to_arrow_table())

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """The number of each window's rows."""
        return tuple(self.rows(place).rows for place in range(len(self.windows)))

    def learning(self, until: str | None, at: datetime) -> LearningRows:
        """The rows that a training at a moment learns from, with the truth that was known then.

        Args:
            until: the last partition; where the model's rows have none by time, what was there at
                the moment.

        Raises:
            StepError: there are none, or too few.
        """
        table, partitions = read_features(self.project, self.model, until)
        if self.moment and not (until and self.cut_by_time):
            with engine_errors(f"read {self.model.features}"):
                before = table.relation().filter(f"{epoch(self.moment)} < {micros_of(at)}")
                table = Table(table.name, value=before.to_arrow_table())
        seen = self.truth.as_known(table, self.model.target, at)
        return learning_rows(self.isolated, self.model, seen, partitions=partitions, until=until)


def _partition(cut: Partitions, key: str) -> Window | None:
    """The window of a partition; None for a key of other partitions."""
    try:
        since, until = moments_of(cut, key)
    except ValueError:
        return None
    return Window(key, since, until, key)
