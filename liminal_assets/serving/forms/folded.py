"""A linear model on scaled numbers as one sum, for one row.

Scaling and weighting are one multiplication then, in another order of operations than the
pipeline's. How far the two may be apart is bounded row by row (Higham, *Accuracy and Stability of
Numerical Algorithms*, 2002, chapter 3); a row that is too near to a decision or too large for that
goes the long way, as does one with a null.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from operator import mul
from typing import Any

import numpy as np

__all__ = ["Folded", "fold"]

_NEAR = 1e-10
"""A tenth of what a certificate allows."""
_LEAST = 1e-150
"""With smaller weights a number might overflow on its way through the pipeline without being large
here."""


class Folded:
    """values · weights + constant.

    Args:
        weights: one for each value.
        constant: what is added.
        sizes: the sum of the sizes of what the constant is the sum of.
        relative: whether the error is to be small by the size of the sum, or by itself.
    """

    def __init__(
        self, weights: Sequence[float], constant: float, sizes: float, *, relative: bool
    ) -> None:
        self._weights = list(weights)
        self._constant = constant
        unit = 2 * (len(self._weights) + 6) * np.finfo(float).eps
        self._each, self._always = float(unit * len(self._weights)), float(unit * sizes)
        self._relative = relative

    def __call__(self, values: Sequence[Any]) -> float | None:
        """The sum; None where the pipeline's own way is to be taken."""
        try:
            terms = list(map(mul, values, self._weights))
        except TypeError:
            return None
        number: float = sum(terms, self._constant)
        error = self._each * max(map(abs, terms)) + self._always
        size = abs(number)
        # so written that NaN goes the long way too
        if error < size and error < (_NEAR * size if self._relative else _NEAR):
            return number
        return None


def fold(described: Mapping[str, Any], names: Sequence[str]) -> Folded | None:
    """The sum that a compiled pipeline is, if it is one.

    Args:
        described: its operators, with their arrays.
        names: the columns of the signature.
    """
    answer, chain = described["answer"], described["prepare"]
    if answer["op"] not in ("binary", "value") or chain["op"] != "chain":
        return None
    if answer.get("threshold") is not None:
        # decided elsewhere than at 0
        return None
    linear, source = answer["computed"], chain["source"]
    if linear["op"] != "linear":
        return None
    weights = linear["weights"]
    whole = source["op"] == "numbers" and source["names"] == list(names) and not source["single"]
    if not whole or weights.shape != (len(names), 1):
        return None
    shifts, scales = np.zeros(len(names)), np.ones(len(names))
    for step in chain["steps"]:
        known = _STEPS.get(step["op"])
        if known is None:
            return None
        shifts, scales = known(step, shifts, scales)
    with np.errstate(all="ignore"):
        folded = scales * weights[:, 0]
        parts = [*(shifts * weights[:, 0]).tolist(), float(linear["intercept"][0])]
    sizes = math.fsum(map(abs, parts))
    if not (math.isfinite(sizes) and (np.abs(folded) > _LEAST).all() and np.isfinite(folded).all()):
        return None
    relative = answer["op"] == "value" and answer["link"] == "identity"
    return Folded(folded.tolist(), math.fsum(parts), sizes, relative=relative)


def _center(step: Mapping[str, Any], shifts: Any, scales: Any) -> tuple[Any, Any]:
    scale = 1.0 if step["scale"] is None else step["scale"]
    center = 0.0 if step["center"] is None else step["center"]
    return (shifts - center) / scale, scales / scale


def _same(step: Mapping[str, Any], shifts: Any, scales: Any) -> tuple[Any, Any]:
    """What changes nothing where no value is missing and all are finite."""
    return shifts, scales


_STEPS: Mapping[str, Callable[[Mapping[str, Any], Any, Any], tuple[Any, Any]]] = {
    "center": _center,
    "fill": _same,
    "finite": _same,
}
