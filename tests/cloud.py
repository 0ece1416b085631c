"""Servers on loopback: S3 by moto, a proxy that counts and fails, files over HTTP."""

from __future__ import annotations

import http.client
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any

SETTINGS = {
    "AWS_ACCESS_KEY_ID": "loopback",
    "AWS_SECRET_ACCESS_KEY": "never-to-be-seen",
    "AWS_REGION": "us-east-1",
}


@contextmanager
def s3_server(folder: Path) -> Iterator[int]:
    """A process of moto's server; its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (folder / "moto.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "moto.log").read_text()
                time.sleep(0.1)
        yield port
    finally:
        process.kill()
        process.wait()


class _Served(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """A server in this process; its address."""
    server = _Served(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Proxy:
    """Stands before an S3 server: counts, and fails as often as it is told, by chance of a seed.

    Of ``fails`` of the requests is answered 503, of ``cuts`` the connection ends in the middle of
    the answer, or before one that has no body; with ``twice`` every PUT reaches the server two
    times. A request like ``stops``, as ``PUT .*/manifest.json``, is never answered.
    """

    def __init__(
        self, port: int, *, seed: int = 0, fails: float = 0, cuts: float = 0, twice: bool = False
    ) -> None:
        self.port, self.fails, self.cuts, self.twice = port, fails, cuts, twice
        self.sent = self.received = 0
        self.requests: list[str] = []
        self.stops, self.stopped = "", threading.Event()
        self._random, self._lock = Random(seed), threading.Lock()

    def fate(self) -> tuple[bool, bool]:
        """Whether the next request fails, and whether it is cut."""
        with self._lock:
            return self._random.random() < self.fails, self._random.random() < self.cuts

    def handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version, disable_nagle_algorithm = "HTTP/1.1", True

            def forward(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                fails, cut = proxy.fate()
                keys = re.findall(rb"<Key>(.*?)</Key>", body) if self.command == "POST" else []
                proxy.requests.append(" ".join([self.command, self.path, *map(bytes.decode, keys)]))
                proxy.received += len(body)
                if proxy.stops and re.match(proxy.stops, proxy.requests[-1]):
                    proxy.stopped.set()
                    threading.Event().wait(60)
                    return
                if fails:
                    self.answer(503, [], b"")
                    return
                for _ in range(2 if proxy.twice and self.command == "PUT" else 1):
                    status, headers, data = self.ask(body)
                self.answer(status, headers, data, cut=cut)

            def ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
                server = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=60)
                headers = {k: v for k, v in self.headers.items() if k.lower() != "connection"}
                server.request(self.command, self.path, body, headers)
                found = server.getresponse()
                data = found.read()
                server.close()
                return found.status, found.getheaders(), data

            def answer(
                self, status: int, headers: list[tuple[str, str]], data: bytes, cut: bool = False
            ) -> None:
                if cut and not data:  # done, and nobody is told
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return
                self.send_response_only(status)
                own = {"content-length", "connection", "transfer-encoding", "keep-alive"}
                for name, value in headers:
                    if name.lower() not in own or (
                        self.command == "HEAD" and name.lower() == "content-length"
                    ):
                        self.send_header(name, value)
                if self.command != "HEAD":
                    self.send_header("Content-Length", str(len(data)))
                elif not any(name.lower() == "content-length" for name, _ in headers):
                    self.send_header("Content-Length", "0")
                self.end_headers()
                if cut:
                    self.wfile.write(data[: len(data) // 2])
                    self.wfile.flush()
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                elif self.command != "HEAD":
                    self.wfile.write(data)
                    proxy.sent += len(data)

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = forward  # noqa: N815

            def log_message(self, *args: Any) -> None:
                pass

        return Handler


def files_handler(folder: Path, *, ranges: bool = True) -> type[BaseHTTPRequestHandler]:
    """Serves the files below ``folder``, in parts if asked for and ``ranges``."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version, disable_nagle_algorithm = "HTTP/1.1", True

        def do_GET(self) -> None:
            path = folder / urllib.request.unquote(self.path.lstrip("/"))
            if not path.is_file():
                self.send_response_only(404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            data = path.read_bytes()
            asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
            whole = len(data)
            self.send_response_only(206 if asked and ranges else 200)
            if asked and ranges:
                first, last = int(asked[1]), min(int(asked[2]), whole - 1)
                data = data[first : last + 1]
                self.send_header("Content-Range", f"bytes {first}-{last}/{whole}")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Last-Modified", self.date_time_string(int(path.stat().st_mtime)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *args: Any) -> None:
            pass

    return Handler


def make_bucket(port: int, name: str) -> None:
    """An empty bucket of the server."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/{name}", method="PUT")
    urllib.request.urlopen(request).close()


def client(address: str, port: int | None = None) -> tuple[Any, str]:
    """A client of obstore's own, of the server at ``port`` itself, and the path in its bucket."""
    from obstore.store import S3Store

    bucket, _, path = address.removeprefix("s3://").partition("/")
    own: Any = {"endpoint": f"http://127.0.0.1:{port}"} if port else {}
    return S3Store(bucket, client_options={"allow_http": True}, **own), path


def objects(address: str, port: int) -> dict[str, bytes]:
    """What lies below ``address``, by name; by the empty name what lies there itself."""
    import obstore

    own, path = client(address, port)
    found = [item["path"] for item in obstore.list(own, path).collect()]
    if not found:  # a prefix is of whole names
        found = [path]
    return {name[len(path) :].lstrip("/"): bytes(obstore.get(own, name).bytes()) for name in found}


def put(address: str, data: bytes | Path) -> None:
    """Write an object, as any tool does."""
    import obstore

    own, path = client(address)
    obstore.put(own, path, data)


def upload(folder: Path, address: str) -> None:
    """Copy a folder into a bucket, the oldest file first: an index is not older than its file."""
    for path in sorted(folder.rglob("*"), key=lambda path: path.stat().st_mtime_ns):
        if path.is_file():
            put(f"{address}/{path.relative_to(folder).as_posix()}", path)


def environment(endpoint: str) -> dict[str, str]:
    """What a process needs to reach the server at ``endpoint``."""
    return {**os.environ, **SETTINGS, "AWS_ENDPOINT_URL": endpoint}
