"""Gene tables: formats, tie rules and distances against brute force, malformed rows."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import reference

from seal_store.errors import GeneTableError
from seal_store.reference.gene_files import read_genes
from seal_store.reference.gene_table import GeneTable
from seal_store.variants.source import read_variants

CSV = "id,symbol,seqnames,strand,TSS,CAGE_representative_TSS,type\n"

Read = Callable[..., GeneTable]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """The gene table of a file with this text."""

    def run(content: str | bytes, name: str = "genes.txt") -> GeneTable:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_genes(path)

    return run


def rows(table: GeneTable) -> list[tuple[str, int, int, str]]:
    """The table as the reference takes it."""
    columns = (table.contig, table.tss, table.strand, table.gene_id)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def make(*genes: tuple[str, int]) -> GeneTable:
    """A table of (contig, tss); ids are row numbers."""
    text = np.array([str(i) for i in range(len(genes))])
    contig, tss = (np.array(column) for column in zip(*genes, strict=True))
    return GeneTable(text, text, contig, np.ones(len(genes), np.int8), tss, text)


def test_bed5_as_seals_has_its_tss_at_the_end(read: Read) -> None:
    table = read("chr2\t99\t100\t-\tB\nchr1\t7\t8\t+\tA\n")
    assert rows(table) == [("chr2", 100, -1, "B"), ("chr1", 8, 1, "A")]
    assert (table.tss.dtype, table.strand.dtype) == (np.int64, np.int8)


@pytest.mark.parametrize(
    ("line", "row"),
    [
        ("chr1\t99\t100\tA\t0\t+", ("chr1", 100, 1, "A")),
        ("chr1\t99\t100\tA\t.\t-", ("chr1", 100, -1, "A")),
        ("chr1\t99\t500\tA\t0\t+", ("chr1", 100, 1, "A")),
        ("chr1\t99\t500\tA\t0\t-", ("chr1", 500, -1, "A")),
        ("chr1\t0\t500\tA\t0\t+\t1\t2\t0,0,0", ("chr1", 1, 1, "A")),
    ],
    ids=["1 bp +", "1 bp -", "long +", "long -", "more columns"],
)
def test_bed6_has_its_tss_at_the_5_prime_end(
    read: Read, line: str, row: tuple[str, int, int, str]
) -> None:
    assert rows(read(line + "\n")) == [row]


def test_geneanno_csv_takes_the_cage_tss(read: Read) -> None:
    table = read(CSV + 'G2,"TSP,AN",chrX,-,100,200,protein_coding\nG1,TN,chr1,+,300,400,lincRNA\n')
    assert rows(table) == [("chrX", 200, -1, "G2"), ("chr1", 400, 1, "G1")]
    assert table.symbol.tolist() == ["TSP,AN", "TN"]
    assert table.gene_type.tolist() == ["protein_coding", "lincRNA"]


def test_csv_columns_are_found_by_name(read: Read) -> None:
    header = "id,type,CAGE_representative_TSS,strand,extra,seqnames,symbol\n"
    table = read(header + "G,lincRNA,7,-,x,chr1,S\n")
    assert rows(table) == [("chr1", 7, -1, "G")]
    assert (table.symbol[0], table.gene_type[0]) == ("S", "lincRNA")


@pytest.mark.parametrize(
    "content",
    [
        "chr1\t7\t8\t+\tA\r\nchr1\t8\t9\t-\tB\r\n",
        "# a comment\nchr1\t7\t8\t+\tA\n\nchr1\t8\t9\t-\tB",
        "browser position chr1\ntrack name=x\nchr1\t7\t8\t+\tA\nchr1\t8\t9\t-\tB\n",
        (CSV + "A,,chr1,+,1,8,\nB,,chr1,-,1,9,\n").replace("\n", "\r\n"),
    ],
    ids=["CRLF", "comment and blank line", "track lines", "CSV with CRLF"],
)
def test_what_surrounds_the_rows_does_not_matter(read: Read, content: str) -> None:
    assert rows(read(content)) == [("chr1", 8, 1, "A"), ("chr1", 9, -1, "B")]


MALFORMED = [
    ("chr1\t7\n", 1, "2 tab-separated columns"),
    ("chr1 7 8 + A\n", 1, "1 tab-separated columns"),
    ("chr1\t7\t8\t.\tA\n", 1, r"strand '\.' is not"),
    ("chr1\t7\t8\tA\t0\t1\n", 1, "strand '1' is not"),
    ("#c\n\nchr1\tx\t8\t+\tA\n", 3, "'x' is not a position"),
    ("chr1\t7\t8.0\t+\tA\n", 1, r"'8\.0' is not a position"),
    ("chr1\t-1\t8\t+\tA\n", 1, "'-1' is not a position"),
    ("chr1\t7\t1234567890123\t+\tA\n", 1, "is not a position"),
    ("chr1\t8\t8\t+\tA\n", 1, "interval 8-8"),
    ("chr1\t9\t8\tA\t0\t+\n", 1, "interval 9-8"),
    ("chr1\t7\t8\t+\t\n", 1, "empty gene id"),
    ("chr1\t7\t8\t+\tA\nchr2\t7\t8\t+\tB\nchr3\t7\t8\t+\tA\n", 3, "'A' stands on line 1"),
    (CSV.replace("strand,", ""), 1, "no column 'strand'"),
    (CSV.replace("CAGE_representative_TSS", "CAGE"), 1, "no column 'CAGE_representative_TSS'"),
    (CSV + "A,S,chr1,+,1\n", 2, "7 columns expected"),
    (CSV + "B,S,chr1,*,1,2,t\n", 2, r"strand '\*' is not"),
    (CSV + "A,S,chr1,+,1,NA,t\n", 2, "'NA' is not a position"),
    (CSV + "A,S,chr1,+,1,,t\n", 2, "'' is not a position"),
    (CSV + "A,S,chr1,+,1,0,t\n", 2, r"\b0\b"),
    (CSV + "A,S,chr1,+,1,2,t\nA,S,chr1,+,1,2,t\n", 3, "'A' stands on line 2"),
    (CSV + ",S,chr1,+,1,2,t\n", 2, "empty gene id"),
    (CSV + "\n\nB,S,chr1,*,1,2,t\n", 4, r"strand '\*' is not"),
    (CSV + 'A,"' + "S" * 200_000 + "\n", 2, "."),
    ("id," + "x" * 200_000 + "\n", 1, "not CSV"),
    ("chr1\t7\t8\t+\tA\nchr1\t7\t8\t+\t" + "z" * 257 + "\n", 2, "a gene's id of 257 characters"),
    ("chr1\t7\t8\t+\tA\x1bB\n", 1, "a gene's id has a control or invisible character"),
    ("chr1\t7\t8\t+\tA\0B\n", 1, "NUL byte: not a text file"),
    ("c" * 257 + "\t7\t8\t+\tA\n", 1, "a gene's contig of 257 characters"),
    (CSV + f"A,{'S' * 257},chr1,+,1,2,t\n", 2, "a gene's symbol of 257 characters"),
    (CSV + f"A,S,chr1,+,1,2,{'t' * 257}\n", 2, "a gene's type of 257 characters"),
]


@pytest.mark.parametrize(("content", "line", "problem"), MALFORMED, ids=[m[2] for m in MALFORMED])
def test_a_malformed_row_is_named_with_file_and_line(
    read: Read, content: str, line: int, problem: str
) -> None:
    with pytest.raises(GeneTableError, match=rf"genes\.txt:{line}: .*{problem}"):
        read(content)


@pytest.mark.parametrize("content", ["", "\n\n", "#only a comment\n", CSV])
def test_a_table_without_genes_is_refused(read: Read, content: str) -> None:
    with pytest.raises(GeneTableError, match="no gene"):
        read(content)


SOUND = "chr1\t7\t8\t+\tA\n"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (SOUND + "chr1\t7\n", "genes.txt:2: 2 tab-separated columns"),
        (SOUND + "chr1\t7\t8\t.\tB\n", "genes.txt:2: strand '.' is not + or -"),
        (CSV + "A,S,chr1,+,1,8,t\n\n\nB,S,chr1,*,1,2,t\n", "genes.txt:5: strand '*'"),
        (CSV + "A,S,chr1,+,1,8,t\nB,S,chr1,+,1,NA,t\n", "genes.txt:3: 'NA' is not a position"),
    ],
)
def test_an_odd_row_is_skipped_and_counted(read: Read, content: str, what: str) -> None:
    table = read(content)
    assert table.gene_id.tolist() == ["A"]
    assert table.odd.skipped == 1
    (note,) = table.odd
    assert "1 line skipped: not as its format asks" in note
    assert what in note
    assert list(table.odd.to_dict()) == ["skipped: not as its format asks"]


def test_names_of_columns_are_no_row(read: Read) -> None:
    for header in ("chrom\tstart\tend\tname\tscore\tstrand\n", "chrom\tstart\tend\tstrand\tid\n"):
        table = read(header + "chr1\t7\t8\tA\t0\t+\n")
        assert (rows(table), table.odd.skipped) == ([("chr1", 8, 1, "A")], 0)
    with pytest.raises(GeneTableError, match="no gene in this table"):
        read("chrom\tstart\tend\tstrand\tgene\n")


def test_a_csv_with_an_index_column(read: Read) -> None:
    assert rows(read("," + CSV + "0,A,S,chr1,+,1,8,t\n")) == [("chr1", 8, 1, "A")]
    with pytest.raises(GeneTableError, match="no column 'seqnames'"):
        read("," + CSV.replace("seqnames", "chrom") + "0,A,S,chr1,+,1,8,t\n")


GENE_PRED = "NR_1\tchr1\t{}\t{}\t{}\t100\t200\t1\t100,\t200,"


@pytest.mark.parametrize(
    "line",
    [GENE_PRED, "585\t" + GENE_PRED + "\t0\tG\tunk\tunk\t-1,", "G\t" + GENE_PRED],
    ids=["genePred", "refGene", "refFlat"],
)
def test_gene_pred_gives_the_most_5_prime_end(read: Read, line: str) -> None:
    gene = "NR_1" if line is GENE_PRED else "G"
    for strand, tss in (("+", 101), ("-", 400)):
        text = line.format(strand, 100, 300) + "\n" + line.format(strand, 150, 400) + "\n"
        assert rows(read(text)) == [("chr1", tss, 1 if strand == "+" else -1, gene)]


def test_latin_1_is_read_and_said(read: Read) -> None:
    table = read(b"chr1\t7\t8\t+\t\xe9\n")
    assert table.gene_id.tolist() == ["\xe9"]
    assert "genes.txt:1: byte 0xe9 is not UTF-8" in next(iter(table.odd))


def test_a_file_that_is_not_text_is_refused(read: Read) -> None:
    with pytest.raises(GeneTableError, match=r"genes\.txt:1: NUL byte: not a text file"):
        read(b"\0\xff\xfe")


def test_every_format_may_be_gzipped_and_a_damaged_one_is_refused(read: Read) -> None:
    for text in ("chr1\t7\t8\t+\tA\n", CSV + "A,S,chr1,+,1,8,t\n"):
        assert rows(read(gzip.compress(text.encode()))) == [("chr1", 8, 1, "A")]
    whole = gzip.compress(b"chr1\t7\t8\t+\tA\n" * 1_000)
    for damaged in (whole[:-9], whole[:14] + b"\xff" * 9 + whole[23:], b"\x1f\x8b\x08\x00"):
        with pytest.raises(GeneTableError, match=r"genes\.txt: cannot be read"):
            read(damaged)


def test_bed4_is_refused_for_want_of_a_strand(read: Read) -> None:
    with pytest.raises(GeneTableError, match=r"genes\.txt:2: BED with 4 columns has no strand"):
        read("# comment\nchr1\t7\t8\tA\n")


def test_genes_of_some_types(read: Read, tmp_path: Path) -> None:
    text = CSV + "".join(f"G{i},S,chr1,+,1,{i + 1},{'ab'[i % 2]}\n" for i in range(6))
    (tmp_path / "genes.csv").write_text(text)
    assert len(read(text)) == 6
    for types, ids in ((("b",), ["G1", "G3", "G5"]), (("b", "a"), [f"G{i}" for i in range(6)])):
        assert read_genes(tmp_path / "genes.csv", gene_types=types).gene_id.tolist() == ids
    with pytest.raises(GeneTableError, match="no gene of type 'c'") as caught:
        read_genes(tmp_path / "genes.csv", gene_types=("a", "c"))
    assert "a, b" in caught.value.hint
    (tmp_path / "genes.bed").write_text("chr1\t7\t8\t+\tA\n")
    with pytest.raises(GeneTableError, match="no types of genes"):
        read_genes(tmp_path / "genes.bed", gene_types=("a",))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(GeneTableError, match=r"not found: .*nowhere\.bed"):
        read_genes(tmp_path / "nowhere.bed")


def test_a_gene_is_found_by_id_or_refused(read: Read) -> None:
    table = read("chr1\t7\t8\t+\tA\nchr1\t8\t9\t-\tB\n")
    assert table.row("B") == 1
    with pytest.raises(GeneTableError, match="'b' is not in the gene table"):
        table.row("b")


@pytest.mark.parametrize(
    ("table", "asked", "own"),
    [("chr1", "1", "chr1"), ("chr1", "chr1", "chr1"), ("1", "chr1", "1"), ("1", "2", None)],
)
def test_contig_names_with_or_without_chr(table: str, asked: str, own: str | None) -> None:
    assert make((table, 5)).contig_name(asked) == own


@pytest.mark.parametrize(
    ("tss", "position", "row"),
    [
        ([10, 20], 14, 0),
        ([10, 20], 16, 1),
        ([10, 20], 15, 0),
        ([20, 10], 15, 1),
        ([10, 10, 20, 20], 15, 1),
        ([10, 10, 20, 20], 16, 2),
        ([10, 10, 20, 20], 25, 3),
        ([10, 10, 20, 20], 5, 0),
        ([10, 10, 20, 20], 10, 1),
        ([10, 10, 20, 20], 20, 3),
        ([20, 10, 20, 10], 15, 3),
        ([20, 10, 20, 10], 16, 0),
    ],
)
def test_nearest_tss_and_its_ties_by_hand(tss: list[int], position: int, row: int) -> None:
    assert make(*(("chr1", t) for t in tss)).nearest("chr1", position) == row


def test_a_contig_without_genes_has_no_nearest() -> None:
    table = make(("chr1", 10))
    assert table.nearest("chr2", 10) is None
    assert table.within("chr2", 10, 100) == []


@pytest.mark.parametrize("position", [1, 4_000, 19_999, 20_000, 20_001])
def test_genes_within_20_kb_of_a_variant_near_the_contigs_start(position: int) -> None:
    tss = [25_000, 1, 12_000, 20_001, 500, 40_000, 45_000]
    table = make(*(("chr1", t) for t in tss))
    expected = [row for row, t in enumerate(tss) if abs(t - position) <= 20_000]
    assert table.within("chr1", position, 20_000) == expected


def test_nearest_and_within_on_random_dense_tables(rng: np.random.Generator) -> None:
    for _ in range(40):
        count = int(rng.integers(1, 30))
        contigs = rng.choice(["chr1", "chr2"], count).tolist()
        tss = rng.integers(1, rng.integers(3, 50), count).tolist()
        table = make(*zip(contigs, tss, strict=True))
        genes = rows(table)
        for contig in ("chr1", "chr2"):
            if contig in contigs:
                nearest = [table.nearest(contig, position) for position in range(1, 55)]
                assert table.nearest_rows(contig, np.arange(1, 55)).tolist() == nearest
            for position in range(1, 55):
                found = table.nearest(contig, position)
                assert found == reference.nearest_gene(genes, contig, position)
                for distance in (0, 1, 5, 20):
                    expected = reference.genes_within(genes, contig, position, distance)
                    assert table.within(contig, position, distance) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "count", "first"),
    [
        ("hg19_geneanno.csv", 24_339, ("chrX", 99_891_748, -1, "ENSG00000000003")),
        ("hg19_geneanno.pc.sorted.bed", 18_625, ("chr1", 36_081, -1, "ENSG00000237613")),
    ],
)
def test_a_real_table_loads_in_a_second(
    shared: Path, name: str, count: int, first: tuple[str, int, int, str]
) -> None:
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        table = read_genes(shared / "data" / name)
        seconds.append(time.perf_counter() - began)
    assert len(table) == count
    assert rows(table)[0] == first
    assert min(seconds) < 1


def test_206_of_the_real_variants_have_a_gene_within_20_kb(shared: Path) -> None:
    table = read_genes(shared / "data/hg19_geneanno.pc.sorted.bed")
    genes = rows(table)
    variants = list(read_variants(shared / "data/seal_test_var.vcf"))
    assert len(variants) == 500
    distances = []
    for variant in variants:
        row = table.nearest(variant.contig, variant.pos)
        assert row is not None
        distances.append(variant.pos - int(table.tss[row]))
    assert sum(abs(d) <= 20_000 for d in distances) == 206
    for variant in variants[::50]:
        nearest = reference.nearest_gene(genes, variant.contig, variant.pos)
        assert table.nearest(variant.contig, variant.pos) == nearest
