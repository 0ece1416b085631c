"""Files in a bucket or on a web server: parts of them, fetched through obstore, several at once.

One client for each bucket or server and process; credentials, endpoint and region come from the
environment and the usual files, and are in no object that is sent to another process. Everything
that comes is bounded by what was asked for.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

from seal_store.common.beside import GROUP
from seal_store.common.extras import require
from seal_store.common.files import sync
from seal_store.errors import RemoteError
from seal_store.store.address import Address, Entry
from seal_store.store.crc import ends_with_crc
from seal_store.store.credentials import aws_settings
from seal_store.store.kept import Kept

T = TypeVar("T")

NEAR = 128 << 10
"""Parts of a file with no more bytes between them are fetched as one."""

AT_ONCE = 16
"""Requests of one reading at a time."""

TRIES = 8
"""How often a body that breaks off is asked for; obstore repeats failed requests itself."""

BLOCK = 1 << 20
"""Bytes of a file without manifest that are fetched at a time."""

PIECE = 8 << 20
"""Bytes of a large body that are taken at a time."""

_RETRIES: Any = {
    "max_retries": 10,
    "backoff": {
        "init_backoff": timedelta(milliseconds=50),
        "max_backoff": timedelta(seconds=5),
        "base": 2,
    },
}


class Objects:
    """The files below ``path``, see :class:`~seal_store.store.place.Files`."""

    threads = AT_ONCE

    def __init__(self, path: Address) -> None:
        """Raises :class:`~seal_store.errors.MissingExtraError` without the extra `cloud`."""
        require("cloud", str(path))
        self.path = path
        self._kept = Kept(path.cache) if path.cache is not None else None

    def read(self, name: str, most: int) -> bytes:
        """All of a file of at most ``most`` bytes."""
        return fetched(self.path / name, None, most)

    def has(self, name: str) -> bool:
        """Whether there is a file of that name."""
        return head(self.path / name) is not None

    def exists(self) -> bool:
        """Whether there is a group: there are no folders."""
        return self.has(GROUP)

    @contextmanager
    def opened(self, name: str, listed: Entry | None) -> Iterator[Listed]:
        """A file as the manifest lists it."""
        if listed is None:
            raise ValueError("not in the manifest")
        yield Listed(self.path / name, listed, self._kept)

    def share(self, name: str, listed: Entry, target: Path) -> None:
        """Copy a file, which must be as it is listed."""
        with self.opened(name, listed) as file:
            (data,) = file.ranges([(0, listed["size"])])
        if hashlib.sha256(data).hexdigest() != listed["sha256"]:
            raise RemoteError(f"{self.path / name}: not as the manifest lists it", "copy it again")
        target.write_bytes(data)
        sync(target)

    def misplaced(self, listed: Mapping[str, Entry]) -> dict[str, str]:
        """Nothing: sizes are compared as files are read."""
        return {}

    def names(self) -> list[str] | None:
        """All files; None where a server has no way to list them."""
        if self.path.root.startswith("http"):
            return None
        return list(listed_below(self.path))

    def left(self) -> str:
        """Nothing: nothing is written beside it."""
        return ""


class Object:
    """One object, see :class:`~seal_store.store.place.Single`; all reading is of one version."""

    comes_whole = False

    def __init__(self, path: Address) -> None:
        """Raises :class:`~seal_store.errors.MissingExtraError` without the extra `cloud`."""
        require("cloud", str(path))
        self._path = path

    @cached_property
    def _found(self) -> Any:
        """What the server says of it; None if it is not there."""
        return head(self._path)

    def is_file(self) -> bool:
        """Whether it is there."""
        return self._found is not None

    def is_pipe(self) -> bool:
        """Never."""
        return False

    def opened(self) -> Sought:
        """The object as it was when it was first asked for."""
        if self._found is None:
            raise FileNotFoundError(errno.ENOENT, "is missing", str(self._path))
        return Sought(self._path, self._found)

    def standing(self) -> dict[str, int]:
        """Size, and when it was written."""
        if self._found is None:
            raise FileNotFoundError(errno.ENOENT, "is missing", str(self._path))
        written = int(self._found["last_modified"].timestamp() * 1_000) * 1_000_000
        return {"size": self._found["size"], "mtime_ns": written}

    def looks(self) -> dict[str, Any]:
        """:meth:`standing`, and the mark of its version."""
        return {**self.standing(), "etag": self._found["e_tag"]}


class Sought:
    """An object that is read from any place, in blocks of :data:`BLOCK` bytes."""

    def __init__(self, path: Address, found: Any) -> None:
        self._path, self._etag = path, found["e_tag"]
        self.size: int = found["size"]
        self._block = lru_cache(maxsize=8)(self._fetch)

    def read_at(self, place: int, size: int) -> bytes:
        """At most ``size`` bytes from byte ``place`` on, to the end of a block; none at the end."""
        if place >= self.size or size <= 0:
            return b""
        block, start = divmod(place, BLOCK)
        return self._block(block)[start : start + size]

    def _fetch(self, block: int) -> bytes:
        start = block * BLOCK
        end = min(start + BLOCK, self.size)
        try:
            return fetched(self._path, (start, end), end - start, self.size, self._etag)
        except OSError as error:
            why = error.strerror
            raise RemoteError(f"{self._path}: {why}", "was it replaced? Start again") from None

    def close(self) -> None:
        """Nothing is open; what was read is let go of."""
        self._block.cache_clear()


class Listed:
    """A file that a manifest lists: its size is known, and what is kept of it is its own."""

    def __init__(self, path: Address, listed: Entry, kept: Kept | None) -> None:
        self._path, self._listed, self._kept = path, listed, kept
        self.size: int = listed["size"]

    def ranges(self, parts: Sequence[tuple[int, int]]) -> Iterable[bytes]:
        """The bytes of each start and length; those that are near each other by one request."""
        parts = [(start, min(length, self.size - start)) for start, length in parts]
        found = {part: self._get(part) for part in parts}
        lacking = sorted(part for part, data in found.items() if data is None)
        spans = list(merged(lacking))
        with ThreadPoolExecutor(max(1, min(AT_ONCE, len(spans)))) as pool:
            fetch = pool.map(lambda span: self._fetch(span[0], span[1]), spans)
            for (start, _, members), data in zip(spans, fetch, strict=True):
                for at, length in members:
                    found[at, length] = own = data[at - start : at - start + length]
                    self._put((at, length), own)
        return [found[part] or b"" for part in parts]

    def into(self, buffer: memoryview) -> bytes:
        """Fill ``buffer`` from the beginning of the file; what follows."""
        (data,) = self.ranges([(0, self.size)])
        buffer[:] = data[: len(buffer)]
        return data[len(buffer) :]

    def sha256(self) -> str:
        """SHA-256 of what is there now: nothing kept is used."""
        digest = hashlib.sha256()
        for start in range(0, self.size, PIECE):
            digest.update(self._fetch(start, min(start + PIECE, self.size)))
        if not self.size:
            digest.update(fetched(self._path, None, 0))
        return digest.hexdigest()

    def _fetch(self, start: int, end: int) -> bytes:
        return fetched(self._path, (start, end), end - start, self.size)

    def _key(self, part: tuple[int, int]) -> str:
        return f"{self._path} {self._listed['sha256']} {part[0]} {part[1]}"

    def _get(self, part: tuple[int, int]) -> bytes | None:
        if part[1] <= 0:
            return b""
        return self._kept.get(self._key(part), part[1], self._is_right) if self._kept else None

    def _put(self, part: tuple[int, int], data: bytes) -> None:
        if self._kept:
            self._kept.put(self._key(part), data, self._is_right)

    def _is_right(self, data: bytes) -> bool:
        """Whether a part is as it was written: a whole file by its SHA-256, else by its own end.

        A chunk and an index of a shard end with their checksum; other parts cannot be told, and
        are not kept.
        """
        if len(data) == self.size:
            return hashlib.sha256(data).hexdigest() == self._listed["sha256"]
        return ends_with_crc(data)


def merged(
    parts: Iterable[tuple[int, int]],
) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """Ascending parts (start, length) as spans (start, end) with their parts, by :data:`NEAR`."""
    members: list[tuple[int, int]] = []
    first = end = 0
    for start, length in parts:
        if members and start > end + NEAR:
            yield first, end, members
            members = []
        if not members:
            first = end = start
        members.append((start, length))
        end = max(end, start + length)
    if members:
        yield first, end, members


def fetched(
    path: Address,
    part: tuple[int, int] | None,
    most: int,
    size: int | None = None,
    etag: str | None = None,
) -> bytes:
    """The bytes ``[start, end)`` of an object, or all of it if they are at most ``most``.

    Raises :class:`FileNotFoundError` if it is not there, another :class:`OSError` if it is larger
    than ``most``, not of ``size`` bytes or not of the version ``etag``, :class:`RemoteError`
    otherwise.
    """
    options: Any = {"range": part} if part else {}
    if etag is not None:
        options["if_match"] = etag

    def get(client: Any) -> bytes:
        result = client.get(key_in_bucket(path), options=options)
        whole = result.meta["size"]
        if size is not None and whole != size:
            raise OSError(errno.EINVAL, f"is {whole} bytes, not {size}", str(path))
        if part is None and whole > most:
            raise OSError(errno.EFBIG, f"more than {most >> 20} MiB", str(path))
        data = bytearray()
        for block in result.stream(min_chunk_size=PIECE):
            data += block
            if len(data) > most:
                break
        if len(data) != (part[1] - part[0] if part else whole):
            raise _BrokenOffError(f"sent {len(data)} bytes of {most}")
        return bytes(data)

    return asked(path, get)


def head(path: Address) -> Any:
    """What the server says of an object: size, time, version; None if there is none."""
    try:
        return asked(path, lambda client: client.head(key_in_bucket(path)))
    except FileNotFoundError:
        return None


class _BrokenOffError(Exception):
    """A body that is not as long as it should be."""


def key_in_bucket(path: Address) -> str:
    """As obstore takes it, which encodes it for a URL; that of a web server is one already."""
    return unquote(path.key) if path.root.startswith("http") else path.key


def listed_below(path: Address) -> dict[str, str]:
    """Names of the objects below ``path``, and of each the mark of its version."""
    prefix = path.key + "/"
    found = asked(path, lambda client: client.list(prefix).collect())
    return {item["path"].removeprefix(prefix): item["e_tag"] for item in found}


def asked(path: Address, question: Callable[[Any], T]) -> T:
    """What the client answers, asked again where a body broke off.

    Raises :class:`FileNotFoundError` and :class:`FileExistsError`, another :class:`OSError` for
    a version that is not the one asked for, and :class:`RemoteError` otherwise.
    """
    from obstore import exceptions

    try:
        client = _client(path.root, os.getpid())
    except BaseException as error:  # obstore's PanicException is none of Python's Exceptions
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            said = str(error).split("\n", 1)[0]
            raise RemoteError(
                f"{path}: cannot be asked for: {said}",
                "credentials and settings come from the environment and the usual files",
            ) from None
        raise
    for attempt in range(TRIES):
        try:
            return question(client)
        except FileNotFoundError:
            raise FileNotFoundError(errno.ENOENT, "is missing", str(path)) from None
        except exceptions.AlreadyExistsError:
            raise FileExistsError(errno.EEXIST, "is there already", str(path)) from None
        except exceptions.PreconditionError:
            raise OSError(errno.ESTALE, "is another version by now", str(path)) from None
        except (exceptions.BaseError, _BrokenOffError) as error:
            said = str(error).split("\n", 1)[0]
            lost = isinstance(error, _BrokenOffError) or said.endswith("body error")
            if not lost or attempt == TRIES - 1:
                raise _refusal(path, error) from None
        time.sleep(0.05 * 2**attempt)
    raise AssertionError("unreachable")


def _refusal(path: Address, error: Exception) -> RemoteError:
    """One line of what the server or the way to it did; nothing of credentials."""
    from obstore import exceptions

    if isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError):
        return RemoteError(
            f"{path}: access denied",
            "credentials come from the environment and the usual files; AWS_SKIP_SIGNATURE=true "
            "reads a public bucket of S3",
        )
    if isinstance(error, exceptions.NotSupportedError) and "ange" in str(error):
        return RemoteError(
            f"{path}: the server does not send parts of files (HTTP range requests)",
            "copy it to this machine, or to a bucket",
        )
    said = str(error).split("\n", 1)[0].split(": <?xml", 1)[0].split(": <!", 1)[0]
    said = re.sub(r"\?\S*", "", said.rpartition(" - ")[2] if " - " in said else said)
    return RemoteError(f"{path}: {said[:200]}", "check the address and the connection")


@cache
def _client(root: str, process: int) -> Any:
    """The client of a bucket or server in this ``process``."""
    from obstore import store

    scheme, _, name = root.partition("://")
    options: Any = {"timeout": "10m", "read_timeout": "1m", "connect_timeout": "10s"}
    common: Any = {"retry_config": _RETRIES, "client_options": options}
    if scheme in ("http", "https"):
        options["allow_http"] = scheme == "http"
        return store.HTTPStore.from_url(f"{root}/", **common)
    if scheme == "gs":
        return store.GCSStore(name, **common)
    if scheme == "az":
        return store.AzureStore(name, **common)
    settings: Any = aws_settings(os.environ, Path.home())
    options["allow_http"] = settings.pop("plain", False)
    return store.S3Store(name, **settings, **common)
