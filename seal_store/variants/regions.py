"""Regions of a genome, 1-based and inclusive, as ``bcftools --regions`` writes them."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter

from seal_store.errors import InputError
from seal_store.reference.contigs import resolve_contig

LAST = 2**31 - 1

_RANGE = re.compile(r"(?P<first>[0-9,]{1,14})(?P<dash>-(?P<last>[0-9,]{0,14}))?", re.ASCII)


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


def _number(digits: str) -> int:
    digits = digits.replace(",", "")
    return int(digits) if digits else 0


class Regions:
    """Several regions; empty ones choose nothing away: everything is in them."""

    def __init__(self, regions: Iterable[Region] = ()) -> None:
        self._by_contig: dict[str, list[Region]] = {}
        for region in merge(regions):
            self._by_contig.setdefault(region.contig, []).append(region)

    def __bool__(self) -> bool:
        return bool(self._by_contig)

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
