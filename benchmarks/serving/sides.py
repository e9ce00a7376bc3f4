"""One side of the comparison on a port: ``python -m benchmarks.serving.sides SIDE PORT FOLDER``.

``FOLDER`` is what :func:`benchmarks.serving.pipeline.prepare` wrote. A side imports what it would
import in production, for its memory is measured.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

__all__ = ["SIDES"]


def _liminal(folder: Path, model: str) -> Any:
    """Our server, as a worker has it: from a release, without scikit-learn."""
    from liminal_assets.serving.app import ServingApp
    from liminal_assets.serving.control.live import LiveModel
    from liminal_assets.serving.model import ServedModel
    from liminal_assets.serving.releases.release import read_release

    release = read_release((folder / f"{model}-release").resolve())
    app = ServingApp(LiveModel.fixed(ServedModel.from_release(release)))
    unneeded = {"pandas", "sklearn", "mlflow", "pydantic", "scipy"} & set(sys.modules)
    if unneeded:
        raise RuntimeError(f"a worker imports {unneeded}")
    return app


def _pipeline(folder: Path, batch_rows: int) -> Any:
    """Our server where nothing could be compiled: scikit-learn answers the booster."""
    import joblib

    from liminal_assets.serving.app import ServingApp
    from liminal_assets.serving.config import Limits
    from liminal_assets.serving.control.live import LiveModel
    from liminal_assets.serving.guards.guard import Guard
    from liminal_assets.serving.model import ServedModel
    from liminal_assets.serving.releases.release import read_release

    signature = read_release((folder / "booster-release").resolve()).signature
    pipeline = joblib.load(folder / "booster.joblib")
    model = ServedModel.of(pipeline, signature, name="booster", version="1", form="pipeline")
    guard = Guard(Limits(batch_rows=batch_rows))
    return ServingApp(LiveModel.fixed(model), guard=guard)


def fastapi(folder: Path) -> Any:
    """What one would write by hand: FastAPI, pydantic, and the booster on a DataFrame."""
    import joblib
    import pandas as pd
    from fastapi import FastAPI
    from pydantic import create_model

    pipeline = joblib.load(folder / "booster.joblib")
    names = list(pipeline.feature_names_in_)
    row_type: Any = create_model("Row", **dict.fromkeys(names, (float, ...)))
    app = FastAPI()

    def predict(row: Any) -> dict[str, Any]:
        frame = pd.DataFrame([row.model_dump()])
        (probability,) = pipeline.predict_proba(frame)[:, 1].tolist()
        return {"prediction": int(probability > 0.5), "probability": probability}

    predict.__annotations__["row"] = row_type
    app.post("/predict")(predict)
    return app


def bare(folder: Path) -> Any:
    """An ASGI application that reads the body and answers a constant: the ceiling."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        await receive()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{}"})

    return app


SIDES: dict[str, Callable[[Path], Any]] = {
    "booster": partial(_liminal, model="booster"),
    "linear": partial(_liminal, model="linear"),
    "pipeline": partial(_pipeline, batch_rows=0),
    "batched": partial(_pipeline, batch_rows=64),
    "fastapi": fastapi,
    "bare": bare,
}


def _options(side: str) -> dict[str, Any]:
    """What uvicorn is told besides: ours what a worker tells it."""
    if side in ("bare", "fastapi"):
        return {"lifespan": "off" if side == "bare" else "auto"}
    from liminal_assets.serving.config import WorkerConfig
    from liminal_assets.serving.guards.connections import server_options

    return {"lifespan": "on", "loop": "uvloop", **server_options(WorkerConfig(side, ""))}


if __name__ == "__main__":
    uvicorn.run(
        SIDES[sys.argv[1]](Path(sys.argv[3])),
        port=int(sys.argv[2]),
        log_level="error",
        access_log=False,
        **_options(sys.argv[1]),
    )
