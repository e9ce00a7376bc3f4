"""The ASGI application: what it is made of, and how it starts and ends.

No framework: what it would do for one path costs more than the model's answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from liminal_assets.serving.answering import Answering
from liminal_assets.serving.config import Grpc, Limits
from liminal_assets.serving.control.live import LiveModel
from liminal_assets.serving.control.shadow import Comparer
from liminal_assets.serving.engine import Engine, Sticky
from liminal_assets.serving.features.lookups import Lookups
from liminal_assets.serving.guards.guard import Guard
from liminal_assets.serving.log.spool import Spool
from liminal_assets.serving.messages import (
    Message,
    Receive,
    Response,
    Send,
    WriteWhole,
)
from liminal_assets.serving.model import ServedModel
from liminal_assets.serving.observing.watch import Watch
from liminal_assets.serving.pages import Pages
from liminal_assets.serving.protocols.feedback import FeedbackProtocol
from liminal_assets.serving.protocols.inference import InferenceProtocol, Served
from liminal_assets.serving.protocols.mlflow import MlflowProtocol
from liminal_assets.serving.protocols.predict import PredictProtocol
from liminal_assets.serving.protocols.routes import (
    Called,
    Page,
    Router,
    Scoring,
)
from liminal_assets.serving.releases.folders import ServingFolders
from liminal_assets.steps.signature import Signature

if TYPE_CHECKING:
    from liminal_assets.serving.functions import Functions
    from liminal_assets.serving.protocols.inference_grpc import GrpcServer

__all__ = ["ServingApp", "create_app"]


def create_app(
    pipeline: Any,
    signature: Any,
    *,
    name: str = "model",
    version: str = "1",
    run_id: str | None = None,
    example: Mapping[str, Any] | None = None,
    max_rows: int = 10_000,
    max_body_mb: float = 16.0,
    log: Spool | None = None,
    grpc: Grpc | None = None,
    endpoints: Mapping[str, Callable[..., Any]] | None = None,
    form: Literal["auto", "pipeline"] = "auto",
) -> ServingApp:
    """An ASGI application around a team's own fitted pipeline, compiled where that is proved.

    Args:
        pipeline: a fitted scikit-learn pipeline or estimator.
        signature: an MLflow signature, its ``to_dict()``, or a frame like the one it learned from.
        name: the model's name in answers.
        version: its version in answers.
        run_id: the MLflow run that made it.
        example: a row for the documentation.
        max_rows: the most rows of one request.
        max_body_mb: the largest body of one request.
        log: where answered rows go.
        grpc: where gRPC is answered besides.
        endpoints: functions by the path at which they answer beside the model.
        form: ``pipeline`` where nothing is to be compiled.

    Raises:
        StepError: the signature names no columns, the pipeline can't answer the example, or the
            server has the path of a function already.
    """
    model = ServedModel.of(
        pipeline,
        Signature.of(signature),
        name=name,
        version=version,
        run_id=run_id,
        example=example,
        known=signature if hasattr(signature, "head") else None,
        form=form,
    )
    guard, watch = Guard(Limits(max_rows=max_rows, max_body_mb=max_body_mb)), Watch()
    live, functions = LiveModel.fixed(model), None
    if endpoints:
        from liminal_assets.serving.functions import Functions

        functions = Functions(endpoints, watch.metrics)
    return ServingApp(live, log=log, guard=guard, watch=watch, grpc=grpc, functions=functions)


class ServingApp:
    """Answers HTTP with whatever version is live.

    Args:
        live: the version that answers.
        log: where answered rows go.
        title: the deployment's name in the documentation.
        guard: who may ask, how much, and for how long.
        watch: what is counted and written of requests.
        grpc: where gRPC is answered; without it nowhere.
        sticky: what requests have in common that one version should answer (canary).
        comparer: asks the other version of a rollout in the background.
        functions: answer beside the model.
        folders: what all workers of the deployment share.
        lookups: completes rows that carry only their entity.
    """

    def __init__(
        self,
        live: LiveModel,
        *,
        log: Spool | None = None,
        title: str = "model",
        guard: Guard | None = None,
        watch: Watch | None = None,
        grpc: Grpc | None = None,
        sticky: Sticky | None = None,
        comparer: Comparer | None = None,
        functions: Functions | None = None,
        folders: ServingFolders | None = None,
        lookups: Lookups | None = None,
    ) -> None:
        self.guard = guard or Guard()
        self.watch = watch or Watch()
        limits = self.guard.limits
        self.engine = Engine(
            live,
            log=log,
            max_rows=limits.max_rows,
            metrics=self.watch.metrics,
            timeout=limits.timeout_seconds,
            sticky=sticky,
            comparer=comparer,
            lookups=lookups,
        )
        self.live = live
        self.lookups = lookups
        self.log = log
        self.title = title
        self._max_bytes = limits.max_bytes
        self.folders = folders
        self._stopping = False
        self._served = Served(self.engine, self.unready, title)
        self._functions = functions
        self.router = Router(self._routes(), Response.refusal)
        self._answering = Answering(self.router, self.engine, self.guard, self.watch)
        self.grpc = self._grpc_server(grpc) if grpc else None

    def _routes(self) -> Iterator[Page | Scoring | Called]:
        """Every path, protocol by protocol."""
        yield from PredictProtocol(self.engine, self._max_bytes).routes
        yield from MlflowProtocol(self.engine, self._max_bytes).routes
        yield from InferenceProtocol(self._served).routes
        if self.log is not None:
            yield from FeedbackProtocol(self.engine, self.log).routes
        yield from Pages(self).routes
        if self._functions is not None:
            yield from self._functions.routes

    def _grpc_server(self, settings: Grpc) -> GrpcServer:
        # imported only where it is asked for
        from liminal_assets.serving.protocols.inference_grpc import GrpcServer

        return GrpcServer(self._served, self._answering.respond, settings, self._max_bytes)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """ASGI 3."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _http(self, scope: Message, receive: Receive, send: Send) -> None:
        route, variables = self.router.find(scope["path"])
        with_body = scope["method"] != "HEAD"
        await self._answering.respond(
            scope, receive, route, variables, lambda response: response.send(send, body=with_body)
        )

    def at_once(self, scope: Message, body: bytes, write: WriteWhole) -> bool:
        """See :meth:`Answering.at_once`: what a server asks that has a request whole."""
        return self._answering.at_once(scope, body, write)

    def unready(self) -> str | None:
        """Why no request should be sent here now."""
        if self._stopping:
            return "the server is stopping"
        state = self.live.state
        if state.model is None:
            return state.problem or "there is no model yet"
        lookups = self.lookups
        return self.lookup_problem if lookups is not None and lookups.config.required else None

    @property
    def lookup_problem(self) -> str | None:
        """Why requests that carry only their entity can't be answered now."""
        return self.lookups.problem(self.live.state.model) if self.lookups is not None else None

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self.live.start()
                if self.lookups is not None:
                    self.lookups.start(self.live)
                self.guard.start()
                self.watch.start(self)
                if self.log is not None:
                    self.log.start()
                if self.grpc is not None:
                    await self.grpc.start()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self._close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def stop_being_ready(self) -> None:
        """Load balancers are to send no more; requests that still come are answered."""
        self._stopping = True

    async def end_calls(self, seconds: float) -> None:
        """Takes no more calls of gRPC; those under way have some seconds."""
        if self.grpc is not None:
            await self.grpc.stop(seconds)

    async def _close(self) -> None:
        """Ends the threads; requests are answered by now, and their rows get written."""
        self.stop_being_ready()
        await self.end_calls(self.guard.limits.timeout_seconds)
        self.live.stop(timeout=0)
        if self.lookups is not None:
            self.lookups.stop()
        self.guard.stop()
        self.engine.comparer.close()
        loop = asyncio.get_running_loop()
        self._answering.close()
        if self._functions is not None:
            self._functions.close()
        await loop.run_in_executor(None, self.watch.close)
        if self.log is not None:
            await loop.run_in_executor(None, self.log.close)
