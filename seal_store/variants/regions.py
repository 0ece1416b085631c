"""Regions of a genome, 1-based and inclusive, as bcftools takes them: ``-r``, and files ``-R``."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import numpy as np

from seal_store.common.files import file_sha256
from seal_store.errors import InputError
from seal_store.reference.contigs import resolve_contig
from seal_store.variants.alleles import short
from seal_store.variants.input import Input
from seal_store.variants.lines import text_lines

LAST = 2**31 - 1

_RANGE = re.compile(r"(?P<first>[0-9,]{1,14})(?P<dash>-(?P<last>[0-9,]{0,14}))?", re.ASCII)

_FILE = re.compile(r" [0-9a-f]{64}$")
"""How a file of regions ends as results call it."""

_BETWEEN = re.compile(r",(?!\d{3}(?:[,-]|$))")
"""Commas of a list of regions, but not those within a number: ``1,000``."""


@dataclass(frozen=True, slots=True, order=True)
class Region:
    """Positions ``first`` to ``last`` of a contig, 1-based, both included."""

    contig: str
    first: int = 1
    last: int = LAST

    def __str__(self) -> str:
        return f"{self.contig}:{self.first}-{self.last}"


def parse_region(text: str) -> Region:
    """``chr1``, ``chr1:1000``, ``chr1:1000-`` or ``chr1:1000-2000``; commas are ignored.

    Raises :class:`InputError` for anything else, and for a region that is empty.
    """
    contig, colon, rest = text.rpartition(":")
    found = _RANGE.fullmatch(rest)
    if not colon or (found is None and not re.fullmatch(r"[0-9,-]*", rest)):
        contig, found = text, None  # a contig, maybe with a colon in its name
    elif found is None:
        contig = ""
    first, last = 1, LAST
    if found is not None:
        first = _number(found["first"])
        last = first if found["dash"] is None else _number(found["last"]) or LAST
    if not contig or not 1 <= first <= last <= LAST:
        raise InputError(
            f"`region` {text!r}: not a region", "write chr1:1000-2000, 1-based, both ends included"
        )
    return Region(contig, first, last)


def parse_regions(text: str) -> list[Region]:
    """Regions separated by commas, each as in :func:`parse_region`."""
    return [parse_region(part) for part in _BETWEEN.split(text)]


def read_regions(path: str | Path) -> list[Region]:
    """The regions in a file, which may be gzipped.

    BED (0-based, half-open) if its name ends in ``.bed`` or ``.bed.gz``; else CHROM and POS, or
    CHROM, FROM and TO, 1-based, both included. Raises :class:`InputError` for a line that is
    neither, and for a file without any region.
    """
    is_bed = str(path).lower().endswith((".bed", ".bed.gz"))
    found = []
    with Input(path).opened() as handle:
        for number, line, _ in text_lines(handle, str(path)):
            text = line.decode("utf-8", "replace").strip()
            if not text or text.startswith(("#", "track ", "browser ")):
                continue
            contig, *ends = (text.split("\t") if "\t" in text else text.split())[:3]
            values = [int(end) if re.fullmatch(r"[0-9]{1,10}", end) else -1 for end in ends]
            first, last = (values[0] + is_bed, values[-1]) if values else (0, 0)
            if len(values) < 1 + is_bed or not 1 <= first <= last <= LAST:
                kind = "BED" if is_bed else "CHROM, POS or CHROM, FROM, TO"
                raise InputError(
                    f"{path}:{number}: not a region: {short(text, 'characters')}",
                    f"each line is {kind}; a name that ends in .bed makes it BED, 0-based",
                )
            found.append(Region(contig, first, last))
    if not found:
        raise InputError(f"{path}: no region in it", "give BED, or CHROM, FROM, TO (1-based)")
    return merge(found)


def _number(digits: str) -> int:
    digits = digits.replace(",", "")
    return int(digits) if digits else 0


def chosen(
    texts: Iterable[str], files: Iterable[str | Path] = ()
) -> tuple[list[Region], list[str]]:
    """The regions of ``texts`` and ``files``, and what results call them: a file with its SHA-256.

    Raises as :func:`parse_regions` and :func:`read_regions`.
    """
    regions = [region for text in texts for region in parse_regions(text)]
    named = [str(region) for region in regions]
    for file in files:
        if not Path(file).is_file():
            raise InputError(f"`regions` {file}: no such file", "it names a file of regions")
        regions += read_regions(file)
        named.append(f"{file} {file_sha256(file)}")
    return regions, named


def nameless(named: str) -> str:
    """What :func:`chosen` calls regions, a file by its SHA-256 alone."""
    found = _FILE.search(named)
    return found[0].strip() if found else named


class Regions:
    """Several regions; empty ones choose nothing away: everything is in them."""

    def __init__(self, regions: Iterable[Region] = ()) -> None:
        self._by_contig: dict[str, list[Region]] = {}
        for region in merge(regions):
            self._by_contig.setdefault(region.contig, []).append(region)

    def __bool__(self) -> bool:
        return bool(self._by_contig)

    @property
    def contigs(self) -> list[str]:
        """Their contigs, as the regions spell them."""
        return list(self._by_contig)

    def overlap(self, contig: str, first: int, last: int) -> bool:
        """Whether positions ``first`` to ``last`` touch a region, however its contig is spelled."""
        if not self:
            return True
        own = self._by_contig
        other = contig.removeprefix("chr") if contig.startswith("chr") else f"chr{contig}"
        for name in own.keys() & {contig, other, resolve_contig(contig, own)}:
            place = bisect_left(own[name], first, key=attrgetter("last"))
            if place < len(own[name]) and own[name][place].first <= last:
                return True
        return False

    def spelled(self, names: Sequence[str]) -> list[Region]:
        """The regions on contigs of ``names``, spelled and in the order of these, merged."""
        order = {name: i for i, name in enumerate(names)}
        own = (
            Region(name, region.first, region.last)
            for contig, regions in self._by_contig.items()
            if (name := resolve_contig(contig, order)) is not None
            for region in regions
        )
        return sorted(merge(own), key=lambda region: (order[region.contig], region.first))


def inside(regions: Iterable[Region], contig: str, pos: np.ndarray) -> np.ndarray:
    """Which 1-based positions of a contig are in one of ``regions``, however that is spelled."""
    kept = np.zeros(len(pos), bool)
    for region in Regions(regions).spelled([contig]):
        kept |= (pos >= region.first) & (pos <= region.last)
    return kept


def merge(regions: Iterable[Region]) -> list[Region]:
    """Sorted, and one for those that overlap or touch."""
    merged: list[Region] = []
    for region in sorted(regions):
        before = merged[-1] if merged else None
        if before and before.contig == region.contig and region.first <= before.last + 1:
            merged[-1] = Region(before.contig, before.first, max(before.last, region.last))
        else:
            merged.append(region)
    return merged
