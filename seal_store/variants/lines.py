"""Lines of text that may be compressed: damage is an error, long lines take no memory."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from seal_store.errors import VariantError

MAX_FIELDS = 1 << 20
"""Bytes of a line that are looked at, and more only to the end of a long ID, REF or ALT."""

MAX_WHOLE = 256 << 20
"""Bytes of a line that are held at most: no human chromosome is longer."""

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

    A beginning reaches to the end of ALT at least, and is passed over after it.
    Raises :class:`VariantError` at a NUL byte, at a carriage return within a line, at one of more
    than :data:`MAX_WHOLE` bytes if they are to be ``whole``, and where compressed data are damaged.
    """
    number, most = 0, MAX_WHOLE + 1 if whole else MAX_FIELDS
    try:
        while line := handle.readline(most):
            number += 1
            complete = True
            if len(line) == most and line[-1:] != b"\n":
                if whole:
                    raise VariantError(
                        f"{where}:{number}: line of more than {MAX_WHOLE:,} bytes",
                        "leave it out, or score it to a table, such as .tsv, instead of "
                        "annotating it",
                    )
                line, complete = _to_alt(handle, line)
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
            yield number, text.removeprefix(BOM) if number == 1 else text, complete
    except DAMAGE as error:
        raise damaged(where, "line", number, error) from error


def line_starts(handle: io.BufferedReader[Any], numbers: Sequence[int]) -> list[int]:
    """The byte of ``handle`` at which each of the lines ``numbers`` begins, 1-based, ascending."""
    found: list[int] = []
    place, number, begins = 0, 0, True
    while len(found) < len(numbers) and (part := handle.readline(MAX_FIELDS)):
        number += begins
        while begins and len(found) < len(numbers) and numbers[len(found)] == number:
            found.append(place)
        place += len(part)
        begins = part[-1:] == b"\n"
    return found


def _to_alt(handle: io.BufferedReader[Any], line: bytes) -> tuple[bytes, bool]:
    """``line``, which goes on, to the end of ALT; whether that is all of it."""
    parts, tabs, size, complete = [line], line.count(b"\t"), len(line), True
    while (more := handle.readline(MAX_FIELDS)) and more.rstrip(b"\r\n"):
        if complete and _is_within(tabs) and size < MAX_WHOLE:
            parts.append(more)
            tabs, size = tabs + more.count(b"\t"), size + len(more)
        else:
            complete = False
        if more[-1:] == b"\n":
            break
    return b"".join(parts), complete


def _is_within(tabs: int) -> bool:
    """Whether what follows so many tabs is ID, REF or ALT."""
    return 2 <= tabs < 5


def beginning(text: bytes) -> tuple[bytes, bool]:
    """What :func:`text_lines` looks at of a line; whether that is all that is asked for."""
    if len(text) <= MAX_FIELDS:
        return text, True
    if _is_within(text.count(b"\t", 0, MAX_FIELDS)):
        return b"\t".join(text.split(b"\t", 5)[:5]), True
    return text[:MAX_FIELDS], False


def damaged(where: str, unit: str, number: int, error: BaseException) -> VariantError:
    """The error for damaged gzip, found after ``number`` lines or records."""
    return VariantError(
        f"{where}: compressed data is damaged after {unit} {number} ({error})",
        "copy or make it again",
    )
