"""Variants as people write them: ``chr1:867550:C:G``, ``1-867550-C-G``, HGVS g. and SPDI.

Also as this package prints them, ``chr1:867550 C>G``, and as GTEx does, ``chr1_867550_C_G_b38``. A
contig's name may have any of the characters between fields: the last fields count.

Positions are 1-based in all of them but SPDI, which is an accession and three more fields between
colons: ``NC_000001.10:867549:C:G``, with the number of bases before the change. HGVS and SPDI
become alleles as VCF has them: with the base before an insertion or deletion, and shifted to the
left as far as the sequence is the same (HGVS shifts to the right). The bases for this are those of
a store, see :class:`seal_store.variants.bases.StoreBases`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from seal_store.errors import VariantError
from seal_store.reference.contigs import (
    UNKNOWN,
    assembly_of_name,
    assembly_of_text,
    chromosome,
    differ,
)
from seal_store.reference.fasta import reverse_complement
from seal_store.variants.alleles import Allele, alleles_of
from seal_store.variants.prepare import Bases, left_aligned

FORMS = (
    "write chr1:867550:C:G, 1-867550-C-G, chr1_867550_C_G, 'chr1:867550 C>G', HGVS like "
    "chr1:g.867550C>G or SPDI like NC_000001.10:867549:C:G"
)

_ACCESSION = re.compile(r"(?:[A-Z]{2}_[0-9]+|[A-Z]{1,2}[0-9]{5,8})(?:\.[0-9]+)?", re.ASCII)
_SPDI = re.compile(
    r"(?P<contig>[^:]+):(?P<before>[0-9]{1,10}):(?P<gone>[0-9]{1,5}|[ACGTN]*):(?P<new>[ACGTN]*)",
    re.ASCII | re.IGNORECASE,
)
_PRINTED = (
    re.compile(
        r"(?P<contig>[^/\\]+):(?P<pos>[0-9]{1,10}) +(?P<ref>[ACGTN]+)>(?P<alt>[^\s/\\]+)",
        re.ASCII | re.IGNORECASE,
    ),
    re.compile(
        r"(?P<contig>[^/\\]+)_(?P<pos>[1-9][0-9]{0,9})_(?P<ref>[ACGTN]+)_(?P<alt>[ACGTN,]+)"
        r"(?:_b(?P<build>3[78]))?",
        re.ASCII | re.IGNORECASE,
    ),
)
"""As described and joined: what no other notation can be taken for."""
_NOT_GENOMIC = {
    "an HGVS description of a transcript or protein": re.compile(r"(?:^|[:\s(])[cnrpm]\.", re.I),
    "an identifier": re.compile(
        r"^(?:rs|ss|nsv|esv|COS[MVN]|[RSV]CV|CA)[0-9]+(?:\.[0-9]+)?$", re.I
    ),
}

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
    for what, pattern in _NOT_GENOMIC.items():
        if pattern.search(text):
            hint = f"{FORMS}; Ensembl's VEP and VariantValidator give the genomic form of others"
            raise _refuse(text, f"{what}, and only genomic notations are understood", hint)
    if ":g." in text:
        found = [_hgvs(text, bases, assembly)]
    elif text.count(":") == 3 and _ACCESSION.fullmatch(text.partition(":")[0].strip()):
        found = [_spdi(text, bases, assembly)]
    else:
        contig, pos, ref, alt = _fields(text, assembly)
        found = _alleles(text, _contig(text, contig, assembly), pos, ref, alt)
    for allele in found:
        if allele.kind in ("malformed", "telomere"):
            raise _refuse(text, allele.problem, FORMS)
    return found


def as_printed(text: str) -> re.Match[str] | None:
    """``contig``, ``pos``, ``ref``, ``alt`` of ``chr1:5 A>C`` or ``chr1_5_A_C``; else None."""
    return next((m for own in _PRINTED if (m := own.fullmatch(text.strip()))), None)


def plain_fields(text: str) -> tuple[str, str, str, str] | None:
    """CONTIG, POS, REF, ALT of a text that has all four; None for another one, as HGVS."""
    if printed := as_printed(text):
        contig, pos, ref, alt = (printed[name] for name in ("contig", "pos", "ref", "alt"))
        return contig, pos, ref, alt
    for separator in ":-":
        fields = text.rsplit(separator, 3)
        if len(fields) == 4:
            return fields[0], fields[1], fields[2], fields[3]
    return None


def _fields(text: str, assembly: str) -> tuple[str, str, str, str]:
    fields = plain_fields(text)
    if fields is None and re.search(r"\.\.\.\([0-9]+ bases\)", text):
        raise _refuse(text, "an allele is shortened", "give all of its bases")
    if fields is None:
        raise _refuse(text, "not understood", FORMS)
    printed = as_printed(text)
    build = printed and printed.groupdict().get("build")
    own = f"GRCh{build}" if build else ""
    if differ(assembly_of_text(own), assembly):
        raise _refuse(text, f"is of {own}, the store of {assembly}", "lift it over")
    return fields


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

    base = _known(text, contig, bases)

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
    if stated and stated != base(first, last):
        alt = stated * 2 if part["twice"] else part["instead"]
        return _as_stated(text, contig, first, stated, alt, base)
    pos, ref, alt = left_aligned(*change, lambda place: base(place, place))
    return _alleles(text, contig, str(pos), ref, alt)[0]


def _spdi(text: str, bases: Bases, assembly: str) -> Allele:
    """Accession, 0-based position, deleted bases or their number, inserted bases."""
    found = _SPDI.fullmatch(text.strip())
    if found is None:
        raise _refuse(
            text,
            "not understood as SPDI, which an accession and three more fields are",
            "write accession:bases before the change:deleted:inserted, or chr1:867550:C:G",
        )
    contig = _contig(text, found["contig"], assembly)
    first, gone, new = int(found["before"]) + 1, found["gone"].upper(), found["new"].upper()
    base = _known(text, contig, bases)
    if gone.isdigit():
        gone = base(first, first + int(gone) - 1)
    elif len(gone) != len(new) and gone != base(first, first + len(gone) - 1):
        return _as_stated(text, contig, first, gone, new, base)
    if len(gone) != len(new):
        first, gone, new = left_aligned(first, gone, new, lambda place: base(place, place))
    if not gone:
        raise _refuse(text, "changes nothing", FORMS)
    return _alleles(text, contig, str(first), gone, new)[0]


def _known(text: str, contig: str, bases: Bases) -> Callable[[int, int], str]:
    """``bases`` of one contig; those that are not known refuse ``text``."""

    def base(start: int, end: int) -> str:
        letters = bases(contig, start, end)
        if letters is None:
            raise _refuse(
                text,
                f"the store does not hold the bases {start}-{end}",
                "give the variant as chr:pos:ref:alt",
            )
        return letters

    return base


def _as_stated(
    text: str, contig: str, first: int, ref: str, alt: str, base: Callable[[int, int], str]
) -> Allele:
    """The allele where it stands, of bases that the genome has not: `ref_mismatch` decides."""
    pos, anchor = (first, "") if alt else (first - 1, base(first - 1, first - 1))
    return _alleles(text, contig, str(pos), anchor + ref, anchor + alt)[0]


def _refuse(text: str, problem: str, hint: str) -> VariantError:
    shown = text if len(text) <= 60 else f"{text[:50]}...({len(text)} characters)"
    return VariantError(f"variant {shown!r}: {problem}", hint)
