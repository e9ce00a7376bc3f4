"""Answered requests without a server, and a place for their rows that may refuse them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import liminal_assets as la
from liminal_assets.serving.log.records import Answered
from liminal_assets.serving.model import ServedModel
from liminal_assets.steps.scores import Scores
from liminal_assets.steps.signature import Field, Signature
from liminal_assets.storage.ids import row_ids

if TYPE_CHECKING:
    import pyarrow as pa

SIGNATURE = Signature(
    (
        Field("distance", "double"),
        Field("stops", "long"),
        Field("carrier", "string"),
        Field("weekend", "boolean"),
        Field("wind", "double", required=False),
    ),
    carried=(Field("flight_id", "string", required=False),),
)


def model(version: str = "7", signature: Signature = SIGNATURE) -> ServedModel:
    """A version whose answers nobody asks for."""
    return ServedModel("shop.late", version, signature, lambda columns, rows: None)  # type: ignore[arg-type,return-value]


MODEL = model()


def answered(request: str, rows: int = 1, model: ServedModel = MODEL, **more: Any) -> Answered:
    """A request and its answer."""
    row = {"distance": 1.0, "stops": 1, "carrier": "AA", "weekend": True, "wind": None, **more}
    row = {"flight_id": f"F{request}", **row}
    columns = {name: [value] * rows for name, value in row.items()}
    scores = Scores(np.ones(rows, int), {"probability": np.full(rows, 0.75)})
    return Answered(model, columns, scores, row_ids(request, rows), 1e9, 1e9 + 0.25)


class Sink:
    """Takes rows batch by batch, as a log does."""

    def __init__(self) -> None:
        self.batches: dict[str, pa.Table] = {}
        self.full = False
        self.tidied = 0

    def append(self, rows: pa.Table, *, batch: str) -> int:
        if self.full:
            raise la.StepError("the disk is full")
        self.batches[batch] = rows
        return int(rows.num_rows)

    def tidy(self) -> None:
        self.tidied += 1

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [row for table in self.batches.values() for row in table.to_pylist()]

    @property
    def ids(self) -> list[str]:
        return [row["prediction_id"] for row in self.rows]
