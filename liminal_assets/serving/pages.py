"""What a server tells of itself: whether it lives, what it answers with, how it is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import is_not
from typing import TYPE_CHECKING, Any

import msgspec

from liminal_assets.serving.control.team import health_of
from liminal_assets.serving.messages import HTML, Response
from liminal_assets.serving.protocols.routes import Page, Request

if TYPE_CHECKING:
    from liminal_assets.serving.app import ServingApp
    from liminal_assets.serving.documents import Documents
    from liminal_assets.serving.model import ServedModel

__all__ = ["Pages"]


class Pages:
    """Answers ``/healthz``, ``/readyz``, ``/info``, ``/metrics``, ``/openapi.json`` and ``/docs``.

    Args:
        app: the server.
    """

    def __init__(self, app: ServingApp) -> None:
        self._app = app
        self._documents: tuple[Sequence[ServedModel | None], Documents] | None = None

    @property
    def routes(self) -> Iterator[Page]:
        """The paths."""
        pages = {
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/info": self._info,
            "/openapi.json": self._openapi,
            "/docs": self._docs,
            "/metrics": self._metrics,
        }
        for path, answer in pages.items():
            yield Page(path, Response.refusal, answer)

    def _healthz(self, request: Request) -> Response:
        return Response(200, b'{"status":"alive"}')

    def _readyz(self, request: Request) -> Response:
        """The status is that of the worker that was asked: whoever asks sends requests to it. The
        body tells of all."""
        problem = self._app.unready()
        said: dict[str, Any] = {
            "ready": problem is None,
            "model_version": self._app.engine.version_now,
            "problem": problem or self._app.live.state.problem or self._app.lookup_problem,
        }
        if self._app.folders is not None:
            workers = health_of(self._app.folders)
            ready = sum(worker.state == "ready" for worker in workers)
            said["workers"] = {
                "ready": ready,
                "of": len(workers),
                "each": [msgspec.to_builtins(worker) for worker in workers],
            }
        return Response.of(said, 503 if problem else 200)

    def _info(self, request: Request) -> Response:
        state, log, lookups = self._app.live.state, self._app.log, self._app.lookups
        model = state.model
        said = {
            "model": model.name if model else None,
            "model_version": model.version if model else None,
            "run_id": model.run_id if model else None,
            "loaded_at": model.loaded_at.isoformat(timespec="milliseconds") if model else None,
            "form": model.form if model else None,
            "certificate": model.certificate if model else None,
            "champion": state.wanted,
            "candidate": state.candidate.version if state.candidate else None,
            "candidate_share": state.share,
            "candidate_shadow": state.shadow,
            "problem": state.problem,
            "features": lookups.told(model) if lookups and model else None,
            "prediction_log": msgspec.to_builtins(log.state) if log else None,
        }
        return Response.of(said)

    def _metrics(self, request: Request) -> Response:
        accept = request.header(b"accept").decode("latin-1")
        text, kind = self._app.watch.metrics.exposition(accept)
        return Response(200, text, kind=kind.encode())

    def _openapi(self, request: Request) -> Response:
        return Response(200, self._documentation().openapi)

    def _docs(self, request: Request) -> Response:
        return Response(200, self._documentation().page, kind=HTML)

    def _documentation(self) -> Documents:
        """The documents of the versions that answer now."""
        # a server that nobody asks for them needs none of it
        from liminal_assets.serving.documents import Documents
        from liminal_assets.serving.openapi import Described

        described = Described.of(self._app)
        about = (described.model, described.candidate)
        if self._documents is None or any(map(is_not, self._documents[0], about)):
            self._documents = about, Documents.of(described)
        return self._documents[1]
