"""How large a share of a window may be by chance: one in 10,000 windows that are like the reference
has a larger one, so that many columns and small windows don't cry wolf. Pure.

Of a share that is known from a reference's rows alone, the number of a window's rows that have it
is beta-binomial: the posterior predictive distribution under a uniform prior (A. Gelman and others,
*Bayesian Data Analysis*, chapter 2).
"""

from __future__ import annotations

import math
from functools import lru_cache

__all__ = ["beyond_by_chance", "share_by_chance", "unseen_by_chance"]

_CHANCE = 1e-4
_DEVIATIONS = 4.0
"""Of a normal variable, beyond which is less than that chance."""
_MANY = 500
"""Rows that have it, from which on the distribution is nearly normal."""
_MOST_ROWS = 100_000


def share_by_chance(share: float, rows: int, reference_rows: int) -> float:
    """The largest share to expect of a window's rows, where the reference's has it in ``share``.

    >>> share_by_chance(0.3, 100, 1000)
    0.49
    """
    had = round(share * reference_rows)
    return _largest(rows, had + 1, reference_rows - had + 1) if rows and reference_rows else 1.0


def unseen_by_chance(share: float, rows: int, reference_rows: int) -> float:
    """The largest share to expect of values that the reference lacks.

    Args:
        share: of the reference's values that it has once, which estimates it (I. J. Good, *The
            population frequencies of species*, Biometrika 1953).
    """
    once = round(share * reference_rows)
    return _largest(rows, once + 1, max(reference_rows - once, 1)) if rows * reference_rows else 1.0


def beyond_by_chance(rows: int, reference_rows: int) -> float:
    """The largest share to expect of values below the reference's smallest or above its largest.

    What lies beyond two extremes of a sample is a beta variable (S. S. Wilks, *Determination of
    sample sizes for setting tolerance limits*, 1941).

    >>> beyond_by_chance(200, 200)
    0.08
    """
    return _largest(rows, 2, max(reference_rows - 1, 1)) if rows and reference_rows else 1.0


@lru_cache(maxsize=4096)
def _largest(rows: int, a: int, b: int) -> float:
    """The quantile of a beta-binomial variable, as a share of the rows."""
    import numpy as np
    from scipy import stats

    if a > _MANY:
        usual = a / (a + b)
        spread = math.sqrt(usual * (1 - usual) * (1 / rows + 1 / (a + b)))
        return min(1.0, usual + _DEVIATIONS * spread)
    if rows > _MOST_ROWS:
        limit = float(stats.beta.ppf(1 - _CHANCE, a, b))
        return min(1.0, limit + _DEVIATIONS * math.sqrt(limit * (1 - limit) / rows))
    chances = np.cumsum(stats.betabinom.pmf(np.arange(rows + 1), rows, a, b))
    return min(int(np.searchsorted(chances, 1 - _CHANCE)), rows) / rows
