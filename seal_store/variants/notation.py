"""Variants as people write them: ``chr1:867550:C:G``, ``1-867550-C-G`` and HGVS g.

Positions are 1-based in all of them. HGVS descriptions become alleles as VCF has them: with the
base before an insertion or deletion, and shifted to the left as far as the sequence is the same
(HGVS shifts to the right). The bases for this are those of a store, see
:class:`seal_store.variants.bases.StoreBases`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from seal_store.errors import VariantError
from seal_store.reference.contigs import UNKNOWN, assembly_of_name, chromosome, differ
from seal_store.reference.fasta import reverse_complement
from seal_store.variants.alleles import Allele, alleles_of

Bases = Callable[[str, int, int], "str | None"]
"""Bases of a contig from one 1-based position to another, both included; None if not known."""

FORMS = "write chr1:867550:C:G, 1-867550-C-G or HGVS like chr1:g.867550C>G"

_HGVS = re.compile(
    r"(?P<contig>[^:]+):g\.(?P<first>[0-9]{1,10})(?:_(?P<last>[0-9]{1,10}))?"
    r"(?:(?P<ref>[ACGTN])>(?P<sub>[ACGTN])|del(?P<gone>[ACGTN]*)(?:ins(?P<instead>[ACGTN]+))?"
    r"|dup(?P<twice>[ACGTN]*)|ins(?P<new>[ACGTN]+)|(?P<inv>inv))",
    re.ASCII | re.IGNORECASE,
)


def parse_variant(text: str, bases: Bases, assembly: str = "unknown") -> list[Allele]:
    """Alleles of one variant as written, one for each ALT; their ``id`` is the text.

    ``assembly`` is that of ``bases``: an accession of another one is refused. Raises
    :class:`VariantError` if the text is not understood or bases that it needs are not known.
    """
    if not text.isprintable():
        raise _refuse(text, "has a control or invisible character", FORMS)
    if ":g." in text:
        found = [_hgvs(text, bases, assembly)]
    else:
        fields = text.rsplit(":", 3)
        if len(fields) != 4:
            fields = text.rsplit("-", 3)
        if len(fields) != 4:
            raise _refuse(text, "not understood", FORMS)
        found = _alleles(text, _contig(text, fields[0], assembly), *fields[1:])
    for allele in found:
        if allele.kind == "malformed":
            raise _refuse(text, allele.problem, FORMS)
    return found


def _alleles(text: str, contig: str, pos: str, ref: str, alt: str) -> list[Allele]:
    name = text if len(text) <= 200 else "."
    return list(alleles_of(0, "\t".join((contig, pos, name, ref, alt)), True))


def _contig(text: str, name: str, assembly: str) -> str:
    """The chromosome of an accession; other names stay."""
    own = assembly_of_name(name)
    if differ(own, assembly):
        raise _refuse(text, f"{name} is of {own}, the store of {assembly}", "lift it over")
    return name if own == UNKNOWN else f"chr{chromosome(name)}"


def _hgvs(text: str, bases: Bases, assembly: str) -> Allele:
    found = _HGVS.fullmatch(text.strip())
    if found is None:
        raise _refuse(
            text,
            "not understood as HGVS g.",
            "known are substitutions, del, ins, delins, dup and inv with plain positions",
        )
    part = {name: value.upper() for name, value in found.groupdict("").items()}
    contig = _contig(text, found["contig"], assembly)
    first = int(part["first"])
    last = int(part["last"] or first)
    if not 1 <= first <= last:
        raise _refuse(text, "the range is empty", "positions are 1-based, the smaller one first")

    def base(start: int, end: int) -> str:
        letters = bases(contig, start, end)
        if letters is None:
            raise _refuse(
                text,
                f"the store does not hold the bases {start}-{end}",
                "give the variant as chr:pos:ref:alt",
            )
        return letters

    def given(letters: str) -> str:
        if letters and len(letters) != last - first + 1:
            raise _refuse(text, f"{len(letters)} bases for {last - first + 1} positions", "")
        return letters or base(first, last)

    if part["sub"]:
        if last != first:
            raise _refuse(text, "a substitution has one position", "use delins for more")
        return _alleles(text, contig, str(first), part["ref"], part["sub"])[0]
    if part["new"]:
        if last != first + 1:
            raise _refuse(text, "an insertion stands between two neighbours", "write 5_6insT")
        change = first + 1, "", part["new"]
    elif found["twice"] is not None:
        change = last + 1, "", given(part["twice"])
    elif part["inv"]:
        ref = base(first, last)
        change = first, ref, reverse_complement(ref.encode()).decode()
    else:
        change = first, given(part["gone"]), part["instead"]
    stated = part["gone"] or part["twice"] or ""
    if stated and stated != base(first, last):  # where it stands: `ref_mismatch` decides
        alt = stated * 2 if part["twice"] else part["instead"]
        pos, anchor = (first, "") if alt else (first - 1, base(first - 1, first - 1))
        return _alleles(text, contig, str(pos), anchor + stated, anchor + alt)[0]
    pos, ref, alt = left_aligned(*change, lambda place: base(place, place))
    return _alleles(text, contig, str(pos), ref, alt)[0]


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


def _refuse(text: str, problem: str, hint: str) -> VariantError:
    shown = text if len(text) <= 60 else f"{text[:50]}...({len(text)} characters)"
    return VariantError(f"variant {shown!r}: {problem}", hint)
