"""A web server on this machine that misbehaves as told."""

from __future__ import annotations

import http.server
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path

import pytest

DATE = formatdate(1_700_000_000, usegmt=True)
Step = Callable[["Handler"], bool | None]


@dataclass
class Site:
    """What the server gives, how it misbehaves, and what it was asked.

    ``script`` holds one entry a request, run before the ordinary answer; one that returns True
    has answered. ``cut``: bytes of body after which each answer is dropped.
    """

    content: bytes
    etag: str = '"one"'
    modified: str = DATE
    ranges: bool = True
    cut: int | None = None
    pause: float = 0.0
    script: list[Step | None] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)
    url: str = ""


class Handler(http.server.BaseHTTPRequestHandler):
    site: Site

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        site = self.site
        site.asked.append({"path": self.path, **{k.lower(): v for k, v in self.headers.items()}})
        step = site.script.pop(0) if site.script else None
        if step is not None and step(self):
            return
        start, size = 0, len(site.content)
        wanted, condition = self.headers.get("Range"), self.headers.get("If-Range")
        if wanted and site.ranges and condition in (None, site.etag, site.modified):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start >= size > 0:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
            self.end_headers()
            return
        self.begin(206 if start else 200, size - start)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.end_headers()
        self.body(site.content[start:])

    def begin(self, status: int, length: int | None) -> None:
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        if self.site.etag:
            self.send_header("ETag", self.site.etag)
        if self.site.modified:
            self.send_header("Last-Modified", self.site.modified)

    def body(self, content: bytes) -> None:
        if self.site.cut is not None:
            content = content[: self.site.cut]
        try:
            for first in range(0, len(content), 10_000):
                self.wfile.write(content[first : first + 10_000])
                self.wfile.flush()
                if self.site.pause:
                    time.sleep(self.site.pause)
        except OSError:  # the client is gone
            pass
        self.close_connection = True


def status(code: int, **headers: str) -> Step:
    def step(handler: Handler) -> bool:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    return step


def raw(answer: str) -> Step:
    """Status and headers as they stand."""

    def step(handler: Handler) -> bool:
        handler.wfile.write(f"HTTP/1.1 {answer}\r\n\r\n".encode(errors="surrogateescape"))
        handler.close_connection = True
        return True

    return step


def hang_up(handler: Handler) -> bool:
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)
    return True


@pytest.fixture
def serve() -> Iterator[Callable[..., Site]]:
    servers = []

    def start(content: bytes, certificate: Path | None = None, **facts: object) -> Site:
        site = Site(content, **facts)  # type: ignore[arg-type]
        handler = type("Own", (Handler,), {"site": site})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        scheme = "http://127.0.0.1" if certificate is None else "https://localhost"
        site.url = f"{scheme}:{server.server_address[1]}"
        return site

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
