"""Servers of PostgreSQL and Redis for tests, where the machine has them."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis


def server_binaries() -> Path | None:
    """PostgreSQL's programs; Debian keeps them out of PATH."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    return next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server that this process's tests share."""
    binaries = server_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server here")
    # not below pytest's folders, which only their owner may enter
    folder = Path(tempfile.mkdtemp(prefix="liminal-postgres-"))
    data = folder / "data"
    data.mkdir()
    run: list[str] = []
    if os.getuid() == 0:
        # the server refuses to be root
        run = ["runuser", "-u", "postgres", "--"]
        folder.chmod(0o755)
        shutil.chown(data, "postgres")
    user = "postgres" if run else getpass.getuser()
    port = free_port()
    initdb = [str(binaries / "initdb"), "-D", str(data), "-A", "trust", "-U", user, "--no-sync"]
    subprocess.run([*run, *initdb], check=True, capture_output=True, cwd="/")
    options = f"-c listen_addresses=127.0.0.1 -p {port} -k {data} -c fsync=off"
    control = [*run, str(binaries / "pg_ctl"), "-D", str(data), "-w", "-l", str(data / "log")]
    subprocess.run([*control, "-o", options, "start"], check=True, capture_output=True, cwd="/")
    try:
        yield f"postgresql://{user}@127.0.0.1:{port}/postgres"
    finally:
        stop = [*control, "-m", "immediate", "stop"]
        subprocess.run(stop, check=True, capture_output=True, cwd="/")
        shutil.rmtree(folder)


@contextmanager
def redis_server(folder: Path, *settings: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The URL and the process of a Redis server that keeps nothing."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no Redis server here")
    port = free_port()
    options = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
    process = subprocess.Popen([program, *options, *settings], stdout=subprocess.DEVNULL)
    try:
        client = redis.Redis(port=port)
        deadline = time.monotonic() + 30
        while True:
            try:
                client.ping()
                break
            except redis.AuthenticationError:
                break
            except redis.ConnectionError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}/0", process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Redis server that this process's tests share."""
    with redis_server(tmp_path_factory.mktemp("redis")) as (url, _):
        yield url
