"""One HTTP request for the rest of a file, by ``requests``: its bytes, or how it failed.

Addresses are https; plain http to this machine alone, for mirrors served there and for tests.
"""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import requests
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError, IncompleteRead, InvalidHeader, ReadTimeoutError
from urllib3.util import Retry

from seal_store.errors import DownloadError, InputError

MIRROR = "check the address, or try another mirror with `base_urls`"
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same request may succeed."""
LARGEST = 1 << 62
"""Bytes; a server that names more does not say how long the file is."""


class Again(Exception):  # noqa: N818
    """A request failed in a way that may pass; ``wait``: seconds that the server asked for."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class Changed(Again):
    """The server has another version of the file than the one begun."""

    def __init__(self) -> None:
        super().__init__("the file has changed on the server")


@dataclass(frozen=True)
class Version:
    """Which version of a file a URL gives.

    ``validator`` is its strong ETag, else its date, for ``If-Range``; empty if a range cannot be
    asked for. ``size`` in bytes, None if it is not known ahead.
    """

    url: str
    validator: str = ""
    size: int | None = None


@dataclass
class Answer:
    """A response: the version it is of, the offset of its first byte, and its bytes."""

    version: Version
    start: int
    body: BaseHTTPResponse


def check_url(url: str, *, plain: bool = True) -> None:
    """Raise :class:`InputError` unless ``url`` is https, or (``plain``) http to this machine."""
    try:
        parts = urlsplit(url)
        scheme, host, _ = parts.scheme, parts.hostname or "", parts.port
    except ValueError:
        scheme, host = "", ""
    if scheme == "http" and host and not (plain and _is_loopback(host)):
        raise InputError(f"{url}: http without TLS", "give an https address")
    if scheme not in ("http", "https") or not host:
        raise InputError(f"{url!r}: not an https address", "as in https://host/folder")


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


@contextmanager
def get(url: str, begun: Version | None, have: int, timeout: float) -> Iterator[Answer]:
    """Ask for ``url`` from byte ``have`` on if version ``begun`` is still there, else for all.

    Servers are checked by the system's certificates. ``timeout``: seconds without a byte. Raises,
    as reading the body does, :class:`Again` for what may pass, such as fewer bytes than announced,
    :class:`Changed` if the rest is of another version, :class:`DownloadError` for what will not.
    """
    if have == 0 or (begun is not None and not begun.validator):
        begun = None
    rest = {"Range": f"bytes={have}-", "If-Range": begun.validator} if begun else {}
    with _network(url), requests.Session() as session:
        paths = ssl.get_default_verify_paths()
        session.verify = paths.cafile or paths.capath or True  # True: those of the library
        session.max_redirects = 10
        session.headers.update({"User-Agent": "seal-store", "Accept-Encoding": "identity"})
        session.hooks["response"].append(_check_redirect)
        with session.get(url, headers=rest, stream=True, timeout=timeout) as response:
            yield _answer(url, response, begun, have)


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


def _answer(url: str, response: requests.Response, begun: Version | None, have: int) -> Answer:
    code, headers, size = response.status_code, response.headers, response.raw.length_remaining
    if code in TRANSIENT:
        raise Again(f"status {code} {response.reason}", _retry_after(response))
    if code == 416:
        raise Changed
    if code != 200 and (code != 206 or begun is None):
        raise DownloadError(f"{url}: status {code} {' '.join(response.reason.split())}", MIRROR)
    if (size is None and not response.raw.chunked) or (size or 0) > LARGEST:
        raise DownloadError(f"{url}: the server does not say how long the file is", MIRROR)
    etag, date = headers.get("ETag", ""), headers.get("Last-Modified", "")
    validator = date if etag.startswith("W/") else etag or date
    if code == 200 or begun is None:
        return Answer(Version(url, validator, size), 0, response.raw)
    span = rf"bytes {have}-\d+/({begun.size}|\*)"
    asked = re.fullmatch(span, headers.get("Content-Range", ""))
    if not asked or validator not in ("", begun.validator):
        raise Changed
    return Answer(begun, have, response.raw)


def _retry_after(response: requests.Response) -> float:
    """Seconds, from a number or an HTTP date; 0 if there is neither."""
    with suppress(InvalidHeader, ValueError, OverflowError):
        return Retry().get_retry_after(response.raw) or 0.0
    return 0.0


@contextmanager
def _network(url: str) -> Iterator[None]:
    """What the network does, as :class:`Again` or :class:`DownloadError`."""
    try:
        yield
    except (requests.Timeout, ReadTimeoutError) as error:
        raise Again("no answer in time") from error
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError, HTTPError) as error:
        cause: BaseException = error
        while cause.__context__ is not None:
            cause = cause.__context__
        if isinstance(cause, ssl.SSLCertVerificationError):
            why, hint = cause.verify_message, "check the clock and the proxy of this machine"
            raise DownloadError(f"{url}: its certificate is not valid ({why})", hint) from error
        if isinstance(cause, IncompleteRead):
            got, size = cause.partial, cause.partial + cause.expected
            raise Again(f"the connection was closed after {got:,} of {size:,} bytes") from error
        where = "the connection broke" if isinstance(error, HTTPError) else "cannot be reached"
        raise Again(f"{where} ({_reason(cause)})") from error
    except (requests.RequestException, UnicodeError) as error:
        why = f"no answer that can be used ({_reason(error)})"
        raise DownloadError(f"{url}: {why}", MIRROR) from error


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())[:300]
