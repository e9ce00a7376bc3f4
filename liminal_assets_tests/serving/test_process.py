"""A server in processes of its own, as people run it: its end, HTTPS, keys of tokens by URL."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from liminal_assets.serving.config import Tls, WorkerConfig
from liminal_assets.serving.guards.auth import AuthConfig, JwtConfig
from liminal_assets.serving.port import bound_socket
from liminal_assets.serving.releases.folders import ServingFolders
from liminal_assets_tests.certificates import certificate
from liminal_assets_tests.serving.shelf import Constant, make_release, until

pytestmark = pytest.mark.slow


def free_port() -> int:
    with bound_socket("127.0.0.1", 0) as bound:
        return int(bound.getsockname()[1])


@contextmanager
def server(folder: Path, **said: Any) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A server that is told so, and its port; it is ready."""
    release = make_release(ServingFolders(folder / "made"), "1", Constant(1.0))
    unpacked = folder / "unpacked"
    unpacked.mkdir()
    (unpacked / "release").symlink_to(release.folder)
    config = WorkerConfig("late_api", "", **said)
    (unpacked / "serving.json").write_bytes(config.to_json())
    port = free_port()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "liminal_assets.serving.standalone"),
            *("--release", str(unpacked), "--folder", str(folder / "state")),
            *("--host", "127.0.0.1", "--port", str(port)),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    scheme = "https" if config.tls else "http"

    def healthy() -> bool:
        assert process.poll() is None
        with suppress(httpx.TransportError):
            return httpx.get(f"{scheme}://127.0.0.1:{port}/readyz", verify=False).is_success
        return False

    try:
        until(healthy)
        yield process, port
    finally:
        process.kill()
        process.wait()


def test_on_sigterm_what_is_under_way_is_answered_and_nobody_else(tmp_path: Path) -> None:
    body = b'[{"a": 1.0}]'
    head = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    head += b"content-length: %d\r\n\r\n" % len(body)
    with server(tmp_path) as (process, port):
        url = f"http://127.0.0.1:{port}"
        with socket.create_connection(("127.0.0.1", port), timeout=30) as asking:
            asking.sendall(head + body[:5])
            until(lambda: "\nliminal_requests_under_way 1.0" in httpx.get(f"{url}/metrics").text)
            process.send_signal(signal.SIGTERM)

            def refused() -> bool:
                with socket.socket() as probe:
                    return probe.connect_ex(("127.0.0.1", port)) != 0

            until(refused)
            assert process.poll() is None
            asking.sendall(body[5:])
            answer = b"".join(iter(lambda: asking.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b'"prediction":1.0' in answer.replace(b" ", b"")
        assert process.wait(30) == 0


def test_https_is_spoken_and_nothing_else(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    with server(tmp_path, tls=Tls(str(cert), str(key))) as (_, port):
        trusting = ssl.create_default_context(cafile=str(cert))
        answer = httpx.post(f"https://127.0.0.1:{port}/predict", json=[{"a": 1.0}], verify=trusting)
        assert answer.json()["predictions"][0]["prediction"] == 1.0
        # who doesn't know the certificate isn't talked into it
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"https://127.0.0.1:{port}/healthz")
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{port}/healthz")
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.load_verify_locations(cert)
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            pytest.raises((ssl.SSLError, ConnectionError)),
        ):
            old.wrap_socket(plain, server_hostname="127.0.0.1")


KEYS = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("first", "second")}


def token(name: str) -> dict[str, str]:
    said = {"sub": "robot", "exp": time.time() + 600}
    return {
        "authorization": f"Bearer {jwt.encode(said, KEYS[name], 'ES256', headers={'kid': name})}"
    }


@contextmanager
def key_server(port: int, *names: str) -> Iterator[list[str]]:
    """Answers with a set of public keys; each request is kept."""
    asked: list[str] = []
    algorithm = jwt.get_algorithm_by_name("ES256")
    keys = [
        {**json.loads(algorithm.to_jwk(KEYS[name].public_key())), "kid": name} for name in names
    ]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = json.dumps({"keys": keys}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    served = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=served.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield asked
    finally:
        served.shutdown()
        thread.join()
        served.server_close()


def test_keys_by_url_come_late_change_and_go_away(tmp_path: Path) -> None:
    keys = free_port()
    config = JwtConfig(
        algorithms=("ES256",), jwks=f"http://127.0.0.1:{keys}/jwks.json", refresh=0.2
    )
    with server(tmp_path, auth=AuthConfig(jwt=config)) as (_, port):

        def status(name: str) -> int:
            url = f"http://127.0.0.1:{port}/predict"
            return httpx.post(url, json=[{"a": 1.0}], headers=token(name)).status_code

        # it began without them, and lets nobody in
        assert status("first") == 503
        with key_server(keys, "first") as asked:
            until(lambda: status("first") == 200)
            assert set(asked) == {"/jwks.json"}
            assert status("second") == 401
        with key_server(keys, "second") as asked:
            until(lambda: status("second") == 200)
            # the one before isn't in the set any more
            assert status("first") == 401
        # nobody answers there now: the last keys stay
        until(lambda: status("second") == 200)
        time.sleep(0.6)
        assert status("second") == 200
        assert status("first") == 401
