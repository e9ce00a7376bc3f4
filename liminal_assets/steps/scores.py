"""What a model says about some rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Scores"]


@dataclass(frozen=True)
class Scores:
    """What a model says about some rows.

    Attributes:
        prediction: the label, or the value of a regression.
        probabilities: by column: ``probability`` of the positive class (two classes), else
            ``probability_<class>`` of each; none for a model without probabilities.
    """

    prediction: np.ndarray[Any, Any]
    probabilities: Mapping[str, np.ndarray[Any, Any]]

    @classmethod
    def of_row(cls, said: Mapping[str, Any], dtype: np.dtype[Any] | None = None) -> Scores:
        """What a model says about one row, from its values by column.

        Args:
            dtype: of the prediction; default: NumPy's for the value.
        """
        import numpy as np

        arrays = {name: np.array([value]) for name, value in said.items() if name != "prediction"}
        return cls(np.array([said["prediction"]], dtype), arrays)

    @property
    def columns(self) -> dict[str, np.ndarray[Any, Any]]:
        """Every column of the answer."""
        return {"prediction": self.prediction, **self.probabilities}

    def all_finite(self) -> bool:
        """Whether every answer is a number throughout; of one row in a fraction of the time."""
        if len(self.prediction) != 1:
            return bool(self.finite().all())
        return all(
            column.dtype.kind != "f" or math.isfinite(column.item())
            for column in (self.prediction, *self.probabilities.values())
        )

    def finite(self) -> np.ndarray[Any, Any]:
        """Which rows have an answer that is a number throughout."""
        import numpy as np

        good = np.ones(len(self.prediction), bool)
        for column in self.columns.values():
            if column.dtype.kind == "f":
                good &= np.isfinite(column)
        return good
