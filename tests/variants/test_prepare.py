"""Alleles in the form in which they are evaluated: against `bcftools norm` and by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pysam.bcftools
import pytest

from seal_store.synthetic import random_bases, write_fasta
from seal_store.variants.alleles import Allele, alleles_of, classify, place
from seal_store.variants.prepare import Bases, Preparation

HEAD = "##fileformat=VCFv4.2\n##contig=<ID=chr1,length=4000>\n"
HEAD += "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"


def of(sequence: str) -> Bases:
    def bases(contig: str, first: int, last: int) -> str | None:
        return sequence[first - 1 : last] if first >= 1 and last <= len(sequence) else None

    return bases


def made(pos: int, ref: str, alt: str) -> Allele:
    return Allele(7, "chr1", pos, "x", ref, alt, classify(ref, alt))


def repeats(rng: np.random.Generator) -> str:
    genome = bytearray(random_bases(4_000, int(rng.integers(1 << 30))))
    for start in range(100, 3_900, 60):
        unit = random_bases(int(rng.integers(1, 5)), int(rng.integers(1 << 30)))
        genome[start : start + 30] = (unit * 30)[:30]
    return genome.decode()


def written(sequence: str, rng: np.random.Generator) -> Allele:
    """A change of the genome, with bases before and after it that are the same in REF and ALT."""
    start = int(rng.integers(30, 3_800))
    gone = sequence[start : start + int(rng.integers(0, 6))]
    new = random_bases(int(rng.integers(0, 6)), int(rng.integers(1 << 30))).decode()
    if rng.random() < 0.5:  # of a repeat
        new, gone = ("", gone) if rng.random() < 0.5 else (gone, "")
    before, after = (int(n) for n in rng.integers(0, 20, 2))
    before = max(before, 1)
    end = start + len(gone)
    left, right = sequence[start - before : start], sequence[end : end + after]
    return made(start - before + 1, left + gone + right, left + new + right)


def normalized(folder: Path, alleles: list[Allele], *options: str) -> list[tuple[int, str, str]]:
    """POS, REF and ALT as `bcftools norm` gives them, one by one: it sorts."""
    found = []
    for allele in alleles:
        row = f"chr1\t{allele.pos}\t.\t{allele.ref}\t{allele.alt}\t.\t.\t.\n"
        (folder / "in.vcf").write_text(HEAD + row)
        text = pysam.bcftools.norm("-f", str(folder / "g.fa"), *options, str(folder / "in.vcf"))
        fields = text.splitlines()[-1].split("\t")
        found.append((int(fields[1]), fields[3], fields[4]))
    return found


def test_normalized_alleles_are_those_of_bcftools(tmp_path: Path, rng: np.random.Generator) -> None:
    sequence = repeats(rng)
    write_fasta(tmp_path / "g.fa", {"chr1": sequence.encode()})
    alleles = [a for a in (written(sequence, rng) for _ in range(300)) if a.kind != "no_change"]
    prepare = Preparation(of(sequence), swap=False, normalize=True)
    found = [prepare(a) for a in alleles]
    assert [(a.pos, a.ref, a.alt) for a in found] == normalized(tmp_path, alleles)
    for before, after in zip(alleles, found, strict=True):
        assert (after.shown, after.read, after.swapped) == (before, before, False)
        assert (str(after), after.id, after.line, after.kind) == (str(before), "x", 7, before.kind)
        haplotypes = [
            sequence[: a.pos - 1] + a.alt + sequence[a.pos - 1 + len(a.ref) :]
            for a in (before, after)
        ]
        assert haplotypes[0] == haplotypes[1]
    assert sum(after is not before for after, before in zip(found, alleles, strict=True)) > 100


def test_swapped_alleles_are_those_of_bcftools(tmp_path: Path, rng: np.random.Generator) -> None:
    """`--check-ref s` exchanges REF and ALT of one length where only ALT is the genome's.

    Where neither is it puts the genome's bases into REF, and so it does with indels: these stay
    as they are here, to be flagged.
    """
    sequence = repeats(rng)
    write_fasta(tmp_path / "g.fa", {"chr1": sequence.encode()})
    forward = [written(sequence, rng) for _ in range(150)]
    alleles = [made(a.pos, a.alt, a.ref) for a in forward if a.kind != "no_change"]
    for _ in range(150):
        start, length, lead = (int(n) for n in rng.integers((50, 1, 0), (3_800, 4, 9)))
        pos = start + 1 - lead
        end = start + length + 3
        own = sequence[pos - 1 : end]
        other = sequence[pos - 1 : start] + random_bases(length, start).decode()
        other += sequence[start + length : end]
        alleles.append(made(pos, *((other, own) if rng.random() < 0.7 else (own, other))))
    alleles = [a for a in alleles if a.ref != a.alt]
    prepare = Preparation(of(sequence), swap=True, normalize=True)
    found = [prepare(a) for a in alleles]
    for allele, own in zip(alleles, found, strict=True):
        here = sequence[allele.pos - 1 :]
        turned = here.startswith(allele.alt) and not here.startswith(allele.ref)
        assert own.swapped is (turned and len(allele.ref) == len(allele.alt))
        assert own.shown == allele
        if not own.swapped and not here.startswith(allele.ref):
            assert own is allele
    known = [i for i, own in enumerate(found) if own is not alleles[i] or own.kind == "snv"]
    expected = normalized(tmp_path, [alleles[i] for i in known], "--check-ref", "s")
    assert [(found[i].pos, found[i].ref, found[i].alt) for i in known] == expected
    assert sum(a.swapped for a in found) > 50


@pytest.mark.parametrize(
    ("pos", "ref", "alt"),
    [
        (3, "C", "T"),  # neither is the genome's: an A
        (3, "A", "T"),
        (3, "A", "<DEL>"),
        (3, "C", "<NON_REF>"),
        (3, "N", "A"),
        (90, "A", "C"),  # beyond what is known
    ],
)
def test_what_stays_as_it_is(pos: int, ref: str, alt: str) -> None:
    allele = made(pos, ref, alt)
    assert Preparation(of("GCATTT"), swap=True, normalize=True)(allele) is allele


def test_nothing_is_done_unless_asked_for() -> None:
    swapped, padded = made(3, "G", "A"), made(5, "TT", "T")
    bases = of("GCATTT")
    assert Preparation(bases, swap=False, normalize=False)(padded) is padded
    assert Preparation(bases, swap=False, normalize=True)(swapped) is swapped
    only = Preparation(bases, swap=True, normalize=False)
    assert only(padded) is padded
    assert (only(swapped).ref, only(swapped).alt, only(swapped).swapped) == ("A", "G", True)


def test_an_allele_stays_where_it_could_be_shifted_out_of_what_is_known() -> None:
    sequence = "N" * 3 + "T" * 6 + "G"

    def bases(contig: str, first: int, last: int) -> str | None:
        return sequence[first - 1 : last] if first > 5 else None

    allele = made(8, "TT", "T")
    assert Preparation(bases, swap=False, normalize=True)(allele) is allele
    whole = Preparation(of(sequence), swap=False, normalize=True)(allele)
    assert (whole.pos, whole.ref, whole.alt) == (3, "NT", "N")


@pytest.mark.parametrize(("ref", "alt"), [("A", "G"), ("AC", "GG"), ("A", "AT"), ("AT", "A")])
@pytest.mark.parametrize(("before", "after"), [("", ""), ("C", ""), ("GATC", "G"), ("", "CG")])
def test_the_place_of_an_allele_is_the_pos_of_its_trimmed_form(
    ref: str, alt: str, before: str, after: str
) -> None:
    """However it is padded."""
    pos = 100 - len(before)
    assert place(pos, before + ref + after, before + alt + after) == 100


@pytest.mark.parametrize(
    ("alt", "kind"),
    [
        ("<NON_REF>", "reference_block"),
        ("<*>", "reference_block"),
        ("<non_ref>", "reference_block"),
        ("<X>", "reference_block"),
        ("<DEL>", "symbolic"),
        ("<INS:ME>", "symbolic"),
        ("*", "star"),
        (".", "missing"),
    ],
)
def test_blocks_of_a_gvcf_are_no_structural_variants(alt: str, kind: str) -> None:
    found = list(alleles_of(1, f"1\t5\t.\tC\tT,{alt}\t.\t.\tEND=9", True))
    assert [a.kind for a in found] == ["snv", kind]
