"""Variants: reading VCF and BCF, splitting, classifying and trimming alleles.

Positions are 1-based as in VCF unless a name says otherwise.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import Any

from seal_store.errors import VariantError, printable
from seal_store.variants.bcf import MAGIC, bcf_records, read_header
from seal_store.variants.index import find_index, read_index
from seal_store.variants.lines import (
    DAMAGE,
    Line,
    check_end,
    damaged,
    is_bgzf,
    is_gzip,
    opened,
    pass_over,
    text_lines,
)
from seal_store.variants.regions import Region, Regions

SCORABLE = ("snv", "mnv", "insertion", "deletion", "complex")
MAX_POSITION = 2**31 - 1
MAX_NAME = 1 << 16
"""Characters of a CHROM or ID; a longer one is not VCF."""

_ACGT = frozenset("ACGT")
_IUPAC = frozenset("ACGTUNRYSWKMBDHV")
_SPACES = re.compile(" +")


@dataclass(frozen=True, slots=True)
class Allele:
    """One alternative allele of one record.

    ``kind`` is one of :data:`SCORABLE`, or says why it cannot be scored: ``no_change`` (ALT
    equals REF), ``symbolic`` (``<...>`` and breakends), ``star`` (``*``), ``missing`` (``.`` or
    empty), ``iupac`` (letters other than A, C, G, T) or ``malformed`` (a line that is not VCF;
    ``problem`` says what is wrong). ``line`` is its 1-based line number (of BCF, its record), 0
    where that is not known: read through an index, or not from a file.
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
        line = f"line {self.line}, " if self.line else ""
        contig = short(self.contig, "characters")
        return f"{line}{contig}:{self.pos} {short(self.ref)}>{short(self.alt)}"


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


@lru_cache(maxsize=1)
def _letters(ref: str) -> frozenset[str]:
    """Letters of a REF, which may be long and have many ALTs."""
    return frozenset(ref)


def classify(ref: str, alt: str) -> str:
    """``kind`` of an allele, both in upper case."""
    if alt in ("", ".") or ref in ("", "."):
        return "missing"
    if alt == "*":
        return "star"
    if alt[0] == "<" or "[" in alt or "]" in alt or alt[0] == "." or alt[-1] == ".":
        return "symbolic"
    letters = _letters(ref) | set(alt)
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


def read_variants(path: str | Path, regions: Sequence[Region] = ()) -> Iterator[Allele]:
    """Every allele of a VCF, gzipped or not, of BCF or of Seal's headerless 5 columns.

    ``path`` ``-`` is stdin. Multi-allelic records are split; INFO and genotypes are ignored.
    Records are streamed: memory does not grow with the file. With ``regions`` only alleles whose
    REF touches one of them, through an index where there is one (see :func:`index_for`); a line
    without a position is in no region.

    Raises :class:`VariantError` if the file is missing, neither text nor BCF, or damaged.
    """
    chosen = Regions(regions)
    index = index_for(path) if chosen else None
    alleles = _whole(path) if index is None else _indexed(path, index, chosen)
    if not chosen:
        return alleles
    return (a for a in alleles if a.pos and chosen.overlap(a.contig, a.pos, _last(a)))


def index_for(path: str | Path) -> Path | None:
    """The ``.csi`` or ``.tbi`` index of BGZF at ``path``; None for another file and for stdin."""
    if str(path) == "-" or not Path(path).is_file() or not is_bgzf(path):
        return None
    return find_index(path)


def reads_all_of(path: str | Path) -> bool:
    """Whether regions of a compressed file are found only by reading all of it."""
    return index_for(path) is None and str(path) != "-" and is_gzip(path)


def _last(allele: Allele) -> int:
    return allele.pos + max(len(allele.ref), 1) - 1


def _whole(path: str | Path) -> Iterator[Allele]:
    where = "stdin" if str(path) == "-" else str(path)
    with opened(path) as handle:
        yield from _alleles(_records(handle, where))


def _indexed(path: str | Path, index_path: Path, regions: Regions) -> Iterator[Allele]:
    """Alleles of the records that touch ``regions``, in the order of the file."""
    where, index = str(path), read_index(index_path)
    foreign = VariantError(f"{index_path}: does not belong to {where}", "make it again with tabix")
    check_end(path)
    header, names = b"", index.names
    with opened(path, 0) as handle:
        if begins_bcf(handle, where):
            header, names = read_header(handle, where)
    places = ((index.offset(names.index(r.contig), r.first), r) for r in regions.spelled(names))
    before = None
    for offset, region in sorted(((o, r) for o, r in places if o is not None), key=itemgetter(0)):
        if not is_bgzf(path, offset >> 16):
            raise foreign
        with opened(path, offset >> 16) as handle:
            pass_over(handle, offset & 0xFFFF, where)
            first = True
            for allele in _alleles(
                (0, text, all_) for _, text, all_ in _records(handle, where, header)
            ):
                if first and allele.contig != region.contig:
                    raise foreign
                first = False
                if allele.pos and (allele.contig != region.contig or allele.pos > region.last):
                    break
                if before is None or before.contig != region.contig or allele.pos > before.last:
                    yield allele
            if first:  # an index has no offset for a contig without records
                raise foreign
        before = region


def begins_bcf(handle: io.BufferedReader[Any], where: str) -> bool:
    """Whether what ``handle`` gives next is BCF. Raises :class:`VariantError` for damaged gzip."""
    try:
        return handle.peek(3)[:3] == MAGIC
    except DAMAGE as error:
        raise damaged(where, "line", 0, error) from error


def _records(handle: io.BufferedReader[Any], where: str, header: bytes = b"") -> Iterator[Line]:
    """Lines with a record: of BCF (all of it, or what follows ``header``) or of text."""
    if header or begins_bcf(handle, where):
        yield from bcf_records(handle, where, header)
        return
    for number, line, complete in text_lines(handle, where):
        text = line.removeprefix("\ufeff") if number == 1 else line
        if text.strip() and not text.startswith("#"):
            yield number, text, complete


def _alleles(records: Iterable[Line]) -> Iterator[Allele]:
    for number, text, complete in records:
        yield from alleles_of(number, text, complete)


def alleles_of(number: int, text: str, complete: bool) -> Iterator[Allele]:
    """The alleles of one record: CHROM, POS, ID, REF, ALT, and what may follow them.

    ``complete`` says whether ``text`` is the whole line. At least one is given, ``malformed`` if
    need be.
    """
    fields = text.split("\t", 5) if "\t" in text else _SPACES.split(text.strip(" "), 5)
    if len(fields) < 5 or (len(fields) == 5 and not complete):
        problem = f"{len(fields)} columns where CHROM, POS, ID, REF, ALT are expected"
        yield Allele(number, short(fields[0], "characters"), 0, "", "", "", "malformed", problem)
        return
    contig, position, name, ref, alts = (field.strip(" ") for field in fields[:5])
    if problem := _name_problem("CHROM", contig) or _name_problem("ID", name):
        yield Allele(number, short(contig, "characters"), 0, "", "", "", "malformed", problem)
        return
    pos = int(position) if position.isascii() and position.isdigit() and len(position) < 12 else 0
    if not 0 < pos <= MAX_POSITION:
        problem = (
            f"POS {short(position, 'characters')!r} is not a position from 1 to {MAX_POSITION}"
        )
        yield Allele(number, contig, 0, name, ref, alts, "malformed", problem)
        return
    ref = ref.upper()
    for alt in alts.split(","):
        kind = classify(ref, alt.upper())
        problem = "REF or ALT is not made of bases" if kind == "malformed" else ""
        yield Allele(number, contig, pos, name, ref, alt.upper(), kind, problem)


def _name_problem(column: str, name: str) -> str:
    if len(name) > MAX_NAME:
        return f"{column} of {len(name)} characters, more than {MAX_NAME}"
    return "" if name.isprintable() else f"{column} has a control or invisible character"


def short(text: str, unit: str = "bases") -> str:
    """An allele or a name as messages show it."""
    return printable(text if len(text) <= 24 else f"{text[:20]}...({len(text)} {unit})")
