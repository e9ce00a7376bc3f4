"""A server of one release alone, as a container runs it: fetched, checked, answered from."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from liminal_assets.errors import StepError
from liminal_assets.language.loading import load_project
from liminal_assets.serving.config import WorkerConfig
from liminal_assets.serving.port import bound_socket
from liminal_assets.serving.releases.archive import pack, unpack
from liminal_assets.serving.releases.preparation import prepare_release
from liminal_assets.serving.releases.release import Release, read_release
from liminal_assets.steps.proof import Proof
from liminal_assets_tests.champions import Shop


@pytest.fixture(scope="module")
def shop(served_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(load_project(served_template), tmp_path_factory.mktemp("standalone"))


@pytest.fixture(scope="module")
def release(shop: Shop) -> Release:
    return prepare_release(shop.project, shop.project.spec.deployments[0], 1)


@pytest.fixture(scope="module")
def archive(release: Release, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The packed release and its digest."""
    path = tmp_path_factory.mktemp("store") / "release.tar.gz"
    return path, pack(release.folder, WorkerConfig("late_api", "").to_json(), path)


def free_port() -> int:
    with bound_socket("127.0.0.1", 0) as bound:
        return int(bound.getsockname()[1])


@contextmanager
def server(
    *arguments: str, **environment: str
) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """The server in a process of its own, ready."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "liminal_assets.serving.standalone", *arguments],
        env={**os.environ, **environment, "LIMINAL_PORT": str(port)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and process.poll() is None:
                try:
                    if client.get("/readyz").status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                time.sleep(0.05)
            yield process, client
    finally:
        process.kill()
        process.wait()


def expected(shop: Shop) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    proof = Proof.of(
        shop.project, shop.project.spec.deployments[0], shop.registry.version("late", 1)
    )
    return proof.row, proof.expected


@pytest.mark.slow
def test_it_answers_as_the_registry_does_and_drains_on_sigterm(
    shop: Shop, archive: tuple[Path, str], tmp_path: Path
) -> None:
    path, sha256 = archive
    row, answer = expected(shop)
    said = tmp_path / "serving.json"
    said.write_bytes(WorkerConfig("from_secret", "").to_json())
    where = ["--release", path.as_uri(), "--sha256", sha256, "--folder", str(tmp_path / "state")]
    with server(*where, "--config", str(said), "--host", "127.0.0.1") as (process, client):
        response = client.post("/predict", json={"records": [row]})
        assert response.status_code == 200
        served = response.json()["predictions"][0]
        assert {name: served[name] for name in answer} == pytest.approx(dict(answer), abs=1e-9)
        assert client.get("/openapi.json").json()["info"]["title"] == "from_secret"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


@pytest.mark.slow
def test_it_serves_what_sagemaker_has_unpacked(
    shop: Shop, archive: tuple[Path, str], tmp_path: Path
) -> None:
    model = unpack(archive[0], tmp_path)
    row, answer = expected(shop)
    with server("serve", "--host", "127.0.0.1", LIMINAL_RELEASE=str(model)) as (_, client):
        assert client.get("/ping").status_code == 200
        response = client.post("/invocations", json={"dataframe_records": [row]})
        assert response.json()["predictions"] == [answer["prediction"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sha256", "0" * 64], "isn't what was deployed"),
        (["--release", "/nowhere/release.tar.gz"], "can't be fetched from /nowhere"),
        (["--config", "/nowhere/serving.json"], "/nowhere/serving.json can't be read"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    archive: tuple[Path, str],
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from liminal_assets.serving.standalone import main

    assert main(["--release", str(archive[0]), "--host", "127.0.0.1", *arguments]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert message in told
    assert told.count("\n") == 1


def test_a_release_comes_out_as_it_went_in(
    release: Release, archive: tuple[Path, str], tmp_path: Path
) -> None:
    sha256 = archive[1]
    again = tmp_path / "again.tar.gz"
    config = WorkerConfig("late_api", "")
    assert pack(release.folder, config.to_json(), again) == sha256
    folder = unpack(again, tmp_path / "out", sha256)
    assert read_release(folder / "release").key == release.key
    assert json.loads((folder / "serving.json").read_text())["name"] == "late_api"


@pytest.mark.parametrize("broken", ["cut", "garbage", "outside", "link"])
def test_an_archive_that_is_not_one_leaves_nothing(
    archive: tuple[Path, str], tmp_path: Path, broken: str
) -> None:
    import tarfile

    path = tmp_path / "release.tar.gz"
    content = archive[0].read_bytes()
    if broken in ("cut", "garbage"):
        path.write_bytes(content[: len(content) // 2] if broken == "cut" else b"no archive")
    else:
        with tarfile.open(path, "w:gz") as found:
            member = tarfile.TarInfo("../outside" if broken == "outside" else "release/link")
            member.type = tarfile.REGTYPE if broken == "outside" else tarfile.SYMTYPE
            member.linkname = "/etc/passwd"
            found.addfile(member)
    with pytest.raises(StepError, match=r"no archive of a release|has no place"):
        unpack(path, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    assert not (tmp_path / "outside").exists()
