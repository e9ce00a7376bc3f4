"""Where slow answers are computed, so that the event loop stays free for others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

from liminal_assets.serving.model import ServedModel

__all__ = ["Threads"]

_MOST_THREADS = 8
"""One answers; the others are for models that hang."""

_Told = TypeVar("_Told")


class Threads:
    """One answer at a time; one that is given up goes on in its thread, and the next gets another.
    Two that wait for one another's cores and for Python's lock are slower."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._one_at_a_time = asyncio.Semaphore(1)

    async def __call__(
        self, answer: Callable[[ServedModel, Any], _Told], model: ServedModel, asked: Any
    ) -> _Told:
        """What ``answer`` returns."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="predict")
        async with self._one_at_a_time:
            run = copy_context().run
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, run, answer, model, asked)

    def close(self) -> None:
        """Ends them; what was given up isn't waited for."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
