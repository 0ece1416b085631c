"""Variants: reading VCF text, splitting, classifying and trimming alleles.

Positions are 1-based as in VCF unless a name says otherwise.
"""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from seal_store.errors import VariantError
from seal_store.extras import require

SCORABLE = ("snv", "mnv", "insertion", "deletion", "complex")
MAX_FIELDS = 1 << 20
"""Bytes of a line that are looked at: its first five columns must end within them."""

MAX_POSITION = 2**31 - 1

_ACGT = frozenset("ACGT")
_IUPAC = frozenset("ACGTUNRYSWKMBDHV")
_BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


@dataclass(frozen=True, slots=True)
class Allele:
    """One alternative allele of one record.

    ``kind`` is one of :data:`SCORABLE`, or says why it cannot be scored: ``no_change`` (ALT
    equals REF), ``symbolic`` (``<...>`` and breakends), ``star`` (``*``), ``missing`` (``.`` or
    empty), ``iupac`` (letters other than A, C, G, T) or ``malformed`` (a line that is not VCF;
    ``problem`` says what is wrong). ``line`` is its 1-based line number.
    """

    line: int
    contig: str
    pos: int
    id: str
    ref: str
    alt: str
    kind: str
    problem: str = ""

    def __str__(self) -> str:
        return f"line {self.line}, {self.contig}:{self.pos} {_short(self.ref)}>{_short(self.alt)}"


@dataclass(frozen=True, slots=True)
class Change:
    """What an allele changes: ``length`` bases from 0-based ``start`` become ``alt``."""

    start: int
    length: int
    alt: str

    @property
    def end(self) -> int:
        """0-based end of the replaced bases."""
        return self.start + self.length

    @property
    def net(self) -> int:
        """Bases gained (insertion) or, negative, lost."""
        return len(self.alt) - self.length


def trim(pos: int, ref: str, alt: str) -> Change:
    """Trim the shared suffix while both keep a base, then the shared prefix completely."""
    end = 0
    while min(len(ref), len(alt)) - end > 1 and ref[-1 - end] == alt[-1 - end]:
        end += 1
    ref, alt = ref[: len(ref) - end], alt[: len(alt) - end]
    start = 0
    while start < min(len(ref), len(alt)) and ref[start] == alt[start]:
        start += 1
    return Change(pos - 1 + start, len(ref) - start, alt[start:])


def classify(ref: str, alt: str) -> str:
    """``kind`` of an allele, both in upper case."""
    if alt in ("", ".") or ref in ("", "."):
        return "missing"
    if alt == "*":
        return "star"
    if alt[0] == "<" or "[" in alt or "]" in alt or alt[0] == "." or alt[-1] == ".":
        return "symbolic"
    letters = set(ref) | set(alt)
    if not letters <= _ACGT:
        return "iupac" if letters <= _IUPAC else "malformed"
    if ref == alt:
        return "no_change"
    change = trim(1, ref, alt)
    if change.length == len(change.alt):
        return "snv" if change.length == 1 else "mnv"
    if change.length and change.alt:
        return "complex"
    return "insertion" if change.alt else "deletion"


def read_variants(path: str | Path) -> Iterator[Allele]:
    """Every allele of a VCF, gzipped or not, or of Seal's headerless 5 columns; ``-`` is stdin.

    Multi-allelic records are split. Lines are streamed: memory does not grow with the file.
    Raises :class:`VariantError` if the file is missing, not text, or its compression is damaged.
    """
    with _open(path) as handle:
        lines = _lines(handle, str(path))
        for number, line, complete in lines:
            text = line.strip("\r\n")
            if number == 1:
                text = text.removeprefix("\ufeff")
            if text.strip() and not text.startswith("#"):
                yield from _record(number, text, complete)


@dataclass(frozen=True, slots=True)
class Record:
    """A line as it stands, without its end; header lines (``#``) have no alleles."""

    line: int
    text: bytes
    alleles: tuple[Allele, ...]


def read_records(path: str | Path) -> Iterator[Record]:
    """The lines of a VCF or BCF that are not empty, with the alleles of :func:`read_variants`.

    A BCF is read as the text that htslib makes of it. Raises :class:`VariantError` as
    :func:`read_variants` does.
    """
    if is_bcf(path):
        yield from _bcf_records(path)
        return
    with _open(path) as handle:
        for number, line in enumerate(handle, 1):
            text = line.rstrip(b"\r\n")
            if number == 1:
                text = text.removeprefix(b"\xef\xbb\xbf")
            if text.startswith(b"#"):
                yield Record(number, text, ())
            elif text.strip():
                seen = text[:MAX_FIELDS].decode("utf-8", "replace")
                complete = len(line) <= MAX_FIELDS
                yield Record(number, text, tuple(_record(number, seen, complete)))


def is_bcf(path: str | Path) -> bool:
    """Whether a file is BCF, compressed or not."""
    with suppress(OSError, EOFError, zlib.error), open(path, "rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        with gzip.GzipFile(fileobj=raw) if packed else raw as handle:
            return handle.read(3) == b"BCF"
    return False


def _bcf_records(path: str | Path) -> Iterator[Record]:
    require("htslib", "reading BCF")
    import pysam

    number = 0
    try:
        with pysam.VariantFile(str(path)) as handle:
            for text in str(handle.header).splitlines():
                number += 1
                yield Record(number, text.encode(), ())
            for record in handle:
                number += 1
                text = str(record).rstrip("\n")
                alleles = tuple(_record(number, text[:MAX_FIELDS], len(text) < MAX_FIELDS))
                yield Record(number, text.encode(), alleles)
    except (OSError, ValueError) as error:
        raise VariantError(f"{path}: not a readable BCF ({error})", "make it again") from error


def _record(number: int, text: str, complete: bool) -> Iterator[Allele]:
    fields = text.split("\t", 5) if "\t" in text else text.split(None, 5)
    if len(fields) < 5 or (len(fields) == 5 and not complete):
        problem = f"{len(fields)} columns where CHROM, POS, ID, REF, ALT are expected"
        yield Allele(number, _short(fields[0]), 0, "", "", "", "malformed", problem)
        return
    contig, position, name, ref, alts = (field.strip() for field in fields[:5])
    pos = int(position) if position.isascii() and position.isdigit() and len(position) < 12 else 0
    if not 0 < pos <= MAX_POSITION:
        problem = f"POS {_short(position)!r} is not a position from 1 to {MAX_POSITION}"
        yield Allele(number, contig, 0, name, ref, alts, "malformed", problem)
        return
    ref = ref.upper()
    for alt in alts.split(","):
        kind = classify(ref, alt.upper())
        problem = "REF or ALT is not made of bases" if kind == "malformed" else ""
        yield Allele(number, contig, pos, name, ref, alt.upper(), kind, problem)


def _short(text: str) -> str:
    return text if len(text) <= 24 else f"{text[:20]}...({len(text)} bases)"


@contextmanager
def _open(path: str | Path) -> Iterator[io.BufferedReader[Any]]:
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
        yield from _decompressed(_Source(raw), str(path))


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


def _decompressed(source: _Source, where: str) -> Iterator[io.BufferedReader[Any]]:
    plain = io.BufferedReader(source)
    head = plain.peek(18)[:18]
    if head[:2] != b"\x1f\x8b":
        yield plain
        return
    yield io.BufferedReader(cast(io.RawIOBase, gzip.GzipFile(fileobj=plain)), 1 << 16)
    if head[:4] == b"\x1f\x8b\x08\x04" and head[12:14] == b"BC":
        while plain.read(1 << 20):
            pass
        if source.tail != _BGZF_END:
            raise VariantError(
                f"{where}: truncated, the BGZF end marker is missing", "copy or make it again"
            )


def _lines(handle: io.BufferedReader[Any], where: str) -> Iterator[tuple[int, str, bool]]:
    """(1-based number, text, whole line seen): what lies beyond MAX_FIELDS bytes is skipped."""
    number = 0
    try:
        while line := handle.readline(MAX_FIELDS):
            number += 1
            if number == 1 and line.startswith(b"BCF"):
                raise VariantError(f"{where}: BCF is binary", "pipe it: bcftools view FILE | ... -")
            rest = line
            while len(rest) == MAX_FIELDS and not rest.endswith(b"\n"):
                rest = handle.readline(MAX_FIELDS)
            if b"\0" in line:
                raise VariantError(f"{where}:{number}: NUL byte: not a text file")
            yield number, line.decode("utf-8", "replace"), rest is line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise VariantError(
            f"{where}: compressed data is damaged after line {number} ({error})",
            "copy or make it again",
        ) from error
