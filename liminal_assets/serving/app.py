"""The ASGI application: paths, limits and status codes.

No framework: what it would do for one path costs more than the model's answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from liminal_assets.serving.batches import Batches
from liminal_assets.serving.config import Grpc, Limits
from liminal_assets.serving.control.live import LiveModel
from liminal_assets.serving.control.shadow import Comparer
from liminal_assets.serving.engine import Engine, OtherVersion, Sticky
from liminal_assets.serving.errors import RequestError
from liminal_assets.serving.features.lookups import Lookups, NeededError
from liminal_assets.serving.guards.flight import FLIGHT, Flight
from liminal_assets.serving.guards.guard import Guard, given_up
from liminal_assets.serving.log.spool import Spool
from liminal_assets.serving.messages import (
    DisconnectedError,
    Message,
    Receive,
    Response,
    Send,
    read_body,
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
    Request,
    Router,
    Scoring,
    other_method,
)
from liminal_assets.serving.releases.folders import ServingFolders
from liminal_assets.serving.threads import Threads
from liminal_assets.steps.signature import Signature
from liminal_assets.storage.ids import new_id

if TYPE_CHECKING:
    from liminal_assets.serving.functions import Functions
    from liminal_assets.serving.protocols.inference_grpc import GrpcServer

__all__ = ["ServingApp", "create_app"]

_INLINE_BYTES = 16_384
"""Larger bodies are answered in a thread, so that health checks don't wait for them."""

_log = logging.getLogger("liminal_assets.serving")


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
        self._max_bytes = int(limits.max_body_mb * 1024 * 1024)
        self.folders = folders
        self._stopping = False
        self._threads = Threads()
        self._batches = Batches.of(limits, self._threads)
        self._served = Served(self.engine, self.unready, title)
        self.grpc = self._grpc_server(grpc) if grpc else None
        self._functions = functions
        self.router = Router(self._routes(), Response.refusal)

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

        return GrpcServer(self._served, self.respond, settings, self._max_bytes)

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
        await self.respond(
            scope, receive, route, variables, lambda response: response.send(send, body=with_body)
        )

    async def respond(
        self,
        scope: Message,
        receive: Receive,
        route: Page | Scoring | Called | None,
        variables: Mapping[str, str],
        send: Callable[[Response], Awaitable[None]],
    ) -> None:
        """Answers one request, whatever it came over.

        Args:
            route: what it asks for; None: there is no such thing.
        """
        method = scope["method"]
        flight, started, code = Flight(), time.time(), None
        refusal = route.refusal if route else self.router.refusal(scope["path"])
        try:
            if route is None:
                raise self.router.unknown(scope["path"])
            self.watch.begin(flight, scope, route.path)
            if method not in route.methods:
                response = other_method(method, route.methods)
            elif isinstance(route, Page):
                flight.caller = self.guard.identify(scope)
                response = route.answer(Request(scope, variables=variables))
            else:
                response = await self._score(route, variables, scope, receive, flight)
        except DisconnectedError:
            self.watch.gone(flight)
            return
        except asyncio.CancelledError:
            self.watch.gone(flight)
            raise
        except RequestError as error:
            code = error.code
            response = refusal(error, self.version_now)
            response.explain(error)
        except Exception:
            code, incident = "internal", new_id()
            _log.exception("incident %s: a request failed", incident)
            message = f"the server failed; its log says why under incident {incident}"
            response = refusal(RequestError(500, code, message), self.version_now)
        self.watch.end(flight, response, code)
        await send(response)
        self.watch.sent(flight, scope, response, code, started)

    async def _score(
        self,
        route: Scoring | Called,
        variables: Mapping[str, str],
        scope: Message,
        receive: Receive,
        flight: Flight,
    ) -> Response:
        guard = self.guard
        guard.enter(flight, scope)
        try:
            hold = partial(guard.hold, flight)
            body = await read_body(scope, receive, self._max_bytes, hold)
            flight.received = time.time()
            guard.received(flight)
            if isinstance(route, Called):
                return await route.answer(body)
            request = Request(scope, body, variables, flight.received)
            if route.counted:
                chosen = route.choose(request) if route.choose else None
                flight.named = chosen is not None
                model = chosen or self.engine.route(request.headers)
            else:
                model = self.engine.stable()
            FLIGHT.set(flight)
            try:
                response = await self._ask(route, model, request, flight)
            except OtherVersion as other:
                response = await self._ask(route, other.model, request, flight)
            if flight.stale:
                response.headers.append((b"x-stale-rows", b"%d" % flight.stale))
            if self.log is not None:
                if flight.span is not None:
                    flight.encoded = time.time()
                await self.log.settled()
            return response
        except asyncio.CancelledError:
            if failure := given_up(flight):
                raise failure from None
            raise
        finally:
            guard.leave(flight)

    async def _ask(
        self, route: Scoring, model: ServedModel, request: Request, flight: Flight
    ) -> Response:
        """The answer of one version, from this thread if it is quick."""
        if route.counted:
            flight.version = model.version
        small = len(request.body) <= _INLINE_BYTES and not request.bulk
        inline = small and not model.slow
        if self._batches and small and model.slow and route.single:
            response = await self._batches.answer(route.single, model, request)
            if response is not None:
                return response
        try:
            if inline:
                return route.answer(model, request)
            return await self._threads(route.answer, model, request)
        except NeededError as needed:
            # the rows are read again then, for nobody else waits for the store meanwhile
            flight.found[needed.source] = await needed.lookups.fetch(needed)
        if inline:
            return route.answer(model, request)
        return await self._threads(route.answer, model, request)

    @property
    def version_now(self) -> str | None:
        """The version that answers now."""
        model = self.live.state.model
        return model.version if model else None

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
        self._threads.close()
        if self._functions is not None:
            self._functions.close()
        await loop.run_in_executor(None, self.watch.close)
        if self.log is not None:
            await loop.run_in_executor(None, self.log.close)
