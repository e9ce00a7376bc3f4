"""Split: which rows are held out, and the folds of cross-validation cut the same way.

Leak-free: equal timestamps, equal groups and equal rows never lie on both sides. A random split
follows a hash of each row's key, so a row stays on its side when the model is trained again on
more rows, and a champion is not asked about rows that it learned from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from liminal_assets.errors import StepError
from liminal_assets.language.diagnostics import Location, did_you_mean
from liminal_assets.language.loading import Project
from liminal_assets.language.models import Model

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["Fold", "Splitter"]


@dataclass(frozen=True)
class Fold:
    """Row positions to learn from and to be judged on."""

    train: np.ndarray
    test: np.ndarray


class Splitter:
    """Cuts the rows of a model as its ``split`` says.

    Args:
        project: where the model's positions are known.
        model: says how.
        timestamp: the feature's timestamp column, if it has one.
        keys: the columns that name a row; without any, its whole content does.
    """

    def __init__(
        self,
        project: Project,
        model: Model,
        *,
        timestamp: str | None = None,
        keys: Sequence[str] = (),
    ) -> None:
        self.project = project
        self.model = model
        self.split = model.split
        self.timestamp = self.split.column or timestamp
        self.keys = list(keys)

    def hold_out(self, frame: pd.DataFrame, target: pd.Series) -> Fold:
        """The held-out rows and those to learn from.

        Raises:
            StepError: a column is missing or holds nulls, or one side has no rows.
        """
        if self.split.by == "time":
            fold = self._by_time(self._moments(frame), 1 - self.split.test, 1.0)
        elif self.split.by == "group":
            fold = self._by_rank(self._groups(frame), None, frame)
        else:
            fold = self._by_rank(self._row_hashes(frame), self._strata(frame, target), frame)
        for side, rows in (("learn from", fold.train), ("hold out", fold.test)):
            if not len(rows):
                raise StepError(
                    f"the split leaves no rows to {side}",
                    location=self._at("split"),
                    hint=f"{len(frame):,} rows, split by {self.split.by}",
                )
        return fold

    def folds(
        self, frame: pd.DataFrame, target: pd.Series, count: int, *, classes: bool
    ) -> list[Fold]:
        """Cross-validation cut as the held-out rows are: growing windows for ``time``,
        whole groups for ``group``, balanced classes for ``random``.

        Args:
            frame: the rows to learn from.
            count: the number of folds.
            classes: whether the target holds classes.

        Raises:
            StepError: there are too few rows or groups for so many folds.
        """
        if self.split.by == "time":
            moments = self._moments(frame)
            shares = [step / (count + 1) for step in range(1, count + 2)]
            folds = [self._by_time(moments, low, high) for low, high in pairwise(shares)]
            folds = [fold for fold in folds if len(fold.train) and len(fold.test)]
            if len(folds) < count:
                raise self._too_few(count, "moments")
            return folds
        return self._shuffled_folds(frame, target, count, classes=classes)

    def _shuffled_folds(
        self, frame: pd.DataFrame, target: pd.Series, count: int, *, classes: bool
    ) -> list[Fold]:
        import numpy as np
        from sklearn import model_selection

        seed = self.split.seed
        groups = None
        if self.split.by == "group":
            groups = self._groups(frame)
            if len(np.unique(groups)) < count:
                raise self._too_few(count, "groups")
            kind = "StratifiedGroupKFold" if classes else "GroupKFold"
        else:
            kind = "StratifiedKFold" if classes else "KFold"
        smallest = int(target.value_counts().min()) if classes else len(frame)
        if classes and smallest < count:
            # too few of a class to have some in every fold
            kind = kind.removeprefix("Stratified")
        if len(frame) < count:
            raise self._too_few(count, "rows")
        cutter = getattr(model_selection, kind)(count, shuffle=True, random_state=seed)
        return [Fold(*pair) for pair in cutter.split(frame, target, groups)]

    def _by_time(self, moments: np.ndarray, low: float, high: float) -> Fold:
        """Tests the rows between two shares of the timeline, learns from those before."""
        import numpy as np

        ordered = np.sort(moments)
        start = ordered[min(int(len(ordered) * low), len(ordered) - 1)]
        inside = moments >= start
        if high < 1.0:
            inside &= moments < ordered[min(int(len(ordered) * high), len(ordered) - 1)]
        gap = self.split.gap
        before = moments < (start - np.timedelta64(gap) if gap else start)
        return Fold(np.flatnonzero(before), np.flatnonzero(inside))

    def _by_rank(self, hashes: np.ndarray, strata: np.ndarray | None, frame: pd.DataFrame) -> Fold:
        """Holds out the lowest hashes, in each stratum the same share of rows."""
        import numpy as np

        held = np.zeros(len(frame), dtype=bool)
        for positions in _strata_positions(strata, len(frame)):
            values = hashes[positions]
            ordered = np.sort(values)
            count = round(len(ordered) * self.split.test)
            if count:
                # equal hashes, so equal rows or one group, stay together
                held[positions] = values <= ordered[count - 1]
        if held.all() and len(np.unique(hashes)) > 1:
            # one big group: the next smaller cut
            held = hashes < hashes.max()
        return Fold(np.flatnonzero(~held), np.flatnonzero(held))

    def _row_hashes(self, frame: pd.DataFrame) -> np.ndarray:
        keys = [key for key in self.keys if key in frame.columns]
        return _hashes(frame[keys] if keys else frame, self.split.seed)

    def _groups(self, frame: pd.DataFrame) -> np.ndarray:
        column = self._column(frame, self.split.column or "")
        return _hashes(frame[[column]], self.split.seed)

    def _strata(self, frame: pd.DataFrame, target: pd.Series) -> np.ndarray | None:
        import pandas as pd

        said = self.split.stratify
        if said is False:
            return None
        values = target if said is True else frame[self._column(frame, str(said), "stratify")]
        return pd.factorize(values, use_na_sentinel=False)[0]

    def _moments(self, frame: pd.DataFrame) -> np.ndarray:
        import pandas as pd

        if self.timestamp is None:
            raise StepError(
                f"'by: time' needs a timestamp, and {self.model.features} has none",
                location=self._at("split"),
                hint="set split: column, or the feature's timestamp",
            )
        values = frame[self._column(frame, self.timestamp)]
        written: dict[str, Any] = {"format": "ISO8601"} if values.dtype.kind == "O" else {}
        moments = pd.to_datetime(values, errors="coerce", utc=True, **written)
        wrong = moments.isna()
        if wrong.any():
            example = values[wrong].iloc[0]
            raise StepError(
                f"the timestamp {self.timestamp!r} of {self.model.features} has {wrong.sum():,} "
                f"values that are no moment, such as {example!r}",
                location=self._at("split", "column"),
            )
        plain: np.ndarray = moments.dt.tz_localize(None).to_numpy(dtype="datetime64[ns]")
        return plain

    def _column(self, frame: pd.DataFrame, name: str, key: str = "column") -> str:
        if name not in frame.columns:
            raise StepError(
                f"{self.model.features} has no column {name!r}",
                location=self._at("split", key),
                hint=did_you_mean(name, map(str, frame.columns)),
            )
        return name

    def _too_few(self, count: int, what: str) -> StepError:
        return StepError(
            f"there are too few {what} for {count} folds",
            location=self._at("split"),
            hint="lower cross_validate, or learn from more rows",
        )

    def _at(self, *path: str) -> Location | None:
        return self.project.locate(self.model, *path) if self.model.location else None


def _strata_positions(strata: np.ndarray | None, count: int) -> Sequence[Any]:
    import numpy as np

    if strata is None:
        return [np.arange(count)]
    return [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]


def _hashes(frame: pd.DataFrame, seed: int) -> np.ndarray:
    """One 64-bit hash per row, the same on every machine and in every run."""
    import pandas as pd

    plain = frame.astype({name: str for name in frame.columns if frame[name].dtype.kind == "O"})
    hashes = pd.util.hash_pandas_object(
        plain, index=False, hash_key=f"liminal{seed:09d}"[:16].ljust(16, "_")
    )
    return hashes.to_numpy()
