"""Tabix (``.tbi``) and CSI indexes: where in a BGZF file a region begins.

From there the file is read on to the first record beyond the region, so that damaged data is
noticed as in any other reading. Only the linear part of an index is needed for this. The two
formats are those of the tabix and CSI specifications (hts-specs).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from seal_store.errors import VariantError
from seal_store.store.place import Place, single_at
from seal_store.variants.input import Input
from seal_store.variants.lines import DAMAGE

TBI_SHIFT = 14
"""A .tbi holds one offset for each 2**14 positions."""
LONGEST = 64 << 20
"""Most bytes of an index, decompressed; of a human genome it has some 10 MiB."""

_BROKEN = (*DAMAGE, OSError, struct.error, ValueError, OverflowError, MemoryError, IndexError)


@dataclass(frozen=True)
class Index:
    """Per contig the ascending ``(position, virtual offset)`` of its linear index.

    Positions are 0-based. No record that reaches ``position`` or what follows it begins before
    the virtual offset: bytes in the file times 2**16, plus bytes within the BGZF block.
    ``names`` is empty for BCF, whose contigs are named in its header.
    """

    names: list[str]
    offsets: list[list[tuple[int, int]]]

    def offset(self, contig: int, first: int) -> int | None:
        """Virtual offset from which to look for 1-based ``first``; None without any record."""
        own = self.offsets[contig] if contig < len(self.offsets) else []
        before = [offset for position, offset in own if position < first]
        return max(before) if before else (own[0][1] if own else None)


def find_index(path: Place) -> Place | None:
    """The index beside ``path``; one older than the file is not used."""
    written = single_at(path).standing()["mtime_ns"]
    for ending in (".csi", ".tbi"):
        index = path.with_name(path.name + ending)
        found = single_at(index)
        if found.is_file() and found.standing()["mtime_ns"] >= written:
            return index
    return None


def read_index(path: Place) -> Index:
    """Read ``.tbi`` or ``.csi``. Raises :class:`VariantError` if it is neither, or damaged."""
    try:
        source = Input(path)
        if not source.compression:
            raise ValueError("not compressed")
        with source.opened(0) as handle:
            read = _FORMATS.get(handle.read(4))
            if read is None:
                raise ValueError("neither .tbi nor .csi")
            data = handle.read(LONGEST + 1)
        if len(data) > LONGEST:
            raise ValueError(f"more than {LONGEST:,} bytes when decompressed")
        return read(_Reader(data))
    except _BROKEN as error:
        raise VariantError(
            f"{path}: the index cannot be read ({error or 'cut short'})",
            "make it again with tabix or bcftools index, or remove it",
        ) from error


class _Reader:
    """Little-endian numbers, one after the other."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def bytes(self, length: int) -> bytes:
        if not 0 <= length <= len(self.data) - self.place:
            raise ValueError("cut short")
        self.place += length
        return self.data[self.place - length : self.place]

    def numbers(self, form: str) -> tuple[int, ...]:
        return struct.unpack(f"<{form}", self.bytes(struct.calcsize(f"<{form}")))

    def number(self, form: str = "i") -> int:
        return self.numbers(form)[0]


def _names(data: bytes) -> list[str]:
    return [name.decode("utf-8", "replace") for name in data.split(b"\0") if name]


def _tbi(reader: _Reader) -> Index:
    contigs, *_, length = reader.numbers("8i")
    names = _names(reader.bytes(length))
    offsets = []
    for _ in range(contigs):
        for _ in range(reader.number()):
            _, chunks = reader.numbers("Ii")
            reader.bytes(16 * chunks)
        count = reader.number()
        linear = (0, *struct.unpack(f"<{count}Q", reader.bytes(8 * count)))
        rises = ((i, value) for i, (before, value) in enumerate(pairwise(linear)) if value > before)
        offsets.append([(i << TBI_SHIFT, value) for i, value in rises])
    return Index(names, offsets)


def _csi(reader: _Reader) -> Index:
    shift, depth, length = reader.numbers("3i")
    if not (0 <= shift <= 40 and 0 <= depth <= 15):
        raise ValueError("no CSI levels")
    extra = reader.bytes(length)
    names = _names(extra[28:]) if length > 28 else []
    offsets = []
    for _ in range(reader.number()):
        own = []
        for _ in range(reader.number()):
            bin_number, offset, chunks = reader.numbers("IQi")
            reader.bytes(16 * chunks)
            position = _bin_start(bin_number, shift, depth)
            if offset and position is not None:
                own.append((position, offset))
        offsets.append(sorted(own))
    return Index(names, offsets)


def _bin_start(number: int, shift: int, depth: int) -> int | None:
    """0-based first position of a bin; None for the one that holds statistics."""
    for level in range(depth + 1):
        first = ((1 << 3 * level) - 1) // 7
        if number < first + (1 << 3 * level):
            return (number - first) << (shift + 3 * (depth - level))
    return None


_FORMATS: dict[bytes, Callable[[_Reader], Index]] = {b"TBI\1": _tbi, b"CSI\1": _csi}
