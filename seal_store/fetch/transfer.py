"""One HTTP request for a file, or for the rest of it: what is asked, what the answer means.

HTTPS only, and plain HTTP to this machine where the caller asks for it; redirects keep to that.
Proxies are those of the environment (``https_proxy``, ``no_proxy``).
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPResponse
from typing import IO, Any
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from seal_store.errors import DownloadError, InputError

CHUNK = 1 << 20
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same request may succeed."""


class Again(Exception):  # noqa: N818
    """A request failed in a way that may pass; ``wait``: seconds that the server asked for."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class Changed(Again):
    """The server has another version of the file than the one begun."""


@dataclass(frozen=True)
class Version:
    """Which version of a file a URL gives: its validators and size in bytes, as far as known."""

    url: str
    etag: str = ""
    modified: str = ""
    size: int | None = None

    @property
    def validator(self) -> str:
        """For ``If-Range``: a strong ETag, else the date; empty if a range cannot be asked for."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified


@dataclass
class Answer:
    """A response: the version it is of, the offset of its first byte, its length if known."""

    version: Version
    start: int
    length: int | None
    response: HTTPResponse

    def blocks(self) -> Iterator[bytes]:
        """The bytes as they arrive. Raises :class:`Again` if there are fewer than announced."""
        got = 0
        while self.length is None or got < self.length:
            size = CHUNK if self.length is None else min(CHUNK, self.length - got)
            with _network(self.version.url):
                block = self.response.read1(size)
            if not block:
                break
            got += len(block)
            yield block
        if self.length is not None and got < self.length:
            raise Again(f"the connection was closed after {got:,} of {self.length:,} bytes")


def check_url(url: str, *, plain: bool = True) -> None:
    """Raise :class:`InputError` unless ``url`` is https, or (``plain``) http to this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        parts, host = urlsplit(""), ""
    if parts.scheme == "https" and host:
        return
    if parts.scheme == "http" and host:
        if plain and _is_loopback(host):
            return
        raise InputError(f"{url}: http without TLS", "give an https address")
    raise InputError(f"{url!r}: not an https address", "as in https://host/folder")


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


@contextmanager
def get(url: str, begun: Version | None, have: int, timeout: float) -> Iterator[Answer]:
    """Ask for ``url`` from byte ``have`` on if version ``begun`` is still there, else for all.

    ``timeout``: seconds without a byte. Raises :class:`Again` for what may pass,
    :class:`Changed` if the rest is of another version, :class:`DownloadError` for what will not.
    """
    headers = {"User-Agent": "seal-store", "Accept-Encoding": "identity"}
    ranged = begun is not None and have > 0 and bool(begun.validator)
    if begun is not None and ranged:
        headers |= {"Range": f"bytes={have}-", "If-Range": begun.validator}
    asked = request.Request(url, headers=headers)  # noqa: S310  the opener knows http(s) only
    with _network(url):
        response: Any = _opener(url).open(asked, timeout=timeout)
    with response:
        yield _answer(url, response, begun if ranged else None, have if ranged else 0)


def _answer(url: str, response: Any, begun: Version | None, have: int) -> Answer:
    header = response.headers
    length = _integer(header.get("Content-Length"))
    etag, modified = header.get("ETag", ""), header.get("Last-Modified", "")
    if response.status == 200:
        if length is None and not response.chunked:
            raise DownloadError(
                f"{url}: the server does not say how long the file is", "try another mirror"
            )
        return Answer(Version(url, etag, modified, length), 0, length, response)
    if response.status != 206 or begun is None:
        raise DownloadError(f"{url}: unexpected status {response.status}", "try another mirror")
    span, _, whole = header.get("Content-Range", "").removeprefix("bytes ").partition("/")
    size = _integer(whole)
    first, last = (_integer(part) for part in (span.partition("-")[0], span.partition("-")[2]))
    found = Version(url, etag or begun.etag, modified or begun.modified, size or begun.size)
    if first != have or last is None or found != begun or last >= (size or last + 1):
        raise Changed("the file has changed on the server")
    return Answer(found, have, last + 1 - have, response)


def _integer(text: str | None) -> int | None:
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


class _Redirects(request.HTTPRedirectHandler):
    """Follows redirects to https; to http on this machine only if it began so."""

    def __init__(self, *, plain: bool) -> None:
        self.plain = plain

    def redirect_request(
        self, req: request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> request.Request | None:
        """Check where a redirect leads."""
        try:
            check_url(newurl, plain=self.plain)
        except InputError:
            raise DownloadError(
                f"{req.full_url}: redirects to {newurl}, which is not https", "try another mirror"
            ) from None
        return super().redirect_request(req, fp, code, msg, headers, newurl)

    def http_error_302(
        self, req: request.Request, fp: IO[bytes], code: int, msg: str, headers: Any
    ) -> Any:
        """Follow, or close what was answered; urllib leaves it open at a malformed address."""
        try:
            return super().http_error_302(req, fp, code, msg, headers)
        except Exception:
            fp.close()
            raise

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _opener(url: str) -> request.OpenerDirector:
    """An opener for http and https alone: no file, ftp or data addresses."""
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(),
        request.HTTPHandler(),
        request.HTTPSHandler(),
        request.HTTPDefaultErrorHandler(),
        _Redirects(plain=urlsplit(url).scheme == "http"),
        request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


@contextmanager
def _network(url: str) -> Iterator[None]:
    """What the network does, as :class:`Again` or :class:`DownloadError`."""
    try:
        yield
    except HTTPError as error:
        error.close()
        if error.code == 416:
            raise Changed("the file has changed on the server") from error
        if error.code in TRANSIENT:
            wait = _retry_after(error.headers.get("Retry-After", ""))
            raise Again(f"status {error.code} {error.reason}", wait) from error
        reason = " ".join(str(error.reason).split())
        raise DownloadError(
            f"{url}: status {error.code} {reason}",
            "check the address, or try another mirror with --base-url",
        ) from error
    except URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise DownloadError(
                f"{url}: its certificate is not valid ({error.reason.verify_message})",
                "check the clock and the proxy of this machine",
            ) from error
        raise Again(f"cannot be reached ({_reason(error.reason)})") from error
    except TimeoutError as error:
        raise Again("no answer in time") from error
    except (HTTPException, OSError) as error:
        if isinstance(error, DownloadError):
            raise
        raise Again(f"the connection broke ({_reason(error)})") from error
    except ValueError as error:
        raise DownloadError(
            f"{url}: an answer that is not HTTP ({_reason(error)})", "try another mirror"
        ) from error


def _reason(error: object) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())


def _retry_after(text: str) -> float:
    """Seconds, from a number or an HTTP date; 0 if there is neither."""
    seconds = _integer(text)
    if seconds is not None:
        return float(seconds)
    try:
        date = parsedate_to_datetime(text)
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        return max(0.0, (date - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return 0.0
