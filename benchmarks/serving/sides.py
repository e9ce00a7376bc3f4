"""One side of the comparison on a port: ``python -m benchmarks.serving.sides SIDE PORT``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import uvicorn

from benchmarks.serving.pipeline import COLUMNS, fitted, learned

__all__ = ["SIDES"]


def liminal() -> Any:
    """The server of this package."""
    from liminal_assets.serving import create_app

    return create_app(fitted(), learned())


def fastapi() -> Any:
    """What one would write by hand: FastAPI, pydantic, and the pipeline on a DataFrame."""
    import pandas as pd
    from fastapi import FastAPI
    from pydantic import create_model

    pipeline = fitted()
    row_type: Any = create_model("Row", **dict.fromkeys(COLUMNS, (float, ...)))
    app = FastAPI()

    def predict(row: Any) -> dict[str, Any]:
        frame = pd.DataFrame([row.model_dump()])
        (probability,) = pipeline.predict_proba(frame)[:, 1].tolist()
        return {"prediction": int(probability > 0.5), "probability": probability}

    predict.__annotations__["row"] = row_type
    app.post("/predict")(predict)
    return app


def bare() -> Any:
    """An ASGI application that reads the body and answers a constant: the ceiling."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        await receive()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{}"})

    return app


SIDES: dict[str, Callable[[], Any]] = {"liminal": liminal, "fastapi": fastapi, "bare": bare}

if __name__ == "__main__":
    uvicorn.run(
        SIDES[sys.argv[1]](),
        port=int(sys.argv[2]),
        log_level="error",
        access_log=False,
        lifespan="off" if sys.argv[1] == "bare" else "auto",
    )
