"""Variants as strings and HGVS: by hand, and left alignment against bcftools."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pysam.bcftools
import pytest
from click.testing import Result

from seal_store.errors import VariantError
from seal_store.reference.fasta import Genome, reverse_complement
from seal_store.results.strongest import strongest_contexts
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.scorer import Scorer
from seal_store.store.store import Store
from seal_store.synthetic import World, random_bases, write_fasta
from seal_store.variants.bases import StoreBases
from seal_store.variants.notation import parse_variant
from seal_store.variants.prepare import left_aligned

#           1234567890123456
SEQUENCE = "GACAGCAGCAGTTTTACG"


def bases(contig: str, first: int, last: int) -> str | None:
    inside = contig in ("1", "chr1") and 1 <= first <= last <= len(SEQUENCE)
    return SEQUENCE[first - 1 : last] if inside else None


def known(contig: str, first: int, last: int) -> str | None:
    """As :func:`bases`; no bases are an empty text."""
    return "" if last < first else bases(contig, first, last)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("chr1:867550:C:G", ("chr1", 867550, "C", "G", "snv")),
        ("1:5:a:t", ("1", 5, "A", "T", "snv")),
        ("1-5-A-AT", ("1", 5, "A", "AT", "insertion")),
        ("HLA-A*01:01:5:A:T", ("HLA-A*01:01", 5, "A", "T", "snv")),
        ("HLA-A*01-5-A-T", ("HLA-A*01", 5, "A", "T", "snv")),
        ("NC_000023.10-5-A-T", ("chrX", 5, "A", "T", "snv")),
        ("chr1:84511 C>A", ("chr1", 84511, "C", "A", "snv")),
        ("chr1:5 a><DEL>", ("chr1", 5, "A", "<DEL>", "symbolic")),
        ("HLA-A*01:01:5 A>T", ("HLA-A*01:01", 5, "A", "T", "snv")),
        ("NC_000001.10:5 C>G", ("chr1", 5, "C", "G", "snv")),
        ("chr1_84511_C_A", ("chr1", 84511, "C", "A", "snv")),
        ("chr1_84511_c_ca_b37", ("chr1", 84511, "C", "CA", "insertion")),
        ("NC_000001.10_5_C_G", ("chr1", 5, "C", "G", "snv")),
        ("chr1_KI270706v1_random_5_A_T", ("chr1_KI270706v1_random", 5, "A", "T", "snv")),
        ("chr1_KI270706v1_random-5-A-T", ("chr1_KI270706v1_random", 5, "A", "T", "snv")),
        ("chr1_KI270706v1_random:5:A:T", ("chr1_KI270706v1_random", 5, "A", "T", "snv")),
        ("chr1_KI270706v1_random:5 A>T", ("chr1_KI270706v1_random", 5, "A", "T", "snv")),
        ("HLA-A-B-C_5_A_T", ("HLA-A-B-C", 5, "A", "T", "snv")),
        ("HLA-A*01:01:01:02_5_A_T", ("HLA-A*01:01:01:02", 5, "A", "T", "snv")),
        ("chr1:5:A:<DEL>", ("chr1", 5, "A", "<DEL>", "symbolic")),
        ("chr1:g.867550C>G", ("chr1", 867550, "C", "G", "snv")),
        ("NC_000001.10:g.867550c>g", ("chr1", 867550, "C", "G", "snv")),
        ("chr1:g.2del", ("chr1", 1, "GA", "G", "deletion")),
        ("chr1:g.2delA", ("chr1", 1, "GA", "G", "deletion")),
        ("1:g.15del", ("1", 11, "GT", "G", "deletion")),
        ("chr1:g.9_11del", ("chr1", 2, "ACAG", "A", "deletion")),
        ("chr1:g.9_11dup", ("chr1", 2, "A", "ACAG", "insertion")),
        ("chr1:g.11_12insC", ("chr1", 11, "G", "GC", "insertion")),
        ("chr1:g.15_16insT", ("chr1", 11, "G", "GT", "insertion")),
        ("chr1:g.12dupT", ("chr1", 11, "G", "GT", "insertion")),
        ("chr1:g.2_3delinsTT", ("chr1", 2, "AC", "TT", "mnv")),
        ("chr1:g.2_3delACinsTT", ("chr1", 2, "AC", "TT", "mnv")),
        ("chr1:g.2delinsTTT", ("chr1", 2, "A", "TTT", "complex")),
        ("chr1:g.2_4delinsT", ("chr1", 2, "ACA", "T", "complex")),
        ("chr1:g.5_6inv", ("chr1", 5, "GC", "GC", "no_change")),  # its own reverse complement
        ("chr1:g.10_12inv", ("chr1", 11, "G", "C", "snv")),
        ("chr1:g.1del", ("chr1", 1, "GA", "A", "complex")),
        ("chr1:g.1dup", ("chr1", 1, "G", "GG", "insertion")),
        ("NC_000001.10:106899:C:A", ("chr1", 106_900, "C", "A", "snv")),
        ("CM000663.1:106899:c:a", ("chr1", 106_900, "C", "A", "snv")),
        ("NC_000001.10:4:GC:TT", ("chr1", 5, "GC", "TT", "mnv")),
        ("NC_000001.10:14:T:", ("chr1", 11, "GT", "G", "deletion")),
        ("NC_000001.10:14:1:", ("chr1", 11, "GT", "G", "deletion")),
        ("NC_000001.10:11:TTTT:TTT", ("chr1", 11, "GT", "G", "deletion")),
        ("NC_000001.10:15::T", ("chr1", 11, "G", "GT", "insertion")),
        ("NC_000001.10:15:0:T", ("chr1", 11, "G", "GT", "insertion")),
        ("NC_000001.10:11:TTTT:TTTTT", ("chr1", 11, "G", "GT", "insertion")),
        ("NC_000001.10:0:G:GG", ("chr1", 1, "G", "GG", "insertion")),
        ("NC_000001.10:1:AC:TTT", ("chr1", 2, "AC", "TTT", "complex")),
        ("NC_000001.10:4:TT:", ("chr1", 4, "ATT", "A", "deletion")),  # the genome has GC there
        ("NC_000001.10:4:C:C", ("chr1", 5, "C", "C", "no_change")),
    ],
)
def test_what_is_written_and_what_is_meant(text: str, expected: tuple[object, ...]) -> None:
    (allele,) = parse_variant(text, known, "hg19")
    assert (allele.contig, allele.pos, allele.ref, allele.alt, allele.kind) == expected
    assert (allele.id, allele.line) == (text, 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("chr1:g.2delG", (1, "GG", "G")),  # the genome has A there, and G beside it
        ("chr1:g.5_6delTT", (4, "ATT", "A")),
        ("chr1:g.5_6dupAA", (5, "AA", "AAAA")),
        ("chr1:g.5_6delTTinsA", (5, "TT", "A")),
    ],
)
def test_stated_bases_that_the_genome_lacks_stay_where_they_are(
    text: str, expected: tuple[int, str, str]
) -> None:
    """REF is what was stated, so that it is compared with the genome."""
    (allele,) = parse_variant(text, bases, "hg19")
    assert (allele.pos, allele.ref, allele.alt) == expected
    assert bases("chr1", allele.pos, allele.pos + len(allele.ref) - 1) != allele.ref


def test_several_alternatives_are_several_alleles() -> None:
    assert [a.alt for a in parse_variant("chr1:5:A:C,G,<DEL>", bases)] == ["C", "G", "<DEL>"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not understood"),
        ("rs123", "an identifier, and only genomic notations"),
        ("chr1:5:A", "not understood"),
        ("chr1:0:A:C", "POS '0'"),
        ("chr1:x:A:C", "POS 'x'"),
        ("chr1:5:A:Q", "not made of bases"),
        ("chr1:5:A\t:C", "control"),
        ("chr1:\x1b5:A:C", "control"),
        ("chr1:g.5", "not understood as HGVS"),
        ("chr1:g.5C>", "not understood as HGVS"),
        ("chr1:g.5C>X", "not understood as HGVS"),
        ("chr1:g.(?_5)del", "not understood as HGVS"),
        ("chr1:g.5_6C>G", "one position"),
        ("chr1:g.6_5del", "range is empty"),
        ("chr1:g.0del", "range is empty"),
        ("chr1:g.5_7delA", "1 bases for 3 positions"),
        ("chr1:g.5insA", "two neighbours"),
        ("chr1:g.5_7insA", "two neighbours"),
        ("chr1:g.500del", "does not hold the bases 500-500"),
        ("chr2:g.5del", "does not hold the bases"),
        ("NC_000001.11:g.5C>G", "NC_000001.11 is of hg38, the store of hg19"),
        ("NC_000001.11:5:C:G", "NC_000001.11 is of hg38, the store of hg19"),
        ("NC_060925.1:g.5C>G", "of T2T-CHM13"),
        ("A" * 500, "(500 characters)"),
        ("NC_000001.10:5:C:<DEL>", "not understood as SPDI"),
        ("NC_000001.10:5:C:A,G", "not understood as SPDI"),
        ("NC_000001.10:-1:C:A", "not understood as SPDI"),
        ("NC_000001.10:5::", "changes nothing"),
        ("NC_000001.10:500:C:", "does not hold the bases 501-501"),
        ("NC_000001.11:5:C:", "of hg38"),
        ("ENST00000269305.4:c.215C>G", "of a transcript or protein, and only genomic"),
        ("NM_004006.2:c.(4071+1_4072-1)_(5154+1_5155-1)del", "only genomic"),
        ("NP_000537.3:p.Pro72Arg", "only genomic"),
        ("TP53 p.R72P", "only genomic"),
        ("BRAF:V600E", "not understood; write chr1:867550:C:G"),
        ("BRCA1:68C>T", "not understood"),
        ("chr1_84511_C_A_b38", "is of GRCh38, the store of hg19"),
        ("chr1_05_C_A", "not understood"),
        ("chr1_5_C_A_G", "not understood"),
        ("chr1_KI270706v1_random", "not understood"),
        ("chr1_5_C_<DEL>", "not understood"),
        ("chr1:5 AAAAAAAAAAAAAAAAAAAA...(400 bases)>A", "shortened; give all of its bases"),
        ("COSV56056643", "an identifier, and only genomic"),
        ("RCV000013961.5", "an identifier"),
    ],
)
def test_what_is_not_understood_is_one_line(text: str, says: str) -> None:
    with pytest.raises(VariantError) as caught:
        parse_variant(text, bases, "hg19")
    message = f"{caught.value}; {caught.value.hint}"
    assert says in message
    assert message.startswith("variant ")
    assert message.isprintable()
    assert len(message) < 400


def test_left_alignment_is_that_of_bcftools(tmp_path: Path, rng: np.random.Generator) -> None:
    """Random repeats, deletions and insertions against `bcftools norm`."""
    genome = bytearray(random_bases(4_000, int(rng.integers(1 << 30))))
    for start in range(100, 3_900, 60):
        unit = random_bases(int(rng.integers(1, 5)), int(rng.integers(1 << 30)))
        genome[start : start + 30] = (unit * 30)[:30]
    sequence = genome.decode()
    write_fasta(tmp_path / "g.fa", {"chr1": bytes(genome)})
    rows, own = [], []
    for _ in range(300):
        first = int(rng.integers(2, 3_900))
        length = int(rng.integers(1, 9))
        if rng.random() < 0.5:
            text = f"chr1:g.{first}_{first + length - 1}del"
            ref, alt = sequence[first - 2 : first + length - 1], sequence[first - 2]
        else:
            text = f"chr1:g.{first}_{first + length - 1}dup"
            pos = first + length - 1
            ref = sequence[pos - 1]
            alt = ref + sequence[first - 1 : pos]
            first = pos + 1
        rows.append(f"chr1\t{first - 1}\t.\t{ref}\t{alt}\t.\t.\t.")
        (allele,) = parse_variant(text, lambda _, a, b: sequence[a - 1 : b])
        own.append((allele.pos, allele.ref, allele.alt))
    head = "##fileformat=VCFv4.2\n##contig=<ID=chr1,length=4000>\n"
    head += "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    expected = []
    for row in rows:  # one by one: norm sorts
        (tmp_path / "in.vcf").write_text(head + row + "\n")
        out = pysam.bcftools.norm("-f", str(tmp_path / "g.fa"), str(tmp_path / "in.vcf"))
        fields = out.splitlines()[-1].split("\t")
        expected.append((int(fields[1]), fields[3], fields[4]))
    assert own == expected


def test_alignment_stops_at_the_start_of_a_contig() -> None:
    sequence = "TTTTTG"
    assert left_aligned(4, "T", "", lambda i: sequence[i - 1]) == (1, "TT", "T")
    assert left_aligned(6, "", "T", lambda i: sequence[i - 1]) == (1, "T", "TT")


def test_the_stores_bases_are_the_genomes(store: Store, world: World) -> None:
    held = StoreBases(store)
    with Genome(world.genome) as genome:
        for gene in range(len(store)):
            row = store.table.row(str(store.gene_id[gene]))
            contig, tss = str(store.table.contig[row]), int(store.table.tss[row])
            for first in (tss - 22_000, tss, tss + 21_000):
                if first >= 1 and first + 50 <= genome.lengths[contig]:
                    own = genome.fetch(contig, first - 1, first + 50).decode()
                    assert held(contig.removeprefix("chr"), first, first + 50) == own
    assert held("chr1", 1, 5) is None
    assert held("chr99", 1_000, 1_001) is None


@pytest.fixture(scope="module")
def scored(store: Store) -> dict[str, object]:
    """One variant near GENE02, by the library."""
    row = store.table.row("GENE02")
    tss = int(store.table.tss[row])
    scorer = Scorer(store, ScoreOptions(device="cpu"))
    ref = StoreBases(store)("chr1", tss, tss) or ""
    text = f"chr1:{tss}:{ref}:{reverse_complement(ref.encode()).decode()}"
    (found,) = strongest_contexts(scorer, parse_variant(text, StoreBases(store)), 802)
    return found


def test_the_strongest_come_first(scored: dict, store: Store) -> None:
    sizes = [abs(effect["effect"]) for effect in scored["effects"]]
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) == 802
    pairs = {(effect["context_set"], effect["context_name"]) for effect in scored["effects"]}
    names, sets = store.contexts()
    assert pairs == set(zip(sets.tolist(), names.tolist(), strict=True))


def test_variants_at_the_command_line(
    cli: Callable[..., Result], store: Store, scored: dict
) -> None:
    text = str(scored["id"])
    args = ["score", "variant", text, "chr9:5:A:C", "--store", store.path, "--device", "cpu"]
    facts = json.loads(cli(*args, "--json", "--top", 3).stdout)
    (row,) = facts["variants"]
    assert row == {**scored, "effects": scored["effects"][:3]}
    assert (facts["alleles"], facts["not_scored"]) == (2, {"unknown_contig": 1})
    lines = cli(*args, "--top", 2).stdout.splitlines()
    assert lines[0].startswith(
        f"{row['contig']}:{row['pos']} {row['ref']}>{row['alt']}, GENE02, +0"
    )
    value, label = lines[1].split()
    assert float(value) == pytest.approx(row["effects"][0]["effect"], rel=1e-5)
    first = row["effects"][0]
    assert label == f"{first['context_set']}:{first['context_name']}"
    assert lines[3:5] == [
        "alleles in: 2, scored: 1, not scored: 1",
        "  unknown_contig: 1 (no gene on this contig in the store's gene table)",
    ]
    name = scored["effects"][700]["context_name"]
    chosen = json.loads(cli(*args, "--json", "--contexts", name).stdout)["variants"][0]["effects"]
    assert [effect["context_name"] for effect in chosen] == [name]


def test_spdi_is_scored_as_the_same_variant_in_other_words(
    cli: Callable[..., Result], store: Store, scored: dict
) -> None:
    """0-based: one base off would be another REF."""
    accession = {"chr1": "NC_000001.10"}[str(scored["contig"])]
    texts = [f"{accession}:{int(scored['pos']) - 1}:{scored['ref']}:{scored['alt']}", scored["id"]]
    args = ["score", "variant", *texts, "--store", store.path, "--device", "cpu", "--json"]
    spdi, plain = json.loads(cli(*args).stdout)["variants"]
    assert spdi == {**plain, "id": texts[0]}
    assert spdi["ref_match"] is True


def test_options_of_score_vcf_mean_the_same(
    cli: Callable[..., Result], store: Store, scored: dict
) -> None:
    contig, pos = scored["contig"], scored["pos"]
    alt = next(b for b in "ACGT" if b not in (scored["ref"], scored["alt"]))
    wrong = f"{contig}:{pos}:{alt}:{scored['alt']}"
    args = ["score", "variant", wrong, "--store", store.path, "--device", "cpu", "--json"]
    (row,) = json.loads(cli(*args).stdout)["variants"]
    assert row["ref_match"] is False
    skipped = json.loads(cli(*args, "--ref-mismatch", "skip").stdout)
    assert (skipped["variants"], skipped["not_scored"]) == ([], {"ref_mismatch": 1})
    refused = cli(*args, "--ref-mismatch", "error")
    assert refused.exit_code == 1
    assert "REF differs" in refused.stderr
    far = cli(*args, "--max-distance", "0", "--genes", "all", "--scheme", "centered")
    facts = json.loads(far.stdout)
    assert (facts["scheme"], len(facts["variants"])) == ("centered", 1)
    bad = cli("score", "variant", "chr1:g.1_2", "--store", store.path)
    assert (bad.exit_code, len(bad.stderr.splitlines())) == (1, 1)
