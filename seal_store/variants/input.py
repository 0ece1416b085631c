"""Bytes of a variant file or of stdin: opened once, decompressed, the BGZF end marker checked."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from seal_store.common.files import compression, local_path
from seal_store.errors import VariantError

_HEAD = 18
"""Bytes that tell plain, gzip and BGZF apart."""

_BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


class Input:
    """Bytes of ``path``, or of stdin for ``-``, opened when they are first asked for.

    The one descriptor stays open as long as something reads, so that every reading is of the
    same file. A regular file can be read as often as need be and from any place; stdin or a named
    pipe once, after its beginning was looked at. Raises :class:`VariantError` if it is missing or
    unreadable, or a pipe is read a second time.
    """

    def __init__(self, path: str | Path) -> None:
        self.is_stdin = str(path) == "-"
        self.path = local_path(path)
        self.name = "stdin" if self.is_stdin else str(path)

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file, which can be read again."""
        return not self.is_stdin and self.path.is_file()

    @property
    def is_pipe(self) -> bool:
        """Whether it is stdin, or there but no regular file."""
        return self.is_stdin or (self.path.exists() and not self.path.is_file())

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

    @contextmanager
    def opened(self, start: int | None = None) -> Iterator[io.BufferedReader[Any]]:
        """All the bytes, gunzipped if they are gzip, or what follows byte ``start`` of the file.

        After all of it was read raises :class:`VariantError` if it is BGZF without its end marker.
        """
        reading = _Reading(self._bytes, start or 0)
        kind = compression(self._head(start or 0))
        if start is None:
            self._bytes.keeps = False
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
        size = os.stat(self._bytes.raw.fileno()).st_size
        self._check(self._bytes.read_at(max(0, size - len(_BGZF_END)), len(_BGZF_END)))

    def _check(self, end: bytes) -> None:
        if end != _BGZF_END:
            raise VariantError(
                f"{self.name}: truncated, the BGZF end marker is missing", "copy or make it again"
            )

    def _head(self, place: int) -> bytes:
        found = b""
        while more := self._bytes.read_at(place + len(found), _HEAD - len(found)):
            found += more
        return found

    @cached_property
    def _bytes(self) -> _File | _Pipe:
        if self.is_stdin:
            return _Pipe(getattr(sys.stdin.buffer, "raw", sys.stdin.buffer), self.name)
        if not self.path.exists() or self.path.is_dir():
            raise VariantError(
                f"variant file not found: {self.path}", "check the path; '-' reads stdin"
            )
        try:
            raw = open(self.path, "rb", buffering=0)  # noqa: SIM115 - closed with this object
        except OSError as error:
            raise VariantError(f"{self.path}: cannot be read: {error.strerror}") from error
        weakref.finalize(self, raw.close)
        return _File(raw) if self.path.is_file() else _Pipe(raw, self.name)


class _File:
    """Bytes from any place of a file, also of several threads at once."""

    keeps = True

    def __init__(self, raw: io.FileIO) -> None:
        self.raw = raw

    def read_at(self, place: int, size: int) -> bytes:
        return os.pread(self.raw.fileno(), size, place)


class _Pipe:
    """Bytes that come only once; while it ``keeps`` what it has read, this can be read again."""

    def __init__(self, raw: Any, name: str) -> None:
        self.raw, self.name = raw, name
        self.keeps = True
        self._kept = bytearray()
        self._place = 0

    def read_at(self, place: int, size: int) -> bytes:
        if place < len(self._kept):
            return bytes(self._kept[place : place + size])
        if place != self._place:
            raise VariantError(f"{self.name}: can be read only once", "write it to a file first")
        data: bytes = (self.raw.read(size) or b"") if size else b""
        self._place += len(data)
        if self.keeps:
            self._kept += data
        return data


class _Reading(io.RawIOBase):
    """Bytes from a place on; remembers the last ones, to see whether BGZF is whole."""

    def __init__(self, source: _File | _Pipe, place: int) -> None:
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
