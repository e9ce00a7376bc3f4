"""The endpoints of the server: each function gets the body of a request and returns a text."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from store import PRODUCTION


@lru_cache(maxsize=1)
def _model(version: int) -> Any:
    return PRODUCTION.load(version)


def predict(body: bytes) -> str:
    """``{"petal_length": 4.9, "petal_width": 1.8}`` → the species, and how sure the model is."""
    version = PRODUCTION.newest()
    if version is None:
        return json.dumps({"error": "no model is in production yet"})
    try:
        flower = json.loads(body)
        row = [[float(flower["petal_length"]), float(flower["petal_width"])]]
    except (ValueError, KeyError, TypeError):
        return json.dumps({"error": "send petal_length and petal_width, in centimetres"})
    model = _model(version)
    shares = dict(zip(model.classes_, model.predict_proba(row)[0], strict=True))
    species = max(shares, key=shares.__getitem__)
    answer = {"species": species, "probability": round(shares[species], 3), "version": version}
    return json.dumps(answer)


def healthcheck(body: bytes) -> str:
    """Whether the server is there."""
    return "ok"


def version(body: bytes) -> str:
    """The version in production; empty before there is one."""
    return str(PRODUCTION.newest() or "")
