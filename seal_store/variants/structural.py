"""Structural variants: which bases ``<DEL>``, ``<DUP>`` and ``<INV>`` change, by INFO.

Positions are 1-based. POS is the base before the event, END its last base. Nothing is guessed:
what is imprecise has no extent, nor what END and SVLEN tell differently.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

KINDS = {"<DEL>": "deletion", "<DUP>": "insertion", "<DUP:TANDEM>": "insertion", "<INV>": "mnv"}
"""The ALTs that become bases, in upper case, and the kind of change of each."""

LENGTH = "sv_length"
"""Kind of those of which END and SVLEN leave it open how long they are."""

_SIZED = ("<DEL", "<DUP", "<INV", "<CNV")
"""How ALTs begin for which END is POS + SVLEN."""
_INTERVALS = ("CIPOS", "CIEND", "CILEN")
_HOMOLOGY = ("HOMLEN", "HOMSEQ", "PRECISE")
_INSERTED = ("SVINSLEN", "SVINSSEQ", "INSLEN", "INSSEQ")
_NOTHING = frozenset(("", ".", "0"))
_INTEGER = re.compile(r"-?\d{1,10}", re.ASCII)
_COMPLEMENT = str.maketrans("ACGT", "TGCA")


class Extent(NamedTuple):
    """Of an ALT: ``end``, its last base; where that is 0, its ``kind``, and why (``problem``)."""

    end: int = 0
    kind: str = "symbolic"
    problem: str = ""


def extents(pos: int, alts: Sequence[str], info: str) -> list[Extent]:
    """The extent of each of a record's ``alts``, which are in upper case, by its INFO."""
    fields: dict[str, str] = {}
    for item in info.split(";"):
        key, _, value = item.partition("=")
        fields[key] = "twice" if key in fields else value
    told = ";".join(f"{name}={fields[name][:24]}" for name in ("END", "SVLEN") if name in fields)
    doubt = Extent(kind=LENGTH, problem=f"POS={pos};{told}")
    why = _uncertain(fields)
    ends, sizes = _integers(fields.get("END", ".")), _integers(fields.get("SVLEN", "."))
    if sizes == [None]:
        sizes *= len(alts)
    is_odd = len(ends) != 1 or len(sizes) != len(alts)
    claims = fields.get("SVCLAIM", "").split(",")
    by_size = [
        pos + abs(size) if size is not None and alt.startswith(_SIZED) else None
        for alt, size in zip(alts, sizes, strict=False)
    ]
    longest = max((own for own in by_size if own is not None), default=0)
    is_only = sum(alt.startswith(_SIZED) for alt in alts) == 1

    def extent(i: int) -> Extent:
        if why or (len(claims) == len(alts) and claims[i] == "D"):
            return Extent(problem=why or "SVCLAIM=D: where it is was not seen")
        if is_odd:
            return doubt
        end, own = ends[0], by_size[i]
        if end is None and own is None:
            return Extent()
        found = 0
        if own is None:
            found = (end or 0) if is_only else 0
        elif end in (None, own) or own < end == longest:  # END is that of the longest ALT
            found = own
        return Extent(found) if found > pos else doubt

    return [extent(i) if alt in KINDS else Extent() for i, alt in enumerate(alts)]


def spelled_out(alt: str, ref: str, bases: str) -> tuple[str, str]:
    """REF and ALT in bases for ``alt``, one of :data:`KINDS`.

    ``ref`` is the record's and ``bases`` the genome's from POS to END. Both alleles begin with the
    base at POS: the record's, or the genome's where that is none, as N.
    """
    before, event = ref[0] if ref[0] in "ACGT" else bases[0], bases[1:]
    if alt == "<DEL>":
        return before + event, before
    if alt == "<INV>":
        return before + event, before + event.translate(_COMPLEMENT)[::-1]
    return before, before + event


def _uncertain(fields: Mapping[str, str]) -> str:
    """Why no ALT of a record is spelled out; empty if they are."""
    if "IMPRECISE" in fields:
        return "IMPRECISE"
    # beside a homology these are the places where the event could stand just as well
    intervals = () if any(name in fields for name in _HOMOLOGY) else _INTERVALS
    for name in (*intervals, *_INSERTED):
        if not _NOTHING.issuperset(fields.get(name, "").split(",")):
            return f"{name}={fields[name][:24]}"
    return ""


def _integers(text: str) -> list[int | None]:
    """Comma-separated integers, None for ``.``; none at all if one is something else."""
    found = text.split(",")
    if not all(item in (".", "") or _INTEGER.fullmatch(item) for item in found):
        return []
    return [None if item in (".", "") else int(item) for item in found]
