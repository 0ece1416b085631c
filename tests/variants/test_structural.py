"""Structural variants: how far they reach by INFO, and the bases that they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pysam.bcftools
import pytest

from seal_store.reference.gene_table import GeneTable
from seal_store.store.layout import SEQUENCE_LENGTH
from seal_store.store.store import Store, sequence_start
from seal_store.variants.alleles import MAX_INFO, Allele, alleles_of, trim
from seal_store.variants.bases import StoreBases
from seal_store.variants.prepare import Preparation
from seal_store.variants.source import VariantSource, read_variants
from seal_store.variants.structural import extents, spelled_out

HEADER = (
    "##fileformat=VCFv4.2\n##contig=<ID=chr1,length=500000>\n"
    '##ALT=<ID=DEL,Description="d">\n##ALT=<ID=DUP,Description="d">\n'
    '##INFO=<ID=END,Number=1,Type=Integer,Description="e">\n'
    '##INFO=<ID=SVLEN,Number=A,Type=Integer,Description="l">\n'
    '##INFO=<ID=CIPOS,Number=.,Type=Integer,Description="c">\n'
    '##INFO=<ID=IMPRECISE,Number=0,Type=Flag,Description="i">\n'
    '##INFO=<ID=SVCLAIM,Number=A,Type=String,Description="s">\n'
    '##FORMAT=<ID=GT,Number=1,Type=String,Description="g">\n'
    "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\ts\n"
)


def told(alt: str, info: str, pos: int = 100) -> list[tuple[int, str]]:
    """Kind of the alleles of a record, and END of those that have one."""
    record = f"chr1\t{pos}\t.\tN\t{alt}\t.\t.\t{info}"
    found = list(alleles_of(1, record, True))
    assert found == [*alleles_of(1, f"{record}\tGT\t0/1", True)]
    assert found == [*alleles_of(1, record.replace("\t", " "), True)]
    return [(a.end, a.kind) for a in found]


@pytest.mark.parametrize("alt", ["<DEL>", "<DUP>", "<DUP:TANDEM>", "<INV>", "<del>", "<Inv>"])
@pytest.mark.parametrize(
    "info",
    [
        "END=150",
        "SVLEN=50",
        "SVLEN=-50",
        "END=150;SVLEN=-50",
        "SVTYPE=X;SVLEN=50;END=150;AF=0.1",
        "END=150;SVLEN=.",
        "END=.;SVLEN=50",
        "END=150;CIPOS=0,0;CIEND=0,0",
        "END=150;CIPOS=.",
        "END=150;CIPOS=-3,3;CIEND=-3,3;HOMLEN=3",  # the same event, shifted
        "END=150;CIPOS=0,3;HOMSEQ=ACG",
        "END=150;PRECISE;CIPOS=-2,2",
        "END=150;SVCLAIM=DJ",
        "END=150;SVINSLEN=0",
        "IMPRECISEX;END=150",
    ],
)
def test_what_info_tells(alt: str, info: str) -> None:
    assert told(alt, info) == [(150, "symbolic")]


@pytest.mark.parametrize(
    ("info", "kind"),
    [
        (".", "symbolic"),
        ("", "symbolic"),
        ("SVTYPE=DEL", "symbolic"),
        ("END=.;SVLEN=.", "symbolic"),
        ("IMPRECISE;END=150", "symbolic"),
        ("END=150;SVLEN=-50;IMPRECISE", "symbolic"),
        ("END=150;CIPOS=-10,10", "symbolic"),
        ("END=150;CIEND=0,1", "symbolic"),
        ("END=150;CILEN=-5,5", "symbolic"),
        ("END=150;SVINSSEQ=ACT", "symbolic"),
        ("END=150;SVINSLEN=3;HOMLEN=1", "symbolic"),
        ("END=150;SVCLAIM=D", "symbolic"),
        ("END=150;SVLEN=-51", "sv_length"),
        ("END=150;SVLEN=49", "sv_length"),
        ("END=150;SVLEN=0", "sv_length"),
        ("SVLEN=0", "sv_length"),
        ("END=100", "sv_length"),
        ("END=99", "sv_length"),
        ("END=-150", "sv_length"),
        ("END=150,151", "sv_length"),
        ("END=150;END=151", "sv_length"),
        ("END=150x", "sv_length"),
        ("END=1e3", "sv_length"),
        ("END=١٥٠", "sv_length"),
        ("END", "symbolic"),
        ("SVLEN=50,50", "sv_length"),
        ("SVLEN=5 0", "sv_length"),
        (f"END={'9' * 20}", "sv_length"),
    ],
)
def test_what_is_not_told_is_not_guessed(info: str, kind: str) -> None:
    record = f"chr1\t100\t.\tN\t<DEL>\t.\t.\t{info}"
    (found,) = alleles_of(1, record, True)
    assert (found.end, found.kind) == (0, kind)
    assert bool(found.problem) == ("150" in info or kind == "sv_length")


@pytest.mark.parametrize(
    ("alt", "info", "expected"),
    [
        # one value an ALT; END is that of the longest one
        ("<DEL>,<DUP>", "SVLEN=-50,80", [(150, "symbolic"), (180, "symbolic")]),
        ("<DEL>,<DUP>", "SVLEN=-50,80;END=180", [(150, "symbolic"), (180, "symbolic")]),
        ("<DEL>,<CNV>", "SVLEN=-50,80;END=180", [(150, "symbolic"), (0, "symbolic")]),
        ("<DEL>,<INS>", "SVLEN=-50,80;END=180", [(0, "sv_length"), (0, "symbolic")]),
        ("<DEL>,<DUP>", "SVLEN=-50,80;END=170", [(0, "sv_length"), (0, "sv_length")]),
        ("<DEL>,<DUP>", "SVLEN=-50,80;END=150", [(150, "symbolic"), (0, "sv_length")]),
        ("<DEL>,<DUP>", "END=150", [(0, "sv_length"), (0, "sv_length")]),
        ("<DEL>,<DUP>", "SVLEN=50", [(0, "sv_length"), (0, "sv_length")]),
        ("<DEL>,<DUP>", "SVLEN=.,50", [(0, "symbolic"), (150, "symbolic")]),
        ("<DEL>,<DUP>", "SVLEN=-50,50;SVCLAIM=D,DJ", [(0, "symbolic"), (150, "symbolic")]),
        ("C,<DEL>", "END=150", [(0, "snv"), (150, "symbolic")]),
        ("C,<DEL>", "SVLEN=.,-50", [(0, "snv"), (150, "symbolic")]),
        ("C,<DEL>,*", "SVLEN=.,-50,.;END=150", [(0, "snv"), (150, "symbolic"), (0, "star")]),
        ("<INS>", "END=150;SVLEN=50", [(0, "symbolic")]),
        ("<CN0>", "END=150", [(0, "symbolic")]),
        ("<DEL:ME>", "END=150", [(0, "symbolic")]),
        ("<NON_REF>", "END=150", [(0, "reference_block")]),
    ],
)
def test_records_of_several_alts(alt: str, info: str, expected: list) -> None:
    found = alleles_of(1, f"chr1\t100\t.\tA\t{alt}\t.\t.\t{info}", True)
    assert [(a.end, a.kind) for a in found] == expected


def test_many_alts_take_no_time() -> None:
    count = 20_000
    found = extents(1, ["<DEL>"] * count, f"SVLEN={','.join(map(str, range(1, count + 1)))}")
    assert [one.end for one in found] == list(range(2, count + 2))


def test_bcf_is_read_as_its_text(tmp_path: Path) -> None:
    infos = ["END=150", "SVLEN=-50;END=150", "SVLEN=40", "IMPRECISE;END=150", "END=150;CIPOS=-5,5"]
    infos += ["SVLEN=-3;END=120", ".", "END=150;CIPOS=0,0"]
    text = tmp_path / "in.vcf"
    lines = [
        f"chr1\t{100}\tv{i}\tN\t{alt}\t.\t.\t{info}\tGT\t0/1\n"
        for i, info in enumerate(infos)
        for alt in ("<DEL>", "<DUP>", "C")
    ]
    lines.append("chr1\t100\t.\tA\tC,<DUP>,<DEL>\t.\t.\tSVLEN=.,9,-7;SVCLAIM=.,D,DJ\tGT\t0/1\n")
    text.write_text(HEADER + "".join(lines))
    binary = tmp_path / "in.bcf"
    pysam.bcftools.view("-Ob", "-o", str(binary), str(text), catch_stdout=False)
    expected = list(read_variants(text))
    assert sum(a.end > 0 for a in expected) == 2 * 4 + 1

    def seen(alleles: list[Allele]) -> list[tuple[object, ...]]:
        return [(a.pos, a.id, a.ref, a.alt, a.kind, a.end, a.problem) for a in alleles]

    assert seen(list(read_variants(binary))) == seen(expected)
    whole = [a for record in VariantSource(binary).records() for a in record.alleles]
    assert seen(whole) == seen(expected)


@pytest.mark.parametrize("size", [MAX_INFO - 60, MAX_INFO, MAX_INFO + 1, 1 << 20, 3 << 20])
@pytest.mark.parametrize("genotypes", ["", "\tGT\t0/1"])
def test_long_lines_are_read_alike_wherever_they_are_read(
    size: int, genotypes: str, tmp_path: Path
) -> None:
    """Alone to be scored, or whole to be annotated; the INFO of an extremely long one is left."""
    path, start = tmp_path / "in.vcf", "chr1\t100\t.\tN\t<DEL>\t.\t.\t"
    info = "END=150;X=" + "x" * (size - len(start) - 10)
    path.write_text(f"{HEADER}{start}{info}{genotypes}\n")
    (found,) = read_variants(path)
    (record,) = VariantSource(path).records()
    assert record.alleles == (found,)
    assert found.end == (150 if size + bool(genotypes) <= MAX_INFO else 0)
    after = tmp_path / "after.vcf"  # INFO is short, but genotypes are not
    after.write_text(f"{HEADER}{start}END=150\tGT{chr(9)}{'0/1' * (size // 3)}\n")
    assert [a.end for a in read_variants(after)] == [150]
    assert [r.alleles[0].end for r in VariantSource(after).records()] == [150]


def edited(sequence: str, alt: str, pos: int, end: int) -> str:
    """The haplotype, base by base: 1-based ``pos`` is the one before the event."""
    pairs = {"A": "T", "C": "G", "G": "C", "T": "A"}
    found = []
    for place in range(1, len(sequence) + 1):
        if not pos < place <= end:
            found.append(sequence[place - 1])
        elif alt == "<INV>":
            found.append(pairs[sequence[end + pos - place]])
        elif alt != "<DEL>":
            found.append(sequence[place - 1])
        if place == end and alt.startswith("<DUP"):
            found += [sequence[i - 1] for i in range(pos + 1, end + 1)]
    return "".join(found)


def test_the_bases_are_the_haplotypes(rng: np.random.Generator) -> None:
    """Of random events, by an oracle that walks along the bases."""
    sequence = "".join(rng.choice(list("ACGT"), 300))

    def bases(contig: str, first: int, last: int) -> str | None:
        assert contig == "chr1"
        return sequence[first - 1 : last] if first >= 1 and last <= len(sequence) else None

    prepare = Preparation(bases, swap=False, normalize=False)
    normalize = Preparation(bases, swap=False, normalize=True)
    kinds = set()
    for _ in range(600):
        alt = str(rng.choice(["<DEL>", "<DUP>", "<DUP:TANDEM>", "<INV>"]))
        pos = int(rng.integers(1, 300))
        end = int(rng.integers(pos + 1, 301))
        ref = sequence[pos - 1] if rng.random() < 0.5 else "N"
        length = (end - pos) * int(rng.choice([-1, 1]))
        info = str(rng.choice([f"END={end}", f"SVLEN={length}", f"END={end};SVLEN={length}"]))
        (allele,) = alleles_of(7, f"chr1\t{pos}\tx\t{ref}\t{alt}\t.\t.\t{info}", True)
        own = edited(sequence, alt, pos, end)
        for found in (prepare(allele), normalize(allele)):
            kinds.add(found.kind)
            if own == sequence:  # an inversion of what reads the same both ways
                assert (found.kind, found.end) == ("no_change", end)
                continue
            place = found.pos - 1
            assert sequence[place : place + len(found.ref)] == found.ref
            assert own == sequence[:place] + found.alt + sequence[place + len(found.ref) :]
            assert (found.shown.ref, found.shown.alt, found.shown.end) == (ref, alt, end)
            assert (found.kind, found.last) == (found.shown.kind, place + len(found.ref))
            change = trim(found.pos, found.ref, found.alt)
            assert (
                change.net == {"deletion": pos - end, "insertion": end - pos, "mnv": 0}[found.kind]
            )
    assert kinds >= {"deletion", "insertion", "mnv"}


def test_ref_at_pos_is_the_records_or_the_genomes() -> None:
    assert spelled_out("<DEL>", "N", "ACG") == ("ACG", "A")
    assert spelled_out("<DEL>", "T", "ACG") == ("TCG", "T")
    assert spelled_out("<DUP>", "R", "ACG") == ("A", "ACG")
    assert spelled_out("<INV>", "ACCC", "ACCT") == ("ACCT", "AAGG")


@pytest.mark.parametrize(
    ("sequence", "end", "kind"),
    [("ACGTN", 5, "iupac"), ("AACGT", 5, "no_change"), ("ACGT", 5, "sv_outside")],
)
@pytest.mark.parametrize("alt", ["<INV>"])
def test_what_has_no_bases(sequence: str, end: int, kind: str, alt: str) -> None:
    def bases(contig: str, first: int, last: int) -> str | None:
        return sequence[first - 1 : last] if last <= len(sequence) else None

    (allele,) = alleles_of(1, f"chr1\t1\t.\tA\t{alt}\t.\t.\tEND={end}", True)
    found = Preparation(bases, swap=False, normalize=False)(allele)
    assert (found.kind, found.alt, found.origin) == (kind, alt, None)


@pytest.mark.parametrize("apart", [10, 40_000])
def test_bases_are_known_wherever_one_sequence_holds_them(
    store: Store, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, apart: int
) -> None:
    """To the last base, also between genes: by trying all genes."""
    tss = np.sort(60_000 + rng.integers(0, apart, 6))
    names = np.array([f"G{i}" for i in range(6)])
    contig = np.array(["chr1"] * 6)
    table = GeneTable(names, names, contig, np.ones(6, np.int64), tss, names)
    own = StoreBases(store)
    monkeypatch.setattr(StoreBases, "_genes", table)
    monkeypatch.setattr(own, "_sequence", lambda gene: b"A" * SEQUENCE_LENGTH)
    held = 0
    for _ in range(3_000):
        length = SEQUENCE_LENGTH + 1 - int(rng.integers(0, min(apart, SEQUENCE_LENGTH)))
        start = sequence_start(int(rng.choice(tss))) + 1  # about its edges
        first = start + int(rng.choice([0, SEQUENCE_LENGTH - length])) + int(rng.integers(-1, 2))
        known = any(
            sequence_start(int(t)) < first
            and first + length - 1 <= sequence_start(int(t)) + SEQUENCE_LENGTH
            for t in tss
        )
        assert own("chr1", first, first + length - 1) == ("A" * length if known else None)
        held += known
    assert 200 < held < 2_950
