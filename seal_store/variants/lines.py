"""Lines of what may be compressed: its damage is told, and their length is no matter."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from typing import Any

from seal_store.errors import VariantError

MAX_FIELDS = 1 << 20
"""Bytes of a line that are looked at; the rest is passed over and never held."""

MAX_WHOLE = 256 << 20
"""Bytes of a line that has to be held whole, as a line of VCF that is annotated."""

DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile)
"""What reading damaged gzip raises."""

Line = tuple[int, str, bool]
"""1-based number, text without its end, whether all of it is there."""


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
