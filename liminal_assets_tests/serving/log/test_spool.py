"""The spool: what was acknowledged is in its files, whatever happens to the process."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liminal_assets.serving.errors import RequestError
from liminal_assets.serving.log import spool as spool_module
from liminal_assets.serving.log.drain import Drain
from liminal_assets.serving.log.records import Answered, Recorder, Recording
from liminal_assets.serving.log.segment_files import OpenSegment, segments_of
from liminal_assets.serving.log.segments import MAGIC, frames, read_segment
from liminal_assets.serving.log.spool import Spool, SpoolSettings
from liminal_assets.steps.scores import Scores
from liminal_assets.storage.ids import is_id, moment_of, new_id, sampled
from liminal_assets_tests.serving.spooling import Sink, answered


def ids_in(folder: Path) -> list[str]:
    found = (read_segment(path).requests for path in segments_of(folder))
    return [request.id for requests in found for _, request in requests]


def merged(folder: Path) -> Sink:
    sink = Sink()
    assert Drain(folder, sink, Sink()).merge()
    return sink


def until(done: Callable[[], Any], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.01)


def test_ids_sort_by_time_tell_it_and_never_repeat() -> None:
    ids = []
    for _ in range(20):
        ids.append(new_id())
        time.sleep(0.001)
    assert ids == sorted(ids)
    assert abs(moment_of(ids[0]).timestamp() - time.time()) < 60
    assert len({new_id() for _ in range(10_000)}) == 10_000
    assert is_id(ids[0])
    assert is_id(f"{ids[0]}-12")
    assert not is_id("12")


def test_records_are_written_in_the_background_and_at_the_end(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.start()
    spool.add(answered("a"))
    until(lambda: ids_in(tmp_path) == ["a"])
    spool.add(answered("b", 2))
    spool.close()
    assert ids_in(tmp_path) == ["a", "b"]
    assert (spool.state.written, spool.state.waiting, spool.state.lost) == (3, 0, 0)


def test_a_segment_is_handed_over_after_a_while(tmp_path: Path) -> None:
    spool = Spool(tmp_path, SpoolSettings(rotate=0.1))
    spool.start()
    spool.add(answered("a"))
    until(lambda: merged(tmp_path).ids == ["a"])
    spool.close()


def test_nobody_takes_a_segment_that_is_being_written(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.add(answered("a"))
    assert spool.flush()
    assert merged(tmp_path).ids == []
    spool.close()
    assert merged(tmp_path).ids == ["a"]
    assert not segments_of(tmp_path)


def test_an_answer_waits_until_its_record_is_synced(tmp_path: Path) -> None:
    async def ask(spool: Spool, name: str) -> list[str]:
        spool.add(answered(name))
        await spool.settled()
        return ids_in(tmp_path)

    async def many() -> list[list[str]]:
        return await asyncio.gather(*(ask(spool, str(number)) for number in range(50)))

    spool = Spool(tmp_path, SpoolSettings(durable=True))
    spool.start()
    for number, kept in enumerate(asyncio.run(many())):
        assert str(number) in kept
    spool.close()


def test_what_must_be_kept_and_cannot_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask(name: str) -> None:
        spool.add(answered(name))
        await spool.settled()

    full = True

    def fail(descriptor: int) -> None:
        if full:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", fail)
    spool = Spool(tmp_path, SpoolSettings(durable=True))
    spool.start()
    for name in ("a", "b"):
        with pytest.raises(RequestError, match=r"can't be kept.*No space left") as refused:
            asyncio.run(ask(name))
        assert refused.value.status == 503
    assert "No space left" in (spool.state.problem or "")
    full = False
    until(lambda: spool.state.problem is None)
    asyncio.run(ask("c"))
    spool.close()
    # nothing is twice in the file, though the first attempts had written it
    assert ids_in(tmp_path)[-1] == "c"
    assert len(set(ids_in(tmp_path))) == len(ids_in(tmp_path))


WRITER = """
    import asyncio, sys
    from pathlib import Path
    from liminal_assets.storage.ids import new_id
    from liminal_assets.serving.log.spool import Spool, SpoolSettings
    from liminal_assets_tests.serving.spooling import answered

    async def main():
        spool = Spool(Path(sys.argv[1]), SpoolSettings(durable=True, rotate=0.15))
        spool.start()
        async def ask():
            while True:
                own = new_id()
                spool.add(answered(own))
                await spool.settled()
                print(own, flush=True)
        await asyncio.gather(*(ask() for _ in range(4)))

    asyncio.run(main())
"""


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path / "spool")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert process.stdout
    said = [process.stdout.readline() for _ in range(200)]
    process.send_signal(signal.SIGKILL)
    said += process.stdout.read().splitlines(keepends=True)
    process.wait()
    process.stdout.close()
    acknowledged = {line.strip() for line in said if line.endswith("\n")}
    logged = merged(tmp_path / "spool").ids
    assert acknowledged <= set(logged)
    assert len(logged) == len(set(logged))
    assert len(acknowledged) >= 200


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("written")
    spool = Spool(folder)
    for number in range(6):
        spool.add(answered(f"r{number}", 1 + number % 3))
    spool.close()
    (path,) = segments_of(folder)
    return path.read_bytes()


@given(data=st.data())
def test_a_segment_cut_or_changed_anywhere_gives_back_the_records_before(
    written: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.segment"
    cut = data.draw(st.integers(0, len(written)))
    tail = data.draw(st.sampled_from([b"", bytes(40), b"\xff" * 40]))
    held = written[:cut] + tail
    path.write_bytes(held)
    segment = read_segment(path)
    # the tail may happen to be what was there
    same = next(
        (n for n, (one, other) in enumerate(zip(held, written, strict=False)) if one != other),
        min(len(held), len(written)),
    )
    whole = [end for end, _ in frames(written) if end <= same]
    # the first frame tells the columns
    assert [r.id for _, r in segment.requests] == [f"r{n}" for n in range(max(len(whole) - 1, 0))]
    if same >= len(MAGIC):
        assert segment.torn == len(held) - (whole[-1] if whole else len(MAGIC))


def test_memory_and_disk_are_bounded_and_lost_rows_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "_MEMORY_BYTES", 1_000)

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    spool = Spool(tmp_path, SpoolSettings(max_mb=0.01))
    with monkeypatch.context() as patch:
        patch.setattr(OpenSegment, "write", refuse)
        for number in range(40):
            spool.add(answered(f"early{number}"))
        assert not spool.flush()
        assert spool.state.lost > 0
        assert spool.state.lost + spool.state.waiting == 40
    early = spool.state.lost
    for number in range(400):
        spool.add(answered(f"late{number}"))
        if number % 20 == 0:
            assert spool.flush()
    spool.close()
    left = ids_in(tmp_path)
    assert left[-1] == "late399"
    assert spool.state.lost > early
    assert len(left) + spool.state.lost == 440
    assert sum(path.stat().st_size for path in segments_of(tmp_path)) < 0.012 * 2**20


def test_a_full_spool_refuses_what_must_be_kept(tmp_path: Path) -> None:
    spool = Spool(tmp_path, SpoolSettings(durable=True, max_mb=0.001))
    for number in range(20):
        spool.add(answered(str(number)))
    assert not spool.flush()
    with pytest.raises(RequestError, match="max_mb"):
        spool.add(answered("more"))


def test_a_sample_is_chosen_by_id(tmp_path: Path) -> None:
    ids = [new_id() for _ in range(2_000)]
    spool = Spool(tmp_path, SpoolSettings(recording=Recording(sample=0.25)))
    for own in ids:
        spool.add(answered(own, 2))
    spool.close()
    kept = ids_in(tmp_path)
    assert kept == [own for own in ids if sampled(own, 0.25)]
    assert 350 < len(kept) < 650
    assert {row["sample_rate"] for row in merged(tmp_path).rows} == {0.25}


def test_masked_values_never_reach_the_disk(tmp_path: Path) -> None:
    mask = {"flight_id": "hash", "carrier": "drop", "distance": "null"}
    spool = Spool(tmp_path, SpoolSettings(recording=Recording(1, mask, {"flight_id": "salt"})))
    secret = {"flight_id": "Ada Lovelace", "carrier": "Analytical", "distance": 18151210.5}
    spool.add(answered("a", 2, **secret))
    spool.add(answered("b", **{**secret, "flight_id": "Grace Hopper"}))
    spool.close()
    (path,) = segments_of(tmp_path)
    held = path.read_bytes()
    assert not re.search(b"Lovelace|Hopper|Analytical", held)
    rows = merged(tmp_path).rows
    assert "carrier" not in rows[0]
    assert {row["distance"] for row in rows} == {None}
    digests = [row["flight_id"] for row in rows]
    assert digests[0] == digests[1] != digests[2]
    assert all(re.fullmatch(r"[0-9a-f]{32}", digest) for digest in digests)


def test_values_that_cannot_be_logged_do_not_stop_the_others(tmp_path: Path) -> None:
    odd = answered("odd")
    broken = Answered(odd.model, odd.columns, Scores(np.array([object()]), {}), ["odd"], 1e9, 1e9)
    spool = Spool(tmp_path)
    spool.add(broken)
    spool.add(answered("good"))
    spool.close()
    assert ids_in(tmp_path) == ["good"]
    assert spool.state.lost == 1


def test_a_recorder_forgets_versions_that_are_long_gone() -> None:
    from liminal_assets_tests.serving.spooling import model

    recorder = Recorder()
    for version in range(30):
        assert recorder(answered("a", model=model(str(version))))
    assert len(recorder._known) <= 8
