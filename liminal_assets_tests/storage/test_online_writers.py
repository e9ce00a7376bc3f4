"""Writers of the online store that are killed, or write at the same time: rows are old or new."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from liminal_assets.storage.online_stores import open_store
from liminal_assets.storage.online_stores.base import EntityStore, Place, Record, Refresh

ENTITIES = [f'["{number}"]' for number in range(1_500)]
PLACES = map("kills{}".format, itertools.count())

WRITER = """
import itertools, sys
from liminal_assets.storage.online_stores import open_store
from liminal_assets_tests.storage.test_online_writers import Place, refresh

store, place = open_store(sys.argv[1]), Place(sys.argv[2], "f", "s")
for number in itertools.count(1):
    refresh(store, place, number)
    print(number, flush=True)
"""


def refresh(store: EntityStore, place: Place, number: int) -> int:
    """Every row says the number twice."""
    said = json.dumps({"a": number, "filler": "x" * 50, "b": number})
    records = [Record(entity, number, said) for entity in ENTITIES]
    batches = [records[at : at + 100] for at in range(0, len(records), 100)]
    return store.refresh(Refresh(place, str(number), time.time(), {"a": "BIGINT"}, ""), batches)


def numbers(store: EntityStore, place: Place) -> set[int]:
    found = store.read(place, ENTITIES)
    rows = [(moment, json.loads(row)) for moment, row in found.values()]
    assert all(moment == row["a"] == row["b"] for moment, row in rows)
    return {moment for moment, _ in rows}


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow), "redis_url"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/online.db"
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def store(url: str) -> Iterator[EntityStore]:
    store = open_store(url)
    yield store
    store.close()


def test_a_writer_that_is_killed_leaves_rows_that_are_old_or_new(
    url: str, store: EntityStore
) -> None:
    place = Place(next(PLACES), "f", "s")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    for delay in (0.003, 0.011, 0.023):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, url, place.project],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert writer.stdout
        done = int(writer.stdout.readline())
        time.sleep(delay)
        writer.kill()
        done = max([done, *map(int, writer.stdout.read().split())])
        writer.wait()
        seen = numbers(store, place)
        assert len(store.read(place, ENTITIES)) == len(ENTITIES)
        if url.startswith("redis"):
            # row by row: what was cut off is finished by the next refresh
            assert seen <= {done, done + 1}
        else:
            assert seen in ({done}, {done + 1})
        refresh(store, place, done + 2)
        assert numbers(store, place) == {done + 2}
        refresh(store, place, 1)


def test_readers_see_whole_rows_while_two_write(url: str, store: EntityStore) -> None:
    place = Place(next(PLACES), "f", "s")
    failures: list[BaseException] = []

    def write(first: int) -> None:
        own = open_store(url)
        try:
            for number in range(first, first + 12, 2):
                own.refresh(
                    Refresh(place, str(number), time.time(), {}, str(first)),
                    [[Record(e, number, json.dumps({"a": number, "b": number}))] for e in some],
                )
        except BaseException as error:
            failures.append(error)
        finally:
            own.close()

    some = ENTITIES[:60]
    threads = [threading.Thread(target=write, args=[first]) for first in (1, 2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        numbers(store, place)
    for thread in threads:
        thread.join()
    assert not failures
    # a row of another source is replaced by a newer one alone
    assert numbers(store, place) <= {11, 12}
    assert 12 in numbers(store, place)
