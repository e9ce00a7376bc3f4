"""From a request to its answer: limits, versions, status codes, and what is told of it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from liminal_assets.serving.batches import Batches
from liminal_assets.serving.engine import Engine, OtherVersion
from liminal_assets.serving.errors import RequestError
from liminal_assets.serving.features.lookups import NeededError
from liminal_assets.serving.guards.flight import FLIGHT, Flight
from liminal_assets.serving.guards.guard import Guard, given_up
from liminal_assets.serving.messages import (
    DisconnectedError,
    Message,
    Receive,
    Response,
    WriteWhole,
    read_body,
)
from liminal_assets.serving.model import ServedModel
from liminal_assets.serving.observing.watch import Watch
from liminal_assets.serving.protocols.routes import (
    Called,
    Page,
    Refusal,
    Request,
    Router,
    Scoring,
    other_method,
)
from liminal_assets.serving.threads import Threads
from liminal_assets.storage.ids import new_id

__all__ = ["Answering"]

_INLINE_BYTES = 16_384
"""Larger bodies are answered in a thread, so that health checks don't wait for them."""

_logger = logging.getLogger("liminal_assets.serving")


class Answering:
    """Answers requests.

    Args:
        router: what can be asked.
        engine: the versions that answer.
        guard: who may ask, how much, and for how long.
        watch: what is counted and written of requests.
    """

    def __init__(self, router: Router, engine: Engine, guard: Guard, watch: Watch) -> None:
        self._router = router
        self._engine = engine
        self._log = log = engine.log
        self._guard = guard
        self._watch = watch
        self._max_bytes = guard.limits.max_bytes
        self._most_at_once = min(self._max_bytes, _INLINE_BYTES)
        self._waits = engine.lookups is not None or (log is not None and log.durable)
        self._threads = Threads()
        self._batches = Batches.of(guard.limits, self._threads)

    def close(self) -> None:
        """Ends the threads."""
        self._threads.close()

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
        refusal = route.refusal if route else self._router.refusal(scope["path"])
        try:
            if route is None:
                raise self._router.unknown(scope["path"])
            self._watch.begin(flight, scope, route.path)
            if method not in route.methods:
                response = other_method(method, route.methods)
            elif isinstance(route, Page):
                flight.caller = self._guard.identify(scope)
                response = route.answer(Request(scope, variables=variables))
            else:
                response = await self._score(route, variables, scope, receive, flight)
        except DisconnectedError:
            self._watch.gone(flight)
            return
        except asyncio.CancelledError:
            self._watch.gone(flight)
            raise
        except Exception as error:
            response, code = self._failed(error, refusal)
        self._watch.end(flight, response, code)
        await send(response)
        self._watch.sent(flight, scope, response, code, started)

    def at_once(self, scope: Message, body: bytes, write: WriteWhole) -> bool:
        """Answers a question to the model without a task for it.

        Args:
            body: the whole body.

        Returns:
            False: something may have to be waited for, or it is no such question. Nothing has
            happened then, and the request is to come as ASGI has it.
        """
        if len(body) > self._most_at_once or scope["method"] != "POST" or self._may_wait():
            return False
        route, variables = self._router.find(scope["path"])
        if type(route) is not Scoring:
            return False
        started = time.time()
        request = Request(scope, body, variables, started)
        if request.bulk or request.encoded:
            return False
        flight, code = Flight(), None
        flight.received = started
        context = FLIGHT.set(flight)
        try:
            self._watch.begin(flight, scope, route.path)
            self._guard.admit(flight, scope)
            model = self._version(route, request, flight)
            try:
                response = route.answer(model, request)
            except OtherVersion as other:
                flight.version = other.model.version
                response = route.answer(other.model, request)
        except Exception as error:
            response, code = self._failed(error, route.refusal)
        finally:
            FLIGHT.reset(context)
        self._watch.end(flight, response, code)
        write(response.status, response.headers, response.body)
        self._watch.sent(flight, scope, response, code, started)
        return True

    def _may_wait(self) -> bool:
        """Whether answers may have to wait: for the disk, a store, or a slow model."""
        state = self._engine.live.state
        model, candidate = state.model, state.candidate
        if self._waits or model is None or model.slow:
            return True
        return candidate is not None and candidate.slow

    def _failed(self, error: Exception, refusal: Refusal) -> tuple[Response, str]:
        """Why there is no answer, as a protocol says it, and the code of that."""
        if isinstance(error, RequestError):
            response = refusal(error, self._engine.version_now)
            response.explain(error)
            return response, error.code
        code, incident = "internal", new_id()
        _logger.error("incident %s: a request failed", incident, exc_info=error)
        message = f"the server failed; its log says why under incident {incident}"
        return refusal(RequestError(500, code, message), self._engine.version_now), code

    async def _score(
        self,
        route: Scoring | Called,
        variables: Mapping[str, str],
        scope: Message,
        receive: Receive,
        flight: Flight,
    ) -> Response:
        guard = self._guard
        guard.enter(flight, scope)
        try:
            hold = partial(guard.hold, flight)
            body = await read_body(scope, receive, self._max_bytes, hold)
            flight.received = time.time()
            guard.received(flight)
            if isinstance(route, Called):
                return await route.answer(body)
            request = Request(scope, body, variables, flight.received)
            model = self._version(route, request, flight)
            FLIGHT.set(flight)
            try:
                response = await self._ask(route, model, request, flight)
            except OtherVersion as other:
                flight.version = other.model.version
                response = await self._ask(route, other.model, request, flight)
            if flight.stale:
                response.headers.append((b"x-stale-rows", b"%d" % flight.stale))
            if self._log is not None:
                if flight.span is not None:
                    flight.encoded = time.time()
                await self._log.settled()
            return response
        except asyncio.CancelledError:
            if failure := given_up(flight):
                raise failure from None
            raise
        finally:
            guard.leave(flight)

    def _version(self, route: Scoring, request: Request, flight: Flight) -> ServedModel:
        """The version that is to answer."""
        if not route.counted:
            return self._engine.stable()
        chosen = route.choose(request) if route.choose else None
        flight.named = chosen is not None
        model = chosen or self._engine.route(request.headers)
        flight.version = model.version
        return model

    async def _ask(
        self, route: Scoring, model: ServedModel, request: Request, flight: Flight
    ) -> Response:
        """The answer of one version, from this thread if it is quick."""
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
