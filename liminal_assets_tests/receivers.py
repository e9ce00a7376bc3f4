"""Servers on this machine that receive alerts: HTTP and SMTP."""

from __future__ import annotations

import base64
import json
import socketserver
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Inbox:
    """What a server got."""

    port: int = 0
    bodies: list[Any] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    mails: list[str] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/T000/SECRET"


@contextmanager
def http_receiver(answers: Sequence[int] = ()) -> Iterator[Inbox]:
    """A server that answers POSTs with these codes in turn, then with 200."""
    inbox, codes = Inbox(), list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # http.server's name
            body = self.rfile.read(int(self.headers["Content-Length"]))
            inbox.bodies.append(json.loads(body))
            inbox.headers.append(dict(self.headers))
            inbox.paths.append(self.path)
            self.send_response(codes.pop(0) if codes else 200)
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    inbox.port = server.server_address[1]
    with _running(server):
        yield inbox


@contextmanager
def smtp_receiver(
    answers: Sequence[str] = (), *, tls: ssl.SSLContext | None = None
) -> Iterator[Inbox]:
    """A mail server that answers MAIL with these lines in turn, then accepts.

    Args:
        tls: offers STARTTLS with it.
    """
    inbox, lines = Inbox(), list(answers)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self._say("220 test")
            while line := self.rfile.readline().decode().strip():
                word = line.split(" ")[0].upper()
                if word == "EHLO":
                    offers = "250-STARTTLS\r\n" if tls else ""
                    self._say(f"250-test\r\n{offers}250 AUTH PLAIN")
                elif word == "STARTTLS" and tls:
                    self._say("220 go")
                    self.request = tls.wrap_socket(self.request, server_side=True)
                    self.rfile = self.request.makefile("rb")
                elif word == "AUTH":
                    inbox.logins.append(base64.b64decode(line.split(" ")[2]).decode())
                    self._say("235 ok")
                elif word == "MAIL":
                    self._say(lines.pop(0) if lines else "250 ok")
                elif word == "DATA":
                    self._say("354 go")
                    inbox.mails.append(self._letter())
                    self._say("250 ok")
                else:
                    self._say("221 bye" if word == "QUIT" else "250 ok")
                    if word == "QUIT":
                        return

        def _say(self, line: str) -> None:
            self.request.sendall(f"{line}\r\n".encode())

        def _letter(self) -> str:
            lines: list[str] = []
            while (line := self.rfile.readline().decode().rstrip("\r\n")) != ".":
                lines.append(line)
            return "\n".join(lines)

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    inbox.port = server.server_address[1]
    with _running(server):
        yield inbox


@contextmanager
def _running(server: Any) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
