"""GTF and GFF3: genes and transcripts as GENCODE, Ensembl and RefSeq write them."""

from __future__ import annotations

import gzip
import re
import sys
import time
from pathlib import Path
from random import Random

import annotations
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seal_store.errors import GeneTableError
from seal_store.reference.gene_files import read_genes
from seal_store.reference.gene_table import GeneTable
from seal_store.reference.gtf import TSS_CHOICES, without_version

GENCODE = """\
##description: evidence-based annotation of the human genome (GRCh38), version 44 (Ensembl 110)
##provider: GENCODE
chr1\tHAVANA\tgene\t11869\t14409\t.\t+\t.\tgene_id "ENSG00000290825.1"; gene_type "lncRNA"; \
gene_name "DDX11L2"; level 2; tag "overlaps_pseudogene";
chr1\tHAVANA\ttranscript\t11869\t14409\t.\t+\t.\tgene_id "ENSG00000290825.1"; \
transcript_id "ENST00000456328.2"; gene_type "lncRNA"; gene_name "DDX11L2"; tag "basic";
chr1\tHAVANA\texon\t11869\t12227\t.\t+\t.\tgene_id "ENSG00000290825.1"; exon_number 1;
chr1\tENSEMBL\tgene\t1000\t5000\t.\t-\t.\tgene_id "ENSG00000000002.17"; \
gene_type "protein_coding"; gene_name "TWO";
chr1\tENSEMBL\ttranscript\t1000\t4000\t.\t-\t.\tgene_id "ENSG00000000002.17"; \
transcript_id "ENST00000000021.3"; gene_type "protein_coding"; gene_name "TWO"; \
tag "basic"; tag "Ensembl_canonical"; tag "MANE_Select";
chr1\tENSEMBL\ttranscript\t1200\t5000\t.\t-\t.\tgene_id "ENSG00000000002.17"; \
transcript_id "ENST00000000022.1"; gene_type "protein_coding"; gene_name "TWO"; tag "basic";
chrX\tHAVANA\tgene\t253743\t255091\t.\t+\t.\tgene_id "ENSG00000228572.7"; \
gene_type "lncRNA"; gene_name "LL0YNC03";
chrY\tHAVANA\tgene\t253743\t255091\t.\t+\t.\tgene_id "ENSG00000228572.7_PAR_Y"; \
gene_type "lncRNA"; gene_name "LL0YNC03"; tag "PAR";
"""

GENCODE_GFF3 = """\
##gff-version 3
#description: evidence-based annotation of the human genome (GRCh38), version 44 (Ensembl 110)
##sequence-region chr1 1 248956422
chr1\tHAVANA\tgene\t11869\t14409\t.\t+\t.\tID=ENSG00000290825.1;gene_id=ENSG00000290825.1;\
gene_type=lncRNA;gene_name=DDX11L2;level=2;tag=overlaps_pseudogene
chr1\tHAVANA\ttranscript\t11869\t14409\t.\t+\t.\tID=ENST00000456328.2;Parent=ENSG00000290825.1;\
gene_id=ENSG00000290825.1;transcript_id=ENST00000456328.2;gene_type=lncRNA;gene_name=DDX11L2
chr1\tENSEMBL\tgene\t1000\t5000\t.\t-\t.\tID=ENSG00000000002.17;gene_id=ENSG00000000002.17;\
gene_type=protein_coding;gene_name=TWO
chr1\tENSEMBL\ttranscript\t1000\t4000\t.\t-\t.\tID=ENST00000000021.3;Parent=ENSG00000000002.17;\
gene_id=ENSG00000000002.17;transcript_id=ENST00000000021.3;gene_type=protein_coding;\
gene_name=TWO;tag=basic,Ensembl_canonical,MANE_Select
chr1\tENSEMBL\ttranscript\t1200\t5000\t.\t-\t.\tID=ENST00000000022.1;Parent=ENSG00000000002.17;\
gene_id=ENSG00000000002.17;transcript_id=ENST00000000022.1;gene_type=protein_coding;gene_name=TWO
chrX\tHAVANA\tgene\t253743\t255091\t.\t+\t.\tID=ENSG00000228572.7;gene_id=ENSG00000228572.7;\
gene_type=lncRNA;gene_name=LL0YNC03
chrY\tHAVANA\tgene\t253743\t255091\t.\t+\t.\tID=ENSG00000228572.7_PAR_Y;\
gene_id=ENSG00000228572.7_PAR_Y;gene_type=lncRNA;gene_name=LL0YNC03
"""

ENSEMBL = """\
#!genome-build GRCh38.p14
#!genome-version GRCh38
1\thavana\tgene\t11869\t14409\t.\t+\t.\tgene_id "ENSG00000290825"; gene_version "1"; \
gene_name "DDX11L2"; gene_source "havana"; gene_biotype "lncRNA";
1\thavana\ttranscript\t11869\t14409\t.\t+\t.\tgene_id "ENSG00000290825"; \
transcript_id "ENST00000456328"; gene_biotype "lncRNA"; transcript_biotype "lncRNA";
1\tensembl\tgene\t1000\t5000\t.\t-\t.\tgene_id "ENSG00000000002"; gene_version "17"; \
gene_name "TWO"; gene_biotype "protein_coding";
1\tensembl\ttranscript\t1000\t4000\t.\t-\t.\tgene_id "ENSG00000000002"; \
transcript_id "ENST00000000021"; gene_biotype "protein_coding"; tag "Ensembl_canonical";
1\tensembl\ttranscript\t1200\t5000\t.\t-\t.\tgene_id "ENSG00000000002"; \
transcript_id "ENST00000000022"; gene_biotype "protein_coding";
X\thavana\tgene\t253743\t255091\t.\t+\t.\tgene_id "ENSG00000228572"; gene_name "LL0YNC03"; \
gene_biotype "lncRNA";
Y\thavana\tgene\t253743\t255091\t.\t+\t.\tgene_id "ENSG00000228572"; gene_name "LL0YNC03"; \
gene_biotype "lncRNA";
"""

ENSEMBL_GFF3 = """\
##gff-version   3
##sequence-region   1 1 248956422
#!genome-build Genome Reference Consortium GRCh38.p14
1\tGRCh38\tchromosome\t1\t248956422\t.\t.\t.\tID=chromosome:1;Alias=CM000663.2,NC_000001.11
1\thavana\tncRNA_gene\t11869\t14409\t.\t+\t.\tID=gene:ENSG00000290825;Name=DDX11L2;\
biotype=lncRNA;description=DEAD/H-box%20helicase%3B like;gene_id=ENSG00000290825;version=1
1\thavana\tlnc_RNA\t11869\t14409\t.\t+\t.\tID=transcript:ENST00000456328;\
Parent=gene:ENSG00000290825;Name=DDX11L2-202;biotype=lncRNA;transcript_id=ENST00000456328
1\thavana\texon\t11869\t12227\t.\t+\t.\tParent=transcript:ENST00000456328
###
1\tensembl\tgene\t1000\t5000\t.\t-\t.\tID=gene:ENSG00000000002;Name=TWO;\
biotype=protein_coding;gene_id=ENSG00000000002;version=17
1\tensembl\tmRNA\t1000\t4000\t.\t-\t.\tID=transcript:ENST00000000021;\
Parent=gene:ENSG00000000002;tag=basic,Ensembl_canonical;transcript_id=ENST00000000021
1\tensembl\tmRNA\t1200\t5000\t.\t-\t.\tID=transcript:ENST00000000022;\
Parent=gene:ENSG00000000002;transcript_id=ENST00000000022
X\thavana\tncRNA_gene\t253743\t255091\t.\t+\t.\tID=gene:ENSG00000228572;Name=LL0YNC03;\
biotype=lncRNA;gene_id=ENSG00000228572
Y\thavana\tncRNA_gene\t253743\t255091\t.\t+\t.\tID=gene:ENSG00000228572;Name=LL0YNC03;\
biotype=lncRNA;gene_id=ENSG00000228572
"""

FLAVOURS = {
    "GENCODE GTF": GENCODE,
    "GENCODE GFF3": GENCODE_GFF3,
    "Ensembl GTF": ENSEMBL,
    "Ensembl GFF3": ENSEMBL_GFF3,
}


def write(tmp_path: Path, text: str, name: str = "genes.gtf") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def facts(table: GeneTable) -> list[tuple[str, int, int]]:
    return list(zip(table.gene_id.tolist(), table.strand.tolist(), table.tss.tolist(), strict=True))


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_the_5_prime_end_of_genes(tmp_path: Path, flavour: str) -> None:
    table = read_genes(write(tmp_path, FLAVOURS[flavour]))
    assert facts(table) == [
        ("ENSG00000290825", 1, 11_869),
        ("ENSG00000000002", -1, 5_000),
        ("ENSG00000228572", 1, 253_743),
        ("ENSG00000228572_PAR_Y", 1, 253_743),
    ]
    assert [name.removeprefix("chr") for name in table.contig.tolist()] == ["1", "1", "X", "Y"]
    assert table.symbol.tolist() == ["DDX11L2", "TWO", "LL0YNC03", "LL0YNC03"]
    assert table.gene_type.tolist() == ["lncRNA", "protein_coding", "lncRNA", "lncRNA"]
    assert table.assembly == "hg38"


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_the_canonical_transcripts_5_prime_end(tmp_path: Path, flavour: str) -> None:
    table = read_genes(write(tmp_path, FLAVOURS[flavour]), tss="canonical")
    assert facts(table)[:2] == [("ENSG00000290825", 1, 11_869), ("ENSG00000000002", -1, 4_000)]
    assert len(table) == 4


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_every_transcript_is_a_row(tmp_path: Path, flavour: str) -> None:
    table = read_genes(write(tmp_path, FLAVOURS[flavour]), tss="transcript")
    assert facts(table) == [
        ("ENST00000456328", 1, 11_869),
        ("ENST00000000021", -1, 4_000),
        ("ENST00000000022", -1, 5_000),
    ]
    assert table.symbol.tolist() == ["DDX11L2", "TWO", "TWO"]
    assert table.gene_type.tolist() == ["lncRNA", "protein_coding", "protein_coding"]


def test_mane_select_goes_before_canonical_whatever_the_order(tmp_path: Path) -> None:
    def transcript(start: int, tag: str) -> str:
        return (
            f'chr1\t.\ttranscript\t{start}\t900\t.\t+\t.\tgene_id "G"; '
            f'transcript_id "T{start}"; tag "{tag}";\n'
        )

    gene = 'chr1\t.\tgene\t1\t900\t.\t+\t.\tgene_id "G"; gene_name "G";\n'
    for tags, tss in (
        (("Ensembl_canonical", "MANE_Select"), 20),
        (("MANE_Select", "Ensembl_canonical"), 10),
        (("basic", "Ensembl_canonical"), 20),
        (("basic", "CCDS"), 1),
        (("MANE Select", "RefSeq Select"), 10),
    ):
        text = gene + transcript(10, tags[0]) + transcript(20, tags[1])
        assert read_genes(write(tmp_path, text), tss="canonical").tss.tolist() == [tss]


def test_refseq_gff3(tmp_path: Path) -> None:
    text = (
        "##gff-version 3\n#!genome-build GRCh38.p14\n"
        "NC_000001.11\tBestRefSeq\tgene\t450740\t451678\t.\t-\t.\tID=gene-OR4F29;"
        "Dbxref=GeneID:729759;Name=OR4F29;gene=OR4F29;gene_biotype=protein_coding\n"
        "NC_000001.11\tBestRefSeq\tmRNA\t450740\t451600\t.\t-\t.\tID=rna-NM_001005221.2;"
        "Parent=gene-OR4F29;tag=MANE Select;transcript_id=NM_001005221.2\n"
    )
    path = write(tmp_path, text)
    table = read_genes(path)
    assert facts(table) == [("OR4F29", -1, 451_678)]
    assert (table.symbol[0], table.gene_type[0]) == ("OR4F29", "protein_coding")
    assert table.contig_name("chr1") == "NC_000001.11"
    assert read_genes(path, tss="canonical").tss.tolist() == [451_600]
    assert facts(read_genes(path, tss="transcript")) == [("NM_001005221.2", -1, 451_600)]


def feature(contig: str, kind: str, start: int, end: int, attributes: str) -> str:
    return f"{contig}\tsource\t{kind}\t{start}\t{end}\t.\t+\t.\t{attributes}\n"


@pytest.mark.parametrize("kind", ["gene", "lincRNA_gene", "mt_gene", "processed_transcript"])
def test_every_gene_of_older_ensembl_gff3_is_one(tmp_path: Path, kind: str) -> None:
    """Before release 90 a gene's kind says what it makes, and may be that of a transcript."""
    text = "##gff-version 3\n" + feature(
        "1", kind, 100, 900, "ID=gene:ENSG01;Name=L;gene_id=ENSG01"
    )
    own = "ID=transcript:ENST01;Parent=gene:ENSG01;transcript_id=ENST01"
    path = write(tmp_path, text + feature("1", "lincRNA", 200, 900, own))
    assert facts(read_genes(path)) == [("ENSG01", 1, 100)]
    assert facts(read_genes(path, tss="transcript")) == [("ENST01", 1, 200)]


def test_a_mature_mirna_is_no_transcript_of_its_own(tmp_path: Path) -> None:
    text = (
        "##gff-version 3\n"
        + feature("NC_000001.11", "gene", 100, 200, "ID=gene-MIR1;gene=MIR1")
        + feature("NC_000001.11", "primary_transcript", 100, 200, "ID=rna-NR_1.1;Parent=gene-MIR1")
        + feature("NC_000001.11", "miRNA", 150, 170, "ID=rna-MIR1;Parent=rna-NR_1.1")
    )
    table = read_genes(write(tmp_path, text), tss="transcript")
    assert facts(table) == [("NR_1.1", 1, 100)]


def test_the_same_gene_on_x_and_y_has_both_canonical_ends(tmp_path: Path) -> None:
    text = ""
    for contig in "XY":
        text += feature(contig, "gene", 100, 900, 'gene_id "ENSG01";')
        own = 'gene_id "ENSG01"; transcript_id "ENST01"; tag "MANE_Select";'
        text += feature(contig, "transcript", 200, 900, own)
    found = facts(read_genes(write(tmp_path, text), tss="canonical"))
    assert found == [("ENSG01", 1, 200), ("ENSG01_PAR_Y", 1, 200)]


@pytest.mark.parametrize(
    ("identifier", "plain"),
    [
        ("ENSG00000228572.7", "ENSG00000228572"),
        ("ENSG00000228572.7_PAR_Y", "ENSG00000228572_PAR_Y"),
        ("ENSG00000228572.7_4", "ENSG00000228572"),
        ("ENSGR0000228572.2", "ENSGR0000228572"),
        ("ENSMUST00000193812.2", "ENSMUST00000193812"),
        ("ENSG00000228572", "ENSG00000228572"),
        ("NM_001005221.2", "NM_001005221.2"),
        ("AC005943.1", "AC005943.1"),
    ],
)
def test_only_ensembl_ids_lose_their_version(identifier: str, plain: str) -> None:
    assert without_version(identifier) == plain


def test_a_gtf_and_the_bed_of_the_same_genes_give_the_same_tss(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    count = 24_339
    starts = rng.integers(0, 200_000_000, count)
    starts[:2] = 0
    ends = starts + rng.integers(1, 100_000, count)
    ends[:10] = starts[:10] + 1
    strands = rng.choice(["+", "-"], count)
    contigs = rng.choice([f"chr{i}" for i in (*range(1, 23), "X")], count)
    ids = [f"ENSG{i:011d}" for i in range(count)]
    fields = list(zip(contigs, starts, ends, strands, ids, strict=True))
    gtf = "".join(
        f'{c}\tHAVANA\tgene\t{s + 1}\t{e}\t.\t{d}\t.\tgene_id "{g}.{e % 9}"; gene_type "lncRNA"; '
        f'gene_name "N{g}"; level 2;\n'
        f'{c}\tHAVANA\texon\t{s + 1}\t{e}\t.\t{d}\t.\tgene_id "{g}.{e % 9}"; exon_number 1;\n'
        for c, s, e, d, g in fields
    )
    bed6 = "".join(f"{c}\t{s}\t{e}\t{g}\t0\t{d}\n" for c, s, e, d, g in fields)
    seals = "".join(
        f"{c}\t{(s if d == '+' else e - 1)}\t{(s + 1 if d == '+' else e)}\t{d}\t{g}\n"
        for c, s, e, d, g in fields
    )
    csv = "id,symbol,seqnames,strand,CAGE_representative_TSS,type\n" + "".join(
        f"{g},N,{c},{d},{s + 1 if d == '+' else e},lncRNA\n" for c, s, e, d, g in fields
    )
    tables = []
    for name, text in {"gtf": gtf, "bed6": bed6, "bed": seals, "csv": csv}.items():
        path = write(tmp_path, text, f"genes.{name}")
        seconds = []
        for _ in range(2):
            began = time.process_time()
            table = read_genes(path)
            seconds.append(time.process_time() - began)
        assert min(seconds) < (4 if sys.gettrace() is None else 20), name
        tables.append(table)
    for table in tables:
        assert facts(table) == facts(tables[0])
        assert table.contig.tolist() == contigs.tolist()
    assert len(tables[0]) == count
    packed = tmp_path / "genes.gtf.gz"
    packed.write_bytes(gzip.compress(gtf.encode(), 1))
    assert facts(read_genes(packed)) == facts(tables[0])


GENE = 'chr1\t.\tgene\t5\t9\t.\t+\t.\tgene_id "G";\n'
OTHER = GENE.replace('"G"', '"H"')

ODD = [
    (OTHER.replace("+", "."), "no strand"),
    (OTHER.replace("+", "?"), "no strand"),
    (OTHER.replace("\t+\t", "\t*\t"), r"strand '\*' is not"),
    (OTHER.replace("\t5\t", "\tx\t"), "'x' is not a position"),
    (OTHER.replace("\t5\t", "\t0\t"), "interval 0-9"),
    (OTHER.replace("\t9\t", "\t4\t"), "interval 5-4"),
    (OTHER.replace("\t.\tgene_id", "\tgene_id"), "8 tab-separated columns"),
    (OTHER.replace("gene_id", "other"), "neither gene_id nor ID"),
    (OTHER.replace('"H"', '""'), "neither gene_id nor ID"),
]


@pytest.mark.parametrize(("line", "problem"), ODD, ids=[text for _, text in ODD])
def test_an_odd_line_is_skipped_and_counted_or_all_there_is(
    tmp_path: Path, line: str, problem: str
) -> None:
    table = read_genes(write(tmp_path, "# comment\n" + GENE + line))
    assert facts(table) == [("G", 1, 5)]
    (note,) = table.odd
    assert re.match(rf"1 line skipped: .*genes\.gtf:3: .*({problem}|gene H)", note)
    with pytest.raises(GeneTableError, match=rf"genes\.gtf:2: .*({problem}|gene H)"):
        read_genes(write(tmp_path, "# comment\n" + line))


def test_more_odd_lines_than_genes_are_refused(tmp_path: Path) -> None:
    text = GENE + OTHER.replace("\t5\t", "\tx\t") + OTHER.replace("\t9\t", "\t4\t")
    with pytest.raises(GeneTableError, match=r"genes\.gtf:2: 'x' is .*and 1 line like it"):
        read_genes(write(tmp_path, text))


def test_a_gtf_without_what_is_asked_for_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, GENE.replace("\tgene\t", "\tstart_codon\t"))
    with pytest.raises(GeneTableError, match="no genes in it"):
        read_genes(path)
    with pytest.raises(GeneTableError, match="no transcripts"):
        read_genes(write(tmp_path, GENE), tss="transcript")
    bed = write(tmp_path, "chr1\t7\t8\t+\tA\n", "genes.bed")
    with pytest.raises(GeneTableError, match="`tss=canonical` needs GTF or GFF3"):
        read_genes(bed, tss="canonical")
    with pytest.raises(GeneTableError, match="`tss` 'x': not one of"):
        read_genes(path, tss="x")


def gff3(*lines: str) -> str:
    return "##gff-version 3\n" + "".join(line + "\n" for line in lines)


def one(kind: str, attributes: str, start: int = 100, end: int = 900, strand: str = "-") -> str:
    return f"chr1\tsource\t{kind}\t{start}\t{end}\t.\t{strand}\t.\t{attributes}"


KINDS: dict[str, tuple[str, str, list[tuple[str, int, int]]]] = {
    "a regulatory region is no transcript": (
        gff3(
            one("gene", "ID=gene-A;gene=A"),
            one("mRNA", "ID=rna-1;Parent=gene-A;tag=MANE Select", 100, 300),
            one("transcriptional_cis_regulatory_region", "ID=id-1", 2000, 2100, "."),
            one("RNAi_reagent", "ID=id-2", 2000, 2100, "+"),
        ),
        "canonical",
        [("A", -1, 300)],
    ),
    "a pseudogene within a pseudogene is its transcript": (
        gff3(
            one("pseudogene", "ID=gene:ENSG01;gene_id=ENSG01"),
            one("pseudogene", "ID=transcript:ENST01;Parent=gene:ENSG01", 100, 700),
        ),
        "gene",
        [("ENSG01", -1, 900)],
    ),
    "so is a processed_pseudogene": (
        gff3(
            one("gene", "ID=gene:ENSG01;gene_id=ENSG01"),
            one("processed_pseudogene", "ID=transcript:ENST01;Parent=gene:ENSG01", 100, 800),
        ),
        "transcript",
        [("ENST01", -1, 800)],
    ),
    "prefixes are cut at the start only": (
        gff3(one("gene", "ID=maker-chr1-snap-gene-0.7"), one("gene", "ID=gene-gene-1")),
        "gene",
        [("maker-chr1-snap-gene-0.7", -1, 900), ("gene-1", -1, 900)],
    ),
    "the sequences at the end of a GFF3": (
        gff3(one("gene", "ID=g1"), "##FASTA", ">my_gene", "ACGT", one("gene", "ID=g2")),
        "gene",
        [("g1", -1, 900)],
    ),
    "quotes within a GFF3": (
        gff3(one("gene", 'ID="g1";Note=like gene "abc" of yeast')),
        "gene",
        [("g1", -1, 900)],
    ),
    "a tab at the end": (gff3(one("gene", "ID=g1") + "\t"), "gene", [("g1", -1, 900)]),
    "a chromosome that begins below zero": (
        one("chromosome", "ID=chromosome:4", -699, 1000, ".") + "\n" + gff3(one("gene", "ID=g1")),
        "gene",
        [("g1", -1, 900)],
    ),
    "a gene in two parts on two strands": (
        gff3(
            one("gene", "ID=gene-r;part=2/2", 500, 600, "+"),
            one("gene", "ID=gene-r;part=1/2", 100, 300, "-"),
        ),
        "gene",
        [("r", -1, 300)],
    ),
    "exons alone": (
        one("exon", 'gene_id "G"; transcript_id "T";', 100, 200)
        + "\n"
        + one("exon", 'gene_id "G"; transcript_id "T";', 300, 900),
        "canonical",
        [("G", -1, 900)],
    ),
    "exons of a gene beside genes that have lines": (
        one("exon", 'gene_id "H"; transcript_id "T";', 100, 200) + "\n" + GENE,
        "gene",
        [("H", -1, 200), ("G", 1, 5)],
    ),
    "transcripts alone": (
        one("transcript", 'gene_id "G"; transcript_id "T1";', 100, 700)
        + "\n"
        + one("transcript", 'gene_id "G"; transcript_id "T2";', 100, 800),
        "gene",
        [("G", -1, 800)],
    ),
    "AUGUSTUS's bare ids": (
        one("gene", "g1") + "\n" + one("transcript", "g1.t1", 100, 800),
        "transcript",
        [("g1.t1", -1, 800)],
    ),
    "values without quotes": (one("gene", "gene_id G1; gene_name N;"), "gene", [("G1", -1, 900)]),
    "a lone tRNA": (gff3(one("tRNA", "ID=rna-T")), "transcript", [("T", -1, 900)]),
    "the same gene on a chromosome and a scaffold": (
        GENE + GENE.replace("chr1", "chr1_gl000191_random"),
        "gene",
        [("G", 1, 5)],
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_a_gene(tmp_path: Path, kind: str) -> None:
    text, tss, expected = KINDS[kind]
    assert facts(read_genes(write(tmp_path, text), tss=tss)) == expected


def test_a_transcript_may_come_before_its_gene(tmp_path: Path) -> None:
    gene = one("gene", 'gene_id "G"; gene_name "N"; gene_type "lncRNA";')
    tagged = one("transcript", 'gene_id "G"; transcript_id "T"; tag "MANE_Select";', 100, 500)
    for lines in ((gene, tagged), (tagged, gene)):
        table = read_genes(write(tmp_path, "\n".join(lines)), tss="canonical")
        assert facts(table) == [("G", -1, 500)]
        assert (table.symbol[0], table.gene_type[0]) == ("N", "lncRNA")


def test_types_are_chosen_before_strands_matter(tmp_path: Path) -> None:
    text = GENE.replace('"G";', '"G"; gene_type "a";')
    text += OTHER.replace("+", ".").replace('"H";', '"H"; gene_type "b";')
    table = read_genes(write(tmp_path, text), gene_types=("a",))
    assert (facts(table), list(table.odd)) == ([("G", 1, 5)], [])
    assert table.odd.skipped == 0


def test_latin_1_is_read_and_said(tmp_path: Path) -> None:
    path = tmp_path / "genes.gff3"
    path.write_bytes(gff3(one("gene", "ID=g1;Note=caf\xe9")).encode("latin-1"))
    table = read_genes(path)
    assert facts(table) == [("g1", -1, 900)]
    (note,) = table.odd
    assert note.startswith("1 line read as Latin-1")
    assert "genes.gff3:2: byte 0xe9 is not UTF-8" in note


def test_accessions_name_the_assembly(tmp_path: Path) -> None:
    line = one("gene", "ID=gene-A").replace("chr1", "NC_000021.9")
    assert read_genes(write(tmp_path, gff3(line))).assembly == "hg38"
    with pytest.raises(GeneTableError, match="hg19 and hg38"):
        read_genes(write(tmp_path, gff3("#!genome-build GRCh37.p13", line)))


@pytest.mark.parametrize(
    "name", ["ENSG00000228572.7", "ENSG00000228572.9", "ENSG00000228572", "LL0", "ENSG01.4"]
)
def test_a_gene_goes_by_its_id_with_and_without_version_and_by_its_symbol(
    tmp_path: Path, name: str
) -> None:
    text = one("gene", 'gene_id "ENSG00000228572.7"; gene_name "LL0";') + "\r\n"
    table = read_genes(write(tmp_path, text + one("gene", 'gene_id "ENSG01.4";')))
    assert table.row(name) == (1 if name == "ENSG01.4" else 0)
    twice = GENE.replace('"G";', '"G"; gene_name "N";') + OTHER.replace(
        '"H";', '"H"; gene_name "N";'
    )
    with pytest.raises(GeneTableError, match="several genes are called 'N': G, H"):
        read_genes(write(tmp_path, twice)).row("N")


@settings(max_examples=500, deadline=None, derandomize=False)
@given(
    rng=st.randoms(use_true_random=False),
    tss=st.sampled_from(("gene", "canonical", "transcript")),
)
def test_annotations_as_others_write_them(
    tmp_path_factory: pytest.TempPathFactory, rng: Random, tss: str
) -> None:
    annotations.check(rng, tss, tmp_path_factory.getbasetemp())


@pytest.mark.soak
def test_ten_thousand_annotations(tmp_path: Path, rng: np.random.Generator) -> None:
    seed = int(rng.integers(1 << 40))
    for i in range(10_000):
        drawn = Random(seed + i)
        annotations.check(drawn, drawn.choice(TSS_CHOICES), tmp_path)
