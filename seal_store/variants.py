"""Variants: reading VCF text, splitting, classifying and trimming alleles.

Positions are 1-based as in VCF unless a name says otherwise.
"""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from seal_store.errors import VariantError

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
def _open(path: str | Path) -> Iterator[io.BufferedIOBase]:
    if str(path) == "-":
        yield _decompressed(sys.stdin.buffer, "stdin")
        return
    if not Path(path).is_file():
        raise VariantError(f"variant file not found: {path}", "check the path; '-' reads stdin")
    try:
        with open(path, "rb") as raw:
            _check_bgzf_end(raw, str(path))
            yield _decompressed(raw, str(path))
    except OSError as error:
        raise VariantError(f"{path}: cannot be read: {error.strerror or error}") from error


def _decompressed(raw: BinaryIO, where: str) -> io.BufferedIOBase:
    buffered = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(raw)  # type: ignore
    head = buffered.peek(4)[:4]
    if head[:2] == b"\x1f\x8b":
        return gzip.GzipFile(fileobj=buffered)
    if head[:3] == b"BCF":
        raise VariantError(f"{where}: BCF is binary", "pipe it: bcftools view FILE | ... -")
    return buffered


def _check_bgzf_end(raw: BinaryIO, where: str) -> None:
    head = raw.read(18)
    if head[:4] == b"\x1f\x8b\x08\x04" and head[12:14] == b"BC":
        raw.seek(-min(28, raw.seek(0, io.SEEK_END)), io.SEEK_END)
        if raw.read() != _BGZF_END:
            raise VariantError(
                f"{where}: truncated, the BGZF end marker is missing", "copy or make it again"
            )
    raw.seek(0)


def _lines(handle: io.BufferedIOBase, where: str) -> Iterator[tuple[int, str, bool]]:
    """(1-based number, text, whole line seen): what lies beyond MAX_FIELDS bytes is skipped."""
    number = 0
    try:
        while line := handle.readline(MAX_FIELDS):
            number += 1
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
