"""Micro-batching: one call of a slow model answers the one-row requests that wait for it.

A request whose version is free is answered at once, alone. Those that come while it computes
wait, and the next call answers them together (adaptive batching as in Clipper, Crankshaw et al.,
NSDI 2017, without a delay: the call under way is the delay). A batch is of one version. A request
that is given up leaves its batch; where a batch has no answer each of its rows is asked alone, so
a wrong one is the error of its own request.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from liminal_assets.serving.config import Limits
from liminal_assets.serving.errors import RequestError
from liminal_assets.serving.messages import Response
from liminal_assets.serving.model import ServedModel
from liminal_assets.serving.protocols.routes import Request, Single

__all__ = ["Batches"]

Said = dict[str, Any]
Answers = list[dict[str, Any] | Exception]
Rows = Sequence[Sequence[Any]]
Run = Callable[[Callable[[ServedModel, Rows], Answers], ServedModel, Rows], Awaitable[Answers]]
_Place = tuple[Sequence[Any], "asyncio.Future[Said]"]


class _Queue:
    """The requests that wait for one version."""

    def __init__(self, model: ServedModel) -> None:
        self.model = model
        self.waiting: deque[_Place] = deque()
        self.asked: list[_Place] = []
        self.call: asyncio.Task[None] | None = None


class Batches:
    """Asks models about several requests at once.

    Args:
        max_rows: the most rows of a call.
        run: calls a function in a thread, and gives what it returns.
    """

    def __init__(self, max_rows: int, run: Run) -> None:
        self._max_rows = max_rows
        self._run = run
        self._queues: dict[int, _Queue] = {}

    @classmethod
    def of(cls, limits: Limits, run: Run) -> Batches | None:
        """Those of a worker, if it makes any."""
        return cls(limits.batch_rows, run) if limits.batch_rows else None

    async def answer(self, single: Single, model: ServedModel, request: Request) -> Response | None:
        """The answer to a request for one row; None for any other."""
        values = single.read(model, request)
        if values is None:
            return None
        asked = time.time()
        said = await self.ask(model, values)
        return single.write(model, request, values, said, asked)

    async def ask(self, model: ServedModel, values: Sequence[Any]) -> Said:
        """The answer to one row, as :meth:`ServedModel.predict_one` has it.

        Raises:
            RequestError: 422 if the model has no answer for these values.
        """
        queue = self._queues.get(id(model))
        if queue is None:
            queue = self._queues[id(model)] = _Queue(model)
        future: asyncio.Future[Said] = asyncio.get_running_loop().create_future()
        queue.waiting.append((values, future))
        if queue.call is None:
            self._next(queue)
        try:
            return await future
        finally:
            call = queue.call
            if call is not None and queue.asked and all(done.done() for _, done in queue.asked):
                # whoever asked gave up: a model that hangs keeps nobody else waiting
                call.cancel()

    def _next(self, queue: _Queue) -> None:
        queue.asked, queue.call = [], None
        while queue.waiting and len(queue.asked) < self._max_rows:
            place = queue.waiting.popleft()
            if not place[1].done():
                queue.asked.append(place)
        if queue.asked:
            queue.call = asyncio.get_running_loop().create_task(self._call(queue))
        else:
            # a version that nobody waits for may be gone soon
            del self._queues[id(queue.model)]

    async def _call(self, queue: _Queue) -> None:
        asked = queue.asked
        try:
            answers = await self._run(_answers, queue.model, [values for values, _ in asked])
        except asyncio.CancelledError:
            answers = []
        except Exception as error:
            answers = [error for _ in asked]
        for (_, future), answer in zip(asked, answers, strict=False):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
        self._next(queue)


def _answers(model: ServedModel, rows: Rows) -> Answers:
    """The answer to each row, or why it has none."""
    if len(rows) > 1:
        try:
            names = model.signature.names
            columns = {name: [row[place] for row in rows] for place, name in enumerate(names)}
            said = model.predict(columns, len(rows)).columns
            listed = zip(*(column.tolist() for column in said.values()), strict=True)
            return [dict(zip(said, values, strict=True)) for values in listed]
        except RequestError:
            # it may be the fault of one row
            pass
    return [_answer(model, row) for row in rows]


def _answer(model: ServedModel, row: Sequence[Any]) -> Said | Exception:
    try:
        return model.predict_one(row)
    except Exception as error:
        return error
