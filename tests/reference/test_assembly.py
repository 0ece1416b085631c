"""Inputs of different assemblies are refused; the names they use do not matter."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pysam
import pytest
from click.testing import Result

from seal_store.building.build import build
from seal_store.building.options import BuildOptions
from seal_store.building.plan import plan
from seal_store.errors import GenomeError, VariantError
from seal_store.reference.assembly import check_variants
from seal_store.reference.fasta import Genome
from seal_store.scoring.assign import Assigner, Counts
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.scorer import Scorer
from seal_store.store.store import Store
from seal_store.synthetic import World
from seal_store.variants.alleles import Allele
from seal_store.variants.source import VariantSource, read_variants

HG38 = (
    "##fileformat=VCFv4.2\n"
    "##contig=<ID=chr1,length=248956422,assembly=hg38>\n"
    "##contig=<length=242193529,ID=chr2>\n"
    "##contig=<ID=HLA-A*01:01:01:01>\n"
    "##contig=<ID=odd,length=many>\n"
    '##INFO=<ID=X,Number=1,Type=Integer,Description="##contig=<ID=no,length=5>">\n'
    "#CHROM\tPOS\tID\tREF\tALT\n"
    "chr1\t1000\t.\tA\tC\n"
)
LENGTHS = {"chr1": 248_956_422, "chr2": 242_193_529}
BIG = {"chr1": 249_250_621, "chr2": 243_199_373}


def bcf(text: str) -> bytes:
    header = text.encode() + b"\0"
    return gzip.compress(b"BCF\x02\x02" + struct.pack("<I", len(header)) + header, mtime=0)


@pytest.mark.parametrize(
    ("content", "lengths"),
    [
        (HG38.encode(), LENGTHS),
        (gzip.compress(HG38.encode(), mtime=0), LENGTHS),
        (HG38.replace("\n", "\r\n").encode(), LENGTHS),
        (b"\xef\xbb\xbf" + HG38.encode(), LENGTHS),
        (bcf(HG38), LENGTHS),
        (b"chr1\t5\t.\tA\tC\n" + HG38.encode(), {}),
        (b"", {}),
        (gzip.compress(HG38.encode(), mtime=0)[:30], {}),
        (b"BCF\x02\x02", {}),
        (bytes(range(256)), {}),
    ],
    ids=["VCF", "gz", "CRLF", "BOM", "BCF", "no header", "empty", "cut", "cut BCF", "binary"],
)
def test_lengths_in_a_header(tmp_path: Path, content: bytes, lengths: dict[str, int]) -> None:
    (tmp_path / "in.vcf").write_bytes(content)
    assert VariantSource(tmp_path / "in.vcf").contig_lengths == lengths


def test_a_bcf_that_htslib_wrote(tmp_path: Path) -> None:
    header = pysam.VariantHeader()
    for name, length in LENGTHS.items():
        header.contigs.add(name, length=length)
    with pysam.VariantFile(str(tmp_path / "in.bcf"), "wb", header=header):
        pass
    assert VariantSource(tmp_path / "in.bcf").contig_lengths == LENGTHS
    assert VariantSource(tmp_path / "nowhere").contig_lengths == {}


@pytest.mark.parametrize(
    ("header", "assembly", "lengths", "refused"),
    [
        (LENGTHS, "hg19", BIG, True),
        (LENGTHS, "hg38", LENGTHS, False),
        ({"1": 248_956_422}, "hg19", {}, True),
        (LENGTHS, "unknown", {"1": 320_000}, True),
        (LENGTHS, "unknown", {"chr1": 248_956_422}, False),
        (LENGTHS, "unknown", {"scaffold": 5}, False),
        ({}, "hg19", BIG, False),
    ],
)
def test_variants_of_another_assembly_are_refused(
    header: dict[str, int], assembly: str, lengths: dict[str, int], refused: bool
) -> None:
    if not refused:
        check_variants("in.vcf", header, assembly, lengths, "the store")
        return
    with pytest.raises(VariantError, match=r"in\.vcf: .* hg38 \(GRCh38\), the store is") as caught:
        check_variants("in.vcf", header, assembly, lengths, "the store")
    assert "--liftover" in caught.value.hint


def test_an_accession_of_another_assembly_is_refused(store: Store) -> None:
    attributes = store.attributes
    assigner = Assigner(store, ScoreOptions())
    tss = int(store.table.tss[0])

    def assign(contig: str) -> int:
        allele = Allele(1, contig, tss, ".", "A", "C", "snv")
        return len(assigner(allele, Counts()))

    assert attributes.assembly == "unknown"
    names = ("chr1", "1", "NC_000001.10", "NC_000001.11", "CM000663.2")
    assert [assign(name) for name in names] == [1] * 5
    assigner.assembly = "hg38"
    assert assign("NC_000001.11") == 1
    with pytest.raises(VariantError, match=r"NC_000001\.10 belongs to hg19 \(GRCh37\), the store"):
        assign("NC_000001.10")


def test_a_first_score_with_the_wrong_assembly(
    cli: Callable[..., Result], store: Store, tmp_path: Path
) -> None:
    (tmp_path / "hg38.vcf").write_text(HG38)
    common = ("--store", store.path, "--out", tmp_path / "out.tsv")
    result = cli("score", "vcf", tmp_path / "hg38.vcf", *common)
    assert result.exit_code == 1
    assert "its ##contig lines are those of hg38 (GRCh38)" in result.stderr
    assert "--liftover CHAIN" in result.stderr
    assert not (tmp_path / "out.tsv").exists()


def fake(tmp_path: Path, lengths: dict[str, int], name: str) -> Path:
    """A FASTA of these lengths, most of it holes, with its index."""
    path, rows = tmp_path / name, []
    with path.open("wb") as out:
        for contig, length in lengths.items():
            out.write(f">{contig}\n".encode())
            rows.append(f"{contig}\t{length}\t{out.tell()}\t{length}\t{length + 1}\n")
            out.seek(length, 1)
            out.write(b"\n")
    path.with_name(name + ".fai").write_text("".join(rows))
    return path


GTF = 'chr1\t.\tgene\t{0}\t{0}\t.\t+\t.\tgene_id "G"; gene_type "lncRNA";\n'


def test_a_gene_table_of_another_assembly_is_refused(options: BuildOptions, tmp_path: Path) -> None:
    genome = fake(tmp_path, BIG, "hg19.fa")
    genes = tmp_path / "genes.gtf"
    genes.write_text("#!genome-build GRCh38.p14\n" + GTF.format(5_000))
    changed = replace(options, genome=genome, genes=genes, out=tmp_path / "o.zarr")
    with pytest.raises(GenomeError, match=r"genes\.gtf is of hg38 .*hg19\.fa is of hg19"):
        plan(changed)
    genes.write_text(GTF.format(249_000_000))
    genome = fake(tmp_path, LENGTHS, "hg38.fa")
    with pytest.raises(GenomeError, match=r"TSS 249000000 is beyond .* is of hg38") as caught:
        plan(replace(changed, genome=genome))
    assert "its positions fit hg19 (GRCh37)" in caught.value.hint
    genes.write_text(GTF.format(5_000))
    with pytest.raises(VariantError, match=r"`near_vcf`: .* hg38 .*, .*hg19\.fa is of hg19"):
        plan(replace(changed, near=[("chr1", 5_000)], near_lengths=LENGTHS))
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "genes.gtf",
        "hg19.fa",
        "hg19.fa.fai",
        "hg38.fa",
        "hg38.fa.fai",
    ]


def gencode(world: World) -> str:
    """The world's genes as GENCODE writes them."""
    text = "##description: synthetic genes, version 1\n"
    for i, line in enumerate(world.genes.read_text().splitlines()):
        contig, _, tss, strand, gene = line.split("\t")
        end = int(tss) + 5_000 if strand == "+" else int(tss)
        start = int(tss) if strand == "+" else int(tss) - 5_000
        attributes = f'gene_id "{gene}"; gene_type "{"ab"[i % 2]}"; gene_name "N{gene}"; level 2;'
        text += f"{contig}\tHAVANA\tgene\t{start}\t{end}\t.\t{strand}\t.\t{attributes}\n"
        text += f"{contig}\tHAVANA\texon\t{start}\t{end}\t.\t{strand}\t.\t{attributes}\n"
    return text


@pytest.mark.slow
def test_bgzip_fasta_and_gtf_score_as_plain_fasta_and_bed(
    cli: Callable[..., Result], world: World, store: Store, tmp_path: Path
) -> None:
    """hg38's accessions, soft-masked bases, GENCODE's GTF and Ensembl's names in the VCF."""
    accession = {"chr1": "NC_000001.11", "chr2": "NC_000002.12", "chr3": "NC_000003.12"}
    with Genome(world.genome) as genome:
        text = ""
        for name, own in accession.items():
            bases = genome.fetch(name, 0, genome.lengths[name]).decode()
            masked = "".join(
                bases[i : i + 997].lower() if i % 2 else bases[i : i + 997]
                for i in range(0, len(bases), 997)
            )
            lines = "\n".join(masked[i : i + 80] for i in range(0, len(masked), 80))
            text += f">{own} Homo sapiens chromosome, synthetic\n{lines}\n"
    (tmp_path / "hg38.fa").write_text(text)
    pysam.tabix_compress(str(tmp_path / "hg38.fa"), str(tmp_path / "hg38.fa.gz"))
    (tmp_path / "genes.gtf.gz").write_bytes(gzip.compress(gencode(world).encode()))
    vcf = tmp_path / "in.vcf"
    vcf.write_text(world.variants.read_text().replace("\nchr", "\n").replace("ID=chr", "ID="))
    built = cli(
        *("build", "--genome", tmp_path / "hg38.fa.gz", "--genes", tmp_path / "genes.gtf.gz"),
        *("--cnn", world.cnn, "--heads", world.heads, "--out", tmp_path / "hg38.zarr"),
        *("--device", "cpu", "-q"),
    )
    assert built.exit_code == 0, built.output
    other = Store(tmp_path / "hg38.zarr")
    for name in ("gene_id", "contig", "strand", "tss", "table/status", "table/tss"):
        assert other.column(name).tolist() == store.column(name).tolist(), name
    assert other.column("gene_symbol").tolist() == [f"N{g}" for g in store.gene_id]
    for name in ("sequence", "features", "hidden", "aggregated", "expression"):
        np.testing.assert_array_equal(other.array(name)[...], store.array(name)[...], err_msg=name)
    assert set(other.attributes.genome.contigs) == {"chr1", "chr2", "chr3"}
    found, expected = (
        list(Scorer(s, ScoreOptions(device="cpu")).score(read_variants(path)))
        for s, path in ((other, vcf), (store, world.variants))
    )
    np.testing.assert_array_equal(found[0].effect, expected[0].effect)
    own = found[0].columns
    assert {name.isdigit() for name in own.pop("input_chrom").tolist()} == {True}
    assert own.pop("gene_symbol").tolist() == [f"N{gene}" for gene in own["gene_id"]]
    for name in own:
        values = expected[0].columns[name]
        assert found[0].columns[name].tolist() == values.tolist(), name


def test_gene_types_and_tss_are_recorded_in_the_store(
    options: BuildOptions, world: World, tmp_path: Path
) -> None:
    (tmp_path / "genes.gtf").write_text(gencode(world))
    chosen = replace(
        options,
        genes=tmp_path / "genes.gtf",
        gene_type=("a",),
        tss="canonical",
        gene=("GENE01",),
        out=tmp_path / "a.zarr",
        hidden=False,
    )
    store = build(chosen, "cpu")
    assert store.attributes.gene_table.gene_types == ("a",)
    assert store.attributes.gene_table.tss == "canonical"
    assert store.table.gene_id.tolist() == [f"GENE{i:02d}" for i in range(1, 13, 2)]
