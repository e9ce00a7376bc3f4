"""One call of a slow model answers the one-row requests that came during the one before."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from liminal_assets.serving.app import ServingApp
from liminal_assets.serving.batches import Batches
from liminal_assets.serving.config import Limits
from liminal_assets.serving.control.live import LiveModel
from liminal_assets.serving.errors import RequestError
from liminal_assets.serving.guards.guard import Guard
from liminal_assets.serving.model import ServedModel
from liminal_assets.steps.scores import Scores
from liminal_assets.steps.signature import Field, Signature
from liminal_assets_tests.serving.conftest import running

SIGNATURE = Signature((Field("x", "double"),))


class Doubling:
    """Doubles numbers, and refuses negative ones."""

    def __init__(self) -> None:
        self.asked: list[list[float]] = []

    def __call__(self, columns: Mapping[str, Sequence[Any]], rows: int) -> Scores:
        values = list(columns["x"])
        assert len(values) == rows
        self.asked.append(values)
        if min(values) < 0:
            raise ValueError("negative")
        return Scores(np.array(values) * 2, {})

    def single(self, values: Sequence[Any]) -> dict[str, Any]:
        return {"prediction": self({"x": values[:1]}, 1).prediction.item()}


def served(version: str = "1") -> tuple[ServedModel, Doubling]:
    doubling = Doubling()
    return ServedModel("m", version, SIGNATURE, doubling), doubling


class Gate:
    """Runs calls one at a time when it is opened."""

    def __init__(self) -> None:
        self._open = asyncio.Event()

    def open(self) -> None:
        self._open.set()

    async def __call__(self, call: Callable[..., Any], model: ServedModel, rows: Any) -> Any:
        await self._open.wait()
        return call(model, rows)


async def turns(number: int = 5) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def test_a_request_that_finds_the_model_free_is_asked_alone_and_at_once() -> None:
    async def main() -> None:
        model, doubling = served()
        gate = Gate()
        gate.open()
        assert await Batches(8, gate).ask(model, [3.0]) == {"prediction": 6.0}
        assert doubling.asked == [[3.0]]

    asyncio.run(main())


def test_those_that_come_meanwhile_are_asked_together_up_to_the_most() -> None:
    async def main() -> None:
        model, doubling = served()
        gate = Gate()
        batches = Batches(3, gate)
        asked = [asyncio.create_task(batches.ask(model, [float(i)])) for i in range(6)]
        await turns()
        gate.open()
        answers = await asyncio.gather(*asked)
        assert [answer["prediction"] for answer in answers] == [2.0 * i for i in range(6)]
        assert doubling.asked == [[0.0], [1.0, 2.0, 3.0], [4.0, 5.0]]

    asyncio.run(main())


def test_no_call_mixes_versions() -> None:
    async def main() -> None:
        (one, first), (two, second) = served("1"), served("2")
        gate = Gate()
        batches = Batches(8, gate)
        asked = [
            asyncio.create_task(batches.ask(one if i % 2 else two, [float(i)])) for i in range(8)
        ]
        await turns()
        gate.open()
        await asyncio.gather(*asked)
        assert first.asked == [[1.0], [3.0, 5.0, 7.0]]
        assert second.asked == [[0.0], [2.0, 4.0, 6.0]]

    asyncio.run(main())


def test_a_wrong_row_is_the_error_of_its_own_request() -> None:
    async def main() -> None:
        model, _ = served()
        gate = Gate()
        batches = Batches(8, gate)
        values = [0.0, 1.0, -1.0, 2.0]
        asked = [asyncio.create_task(batches.ask(model, [value])) for value in values]
        await turns()
        gate.open()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(answers[2], RequestError)
        assert answers[2].status == 422
        assert [answers[i] for i in (0, 1, 3)] == [{"prediction": 2 * values[i]} for i in (0, 1, 3)]

    asyncio.run(main())


def test_a_request_that_is_given_up_leaves_the_batch() -> None:
    async def main() -> None:
        model, doubling = served()
        gate = Gate()
        batches = Batches(8, gate)
        asked = [asyncio.create_task(batches.ask(model, [float(i)])) for i in range(4)]
        await turns()
        asked[2].cancel()
        await turns()
        gate.open()
        await asyncio.gather(*asked, return_exceptions=True)
        assert doubling.asked == [[0.0], [1.0, 3.0]]

    asyncio.run(main())


def test_a_call_that_everyone_gave_up_keeps_nobody_else_waiting() -> None:
    async def main() -> None:
        model, doubling = served()
        hangs, gate = asyncio.Event(), Gate()
        gate.open()
        calls = 0

        async def run(call: Callable[..., Any], model: ServedModel, rows: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 1:
                await hangs.wait()
            return await gate(call, model, rows)

        batches = Batches(8, run)
        first = asyncio.create_task(batches.ask(model, [0.0]))
        await turns()
        second = asyncio.create_task(batches.ask(model, [1.0]))
        await turns()
        first.cancel()
        assert await asyncio.wait_for(second, 10) == {"prediction": 2.0}
        assert doubling.asked == [[1.0]]

    asyncio.run(main())


def test_what_breaks_is_told_to_all_that_asked() -> None:
    async def main() -> None:
        model, _ = served()

        async def broken(call: Callable[..., Any], model: ServedModel, rows: Any) -> Any:
            raise RuntimeError("no thread")

        batches = Batches(8, broken)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="no thread"):
                await batches.ask(model, [1.0])

    asyncio.run(main())


class Counted:
    """A slow model that remembers how many rows each call asked about."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def predict(self, frame: Any) -> Any:
        self.calls.append(len(frame))
        time.sleep(0.02)
        return frame["x"].to_numpy() * 3 + 1


def test_over_http_those_that_come_at_once_share_calls_and_get_their_own_answers() -> None:
    counted = Counted()
    made = ServedModel.of(counted, SIGNATURE, name="shop.late", version="5", example={"x": 1.0})
    live = LiveModel.fixed(replace(made, slow=True))
    guard = Guard(Limits(batch_rows=8, under_way=64))
    with running(ServingApp(live, guard=guard)) as client, ThreadPoolExecutor(16) as threads:
        del counted.calls[:]

        def ask(value: int) -> tuple[int, Any]:
            # a wrong row among them is nobody else's
            said = client.post("/predict", json={"x": "no" if value % 20 == 7 else float(value)})
            return said.status_code, said.json().get("predictions", [{}])[0].get("prediction")

        answers = list(threads.map(ask, range(80)))
        alone = [client.post("/predict", json=[{"x": v}, {"x": v}]).json() for v in (0.0, 79.0)]
    assert answers == [
        (422, None) if value % 20 == 7 else (200, value * 3.0 + 1) for value in range(80)
    ]
    batched = counted.calls[: -len(alone)]
    assert sum(batched) == 76
    assert 1 < max(batched) <= 8
    assert [said["predictions"][1]["prediction"] for said in alone] == [1.0, 238.0]
