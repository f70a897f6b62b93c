"""Servers on this machine: what takes messages, a webhook and mail, and the TLC's months."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from taxi_nb.pipeline import notify


class Webhook(BaseHTTPRequestHandler):
    """Takes messages; the first ones it may refuse."""

    got: list[dict[str, Any]]
    refuses: int

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["content-length"]))
        server: Any = self.server
        if server.refuses > 0:
            server.refuses -= 1
            self.send_response(503)
        else:
            server.got.append(json.loads(content))
            self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Mail(socketserver.StreamRequestHandler):
    """Enough of SMTP to take a mail."""

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        for line in iter(self.rfile.readline, b""):
            if line.upper().startswith(b"DATA"):
                self.wfile.write(b"354 go on\r\n")
                lines = iter(self.rfile.readline, b".\r\n")
                self.server.got.append(b"".join(lines).decode())  # type: ignore[attr-defined]
            if line.upper().startswith(b"QUIT"):
                self.wfile.write(b"221 bye\r\n")
                return
            self.wfile.write(b"250 ok\r\n")


@contextmanager
def serving(server: Any) -> Iterator[Any]:
    server.got, server.refuses = [], 0
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A webhook; its address, with a password, is in OPS_HOOK."""
    monkeypatch.setattr(notify, "_SECONDS_BETWEEN", (0.01, 0.01))
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Webhook)) as server:
        monkeypatch.setenv("OPS_HOOK", f"json://me:pa55word@127.0.0.1:{server.server_port}")
        yield server


@pytest.fixture
def mail(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A mail server; the address is in OPS_MAIL."""
    with serving(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail)) as server:
        port = server.server_address[1]
        address = f"mailto://127.0.0.1:{port}?from=pipeline@example.com&to=ops@example.com"
        monkeypatch.setenv("OPS_MAIL", address)
        yield server


@contextmanager
def published(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a folder be what the TLC has published."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("TAXI_NB_TLC_URL", f"http://127.0.0.1:{server.server_port}")
        yield
        server.shutdown()
