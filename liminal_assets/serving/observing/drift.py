"""Logged rows by the bins of their version's training reference, for Prometheus.

Whoever merges the prediction log counts what it reads there anyway: requests wait for none of it.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from liminal_assets.errors import StepError
from liminal_assets.serving.log.segments import Layout, Request
from liminal_assets.serving.observing.cells import Cell, CellFiles, clear, forget_groups
from liminal_assets.serving.releases.folders import ServingFolders
from liminal_assets.serving.releases.release import read_release

__all__ = ["DriftCounts"]

_MOST_VERSIONS = 3
"""The one that answers, a candidate and the one before."""
_ROWS = "Logged rows by column and bin of the version's training reference."
_RATIO = "The share of the training reference's rows that is in the bin."

_log = logging.getLogger("liminal_assets.serving")


@dataclass(frozen=True)
class _Column:
    """One column of a version.

    Attributes:
        cells: the rows of each bin; the last is that of missing values.
        place: values as numbers of bins.
    """

    cells: Sequence[Cell]
    place: Callable[[Sequence[Any]], Mapping[int, int]]


class DriftCounts:
    """Counts rows; another process reads what was counted.

    Args:
        folders: those of the deployment, with the releases whose rows are counted. What an earlier
            process counted is forgotten.
    """

    def __init__(self, folders: ServingFolders) -> None:
        self._folders = folders
        clear(folders.drift)
        self._files = CellFiles(folders.drift)
        self._versions: dict[str, Mapping[str, _Column]] = {}

    def __call__(self, requests: Sequence[tuple[Layout, Request]]) -> None:
        """Counts the rows of requests; whatever is wrong with them is nobody else's trouble."""
        by_layout: dict[int, list[tuple[Layout, Request]]] = defaultdict(list)
        for one in requests:
            by_layout[one[0].key].append(one)
        for group in by_layout.values():
            layout = group[0][0]
            try:
                columns = self._columns(layout.version)
                for at, (name, _) in enumerate(layout.columns):
                    _count(columns.get(name), [request.columns[at] for _, request in group])
                for at, name in enumerate(layout.scores):
                    _count(columns.get(name), [request.scores[at] for _, request in group])
            except Exception:
                _log.exception("rows of version %s can't be counted", layout.version)

    def _columns(self, version: str) -> Mapping[str, _Column]:
        found = self._versions.get(version)
        if found is None:
            found = self._versions[version] = self._known(version)
            forget_groups(self._folders.drift, _MOST_VERSIONS)
        return found

    def _known(self, version: str) -> Mapping[str, _Column]:
        """The columns of a version that have bins; none if its release is gone."""
        folders = self._folders.releases.glob(f"{version}-*")
        for folder in sorted(folders, key=lambda path: path.stat().st_mtime_ns, reverse=True):
            try:
                release = read_release(folder)
            except StepError as error:
                _log.warning("drift isn't counted: %s", error)
                continue
            return {said["column"]: self._column(version, said) for said in release.baseline}
        return {}

    def _column(self, version: str, said: Mapping[str, Any]) -> _Column:
        cells = []
        total = max(sum(said["rows"]), 1)
        for label, rows in zip(said["labels"], said["rows"], strict=True):
            labels = {"version": version, "column": said["column"], "bin": label}
            name = "liminal_column_rows"
            cells.append(self._files.cell("counter", name, f"{name}_total", labels, _ROWS, version))
            name = "liminal_reference_ratio"
            share = self._files.cell("gauge_livemax", name, name, labels, _RATIO, version)
            share.set(rows / total)
        if (edges := said.get("edges")) is not None:
            return _Column(cells, _numbers(np.asarray(edges)))
        return _Column(cells, _categories(said["labels"]))


def _count(column: _Column | None, values: Sequence[Sequence[Any]]) -> None:
    if column is not None:
        for place, rows in column.place(list(chain.from_iterable(values))).items():
            column.cells[place].add(rows)


def _numbers(edges: np.ndarray[Any, np.dtype[np.float64]]) -> Callable[..., Mapping[int, int]]:
    """A bin holds what is at most its edge and more than the one before."""
    missing = len(edges) + 1

    def place(values: Sequence[Any]) -> Mapping[int, int]:
        numbers = np.array(values, np.float64)
        places = np.where(np.isnan(numbers), missing, np.searchsorted(edges, numbers))
        found = np.bincount(places)
        return {int(at): int(found[at]) for at in np.flatnonzero(found)}

    return place


def _categories(labels: Sequence[str]) -> Callable[..., Mapping[int, int]]:
    """The pools are last: others, then missing ones."""
    known = {label: at for at, label in enumerate(labels[:-2])}
    other, missing = len(labels) - 2, len(labels) - 1

    def place(values: Sequence[Any]) -> Mapping[int, int]:
        found: Counter[int] = Counter()
        for value, rows in Counter(values).items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            found[missing if value is None else known.get(text, other)] += rows
        return found

    return place
