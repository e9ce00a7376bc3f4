"""Integrity: a model loaded again answers as it did in training, in time, whatever it is asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from liminal_assets.errors import StepError
from liminal_assets.language.models import Integrity
from liminal_assets.steps.report import Outcome
from liminal_assets.steps.score import Scorer

if TYPE_CHECKING:
    import pandas as pd

    from liminal_assets.steps.candidate import Candidate

__all__ = ["check_integrity", "integrity_sample"]

_SAMPLE_ROWS = 500
_LATENCY_CALLS = 40
_TOLERANCE = 1e-9


def integrity_sample(pipeline: Any, frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows and what the pipeline answers about them, to be compared after loading it again."""
    import pandas as pd

    rows = frame.head(_SAMPLE_ROWS).reset_index(drop=True)
    return rows, pd.DataFrame(Scorer(pipeline)(rows).columns)


def check_integrity(
    name: str,
    candidate: Candidate,
    asked: Integrity,
    reload: Callable[[], Any] | None = None,
    sample: tuple[pd.DataFrame, pd.DataFrame] | None = None,
) -> Outcome:
    """Loads the candidate as production would and asks it.

    Args:
        reload: loads it; default: through cloudpickle.
        sample: rows and the answers of training.
    """
    rows, expected = sample or integrity_sample(candidate.pipeline, candidate.inputs)
    problems: list[str] = []
    seconds: list[float] = []
    try:
        pipeline = reload() if reload else _through_pickle(candidate.pipeline)
        scorer = Scorer(pipeline)
        problems += _compared(scorer, rows, expected)
        problems += _odd_rows(scorer, rows, candidate)
        seconds = _latencies(scorer, rows)
    except StepError as error:
        problems.append(error.message)
    except Exception as error:
        problems.append(f"{type(error).__name__}: {error}")
    slow = _p95(seconds)
    limit = asked.latency.total_seconds() if asked.latency else None
    if slow is not None and limit is not None and slow > limit:
        problems.append(f"one row takes {slow * 1000:.1f} ms, longer than {limit * 1000:g} ms")
    timed = f", one row in {slow * 1000:.1f} ms" if slow is not None else ""
    return Outcome(
        name,
        not problems,
        description="; ".join(problems)
        or f"loaded again, it answers {len(rows):,} rows as in training{timed}",
        metadata={
            "rows": len(rows),
            "latency_p95_ms": None if slow is None else slow * 1000,
            "latency_limit_ms": None if limit is None else limit * 1000,
            "problems": problems or None,
        },
    )


def _compared(scorer: Scorer, rows: pd.DataFrame, expected: pd.DataFrame) -> list[str]:
    problems = []
    first, again = _answer(scorer, rows), _answer(scorer, rows)
    backwards = _answer(scorer, rows.iloc[::-1]).iloc[::-1].reset_index(drop=True)
    if not _same(first, expected):
        problems.append(f"its answers differ from those of training in {_count(first, expected)}")
    if not first.equals(again):
        problems.append("it answers the same rows differently each time")
    elif not _same(first, backwards):
        problems.append("its answer about a row depends on the other rows")
    empty = int(first.isna().any(axis=1).sum())
    if empty:
        problems.append(f"it has no answer for {empty:,} of {len(rows):,} rows")
    return problems


def _odd_rows(scorer: Scorer, rows: pd.DataFrame, candidate: Candidate) -> list[str]:
    """Nulls everywhere, categories never seen, columns in another order, the types of JSON."""
    nulls = rows.head(1).astype(object)
    nulls[list(candidate.nullable)] = None
    unseen = rows.head(1).astype(object)
    unseen[list(candidate.roles.categorical)] = "never seen before"
    backwards = rows.head(1)[list(rows.columns)[::-1]]
    problems = []
    for what, frame in (
        ("a row of nulls", nulls),
        ("categories that it never saw", unseen),
        ("columns in another order", backwards),
    ):
        try:
            answer = _answer(scorer, frame)
        except Exception as error:
            problems.append(f"it fails on {what}: {str(error).splitlines()[0]}")
            continue
        if answer.isna().any(axis=None):
            problems.append(f"it has no answer for {what}")
    return problems


def _latencies(scorer: Scorer, rows: pd.DataFrame) -> list[float]:
    """Seconds of single rows, on one core as a server's worker has it."""
    from threadpoolctl import threadpool_limits

    seconds = []
    with threadpool_limits(1):
        scorer(rows.head(1))
        for position in range(_LATENCY_CALLS):
            row = rows.iloc[[position % len(rows)]]
            started = time.perf_counter()
            scorer(row)
            seconds.append(time.perf_counter() - started)
    return seconds


def _p95(seconds: list[float]) -> float | None:
    return sorted(seconds)[int(len(seconds) * 0.95) - 1] if seconds else None


def _answer(scorer: Scorer, rows: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(scorer(rows).columns)


def _same(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    return _count(one, other) == "0 rows"


def _count(one: pd.DataFrame, other: pd.DataFrame) -> str:
    """How many rows differ: labels at all, numbers by more than the tolerance."""
    import numpy as np

    if list(one.columns) != list(other.columns) or len(one) != len(other):
        return "their columns or number"
    differs = np.zeros(len(one), dtype=bool)
    for column in one.columns:
        mine, theirs = one[column].to_numpy(), other[column].to_numpy()
        if mine.dtype.kind == "f" and theirs.dtype.kind == "f":
            close = np.isclose(mine, theirs, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True)
            differs |= ~close
        else:
            differs |= mine != theirs
    return f"{int(differs.sum()):,} rows"


def _through_pickle(pipeline: Any) -> Any:
    import cloudpickle

    return cloudpickle.loads(cloudpickle.dumps(pipeline))
