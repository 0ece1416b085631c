"""One request for the rest of a file, over ``requests``: what it gives, or how it failed.

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
from urllib3.exceptions import HTTPError, IncompleteRead, InvalidHeader, ReadTimeoutError
from urllib3.util import Retry

from seal_store.errors import DownloadError, InputError

MIRROR = "check the address, or try another mirror with --base-url"
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same request may succeed."""
LARGEST = 1 << 62
"""Bytes; a server that names more does not say how long the file is."""
SPAN = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
"""``Content-Range``: first and last byte, and those in all."""


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
    """A response: the version it is of, and the offset of its first byte."""

    version: Version
    start: int
    response: requests.Response

    def blocks(self) -> Iterator[bytes]:
        """The bytes as they arrive. Raises :class:`Again` if there are fewer than announced."""
        block = b"begin"
        while block:
            with _network(self.version.url):
                block = self.response.raw.read1(1 << 20, decode_content=False)
            yield block


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


class _Session(requests.Session):
    """Checks servers by the system's certificates, and where redirects lead."""

    def __init__(self) -> None:
        super().__init__()
        paths = ssl.get_default_verify_paths()
        self.verify = paths.cafile or paths.capath or True  # True: those of the library
        self.max_redirects = 10
        self.headers.update({"User-Agent": "seal-store", "Accept-Encoding": "identity"})

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """The address of a redirect: https, or http on this machine if it comes from there."""
        target = super().get_redirect_target(resp)
        try:
            if target is not None:
                goal = urljoin(resp.url, target)
                check_url(goal, plain=urlsplit(resp.url).scheme == "http")
        except InputError:
            resp.close()
            raise DownloadError(
                f"{resp.url}: redirects to {goal}, which is not https", MIRROR
            ) from None
        except ValueError:
            resp.close()
            raise
        return target


@contextmanager
def get(url: str, begun: Version | None, have: int, timeout: float) -> Iterator[Answer]:
    """Ask for ``url`` from byte ``have`` on if version ``begun`` is still there, else for all.

    ``timeout``: seconds without a byte. Raises :class:`Again` for what may pass,
    :class:`Changed` if the rest is of another version, :class:`DownloadError` for what will not.
    """
    headers = {}
    if begun is not None and have > 0 and begun.validator:
        headers = {"Range": f"bytes={have}-", "If-Range": begun.validator}
    with _Session() as session:
        with _network(url):
            response = session.get(url, headers=headers, stream=True, timeout=timeout)
        with response:
            yield _answer(url, response, begun if headers else None, have)


def _answer(url: str, response: requests.Response, begun: Version | None, have: int) -> Answer:
    code = response.status_code
    if code in TRANSIENT:
        raise Again(f"status {code} {response.reason}", _retry_after(response))
    if code == 416:
        raise Changed("the file has changed on the server")
    if code != 200 and (code != 206 or begun is None):
        raise DownloadError(f"{url}: status {code} {' '.join(response.reason.split())}", MIRROR)
    size = response.raw.length_remaining
    if (size is None and not response.raw.chunked) or (size or 0) > LARGEST:
        raise DownloadError(f"{url}: the server does not say how long the file is", MIRROR)
    etag, modified = (response.headers.get(name, "") for name in ("ETag", "Last-Modified"))
    if code == 200 or begun is None:
        return Answer(Version(url, etag, modified, size), 0, response)
    span = SPAN.fullmatch(response.headers.get("Content-Range", ""))
    first, last, whole = span.groups() if span else ("0", "0", "0")
    size = begun.size if whole == "*" else int(whole)
    found = Version(url, etag or begun.etag, modified or begun.modified, size)
    if found != begun or int(first) != have or not have <= int(last) < (size or LARGEST):
        raise Changed("the file has changed on the server")
    return Answer(found, have, response)


def _retry_after(response: requests.Response) -> float:
    """Seconds, from a number or an HTTP date; 0 if there is neither."""
    try:
        return Retry().get_retry_after(response.raw) or 0.0
    except (InvalidHeader, ValueError, OverflowError):
        return 0.0


@contextmanager
def _network(url: str) -> Iterator[None]:
    """What the network does, as :class:`Again` or :class:`DownloadError`."""
    try:
        yield
    except (requests.Timeout, ReadTimeoutError) as error:
        raise Again("no answer in time") from error
    except requests.TooManyRedirects as error:
        raise DownloadError(f"{url}: redirects in an infinite loop", MIRROR) from error
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
    except (requests.RequestException, ValueError) as error:
        raise DownloadError(
            f"{url}: an answer that is not HTTP ({_reason(error)})", MIRROR
        ) from error


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())[:300]
