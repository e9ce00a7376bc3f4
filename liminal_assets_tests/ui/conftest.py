"""Dagster's own webserver on a project that has run, and a browser that looks at it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from liminal_assets.language.loading import load_project
from liminal_assets.storage.instance import dagster_home
from liminal_assets_tests.shop import Learned

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or "/usr/bin/chromium"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass(frozen=True)
class Webserver:
    """A running Dagster webserver."""

    url: str
    project: Path

    def ask(self, query: str, **variables: Any) -> Any:
        """The ``data`` of a GraphQL query."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(
            f"{self.url}/graphql", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            found = json.load(answer)
        assert "errors" not in found, found["errors"]
        return found["data"]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="session")
def webserver(
    tmp_path_factory: pytest.TempPathFactory, learned_shop: Learned
) -> Iterator[Webserver]:
    """The shop after a run, in Dagster's webserver."""
    assert learned_shop.done.code == 0, learned_shop.done.err
    shop = shutil.copytree(learned_shop.folder, tmp_path_factory.mktemp("ui") / "shop")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = (shop / "webserver.log").open("w")
    command = [sys.executable, "-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(
        [*command, "-m", "liminal_assets.definitions"],
        cwd=shop,
        env={
            **os.environ,
            "DAGSTER_HOME": str(dagster_home(load_project(shop).home)),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        },
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        _wait_for(f"{url}/server_info", process, shop / "webserver.log")
        yield Webserver(url, shop)
    finally:
        process.terminate()
        process.wait(20)
        log.close()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    raise AssertionError(f"no answer from {url}: {log.read_text()}")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1500, "height": 850})
    yield page
    page.close()
