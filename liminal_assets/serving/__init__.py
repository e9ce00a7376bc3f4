"""The model server: protocols that turn requests into columns, a model that answers them, and an
ASGI application between them.

It serves a project's deployment (``liminal serve``), or a team's own model:

>>> from liminal_assets.serving import create_app
>>> app = create_app(pipeline, training_frame, name="late", version="7")  # uvicorn module:app

| module | knows |
|---|---|
| ``protocols`` | how rows and answers look on the wire, a module per format |
| ``validation`` | which values the signature allows |
| ``model`` | a version that answers checked columns; nothing of wire formats and sockets |
| ``live`` | which version answers now, and how the next takes over |
| ``log`` | answered rows on their way to the prediction log |
| ``app`` | HTTP: paths, limits, status codes |
| ``pages``, ``openapi`` | what the server tells of itself, and of every path |
| ``functions`` | functions of the user's beside the model |
| ``server`` | processes, ports and signals |
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from liminal_assets.serving.app import ServingApp, create_app
    from liminal_assets.serving.server import serve

__all__ = ["ServingApp", "create_app", "serve"]

_HOMES = {"ServingApp": "app", "create_app": "app", "serve": "server"}


def __getattr__(name: str) -> Any:
    # imported on first use: the deploy step needs no server in its process
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"liminal_assets.serving.{_HOMES[name]}"), name)
