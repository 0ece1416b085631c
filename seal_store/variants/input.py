"""Bytes of a variant file or of stdin: opened once, decompressed, the BGZF end marker checked."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import sys
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, cast

from seal_store.common.files import compression
from seal_store.errors import VariantError
from seal_store.store.place import Sought, place, single_at

HEAD = 18
"""Bytes that tell plain, gzip and BGZF apart."""

_IN_MEMORY = 16 << 20
"""Bytes of a pipe that are kept in memory; more go to a temporary file."""

_BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


class Input:
    """Bytes of a path or an address, or of stdin for ``-``, opened when they are first asked for.

    The one descriptor stays open as long as something reads, so that every reading is of the
    same file. A regular file can be read as often as need be and from any place; stdin or a named
    pipe once, after its beginning was looked at, or as often if it is kept (:meth:`keep`). Raises
    :class:`VariantError` if it is missing or unreadable, or a pipe is read a second time.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.is_stdin = str(path) == "-"
        self.path = place(path)
        self.name = "stdin" if self.is_stdin else str(self.path)
        self._at = single_at(self.path)
        self._is_kept = False

    def keep(self) -> None:
        """Let what comes from a pipe be read again: it goes to a temporary file meanwhile."""
        self._is_kept = True

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file, which can be read again."""
        return not self.is_stdin and self._at.is_file()

    @property
    def is_pipe(self) -> bool:
        """Whether it is stdin, or there but no regular file."""
        return self.is_stdin or self._at.is_pipe()

    @cached_property
    def sha256(self) -> str | None:
        """SHA-256 of the file's bytes as they are, as hex; None for what is no file."""
        if not self.is_file:
            return None
        reading: Any = _Reading(self._bytes, 0)
        return hashlib.file_digest(reading, "sha256").hexdigest()

    @cached_property
    def compression(self) -> str:
        """``gzip``, ``bgzf``, or empty for what is not compressed."""
        return compression(self._head(0))

    def is_block(self, place: int) -> bool:
        """Whether a block of BGZF begins at byte ``place``."""
        return compression(self._head(place)) == "bgzf"

    def blocks(self, places: Sequence[int]) -> list[tuple[int, int]] | None:
        """Where in the file decompressed bytes of BGZF stand, ascending; None if some is no BGZF.

        Each is the byte of the file at which its block begins, and the number of decompressed
        bytes of the block before it. Only the first and last bytes of each block are read: its
        length, and that of what is in it (RFC 1952 and the SAM specification, 4.1).
        """
        found: list[tuple[int, int]] = []
        block = before = 0
        while len(found) < len(places):
            head = self._head(block)
            if compression(head) != "bgzf":
                return None
            end = block + int.from_bytes(head[16:18], "little") + 1
            held = int.from_bytes(_all(self._bytes, end - 4, 4), "little")
            while len(found) < len(places) and places[len(found)] < before + held:
                found.append((block, places[len(found)] - before))
            block, before = end, before + held
        return found

    @contextmanager
    def opened(self, start: int | None = None) -> Iterator[io.BufferedReader[Any]]:
        """All the bytes, gunzipped if they are gzip, or what follows byte ``start`` of the file.

        After all of it was read raises :class:`VariantError` if it is BGZF without its end marker.
        """
        reading = _Reading(self._bytes, start or 0)
        kind = compression(self._head(start or 0))
        if start is None:
            source = self._bytes
            if isinstance(source, _Pipe):
                source.keeps = self._is_kept
        plain = io.BufferedReader(reading)
        if not kind:
            yield plain
            return
        yield io.BufferedReader(cast(io.RawIOBase, gzip.GzipFile(fileobj=plain)), 1 << 16)
        if kind == "bgzf" and start is None:
            while plain.read(1 << 20):
                pass
            self._check(reading.tail)

    def check_end(self) -> None:
        """Raise :class:`VariantError` if a file of BGZF lacks its end marker."""
        file = self._bytes
        assert not isinstance(file, _Pipe)
        self._check(_all(file, max(0, file.size - len(_BGZF_END)), len(_BGZF_END)))

    def _check(self, end: bytes) -> None:
        if end != _BGZF_END:
            raise VariantError(
                f"{self.name}: truncated, the BGZF end marker is missing", "copy or make it again"
            )

    def _head(self, place: int) -> bytes:
        return _all(self._bytes, place, HEAD)

    @cached_property
    def _bytes(self) -> Sought | _Pipe:
        if self.is_stdin:
            return _Pipe(getattr(sys.stdin.buffer, "raw", sys.stdin.buffer), self.name)
        if not (self.is_file or self.is_pipe):
            raise VariantError(
                f"variant file not found: {self.path}", "check the path; '-' reads stdin"
            )
        try:
            if self.is_file:
                file = self._at.opened()
                weakref.finalize(self, file.close)
                return file
            raw = open(self.path, "rb", buffering=0)  # noqa: SIM115 - closed with this object
        except OSError as error:
            raise VariantError(f"{self.path}: cannot be read: {error.strerror}") from error
        weakref.finalize(self, raw.close)
        return _Pipe(raw, self.name)


def _all(source: Sought | _Pipe, place: int, size: int) -> bytes:
    """``size`` bytes from byte ``place`` on, fewer only at the end."""
    found = b""
    while more := source.read_at(place + len(found), size - len(found)):
        found += more
    return found


class _Pipe:
    """Bytes that come only once; while it ``keeps`` what it has read, this can be read again."""

    def __init__(self, raw: Any, name: str) -> None:
        self.raw, self.name = raw, name
        self.keeps = True
        self._kept = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - as long as this
        weakref.finalize(self, self._kept.close)
        self._length = self._place = 0

    def read_at(self, place: int, size: int) -> bytes:
        if place < self._length:
            self._kept.seek(place)
            return self._kept.read(min(size, self._length - place))
        if place != self._place:
            raise VariantError(f"{self.name}: can be read only once", "write it to a file first")
        data: bytes = (self.raw.read(size) or b"") if size else b""
        self._place += len(data)
        if self.keeps and data:
            self._kept.seek(self._length)
            self._kept.write(data)
            self._length += len(data)
        return data


class _Reading(io.RawIOBase):
    """Bytes from a place on; remembers the last ones, to see whether BGZF is whole."""

    def __init__(self, source: Sought | _Pipe, place: int) -> None:
        super().__init__()
        self._source, self._place = source, place
        self.tail = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._source.read_at(self._place, len(buffer))
        buffer[: len(data)] = data
        self._place += len(data)
        self.tail = (self.tail + data[-len(_BGZF_END) :])[-len(_BGZF_END) :]
        return len(data)
