"""The endpoints of the service: each function gets a request's body and returns a text."""

import os
from pathlib import Path

STORE = Path(os.environ["STORE"])


def summary(body: bytes) -> str:
    """The newest summary, as JSON."""
    file = STORE / "summary.json"
    return file.read_text() if file.exists() else '{"error": "run the pipeline first"}'


def healthcheck(body: bytes) -> str:
    """Whether the server is there."""
    return "ok"
