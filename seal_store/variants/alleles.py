"""Alleles: what a record splits into, of which kind each is, and what it changes.

Positions are 1-based as in VCF unless a name says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from seal_store.errors import printable
from seal_store.variants.structural import KINDS, extents

SCORABLE = ("snv", "mnv", "insertion", "deletion", "complex")
SWAPPED = "swapped"
"""How the notes of swapped alleles begin."""

REFERENCE = frozenset(("<NON_REF>", "<*>", "<X>"))
"""ALTs by which a gVCF says that all is as the reference, or any other allele than those named."""

MAX_POSITION = 2**31 - 1
MAX_NAME = 1 << 16
"""Characters of a CHROM; a longer one is not VCF."""
MAX_ID = 1 << 17
"""Characters of an ID that are kept; what is scored does not depend on it."""
MAX_INFO = 1 << 17
"""Characters of a line within which INFO is looked for."""
MAX_ALTS = 1 << 20
"""Alleles of one record."""

_ACGT = frozenset("ACGT")
_IUPAC = frozenset("ACGTUNRYSWKMBDHV")
_SPACES = re.compile(" +")


@dataclass(frozen=True, slots=True)
class Allele:
    """One alternative allele of one record.

    ``kind`` is one of :data:`SCORABLE`, or says why it cannot be scored: ``no_change`` (ALT
    equals REF), ``reference_block`` (one of :data:`REFERENCE`), ``symbolic`` (other ``<...>`` and
    breakends), ``sv_length`` (END and SVLEN disagree), ``star`` (``*``), ``missing`` (``.`` or
    empty), ``iupac`` (letters other than A, C, G, T), ``telomere`` (POS 0), ``contig_length`` (the
    header gives its contig another length than the store has) or ``malformed`` (a line that is not
    VCF). Of the last, and of structural variants, ``problem`` says what is wrong. A ``symbolic``
    one with an ``end``, the last base of a ``<DEL>``, ``<DUP>`` or ``<INV>`` by INFO, is scored.
    ``line`` is its 1-based line number (of BCF, its record), 0 where that is not known: read
    through an index, or not from a file. ``origin`` is set where the allele is evaluated as another
    one than the input has; ``ref`` is then what the store's genome has, and ``kind`` that of the
    input's change.
    """

    line: int
    contig: str
    pos: int
    id: str
    ref: str
    alt: str
    kind: str
    problem: str = ""
    origin: Origin | None = None
    end: int = 0

    @property
    def last(self) -> int:
        """1-based last base that it replaces: of a structural variant END, else of REF."""
        return self.end or self.pos + max(len(self.ref), 1) - 1

    @property
    def swapped(self) -> bool:
        """Whether ``ref`` is the input's ALT, so that the input's effect is minus this one's."""
        return self.origin is not None and self.origin.swapped != self.origin.allele.swapped

    @property
    def shown(self) -> Allele:
        """The allele as rows show it: the input's own, or where liftover has brought that."""
        if self.origin is None:
            return self
        if not self.origin.lifted:
            return self.origin.allele.shown
        return replace(self, ref=self.alt, alt=self.ref) if self.origin.swapped else self

    @property
    def read(self) -> Allele:
        """The allele as it was read."""
        return self if self.origin is None else self.origin.allele.read

    def __str__(self) -> str:
        if self.origin is not None:
            to = f", lifted to {self.contig}:{self.pos}" if self.origin.lifted else ""
            return f"{self.origin.allele}{to}"
        line = f"line {self.line}, " if self.line else ""
        contig = short(self.contig, "characters")
        return f"{line}{contig}:{self.pos} {short(self.ref)}>{short(self.alt)}"


@dataclass(frozen=True, slots=True)
class Origin:
    """The ``allele`` before a step, of one that is evaluated at another place or turned around.

    ``note`` says what was done, for liftover as results show it. If ``swapped``, REF and ALT are
    exchanged: the genome has the input's ALT. ``lifted`` is liftover, which rows show.
    """

    allele: Allele
    note: str
    swapped: bool = False
    lifted: bool = False


def evaluated(shown: Allele, note: str) -> Allele:
    """What liftover gave for an allele that results show with its ``note``."""
    if not note.startswith(SWAPPED):
        return shown
    origin = Origin(shown, note, swapped=True, lifted=True)
    return replace(shown, ref=shown.alt, alt=shown.ref, origin=origin)


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


def place(pos: int, ref: str, alt: str) -> int:
    """The 1-based POS that VCF gives the trimmed allele: of an indel, the base before it."""
    change = trim(pos, ref, alt)
    return change.start + bool(change.length and change.alt)


@lru_cache(maxsize=1)
def _letters(ref: str) -> frozenset[str]:
    """Letters of a REF, which may be long and have many ALTs."""
    return frozenset(ref)


def classify(ref: str, alt: str) -> str:
    """``kind`` of an allele, both in upper case."""
    if len(ref) == len(alt) == 1 and ref in _ACGT and alt in _ACGT:  # most of all there are
        return "no_change" if ref == alt else "snv"
    if alt in ("", ".") or ref in ("", "."):
        return "missing"
    if alt == "*":
        return "star"
    if alt in REFERENCE:
        return "reference_block"
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


def alleles_of(number: int, text: str, complete: bool) -> Iterator[Allele]:
    """The alleles of one record: CHROM, POS, ID, REF, ALT, and what may follow them.

    ``complete`` says whether ``text`` is the whole line. At least one is given, ``malformed`` if
    need be.
    """
    fields = _split(text, 5)
    if len(fields) < 5 or (len(fields) == 5 and not complete):
        problem = f"{len(fields)} columns where CHROM, POS, ID, REF, ALT are expected"
        yield Allele(number, short(fields[0], "characters"), 0, "", "", "", "malformed", problem)
        return
    contig, position, name, ref, alts = (field.strip(" ") for field in fields[:5])
    name = name[:MAX_ID]
    pos = int(position) if position.isascii() and position.isdigit() and len(position) < 12 else -1
    problem = _contig_problem(contig)
    if not problem and not 0 <= pos <= MAX_POSITION:
        problem = (
            f"POS {short(position, 'characters')!r} is not a position from 0 to {MAX_POSITION}"
        )
    if alts.count(",") >= MAX_ALTS:
        problem, alts = f"more than {MAX_ALTS} alleles", ""
    if problem or not pos:
        kind = "malformed" if problem else "telomere"
        problem = problem or f"POS {position!r} is before the first base"
        shown = short(contig, "characters") if problem else contig
        for alt in alts.split(","):
            yield Allele(number, shown, 0, name, ref, alt, kind, problem)
        return
    alts = alts.upper()
    found = split_alts(Allele, number, contig, pos, name, ref.upper(), alts)
    if "<" not in alts or KINDS.keys().isdisjoint(alts.split(",")):
        yield from found
        return
    told = extents(pos, alts.split(","), _info(text))
    for allele, extent in zip(found, told, strict=True):
        yield replace(allele, **extent._asdict()) if allele.kind == "symbolic" else allele


def _split(text: str, most: int) -> list[str]:
    """The first columns of a line; the rest of it is the last one."""
    return text.split("\t", most) if "\t" in text else _SPACES.split(text.strip(" "), most)


def _info(text: str) -> str:
    """INFO of a line; empty if it does not end within the first :data:`MAX_INFO` characters."""
    fields = _split(text[:MAX_INFO], 8)
    return fields[7] if len(fields) > 8 - (len(text) <= MAX_INFO) else ""


def split_alts(
    make: type[Allele], line: int, contig: str, pos: int, name: str, ref: str, alts: str
) -> Iterator[Allele]:
    """An allele for each of the comma-separated ``alts``; they and ``ref`` are in upper case."""
    for alt in alts.split(","):
        kind = classify(ref, alt)
        problem = "REF or ALT is not made of bases" if kind == "malformed" else ""
        yield make(line, contig, pos, name, ref, alt, kind, problem)


def _contig_problem(contig: str) -> str:
    if len(contig) > MAX_NAME:
        return f"CHROM of {len(contig)} characters, more than {MAX_NAME}"
    return "" if contig.isprintable() else "CHROM has a control or invisible character"


def short(text: str, unit: str = "bases") -> str:
    """An allele or a name as messages show it."""
    return printable(text if len(text) <= 24 else f"{text[:20]}...({len(text)} {unit})")
