"""One HTTP request for the rest of a file, by ``requests``: its bytes, or how it failed.

Addresses are https; plain http to this machine alone, for mirrors served there and for tests.
"""

from __future__ import annotations

import http.client
import io
import math
import re
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import requests.adapters
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError, IncompleteRead, InvalidHeader
from urllib3.util import Retry

from seal_store.errors import DownloadError, InputError

MIRROR = "check the address, or try another mirror with `base_urls`"
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same request may succeed."""
SLOWEST = 1024
"""Bytes a second; a body that is slower for as long as the timeout has ended."""


class Again(Exception):  # noqa: N818
    """A request failed in a way that may pass; ``wait``: seconds that the server asked for."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True)
class Version:
    """Which version of a file a URL gives.

    ``validator`` is its strong ETag, else its date, for ``If-Range``; empty if a range cannot be
    asked for. ``size`` in bytes, None if it is not known ahead.
    """

    url: str
    validator: str = ""
    size: int | None = None


def check_url(url: str, *, plain: bool = True) -> None:
    """Raise :class:`InputError` unless ``url`` is https, or (``plain``) http to this machine."""
    with suppress(ValueError):
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
        if host and parts.scheme == "https":
            return
        plain = plain and bool(host) and parts.scheme == "http"
        if plain and (host == "localhost" or ip_address(host or "").is_loopback):
            return
    why = "not an https address (http without TLS is for this machine only)"
    raise InputError(f"{url!r}: {why}", "as in https://host/folder")


@contextmanager
def get(
    url: str, begun: Version | None, have: int, timeout: float
) -> Iterator[tuple[Version, BaseHTTPResponse]]:
    """Ask for ``url`` from byte ``have`` on if version ``begun`` is still there, else for all.

    Gives the version and its bytes: the rest, if it is ``begun`` itself. Servers are checked by
    the system's certificates. ``timeout``: seconds without a byte, until the headers are complete,
    and after which a body must have come at ``SLOWEST``. Raises, as reading the body does,
    :class:`Again` for what may pass, such as fewer bytes than announced, :class:`DownloadError`
    for what will not.
    """
    with _network(url), requests.Session() as session:
        paths = ssl.get_default_verify_paths()
        session.verify = paths.cafile or paths.capath or True  # True: those of the library
        session.max_redirects = 10
        session.mount("http://", _Adapter())
        session.mount("https://", _Adapter())
        session.headers.update({"User-Agent": "seal-store", "Accept-Encoding": "identity"})
        session.hooks["response"].append(_check_redirect)
        for known in (begun, None) if have and begun and begun.validator else (None,):
            rest = {"Range": f"bytes={have}-", "If-Range": known.validator} if known else {}
            with session.get(url, headers=rest, stream=True, timeout=timeout) as response:
                if version := _version(url, response, known, have):
                    yield version, response.raw
                    return


class _Adapter(requests.adapters.HTTPAdapter):
    """Reads every response, those of proxies too, through :class:`_Paced`."""

    def get_connection_with_tls_context(self, *arguments: Any, **options: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*arguments, **options)
        own = type("Connection", (pool.ConnectionCls,), {"response_class": _Response})
        pool.ConnectionCls = own
        return pool


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self._paced = _Paced(self.fp.detach(), sock.gettimeout() or math.inf)
        self.fp = io.BufferedReader(self._paced)

    def begin(self) -> None:
        super().begin()
        self._paced.expect(SLOWEST)


class _Paced(io.RawIOBase):
    """Bytes of a connection, within its timeout: all headers, then what has to come by then."""

    def __init__(self, source: io.RawIOBase, timeout: float) -> None:
        self.source, self.timeout = source, timeout
        self.expect(math.inf)

    def expect(self, pace: float) -> None:
        """Let ``pace`` bytes a second be the least from now on."""
        self.pace, self.since, self.given = pace, time.monotonic(), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Raises :class:`TimeoutError`."""
        count = self.source.readinto(buffer)
        self.given += count or 0
        if time.monotonic() - self.since > self.timeout:
            if self.given < self.pace * self.timeout:
                raise TimeoutError
            self.expect(self.pace)
        return count

    def close(self) -> None:
        self.source.close()
        super().close()


def _check_redirect(response: requests.Response, **_: object) -> None:
    """Refuse a redirect that leaves https, or this machine for plain http."""
    if response.is_redirect:
        response.close()  # else its body, of any length, would be read to memory
        try:
            goal = urljoin(response.url, response.headers["Location"])
            check_url(goal, plain=response.url.startswith("http:"))
        except ValueError:
            why = f"redirects to {response.headers['Location']!r:.300}, which is not https"
            raise DownloadError(f"{response.url}: {why}", MIRROR) from None


def _version(
    url: str, response: requests.Response, begun: Version | None, have: int
) -> Version | None:
    """The version that all came of, ``begun`` for the rest of it, None for any other bytes."""
    code, headers, size = response.status_code, response.headers, response.raw.length_remaining
    status = f"status {code} {' '.join(response.reason.split())}"
    if code in TRANSIENT:
        wait = 0.0
        with suppress(InvalidHeader, ValueError, OverflowError):  # a number or an HTTP date
            wait = Retry().get_retry_after(response.raw) or 0.0
        raise Again(status, wait)
    if code != 200 and (code not in (206, 416) or begun is None):
        raise DownloadError(f"{url}: {status}", MIRROR)
    etag, date = headers.get("ETag", ""), headers.get("Last-Modified", "")
    validator = date if etag.startswith("W/") else etag or date
    if code != 200 and begun is not None:
        span = rf"bytes {have}-\d+/({begun.size}|\*)"
        asked = code == 206 and re.fullmatch(span, headers.get("Content-Range", ""))
        return begun if asked and validator in ("", begun.validator) else None
    if (size is None and not response.raw.chunked) or (size or 0) > sys.maxsize:
        raise DownloadError(f"{url}: the server does not say how long the file is", MIRROR)
    return Version(url, validator, size)


@contextmanager
def _network(url: str) -> Iterator[None]:
    """What the network does, as :class:`Again` or :class:`DownloadError`."""
    try:
        yield
    except (requests.RequestException, HTTPError, UnicodeError) as error:
        cause: BaseException = error
        while cause.__context__ is not None:
            cause = cause.__context__
        text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
        reason = " ".join(str(text).split())[:300]
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = f"its certificate is not valid ({cause.verify_message})"
            hint = "check the clock and the proxy of this machine"
            raise DownloadError(f"{url}: {why}", hint) from error
        if isinstance(cause, TimeoutError):
            reason = "no answer in time"
        elif isinstance(cause, IncompleteRead):
            got, size = cause.partial, cause.partial + cause.expected
            reason = f"the connection was closed after {got:,} of {size:,} bytes"
        elif isinstance(error, HTTPError):
            reason = f"the connection broke ({reason})"
        elif isinstance(error, requests.ConnectionError):
            reason = f"cannot be reached ({reason})"
        else:
            raise DownloadError(f"{url}: no answer that can be used ({reason})", MIRROR) from error
        raise Again(reason) from error
