"""What scikit-learn's fitted transformers do to a matrix, in the same order of operations.

Each is made of the numbers that the transformer learned and takes and gives float64 of shape
(rows, width).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

__all__ = ["FUNCTIONS", "OPERATORS", "Step"]

Step = Callable[[np.ndarray], np.ndarray]


class Finite:
    """Refuses what the estimator or transformer after it would.

    Args:
        missing: whether NaN is allowed.
    """

    def __init__(self, missing: bool) -> None:
        self._missing = missing
        self._zeros = np.empty(0)

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        # no product of several rows: BLAS leaves out what is multiplied by 0
        odd = self._odd_row(matrix) if len(matrix) == 1 else not np.isfinite(matrix).all()
        if odd and (not self._missing or bool(np.isinf(matrix).any())):
            raise ValueError("the prepared values contain NaN, infinity or a value too large")
        return matrix

    def _odd_row(self, matrix: np.ndarray) -> bool:
        if len(self._zeros) != matrix.shape[1]:
            self._zeros = np.zeros(matrix.shape[1])
        # 0 · x is NaN for what isn't finite: one product instead of a test of each
        return bool(np.dot(matrix, self._zeros).item() != 0)


class Single:
    """Numbers as 32-bit floats, as scikit-learn's trees take them.

    Args:
        missing: whether NaN is allowed; infinity isn't.
    """

    def __init__(self, missing: bool) -> None:
        self._check = Finite(missing)

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            rounded = matrix.astype(np.float32).astype(np.float64)
        return self._check(rounded)


class Round:
    """Numbers as 32-bit floats; what is too large is infinite."""

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return matrix.astype(np.float32).astype(np.float64)


class Take:
    """Some of the columns."""

    def __init__(self, places: np.ndarray) -> None:
        self._places = places

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        taken: np.ndarray = matrix[:, self._places]
        return taken


class Fill:
    """A number for NaN; ``values`` of shape (width,)."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        missing = np.isnan(matrix)
        return np.where(missing, self._values, matrix) if missing.any() else matrix


class FillOf:
    """A number for another number that stands for a missing value."""

    def __init__(self, missing: float, values: np.ndarray) -> None:
        self._missing = missing
        self._values = values

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        return np.where(matrix == self._missing, self._values, matrix)


class Missing:
    """1 where some columns are missing, else 0.

    Args:
        places: the columns.
        value: what stands for a missing value; default: NaN.
        refused: columns that may not be missing.
    """

    def __init__(
        self, places: np.ndarray, value: float | None = None, refused: np.ndarray | None = None
    ) -> None:
        self._places, self._value, self._refused = places, value, refused

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        missing = np.isnan(matrix) if self._value is None else matrix == self._value
        if self._refused is not None and missing[:, self._refused].any():
            raise ValueError("values are missing where none were in training")
        found: np.ndarray = missing[:, self._places].astype(float)
        return found


class Center:
    """(x - center) / scale."""

    def __init__(self, center: np.ndarray | None, scale: np.ndarray | None) -> None:
        self._center, self._scale = center, scale

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        if self._center is not None:
            matrix = matrix - self._center
        return matrix if self._scale is None else matrix / self._scale


class Stretch:
    """x · scale + shift."""

    def __init__(self, scale: np.ndarray, shift: np.ndarray) -> None:
        self._scale, self._shift = scale, shift

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        stretched: np.ndarray = matrix * self._scale + self._shift
        return stretched


class Clip:
    """Numbers within bounds."""

    def __init__(self, low: np.ndarray, high: np.ndarray) -> None:
        self._low, self._high = low, high

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        held: np.ndarray = np.clip(matrix, self._low, self._high)
        return held


FUNCTIONS: Mapping[str, Step] = {
    "absolute": np.abs,
    "arcsinh": np.arcsinh,
    "arctan": np.arctan,
    "cbrt": np.cbrt,
    "cos": np.cos,
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "log": np.log,
    "log10": np.log10,
    "log1p": np.log1p,
    "log2": np.log2,
    "negative": np.negative,
    "reciprocal": np.reciprocal,
    "sign": np.sign,
    "signed_expm1": lambda matrix: np.sign(matrix) * np.expm1(np.abs(matrix)),
    "signed_log1p": lambda matrix: np.sign(matrix) * np.log1p(np.abs(matrix)),
    "sin": np.sin,
    "sinh": np.sinh,
    "sqrt": np.sqrt,
    "square": np.square,
    "tanh": np.tanh,
}


class Function:
    """A function of every number."""

    def __init__(self, name: str) -> None:
        self._function = FUNCTIONS[name]

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return self._function(matrix)


class Binarize:
    """1 above a threshold, else 0."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        above: np.ndarray = (matrix > self._threshold).astype(float)
        return above


class Bins:
    """The number of the interval of each value; ``edges`` one array per column."""

    def __init__(self, edges: list[np.ndarray]) -> None:
        self._edges = edges

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        found = [
            np.searchsorted(edges[1:-1], matrix[:, place], side="right")
            for place, edges in enumerate(self._edges)
        ]
        return np.stack(found, axis=1).astype(float)


class OneHot:
    """Whole numbers from 0 on, each column as as many columns of 0 and 1 as ``sizes`` says."""

    def __init__(self, sizes: list[int]) -> None:
        self._sizes = [np.arange(size) for size in sizes]

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        parts = [matrix[:, [place]] == known for place, known in enumerate(self._sizes)]
        return np.concatenate(parts, axis=1).astype(float)


class Recode:
    """Known numbers of some columns as their rank; NaN for all others.

    Args:
        places: the columns.
        known: per column the known numbers.
    """

    def __init__(self, places: list[int], known: list[np.ndarray]) -> None:
        self._finds = [
            (place, {value: float(rank) for rank, value in enumerate(values.tolist())}.get)
            for place, values in zip(places, known, strict=True)
        ]

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        result = matrix.copy()
        for place, find in self._finds:
            result[:, place] = [find(value, np.nan) for value in matrix[:, place].tolist()]
        return result


class Sides:
    """Beside the columns, for ranks of categories, the side that each goes to at each split: 0
    for the left one, 1 for the right one.

    Args:
        places: the columns with ranks.
        sides: per column, of shape (ranks + 1, splits); the last row is that of NaN.
    """

    def __init__(self, places: list[int], sides: list[np.ndarray]) -> None:
        self._sides = list(zip(places, sides, strict=True))

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        parts = [matrix]
        for place, sides in self._sides:
            ranks = matrix[:, place]
            missing = np.isnan(ranks)
            parts.append(sides[np.where(missing, len(sides) - 1, ranks).astype(np.intp)])
        return np.concatenate(parts, axis=1)


class Project:
    """x · weights + shift; ``weights`` of shape (width, new width)."""

    def __init__(self, weights: np.ndarray, shift: np.ndarray, scale: np.ndarray | None) -> None:
        self._weights, self._shift, self._scale = weights, shift, scale

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        projected: np.ndarray = matrix @ self._weights - self._shift
        return projected if self._scale is None else projected / self._scale


class Products:
    """Products of columns: for each column of the result the columns that are multiplied."""

    def __init__(self, factors: list[list[int]]) -> None:
        self._factors = factors

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        result = np.ones((len(matrix), len(self._factors)))
        with np.errstate(over="ignore"):
            for place, factors in enumerate(self._factors):
                for factor in factors:
                    result[:, place] *= matrix[:, factor]
        return result


class Normalize:
    """Rows of length 1 by a norm: ``l1``, ``l2`` or ``max``."""

    def __init__(self, norm: str) -> None:
        self._norm = norm

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        if self._norm == "l1":
            lengths = np.abs(matrix).sum(axis=1)
        elif self._norm == "l2":
            lengths = np.sqrt(np.einsum("ij,ij->i", matrix, matrix))
        else:
            lengths = np.abs(matrix).max(axis=1)
        # a constant is left as it is, by scikit-learn's measure of one
        lengths[lengths < 10 * np.finfo(float).eps] = 1.0
        normalized: np.ndarray = matrix / lengths[:, None]
        return normalized


class Parallel:
    """Several chains of steps on the same matrix, their results side by side."""

    def __init__(self, branches: list[list[Step]]) -> None:
        self._branches = branches

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        parts = []
        for steps in self._branches:
            part = matrix
            for step in steps:
                part = step(part)
            parts.append(part)
        return np.concatenate(parts, axis=1)


OPERATORS: Mapping[str, Callable[..., Step]] = {
    "binarize": Binarize,
    "bins": Bins,
    "center": Center,
    "clip": Clip,
    "fill": Fill,
    "fill_of": FillOf,
    "finite": Finite,
    "function": Function,
    "missing": Missing,
    "normalize": Normalize,
    "one_hot": OneHot,
    "parallel": Parallel,
    "products": Products,
    "project": Project,
    "recode": Recode,
    "round": Round,
    "sides": Sides,
    "single": Single,
    "stretch": Stretch,
    "take": Take,
}
