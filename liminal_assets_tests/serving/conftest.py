"""A small fitted pipeline, and the real server around it on a socket."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
import uvicorn
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from liminal_assets.serving.app import ServingApp
from liminal_assets.serving.config import WorkerConfig
from liminal_assets.serving.guards.connections import server_options
from liminal_assets_tests.serving.spooling import SIGNATURE

__all__ = ["SIGNATURE", "fitted", "flights", "running"]


def flights(rows: int = 300, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    wind = random.normal(10, 4, rows)
    wind[::7] = np.nan
    return pd.DataFrame(
        {
            "distance": random.uniform(100, 3000, rows),
            "stops": random.integers(0, 3, rows),
            "carrier": random.choice(["AA", "UA", "DL"], rows).astype(object),
            "weekend": random.random(rows) < 0.3,
            "wind": wind,
        }
    )


def fitted(seed: int = 0, flip: bool = False) -> Pipeline:
    frame = flights(seed=seed)
    target = (frame["distance"] > 1500).astype(int)
    pipeline = make_pipeline(
        make_column_transformer(
            (make_pipeline(SimpleImputer(), StandardScaler()), ["distance", "stops", "wind"]),
            (OneHotEncoder(handle_unknown="ignore"), ["carrier", "weekend"]),
        ),
        LogisticRegression(),
    )
    return pipeline.fit(frame, 1 - target if flip else target)


@pytest.fixture(scope="session")
def frame() -> pd.DataFrame:
    return flights()


@pytest.fixture(scope="session")
def pipeline() -> Pipeline:
    return fitted()


@contextmanager
def running(app: Any) -> Iterator[httpx.Client]:
    """The application behind uvicorn on a free port, in a thread."""
    options = {**server_options(WorkerConfig("test", "")), "timeout_graceful_shutdown": 10}
    config = uvicorn.Config(app, port=0, log_level="error", **options)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def app(pipeline: Pipeline) -> ServingApp:
    from liminal_assets.serving import create_app

    return create_app(
        pipeline,
        SIGNATURE,
        name="shop.late",
        version="7",
        max_rows=50,
        max_body_mb=0.1,
        form="pipeline",  # to the last bit as scikit-learn
    )


@pytest.fixture(scope="session")
def client(app: ServingApp) -> Iterator[httpx.Client]:
    with running(app) as client:
        yield client


@pytest.fixture
def row() -> dict[str, Any]:
    return {"distance": 1800.0, "stops": 1, "carrier": "AA", "weekend": False, "wind": 12.5}
