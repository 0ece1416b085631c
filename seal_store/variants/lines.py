"""Lines of text that may be compressed: damage is an error, long lines take no memory."""

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

BOM = b"\xef\xbb\xbf"

DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile)
"""What reading damaged gzip raises."""

Line = tuple[int, bytes, bool]
"""1-based number, bytes without the line's end, whether all of them are there."""


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


def text_lines(
    handle: io.BufferedReader[Any], where: str, *, whole: bool = False
) -> Iterator[Line]:
    """Lines of text, without a byte order mark; ``whole`` ones, or their beginnings.

    Raises :class:`VariantError` at a NUL byte, at a carriage return within a line, at one of more
    than :data:`MAX_WHOLE` bytes if they are to be ``whole``, and where compressed data are damaged.
    """
    number, most = 0, MAX_WHOLE + 1 if whole else MAX_FIELDS
    try:
        while line := handle.readline(most):
            number += 1
            if whole and len(line) == most:
                raise VariantError(
                    f"{where}:{number}: line of more than {MAX_WHOLE:,} bytes",
                    "leave it out, or score it to a table, such as .tsv, instead of annotating it",
                )
            rest = line
            while len(rest) == most and not rest.endswith(b"\n"):
                rest = handle.readline(most)
            if b"\0" in line:
                raise VariantError(
                    f"{where}:{number}: NUL byte: not a text file", "give VCF, VCF.gz or BCF"
                )
            text = line.rstrip(b"\r\n")
            if b"\r" in text:
                raise VariantError(
                    f"{where}:{number}: carriage return within a line",
                    "lines end with LF or CRLF: tr '\\r' '\\n'",
                )
            yield number, text.removeprefix(BOM) if number == 1 else text, rest is line
    except DAMAGE as error:
        raise damaged(where, "line", number, error) from error


def damaged(where: str, unit: str, number: int, error: BaseException) -> VariantError:
    """The error for damaged gzip, found after ``number`` lines or records."""
    return VariantError(
        f"{where}: compressed data is damaged after {unit} {number} ({error})",
        "copy or make it again",
    )
