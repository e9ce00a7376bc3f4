"""What a pipeline does to columns before scikit-learn's own transformers see them.

They live inside the fitted model, so that it serves exactly as it was trained, and never fail on a
value: what can't be read is missing, what was never seen is unknown. Import this module where a
model is built or loaded only; it needs scikit-learn.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

__all__ = [
    "MISSING",
    "RARE",
    "Categories",
    "Clip",
    "Columns",
    "Factors",
    "Numbers",
    "Selected",
    "Untouched",
]

MISSING = "(missing)"
"""The category of nulls."""
RARE = "(rare)"
"""The category of those that are too rare for one of their own."""


class Columns(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A transformer that works on a data frame, column by column."""

    def fit(self, X: Any, y: Any = None) -> Columns:  # noqa: N803
        """Learns the names of the columns and what each needs."""
        frame = self._frame(X)
        self.feature_names_in_ = np.asarray(frame.columns, dtype=object)
        self.n_features_in_ = frame.shape[1]
        self._learn(frame)
        return self

    def _learn(self, frame: pd.DataFrame) -> None:
        """What a subclass keeps of the training rows."""

    @staticmethod
    def _frame(X: Any) -> pd.DataFrame:  # noqa: N803
        return X if isinstance(X, pd.DataFrame) else pd.DataFrame(X)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "n_features_in_")


class Selected(Columns):
    """The input columns by name, in the order of training; one that isn't there is null."""

    def transform(self, X: Any) -> pd.DataFrame:  # noqa: N803
        """A data frame of the input columns."""
        check_is_fitted(self)
        frame = self._frame(X)
        if list(frame.columns) == list(self.feature_names_in_):
            return frame
        return frame.reindex(columns=list(self.feature_names_in_))


class Numbers(Columns):
    """Columns as 64-bit floats: nulls, infinities and what is no number become NaN."""

    def transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """The columns as a matrix of floats."""
        check_is_fitted(self)
        frame = self._frame(X)
        numbers = np.empty(frame.shape, dtype=np.float64)
        for position in range(frame.shape[1]):
            numbers[:, position] = as_numbers(frame.iloc[:, position])
        return numbers


class Clip(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Holds numbers within two quantiles of the training rows.

    Args:
        lower: the lower quantile, such as 0.01.
        upper: the upper one.
    """

    def __init__(self, lower: float = 0.0, upper: float = 1.0) -> None:
        self.lower = lower
        self.upper = upper

    def fit(self, X: Any, y: Any = None) -> Clip:  # noqa: N803
        """Learns the quantiles; nulls don't count."""
        numbers = validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan")
        empty = np.isnan(numbers).all(axis=0)
        known = np.where(empty, 0.0, numbers)
        self.low_, self.high_ = np.nanquantile(known, [self.lower, self.upper], axis=0)
        self.low_[empty], self.high_[empty] = -np.inf, np.inf
        return self

    def transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """The numbers within the quantiles; nulls stay."""
        check_is_fitted(self)
        numbers = validate_data(
            self, X, dtype=np.float64, ensure_all_finite="allow-nan", reset=False
        )
        held: np.ndarray = np.clip(numbers, self.low_, self.high_)
        return held


class Categories(Columns):
    """Columns as text, whatever type they came in: 3, 3.0 and "3" are one category.

    Args:
        impute: what nulls become: a category of their own (:data:`MISSING`) for ``"none"``, the
            most frequent one, or the word given; ``"null"`` leaves them null.
        min_frequency: categories with fewer rows (a number) or a smaller share (a fraction)
            become :data:`RARE`.
        max_categories: the most categories, the one of the rare ones included.
    """

    def __init__(
        self,
        impute: str = "none",
        min_frequency: float | int | None = None,
        max_categories: int | None = None,
    ) -> None:
        self.impute = impute
        self.min_frequency = min_frequency
        self.max_categories = max_categories

    def _learn(self, frame: pd.DataFrame) -> None:
        self.fill_: list[str | None] = []
        self.kept_: list[np.ndarray | None] = []
        """Per column the categories that are not rare; None if all are kept."""
        for _, column in frame.items():
            texts = pd.Series(as_texts(column), dtype=object)
            fill = self._fill(texts)
            filled = texts if fill is None else texts.where(texts.notna(), fill)
            self.fill_.append(fill)
            self.kept_.append(self._kept(filled))

    def _fill(self, texts: pd.Series) -> str | None:
        if self.impute == "null":
            return None
        if self.impute == "none":
            return MISSING
        if self.impute == "most_frequent":
            counts = _counts(texts)
            return str(counts.index[0]) if len(counts) else MISSING
        return self.impute

    def _kept(self, texts: pd.Series) -> np.ndarray | None:
        counts = _counts(texts)
        least = self.min_frequency
        if least is not None:
            enough = counts >= (least * len(texts) if isinstance(least, float) else least)
        else:
            enough = pd.Series(True, index=counts.index)
        kept = counts.index[enough.to_numpy()]
        most = self.max_categories
        if most is not None and len(counts) > most:
            kept = kept[: most - 1]
        if len(kept) == len(counts):
            return None
        return np.sort(np.asarray(kept, dtype=object))

    def transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """The columns as a matrix of text; a category never seen joins the rare ones if there
        are any, and stays itself otherwise."""
        check_is_fitted(self)
        frame = self._frame(X)
        categories = np.empty(frame.shape, dtype=object)
        for position, (fill, kept) in enumerate(zip(self.fill_, self.kept_, strict=True)):
            texts = as_texts(frame.iloc[:, position])
            missing = pd.isna(texts)
            if fill is not None:
                texts[missing] = fill
            if kept is not None:
                known = pd.Series(texts, dtype=object).isin(kept).to_numpy()
                rare = ~known if fill is not None else ~known & ~missing
                texts[rare] = RARE
            categories[:, position] = texts
        return categories


class Factors(Columns):
    """Text as pandas categories, for estimators that take them; unseen ones are null."""

    def _learn(self, frame: pd.DataFrame) -> None:
        self.categories_ = [
            np.sort(column.dropna().unique().astype(object)) for _, column in frame.items()
        ]

    def transform(self, X: Any) -> pd.DataFrame:  # noqa: N803
        """A data frame of categorical columns."""
        check_is_fitted(self)
        frame = self._frame(X)
        return pd.DataFrame(
            {
                name: pd.Categorical(frame.iloc[:, position], categories=categories)
                for position, (name, categories) in enumerate(
                    zip(self.feature_names_in_, self.categories_, strict=True)
                )
            },
            index=frame.index,
        )


class Untouched(Columns):
    """Columns as they are; those that were numbers in training stay numbers."""

    def _learn(self, frame: pd.DataFrame) -> None:
        self.numeric_ = [pd.api.types.is_numeric_dtype(kind) for kind in frame.dtypes]

    def transform(self, X: Any) -> pd.DataFrame:  # noqa: N803
        """The columns, a data frame."""
        check_is_fitted(self)
        frame = self._frame(X)
        columns: dict[str, Any] = {}
        for position, (name, numeric) in enumerate(
            zip(self.feature_names_in_, self.numeric_, strict=True)
        ):
            column = frame.iloc[:, position]
            columns[name] = as_numbers(column) if numeric else column
        return pd.DataFrame(columns, index=frame.index)


def signed_log1p(numbers: Any) -> Any:
    """sign(x)·ln(1 + |x|): ``log1p`` for what isn't negative, and defined for the rest."""
    return np.sign(numbers) * np.log1p(np.abs(numbers))


def signed_expm1(numbers: Any) -> Any:
    """The inverse of :func:`signed_log1p`."""
    return np.sign(numbers) * np.expm1(np.abs(numbers))


def as_numbers(column: pd.Series) -> np.ndarray:
    """A column as floats; what is no finite number is NaN."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    if pd.api.types.is_numeric_dtype(column.dtype):
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
    elif column.dtype == object:
        found = pd.to_numeric(column, errors="coerce")
        numbers = found.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        numbers = np.full(len(column), np.nan)
    if not np.isfinite(numbers).all():
        numbers = np.where(np.isinf(numbers), np.nan, numbers)
    return numbers


def as_texts(column: pd.Series) -> np.ndarray:
    """A column as text; nulls are None."""
    codes, values = pd.factorize(column)
    texts = np.empty(len(values) + 1, dtype=object)
    texts[:-1] = [as_text(value) for value in values]
    texts[-1] = None
    # the code of a null is -1, the last text
    chosen: np.ndarray = texts[codes]
    return chosen


def as_text(value: Any) -> str:
    """The name of a category: whole floats as integers, for JSON and nulls make floats of them."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _counts(texts: pd.Series) -> pd.Series:
    """Rows per category, the most frequent first, equal ones by name."""
    counts = texts.value_counts(dropna=True)
    order = sorted(counts.index, key=lambda name: (-counts[name], name))
    return counts.reindex(order)
