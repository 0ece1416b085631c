"""Whether a ``.fai`` belongs to its FASTA: what stands between the contigs that it tells.

The format is that of ``samtools faidx``: name, length, offset in bytes, bases a line, bytes a
line. A wrong number would shift or cut a sequence without an error.
"""

from __future__ import annotations

import os
import re
from mmap import ACCESS_READ, mmap
from os import SEEK_END
from pathlib import Path
from typing import BinaryIO, NamedTuple

from seal_store.common.plain import beginning

GAP = 1 << 16
"""Most bytes between two contigs: the end of a line and a header."""


_BLANK_END = re.compile(rb"[ \t\v\f]\r?\n")


class _Contig(NamedTuple):
    name: bytes
    length: int
    offset: int
    bases: int
    width: int

    @property
    def end(self) -> int:
        """Byte after the last base."""
        if not self.length:
            return self.offset
        lines, rest = divmod(self.length - 1, self.bases)
        return self.offset + lines * self.width + rest + 1


def check_fai(fasta: Path, index: Path, *, compressed: bool) -> None:
    """Raise :class:`ValueError` unless ``index`` can be that of ``fasta``.

    Of a compressed one only the numbers are compared with each other.
    """
    rows = [_contig(line.split(b"\t")) for line in index.read_bytes().splitlines()]
    rows.sort(key=lambda row: row.offset)
    before = 0
    with fasta.open("rb") as handle:
        for row in rows:
            fits = row.offset >= before and (compressed or _begins(handle, row, before))
            if not fits:
                raise _wrong(row.name)
            before = row.end
        if not compressed and (
            before > handle.seek(0, SEEK_END) or _between(handle, before, None).strip()
        ):
            raise ValueError("its index ends elsewhere than it does")


def _contig(fields: list[bytes]) -> _Contig:
    if len(fields) < 5 or not all(f.isdigit() and len(f) < 16 for f in fields[1:5]):
        raise _wrong(fields[0])
    row = _Contig(fields[0], *map(int, fields[1:5]))
    if row.length and not 0 < row.bases <= row.width:
        raise _wrong(row.name)
    return row


def _wrong(name: bytes) -> ValueError:
    return ValueError(f"its index is wrong about {name.decode('utf-8', 'replace')!r:.100}")


def _begins(handle: BinaryIO, row: _Contig, before: int) -> bool:
    """Whether its header and no base lies before ``row``, and its first line ends as it says."""
    text = _between(handle, before, row.offset)
    headers = [line for line in text.split(b"\n") if line.strip()]  # samtools omits empty contigs
    if not (headers and text.endswith(b"\n") and all(h.startswith(b">") for h in headers)):
        return False
    if headers[-1][1:].split()[:1] != [row.name]:
        return False
    last = _between(handle, row.offset, row.offset + min(row.length, row.bases))[-1:]
    if last.isspace():  # counted as a base, as not every tool that makes an index leaves it out
        return False
    if row.length <= row.bases:
        return True
    ending = _between(handle, row.offset + row.bases, row.offset + row.width)
    return ending in (b"\n", b"\r\n")


def check_line_ends(fasta: Path) -> None:
    """Raise :class:`ValueError` at a line of bases that ends in a blank: it would be a base."""
    with fasta.open("rb") as handle, mmap(handle.fileno(), 0, access=ACCESS_READ) as text:
        for found in _BLANK_END.finditer(text):
            start = text.rfind(b"\n", 0, found.start()) + 1
            if text[start : start + 1] != b">":
                number = text[:start].count(b"\n") + 1
                raise ValueError(f"line {number} ends in a blank (sed 's/[ \\t]*$//' removes them)")


def _between(handle: BinaryIO, start: int, end: int | None) -> bytes:
    """Bytes ``[start, end)``, at most ``GAP`` of them."""
    handle.seek(start)
    return handle.read(GAP if end is None else min(GAP, end - start))


def is_index(path: Path) -> bool:
    """Whether nothing is there but an index as samtools makes it: a ``.fai``, or a ``.gzi``."""
    if not os.path.lexists(path):
        return True
    try:
        start = beginning(path, 1 << 16)
        size = path.stat().st_size
    except OSError:
        return False
    if path.suffix == ".gzi":
        return size == 8 + 16 * int.from_bytes(start[:8], "little")
    return not start or re.match(rb"[^\t\n]+(\t\d+){4}\n", start) is not None
