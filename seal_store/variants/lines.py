"""Lines of a file that may be compressed, whose damage is told and whose length is no matter."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from seal_store.errors import VariantError

MAX_FIELDS = 1 << 20
"""Bytes of a line that are looked at; the rest is passed over and never held."""

MAX_WHOLE = 256 << 20
"""Bytes of a line that has to be held whole, as a line of VCF that is annotated."""

DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile)
"""What reading damaged gzip raises."""

_BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")

Line = tuple[int, str, bool]
"""1-based number, text without its end, whether all of it is there."""


@contextmanager
def opened(path: str | Path, offset: int | None = None) -> Iterator[io.BufferedReader[Any]]:
    """The bytes of a file, gunzipped if they are gzip; ``-`` is stdin.

    With ``offset``, the byte of the file to begin at, only a part is meant to be read. Raises
    :class:`VariantError` if the file is missing or unreadable, and at the end, unless a part was
    read, if it is BGZF without its end marker.
    """
    if str(path) == "-":
        stdin = getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)
        yield from _decompressed(_Source(stdin), "stdin")
        return
    if not Path(path).exists() or Path(path).is_dir():
        raise VariantError(f"variant file not found: {path}", "check the path; '-' reads stdin")
    try:
        raw = open(path, "rb", buffering=0)  # noqa: SIM115 - closed below
    except OSError as error:
        raise VariantError(f"{path}: cannot be read: {error.strerror}") from error
    with raw:
        if offset is not None:  # a pipe has no other place than its start
            raw.seek(offset)
        yield from _decompressed(_Source(raw), str(path), part=offset is not None)


def is_gzip(path: str | Path) -> bool:
    """Whether a file is there and begins as gzip."""
    if not Path(path).is_file():
        return False
    with open(path, "rb") as handle:
        return handle.read(2) == b"\x1f\x8b"


def is_bgzf(path: str | Path, place: int = 0) -> bool:
    """Whether a block of BGZF begins at byte ``place`` of a file."""
    with open(path, "rb") as handle:
        if place >= handle.seek(0, io.SEEK_END):
            return False
        handle.seek(place)
        return _begins_bgzf(handle.read(18))


def check_end(path: str | Path) -> None:
    """Raise :class:`VariantError` if a file of BGZF lacks its end marker."""
    with open(path, "rb") as handle:
        handle.seek(max(0, handle.seek(0, io.SEEK_END) - len(_BGZF_END)))
        if handle.read() != _BGZF_END:
            raise _truncated(str(path))


def pass_over(handle: io.BufferedReader[Any], count: int, where: str) -> None:
    """Read and drop ``count`` bytes. Raises :class:`VariantError` if they are not there."""
    try:
        found = handle.read(count)
    except DAMAGE as error:
        raise damaged(where, "line", 0, error) from error
    if len(found) != count:
        raise VariantError(
            f"{where}: shorter than its index says", "make the index again with tabix"
        )


def text_lines(handle: io.BufferedReader[Any], where: str) -> Iterator[Line]:
    """Lines of text: what lies beyond :data:`MAX_FIELDS` bytes of one is skipped.

    Raises :class:`VariantError` at a NUL byte, at a carriage return within a line and where
    compressed data are damaged.
    """
    number = 0
    try:
        while line := handle.readline(MAX_FIELDS):
            number += 1
            rest = line
            while len(rest) == MAX_FIELDS and not rest.endswith(b"\n"):
                rest = handle.readline(MAX_FIELDS)
            if b"\0" in line:
                raise VariantError(
                    f"{where}:{number}: NUL byte: not a text file", "give VCF, VCF.gz or BCF"
                )
            whole = rest is line
            line = line.rstrip(b"\r\n")
            if b"\r" in line:
                raise VariantError(
                    f"{where}:{number}: carriage return within a line",
                    "lines end with LF or CRLF: tr '\\r' '\\n'",
                )
            yield number, line.decode("utf-8", "replace"), whole
    except DAMAGE as error:
        raise damaged(where, "line", number, error) from error


def whole_lines(handle: io.BufferedReader[Any], where: str) -> Iterator[tuple[int, bytes]]:
    """Lines as they stand, with their ends, numbered from 1.

    Raises :class:`VariantError` at one of more than :data:`MAX_WHOLE` bytes and where compressed
    data are damaged.
    """
    number = 0
    try:
        while line := handle.readline(MAX_WHOLE + 1):
            number += 1
            if len(line) > MAX_WHOLE:
                raise VariantError(
                    f"{where}:{number}: line of more than {MAX_WHOLE:,} bytes",
                    "leave it out, or score it without annotating: --out OUT.tsv",
                )
            yield number, line
    except DAMAGE as error:
        raise damaged(where, "line", number, error) from error


def damaged(where: str, unit: str, number: int, error: BaseException) -> VariantError:
    """The error for damaged gzip, found after ``number`` lines or records."""
    return VariantError(
        f"{where}: compressed data is damaged after {unit} {number} ({error})",
        "copy or make it again",
    )


class _Source(io.RawIOBase):
    """Passes bytes on and remembers the last ones, to see whether BGZF is whole."""

    def __init__(self, raw: Any) -> None:
        super().__init__()
        self._raw = raw
        self.tail = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = int(self._raw.readinto(buffer) or 0)
        self.tail = (self.tail + bytes(buffer[:size]))[-len(_BGZF_END) :]
        return size


def _decompressed(
    source: _Source, where: str, *, part: bool = False
) -> Iterator[io.BufferedReader[Any]]:
    plain = io.BufferedReader(source)
    head = plain.peek(18)[:18]
    if head[:2] != b"\x1f\x8b":
        yield plain
        return
    yield io.BufferedReader(cast(io.RawIOBase, gzip.GzipFile(fileobj=plain)), 1 << 16)
    if _begins_bgzf(head) and not part:
        while plain.read(1 << 20):
            pass
        if source.tail != _BGZF_END:
            raise _truncated(where)


def _begins_bgzf(head: bytes) -> bool:
    return head[:4] == b"\x1f\x8b\x08\x04" and head[12:14] == b"BC"


def _truncated(where: str) -> VariantError:
    return VariantError(
        f"{where}: truncated, the BGZF end marker is missing", "copy or make it again"
    )
