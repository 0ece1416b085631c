"""The form in which an allele is evaluated: in bases; exchanged or left-aligned, by option.

Positions are 1-based. Rows keep showing the allele as it was given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from seal_store.variants.alleles import SCORABLE, SWAPPED, Allele, Origin, classify
from seal_store.variants.structural import KINDS, spelled_out

Bases = Callable[[str, int, int], "str | None"]
"""Bases of a contig from one 1-based position to another, both included; None if not known."""

NORMALIZED = "normalized"
SPELLED_OUT = "spelled_out"


class Preparation:
    """Brings alleles into the form in which they are evaluated, by the reference ``bases``.

    With ``swap``, REF and ALT of the same length are exchanged if only ALT is the reference's, as
    by ``bcftools norm --check-ref s``. (Of an indel the reference has the base before it either
    way, which tells nothing.) With ``normalize`` an allele whose REF is the reference's becomes
    its shortest and left-most form, as by ``bcftools norm``. Where the bases are not known an
    allele stays as it is. A structural variant with an ``end`` is put into bases before; where
    these are not known it is of kind ``sv_outside``.
    """

    def __init__(self, bases: Bases, *, swap: bool, normalize: bool) -> None:
        self.bases, self.swap, self.normalize = bases, swap, normalize

    def __call__(self, allele: Allele) -> Allele:
        """``allele``, or another one that has it for its origin."""
        if allele.end:
            allele = self._spelled_out(allele)
        if allele.kind not in SCORABLE or not (self.swap or self.normalize):
            return allele
        if self.normalize and not self.swap and len(allele.ref) == len(allele.alt) == 1:
            return allele
        if not self._stands(allele, allele.ref):
            same_length = len(allele.ref) == len(allele.alt)
            if not (self.swap and same_length and self._stands(allele, allele.alt)):
                return allele
            turned = Origin(allele, SWAPPED, swapped=True)
            allele = _as(turned, allele.pos, allele.alt, allele.ref)
        return self._aligned(allele) if self.normalize else allele

    def _spelled_out(self, allele: Allele) -> Allele:
        bases = self.bases(allele.contig, allele.pos, allele.end)
        if not bases:
            return replace(allele, kind="sv_outside")
        ref, alt = spelled_out(allele.alt, allele.ref, bases)
        kind = classify(ref, alt)
        if kind not in SCORABLE:
            return replace(allele, kind=kind)
        shown = replace(allele, kind=KINDS[allele.alt])
        return _as(Origin(shown, SPELLED_OUT), allele.pos, ref, alt)

    def _stands(self, allele: Allele, bases: str) -> bool:
        return self.bases(allele.contig, allele.pos, allele.pos + len(bases) - 1) == bases

    def _aligned(self, allele: Allele) -> Allele:
        def base(position: int) -> str:
            found = self.bases(allele.contig, position, position)
            if found is None:
                raise LookupError
            return found

        given = allele.pos, allele.ref, allele.alt
        try:
            found = left_aligned(*given, base)
        except LookupError:  # it could be shifted further than bases are known
            return allele
        return allele if found == given else _as(Origin(allele, NORMALIZED), *found)


def _as(origin: Origin, pos: int, ref: str, alt: str) -> Allele:
    of = origin.allele
    return Allele(of.line, of.contig, pos, of.id, ref, alt, of.kind, origin=origin)


def left_aligned(pos: int, ref: str, alt: str, base: Callable[[int], str]) -> tuple[int, str, str]:
    """The shortest, left-most form of an allele, as ``bcftools norm`` gives it.

    ``base`` gives the base at a 1-based position. An allele may be empty; in the result none is.
    """
    if ref == alt:
        return pos, ref, alt
    while True:
        if ref and alt:
            if ref[-1] != alt[-1]:
                break
            ref, alt = ref[:-1], alt[:-1]
        elif pos == 1:
            after = base(1 + len(ref))
            return 1, ref + after, alt + after
        else:
            pos -= 1
            before = base(pos)
            ref, alt = before + ref, before + alt
    while len(ref) > 1 and len(alt) > 1 and ref[0] == alt[0]:
        pos, ref, alt = pos + 1, ref[1:], alt[1:]
    return pos, ref, alt
