"""Annotated VCF and BCF: what bcftools reads back is the input, and the effects of the TSV."""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pysam
import pytest
from click.testing import Result
from pysam import bcftools

from seal_store.errors import VariantError
from seal_store.exporting.info import encode
from seal_store.exporting.render import Form, export
from seal_store.results.group import Results
from seal_store.results.view import Selection
from seal_store.run.scores import write_scores
from seal_store.scoring.assign import Assigner, Counts
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.scorer import Scorer
from seal_store.store.store import Store
from seal_store.synthetic import World
from seal_store.variants import lines
from seal_store.variants.header import declaration
from seal_store.variants.lines import MAX_FIELDS
from seal_store.variants.source import VariantSource, read_variants

Cli = Callable[..., Result]

HEADER = """\
##fileformat=VCFv4.2
##contig=<ID=chr1,length=320000>
##contig=<ID=chr2,length=180000>
##contig=<ID=chr3,length=120000>
##contig=<ID=chr9,length=1000000>
##FILTER=<ID=q10,Description="low, \\"very\\" low">
##INFO=<ID=DP,Number=1,Type=Integer,Description="Depth">
##INFO=<ID=DB,Number=0,Type=Flag,Description="Known">
##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">
##FORMAT=<ID=GQ,Number=1,Type=Integer,Description="Quality">
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\ts1\ts2
"""


def tss(store: Store, gene: str) -> tuple[str, int]:
    row = store.table.row(gene)
    return str(store.table.contig[row]), int(store.table.tss[row])


@pytest.fixture(scope="module")
def vcf(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sorted records of every kind, with columns that must not change."""
    contig, at = tss(store, "GENE02")
    assert contig == "chr1"
    other, far = tss(store, "GENE05")
    assert other == "chr2"
    third, between = tss(store, "GENE09")
    assert third == "chr3"
    rows = [
        ("chr1", 500, "n1", "A", "C", ".", ".", "."),
        ("chr1", at - 900, "=cmd|' /C calc'!A0", "A", "C", "29.5", "PASS", "DP=14;DB"),
        ("chr1", at - 900, ".", "A", "C", ".", "q10", "DP=3"),
        ("chr1", at - 900, ".", "A", "C", ".", "q10", "DP=4"),
        ("chr1", at - 50, "rs1;rs2", "a", "g,T,<DEL>,*,GA", "3e-5", ".", "."),
        ("chr1", at, "none", "G", ".", ".", ".", "DB"),
        ("chr1", at + 7, "same", "C", "C", ".", ".", "."),
        ("chr1", at + 9, "iupac", "C", "R", ".", ".", "."),
        ("chr1", at + 20, "id,%3A|&", "CAT", "C,CATCAT", ".", ".", "DP=1;"),
        ("chr1", at + 30, "break", "G", "G]chr2:321681]", ".", ".", "."),
        ("chr2", far + 18_000, "edge", "T", "TGGG", "1", "PASS", "DP=2"),
        ("chr3", between, "two", "A", "C", ".", ".", "DP=7"),
        ("chr9", 100, ".", "A", "C", ".", ".", "."),
    ]
    path = tmp_path_factory.mktemp("vcf") / "in.vcf"
    lines = ["\t".join(map(str, row)) + "\tGT:GQ\t0|1:7\t./.:." for row in rows]
    path.write_text(HEADER + "\n".join(lines) + "\n")
    return path


CONTEXTS = ("Mid.Neuron.584", "adulthood.MD", "Early.Neuron.383")


@pytest.fixture(scope="module")
def made(
    store: Store, vcf: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Results of the VCF on three contexts: ``nearest`` gene or ``all``."""
    folder = tmp_path_factory.mktemp("results")
    for genes in ("nearest", "all"):
        options = ScoreOptions(device="cpu", genes=genes, contexts=CONTEXTS)
        out = folder / f"{genes}.zarr"
        write_scores(Scorer(store, options), read_variants(vcf), out)
    return lambda genes: folder / f"{genes}.zarr"


@pytest.fixture
def nearest(made: Callable[[str], Path]) -> Path:
    return made("nearest")


def viewed(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header lines and columns of every record, as bcftools prints them."""
    text = bcftools.view("--no-version", str(path))
    lines = text.splitlines()
    return (
        [line for line in lines if line.startswith("#")],
        [line.split("\t") for line in lines if not line.startswith("#")],
    )


def read_tsv(path: Path) -> list[dict[str, str]]:
    with path.open() as handle:
        return list(csv.DictReader(handle, delimiter="\t"))


def parse(info: str) -> tuple[str, dict[str, list[str]]]:
    """What was there before, and our fields by name."""
    items = info.split(";")
    own = [item for item in items if item.startswith("SEAL_")]
    rest = ";".join(item for item in items if not item.startswith("SEAL_"))
    found = {}
    for item in own:
        name, _, value = item.partition("=")
        found[name.removeprefix("SEAL_")] = value.split(",")
    return rest or ".", found


def run(cli: Cli, *args: object) -> Result:
    found = cli(*args)
    assert found.exit_code == 0, found.output
    return found


@pytest.mark.parametrize(
    ("route", "genes", "ending"),
    [
        ("score", "nearest", ".vcf.gz"),
        ("score", "all", ".bcf"),
        ("export", "nearest", ".bcf"),
        ("export", "all", ".vcf.gz"),
        ("export", "all", ".vcf"),
    ],
)
def test_round_trip(
    cli: Cli,
    store: Store,
    vcf: Path,
    made: Callable[[str], Path],
    tmp_path: Path,
    route: str,
    genes: str,
    ending: str,
) -> None:
    """Same records through bcftools; effects, genes and distances are those of the TSV."""
    out, table, contexts = tmp_path / f"out{ending}", tmp_path / "out.tsv", CONTEXTS
    more = ["--top", 2, *(item for name in contexts for item in ("--contexts", name))]
    if route == "score":
        args = ["score", "vcf", vcf, "--store", store.path, "--genes", genes, "--out", out]
        run(cli, *args, *more)
    else:
        run(cli, "export", made(genes), out, *more)
    run(cli, "export", made(genes), table)
    before, records = viewed(vcf)
    after, annotated = viewed(out)
    assert [line for line in after if "SEAL_" not in line] == before
    assert len(annotated) == len(records) == 13
    rows = iter(read_tsv(table))
    keys = [(r["pos"], r["ref"], r["alt"]) for r in read_tsv(table)]
    several = 0
    for old, new in zip(records, annotated, strict=True):
        rest, own = parse(new[7])
        assert [*new[:7], rest, *new[8:]] == old
        alts = [] if old[4] == "." else old[4].upper().split(",")
        if "GENE" not in own:
            assert list(own) == ["STATUS"]
            assert not [a for a in alts if (old[1], old[3].upper(), a) in keys]
            continue
        mismatch = own.pop("REF_MISMATCH", None)
        assert {len(values) for values in own.values()} == {len(alts)}
        matches = []
        for i, alt in enumerate(alts):
            values = {name: v[i].split("|") for name, v in own.items()}
            if values["GENE"] == ["."]:
                assert (old[1], old[3].upper(), alt) not in keys
                assert {tuple(v) for n, v in values.items() if n != "STATUS"} == {(".",)}
                continue
            several += len(values["GENE"]) > 1
            effects = []
            for j, gene in enumerate(values["GENE"]):
                row = next(rows)
                assert (row["chrom"], row["pos"]) == (old[0], old[1])
                assert (row["ref"], row["alt"]) == (old[3].upper(), alt)
                assert (row["gene_id"], row["dist_to_tss"]) == (gene, values["DIST"][j])
                matches.append(row["reference_genome_match"])
                own_effects = {name: float(row[name]) for name in contexts}
                for name in contexts:
                    shown = values[re.sub(r"\W", "_", name)][j]
                    assert float(shown) == pytest.approx(own_effects[name], rel=1e-6)
                strongest = sorted(own_effects, key=lambda n: -abs(own_effects[n]))[:2]
                if any(own_effects.values()):
                    top = [item.split(":") for item in values["TOP"][j].split("&")]
                    assert [unquote(name) for name, _ in top] == strongest
                    for name, shown in top:
                        assert float(shown) == pytest.approx(own_effects[name], rel=1e-5)
                effects += own_effects.values()
            assert float(values["MAX"][0]) == pytest.approx(max(effects, key=abs), rel=1e-5)
        assert (mismatch is not None) == ("False" in matches)
    assert not list(rows)
    assert bool(several) == (genes == "all")


def statuses(path: Path) -> dict[str, str]:
    return {r[2]: ",".join(parse(r[7])[1]["STATUS"]) for r in viewed(path)[1]}


def test_every_unscored_allele_says_why(cli: Cli, store: Store, vcf: Path, tmp_path: Path) -> None:
    """The reasons are those that are counted, also in an export, with the store at hand or not."""
    out, zarr = tmp_path / "out.vcf", tmp_path / "r.zarr"
    skip = ["score", "vcf", vcf, "--store", store.path, "--ref-mismatch", "skip", "--out"]
    run(cli, *skip, out)
    run(cli, *skip, zarr)
    counts = Results(zarr).attributes.counts.not_scored
    found = [s for text in statuses_in_order(out) for s in text]
    listed = {reason: found.count(reason) for reason in counts}
    assert listed == counts
    assert set(counts) >= {
        "no_gene_in_range",
        "symbolic",
        "star",
        "missing",
        "no_change",
        "iupac",
        "ref_mismatch",
        "unknown_contig",
    }
    assert len(found) == Results(zarr).attributes.counts.alleles
    run(cli, "export", zarr, tmp_path / "again.vcf")
    assert viewed(tmp_path / "again.vcf")[1] == viewed(out)[1]
    moved = tmp_path / "moved.zarr"
    zarr.rename(moved)
    results = Results(moved)
    made = replace(results.attributes.store, path=str(tmp_path / "nowhere"))
    results.attributes = replace(results.attributes, store=made)
    export(results, tmp_path / "plain.vcf", Form(vcf=VariantSource(vcf)))
    plain = [s for text in statuses_in_order(tmp_path / "plain.vcf") for s in text]
    apart = {"no_gene_in_range", "ref_mismatch", "alt_is_reference", "unknown_contig", "too_long"}
    assert plain == ["not_scored" if s in apart else s for s in found]


def statuses_in_order(path: Path) -> list[list[str]]:
    return [parse(record[7])[1]["STATUS"] for record in viewed(path)[1]]


def test_columns_stay_byte_for_byte(cli: Cli, nearest: Path, vcf: Path, tmp_path: Path) -> None:
    """Not as bcftools prints them: as they stand in the file."""
    run(cli, "export", nearest, tmp_path / "o.vcf.gz")
    old = [line.split("\t") for line in vcf.read_text().splitlines() if line[0] != "#"]
    text = gzip.decompress((tmp_path / "o.vcf.gz").read_bytes()).decode()
    new = [line.split("\t") for line in text.splitlines() if line[0] != "#"]
    assert [row[:7] + row[8:] for row in new] == [row[:7] + row[8:] for row in old]
    for before, after in zip(old, new, strict=True):
        assert after[7].startswith(
            "SEAL_" if before[7] == "." else before[7].rstrip(";") + ";SEAL_"
        )


def test_index_finds_a_region(cli: Cli, store: Store, nearest: Path, tmp_path: Path) -> None:
    contig, at = tss(store, "GENE02")
    region = f"{contig}:{at - 100}-{at + 15}"
    for name, index in (("o.vcf.gz", "o.vcf.gz.tbi"), ("o.bcf", "o.bcf.csi")):
        run(cli, "export", nearest, tmp_path / name)
        assert (tmp_path / index).exists()
        found = bcftools.view("-H", "-r", region, str(tmp_path / name)).splitlines()
        assert [line.split("\t")[2] for line in found] == ["rs1;rs2", "none", "same", "iupac"]
    with pysam.TabixFile(str(tmp_path / "o.vcf.gz")) as tabix:
        assert len(list(tabix.fetch("chr2"))) == 1


def test_split_records_keep_the_values_of_their_allele(
    cli: Cli, nearest: Path, tmp_path: Path
) -> None:
    """`Number=A`: bcftools norm gives each allele its own."""
    out = tmp_path / "o.vcf.gz"
    run(cli, "export", nearest, out)
    text = bcftools.norm("-m-", "--no-version", str(out))
    whole = {r[2]: r for r in viewed(out)[1]}["rs1;rs2"]
    expected = parse(whole[7])[1]
    split = [line.split("\t") for line in text.splitlines() if "rs1;rs2" in line]
    assert [row[4] for row in split] == whole[4].split(",")
    for i, row in enumerate(split):
        found = parse(row[7])[1]
        for name in ("GENE", "MAX", "STATUS", "TOP"):
            assert found.get(name, ["."]) == [expected[name][i]]


def test_bcftools_filters_by_size(cli: Cli, nearest: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.bcf"
    run(cli, "export", nearest, out)
    sizes = {}
    for record in viewed(out)[1]:
        values = [float(v) for v in parse(record[7])[1].get("MAX", ["."]) if v != "."]
        sizes[record[1], record[2]] = max(map(abs, values), default=0)
    middle = sorted(sizes.values())[-3]
    found = bcftools.query("-f", "%POS\t%ID\n", "-i", f"ABS(SEAL_MAX)>={middle * 0.999}", str(out))
    assert {tuple(line.split("\t")) for line in found.splitlines()} == {
        key for key, size in sizes.items() if size >= middle
    }


def test_an_unsorted_input_gets_no_index_and_says_so(
    cli: Cli, store: Store, vcf: Path, tmp_path: Path
) -> None:
    lines = vcf.read_text().splitlines(keepends=True)
    body = [line for line in lines if line[0] != "#"]
    path = tmp_path / "mixed.vcf"
    for name, mixed, where in (
        ("o.vcf.gz", [body[1], body[0], *body[2:]], "chr1:500"),
        ("o.bcf", [body[-1], *body[:-2], body[-2].replace("chr3", "chr9")], "chr9"),
    ):
        path.write_text("".join(lines[: -len(body)] + mixed))
        for index in ("tbi", "csi"):  # that of an earlier output does not stay
            old = gzip.compress(f"{index.upper()}\1".encode())
            (tmp_path / f"{name}.{index}").write_bytes(old)
        args = ["score", "vcf", path, "--store", store.path, "--out", tmp_path / name]
        found = run(cli, *args, "--overwrite")
        assert f"no index: the input is not sorted at {where}" in found.stdout
        ids = [line.split("\t")[2] for line in mixed]
        assert [record[2] for record in viewed(tmp_path / name)[1]] == ids
    assert {p.name for p in tmp_path.iterdir()} == {"mixed.vcf", "o.vcf.gz", "o.bcf"}


def test_headerless_columns_become_a_vcf(cli: Cli, store: Store, tmp_path: Path) -> None:
    """Seal's five columns, tabs or spaces, with lines that are not VCF among them."""
    contig, at = tss(store, "GENE02")
    path = tmp_path / "in.txt"
    path.write_bytes(
        f"{contig}\t{at}\t-\tA\tC\r\n{contig} {at + 1} - A C\n\n{contig}\tx\t-\tA\tC\n"
        f"oops\n{contig.removeprefix('chr')}\t{at + 2}\t=1+1\tA\tC\t50\n".encode()
    )
    found = run(cli, "score", "vcf", path, "--store", store.path, "--out", tmp_path / "o.vcf.gz")
    assert "2 malformed lines stand as they were" in found.stdout
    assert "no index: line 4 has no position" in found.stdout
    assert "malformed: 2" in found.stdout
    header, *records = gzip.decompress((tmp_path / "o.vcf.gz").read_bytes()).decode().splitlines()
    assert header.startswith("##fileformat=VCFv4")
    head = [line for line in records if line[0] == "#"]
    assert head[-1] == "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"
    columns = [line.split("\t") for line in records if line[0] != "#"]
    bare = contig.removeprefix("chr")
    assert [c[:7] for c in columns] == [
        [contig, str(at), "-", "A", "C", ".", "."],
        [contig, str(at + 1), "-", "A", "C", ".", "."],
        [contig, "x", "-", "A", "C", ".", "."],
        ["oops", ".", ".", ".", ".", ".", "."],
        [bare, str(at + 2), "=1+1", "A", "C", "50", "."],
    ]
    odd = [c[7] for c in columns[2:4]]
    assert odd == ["SEAL_STATUS=malformed"] * 2
    assert all("GENE" in parse(c[7])[1] for c in (columns[0], columns[1], columns[4]))


@pytest.mark.slow
def test_what_bcf_would_lose_is_refused_with_its_line(
    cli: Cli, store: Store, tmp_path: Path
) -> None:
    """htslib would drop the column and make the quality 0, without a word. Nothing was scored."""
    contig, at = tss(store, "GENE02")
    path, out = tmp_path / "in.vcf", tmp_path / "o.bcf"
    good = f"{contig}\t{at}\tgood\tA\tC\t.\t.\t.\tGT\t0/1\t0/0\n"
    for line, says in (
        (f"{contig}\tx\t-\tA\tC\n", "malformed (POS 'x' is not a position"),
        ("oops\n", "malformed (1 columns"),
        (f"{contig}\t{at}\t.\tA\tC\t.\t.\t.\tGT\t0/1\t0/0\t1/1\n", "12 columns where the"),
        (f"{contig}\t{at}\t.\tA\tC\thigh\t.\t.\tGT\t0/1\t0/0\n", "QUAL is not a number"),
        (f"{contig}\t{at}\t.\tA\tC\t.\t.\tDP=high\tGT\t0/1\t0/0\n", "INFO DP=high is not of the"),
        (f"{contig}\t{at}\t.\tA\tC\t.\t.\tDB;DP=1.5\tGT\t0/1\t0/0\n", "INFO DP=1.5 is not"),
        (f"{contig}\t{at}\t.\tA\tC\t.\t.\t.\tGT:GQ\t0/1:y\t0/0\n", "htslib does not take"),
    ):
        path.write_text(HEADER + good + "\n" + line + good)
        number = HEADER.count("\n") + 3
        found = cli("score", "vcf", path, "--store", store.path, "--out", out, "-q")
        assert found.exit_code == 1
        assert f"in.vcf:{number}: " in found.stderr
        assert says in found.stderr
        assert found.stderr.count("\n") == 1
        assert not out.exists()
        assert not (tmp_path / "o.bcf.partial").exists()
        again = ["--out", tmp_path / "o.vcf.gz", "--overwrite"]
        run(cli, "score", "vcf", path, "--store", store.path, *again)


def test_bcf_declares_what_the_header_lacks(cli: Cli, store: Store, tmp_path: Path) -> None:
    contig, at = tss(store, "GENE02")
    path = tmp_path / "in.vcf"
    columns = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\ts"
    path.write_text(
        f"##fileformat=VCFv4.3\n##contig=<length=500000,ID=other>\n{columns}\n"
        f"{contig}\t{at}\ta\tA\tC\t.\tlow;odd\tX=1,2;FLAG;AC=1\tGT:ZZ\t0/1:x\n"
        f"other\t5\tb\tA\tC\t.\tPASS\tX=3\tGT\t0/1\n"
    )
    run(cli, "score", "vcf", path, "--store", store.path, "--out", tmp_path / "o.bcf")
    header, records = viewed(tmp_path / "o.bcf")
    for line in (
        f"##contig=<ID={contig}>",
        "##FILTER=<ID=odd,",
        "##INFO=<ID=X,Number=.,Type=String",
        "##INFO=<ID=FLAG,Number=0,Type=Flag",
        "##FORMAT=<ID=ZZ,",
    ):
        assert any(h.startswith(line) for h in header), line
    first = records[0]
    assert [*first[:7], *first[8:]] == [
        contig,
        str(at),
        "a",
        "A",
        "C",
        ".",
        "low;odd",
        "GT:ZZ",
        "0/1:x",
    ]
    assert parse(first[7])[0] == "X=1,2;FLAG;AC=1"
    assert parse(records[1][7]) == ("X=3", {"STATUS": ["unknown_contig"]})


def test_a_bcf_can_be_annotated(cli: Cli, nearest: Path, vcf: Path, tmp_path: Path) -> None:
    """From its records as htslib prints them."""
    bcf = tmp_path / "in.bcf"
    bcftools.view("-Ob", "-o", str(bcf), str(vcf), catch_stdout=False)
    own = [record for record in VariantSource(bcf).records() if record.alleles]
    assert [a.alt for r in own for a in r.alleles] == [a.alt for a in read_variants(vcf)]
    run(cli, "export", nearest, tmp_path / "a.vcf.gz", "--vcf", bcf)
    run(cli, "export", nearest, tmp_path / "b.vcf.gz")
    assert viewed(tmp_path / "a.vcf.gz")[1] == viewed(tmp_path / "b.vcf.gz")[1]


def test_another_vcf_than_the_one_scored_is_refused(
    cli: Cli, nearest: Path, world: World, vcf: Path, tmp_path: Path
) -> None:
    shuffled = tmp_path / "shuffled.vcf"
    lines = vcf.read_text().splitlines(keepends=True)
    scored = [i for i, line in enumerate(lines) if "rs1;rs2" in line or "id,%3A" in line]
    a, b = scored
    lines[a], lines[b] = lines[b], lines[a]
    shuffled.write_text("".join(lines))
    for other in (world.variants, shuffled):
        found = cli("export", nearest, tmp_path / "o.vcf.gz", "--vcf", other)
        assert found.exit_code == 1
        assert "of the results" in found.stderr
        assert "give the VCF that was scored" in found.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"shuffled.vcf"}


def test_refused_before_anything_is_computed(
    cli: Cli, store: Store, nearest: Path, vcf: Path, tmp_path: Path
) -> None:
    out = tmp_path / "o.vcf.gz"
    base = ["score", "vcf", vcf, "--store", store.path, "--out", out]
    done = tmp_path / "done.vcf"
    run(cli, "export", nearest, done)
    saturate = ["score", "saturate", "GENE02", "--store", store.path, "--span", 1, "--out", out]
    for args, says in (
        (saturate, "repeats its input, which must be one"),
        ([*base, "--long"], "keeps every record"),
        ([*base, "--min-effect", "1"], "bcftools view -i"),
        (["score", "vcf", done, "--store", store.path, "--out", out], "bcftools annotate -x"),
        (["score", "vcf", tmp_path / "no.vcf", "--store", store.path, "--out", out], "not found"),
        (
            ["score", "vcf", done, "--store", store.path, "--out", done, "--overwrite"],
            "input itself",
        ),
    ):
        found = cli(*args)
        assert found.exit_code == 1, found.output
        assert says in found.stderr
        assert found.stderr.strip().count("\n") == 0
    assert [p.name for p in tmp_path.iterdir()] == ["done.vcf"]


def test_an_interrupted_annotation_leaves_what_was_scored(
    cli: Cli, store: Store, vcf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "o.vcf.gz"
    args = ["score", "vcf", vcf, "--store", store.path, "--out", out]

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pysam.tabix_index", full)
    assert cli(*args).exit_code == 1
    assert [p.name for p in tmp_path.iterdir()] == ["o.vcf.gz.partial"]
    monkeypatch.undo()
    scored: list[int] = []
    monkeypatch.setattr("seal_store.scoring.evaluate.Evaluator.change", lambda *_: scored.append(1))
    run(cli, *args, "--resume")
    assert not scored
    assert sorted(p.name for p in tmp_path.iterdir()) == ["o.vcf.gz", "o.vcf.gz.tbi"]
    assert len(viewed(out)[1]) == 13


def test_names_are_encoded_and_read_back() -> None:
    for name in ("a,b;c=d e%f:g|h&i", "naïve\tgene\r\n", "plain.Name-1_2/3"):
        packed = encode(name)
        assert not set(packed) & set(",;= :|&\t\r\n")
        assert unquote(packed) == name
    assert encode("plain.Name-1_2/3") == "plain.Name-1_2/3"


def test_records_are_whole_lines_with_the_readers_alleles(world: World, tmp_path: Path) -> None:
    long = b"chr1\t9\tid\tA\tC\t.\t.\tX=" + b"y" * (2 * MAX_FIELDS)
    path = tmp_path / "in.vcf"
    path.write_bytes(b"\xef\xbb\xbf" + world.variants.read_bytes() + b"\n" + long + b"\nbad\n")
    records = list(VariantSource(path).records())
    assert [a for r in records for a in r.alleles] == list(read_variants(path))
    assert records[-2].text == long
    lines = world.variants.read_bytes().splitlines()
    assert [r.text for r in records[:-2]] == [line for line in lines if line[:1] != b"#"]


def test_a_line_that_is_too_long_to_be_held_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, bcf = tmp_path / "in.vcf", tmp_path / "in.bcf"
    info = '##INFO=<ID=X,Number=1,Type=String,Description="x">'
    path.write_text(
        f"##fileformat=VCFv4.2\n##contig=<ID=1>\n{info}\n"
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
        f"1\t9\tid\tA\tC\t.\t.\tX={'y' * 983}\n"
    )
    pysam.bcftools.view("-Ob", "-o", str(bcf), str(path), catch_stdout=False)
    monkeypatch.setattr(lines, "MAX_WHOLE", 1_002)
    for source in (path, bcf):
        assert len(list(VariantSource(source).records())[-1].text) == 1_000
    monkeypatch.setattr(lines, "MAX_WHOLE", 999)
    for source in (path, bcf):
        with pytest.raises(VariantError, match=rf"{source.name}:\d+: line of more than 999 bytes"):
            list(VariantSource(source).records())


def test_reasons_are_those_of_the_assignment(store: Store, vcf: Path) -> None:
    scorer = Scorer(store, ScoreOptions(device="cpu", scheme="centered", max_distance=900))
    assigner = Assigner(store, ScoreOptions(max_distance=900))
    counts = Counts()
    for allele in read_variants(vcf):
        if not assigner(allele, counts):
            assert counts.not_scored[scorer.reader.reason(allele)] > 0
        else:
            assert scorer.reader.reason(allele) in ("", "too_long")
    assert scorer.counts == Counts()


def test_an_empty_vcf_stays_a_vcf(cli: Cli, store: Store, tmp_path: Path) -> None:
    path = tmp_path / "in.vcf"
    path.write_text(HEADER)
    run(cli, "score", "vcf", path, "--store", store.path, "--out", tmp_path / "r.zarr")
    for name in ("o.vcf.gz", "o.vcf", "o.bcf"):
        run(cli, "export", tmp_path / "r.zarr", tmp_path / name)
        header, records = viewed(tmp_path / name)
        assert records == []
        assert header[-1].endswith("FORMAT\ts1\ts2")


def test_contexts_that_need_encoding(nearest: Path, vcf: Path, tmp_path: Path) -> None:
    """Every reserved character, and names that differ only in them."""
    names = ['T"O,P;= :|&\\é', "a.b", "a-b"]

    class Renamed(Results):
        def contexts(self) -> tuple[list[str], list[str]]:
            return names, ["s", "s", "t"]

    out = tmp_path / "o.vcf.gz"
    export(Renamed(nearest), out, Form(Selection(tuple(names)), vcf=VariantSource(vcf)))
    record = {r[2]: r for r in viewed(out)[1]}["=cmd|' /C calc'!A0"]
    own = parse(record[7])[1]
    assert {"T_O_P" + "_" * 8, "a_b", "a_b_2"} <= set(own)
    assert {unquote(i.split(":")[0]) for i in own["TOP"][0].split("&")} == set(names)
    with pysam.VariantFile(str(out)) as handle:
        assert "Effect on a-b," in handle.header.info["SEAL_a_b_2"].description
    assert 'Effect on T\\"O,P;= :|&\\\\é,' in gzip.decompress(out.read_bytes()).decode()


def test_what_bcf_cannot_hold_is_said(cli: Cli, store: Store, tmp_path: Path) -> None:
    """A quality that is no number; and contig lengths that a CSI index cannot be made with."""
    contig, at = tss(store, "GENE02")
    path = tmp_path / "in.vcf"
    path.write_text(HEADER + f"{contig}\t{at}\ta\tA\tC\t1\tPASS\tDP=1\tGT:GQ\t0/1:x:y\t0/0\n")
    run(cli, "score", "vcf", path, "--store", store.path, "--out", tmp_path / "r.zarr")
    found = cli("export", tmp_path / "r.zarr", tmp_path / "o.bcf")
    assert found.exit_code == 1
    assert f"{path}:12: htslib does not take it as BCF (Incorrect number of" in found.stderr
    assert "write .vcf.gz" in found.stderr
    run(cli, "export", tmp_path / "r.zarr", tmp_path / "o.vcf")
    assert "0/1:x:y" in (tmp_path / "o.vcf").read_text()
    path.write_text(
        "##fileformat=VCFv4.2\n##contig=<ID=short,length=9>\n"
        f"#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n{contig}\t{at}\ta\tA\tC\t.\t.\t.\n"
    )
    told = run(cli, "export", tmp_path / "r.zarr", tmp_path / "o.bcf", "--json").stdout
    assert "contig lengths in the header are too short" in json.loads(told)["notes"][0]
    assert len(viewed(tmp_path / "o.bcf")[1]) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.vcf", "o.bcf", "o.vcf", "r.zarr"]


def test_lines_of_other_widths(cli: Cli, store: Store, tmp_path: Path) -> None:
    """Missing columns are filled; those that the header does not name stay."""
    contig, at = tss(store, "GENE02")
    path = tmp_path / "in.vcf"
    lines = [
        f"{contig}\t{at}\tshort\tA\tC",
        f"{contig}\t{at + 1}\tone\tA\tC\t.\t.\tDP=1\tGT\t0/1",
        f"{contig}\t{at + 2}\tthree\tA\tC\t.\t.\t.\tGT\t0/1\t0/0\t1/1",
        f"{contig}\t{at + 3}\ttwo\tA\tC\t.\t.\t.\tGT\t0/1\t0/0",
        f"{contig}\t{at + 4}\ttab\tA\tC\t.\t.\t.\tGT\t0/1\t0/0\t",
    ]
    path.write_text(HEADER + "\n".join(lines) + "\n")
    found = run(cli, "score", "vcf", path, "--store", store.path, "--out", tmp_path / "o.vcf.gz")
    assert ": 5 rows" in found.stdout
    text = gzip.decompress((tmp_path / "o.vcf.gz").read_bytes()).decode()
    records = [line.split("\t") for line in text.splitlines() if line[0] != "#"]
    assert [(r[2], *r[8:]) for r in records] == [
        ("short", ".", ".", "."),
        ("one", "GT", "0/1", "."),
        ("three", "GT", "0/1", "0/0", "1/1"),
        ("two", "GT", "0/1", "0/0"),
        ("tab", "GT", "0/1", "0/0", ""),
    ]
    assert [r[2] for r in viewed(tmp_path / "o.vcf.gz")[1]] == [r[2] for r in records]
    with pysam.TabixFile(str(tmp_path / "o.vcf.gz")) as tabix:
        assert len(list(tabix.fetch(contig, at, at + 2))) == 2


def test_an_equal_allele_on_another_contig_takes_no_rows(
    cli: Cli, store: Store, tmp_path: Path
) -> None:
    contig, at = tss(store, "GENE02")
    path = tmp_path / "in.vcf"
    path.write_text("".join(f"{c}\t{at}\t.\tA\tC\n" for c in ("chr9", contig, "chrX", contig)))
    run(cli, "score", "vcf", path, "--store", store.path, "--out", tmp_path / "o.vcf")
    found = [",".join(parse(r[7])[1].get("GENE", ["."])) for r in viewed(tmp_path / "o.vcf")[1]]
    assert found == [".", "GENE02", ".", "GENE02"]


def test_alleles_outside_the_regions_of_a_strict_run_are_not_judged(
    cli: Cli, store: Store, tmp_path: Path
) -> None:
    contig, at = tss(store, "GENE02")
    ref = chr(store.sequence("GENE02")[22_500])
    wrong = chr(store.sequence("GENE02")[22_510])
    other = next(b for b in "ACGT" if b not in (ref, wrong))
    path = tmp_path / "in.vcf"
    rows = [(at, ref), (at + 10, next(b for b in "ACGT" if b not in (wrong, other)))]
    path.write_text(HEADER + "".join(f"{contig}\t{p}\t.\t{r}\t{other}\n" for p, r in rows))
    strict = ["--region", f"{contig}:{at}", "--ref-mismatch", "error"]
    out = tmp_path / "r.zarr"
    run(cli, "score", "vcf", path, "--store", store.path, "--out", out, "-q", *strict)
    run(cli, "export", out, tmp_path / "o.vcf")
    assert [list(s) for s in statuses_in_order(tmp_path / "o.vcf")] == [
        ["scored"],
        ["ref_mismatch"],
    ]


def test_lifted_results_are_not_those_of_a_vcf(
    cli: Cli, store: Store, tmp_path: Path, vcf: Path
) -> None:
    size = store.attributes.genome.contigs
    chains = (
        f"chain 1 {c} {n} + 0 {n} {c} {n} + 0 {n} {i}\n{n}\n"
        for i, (c, n) in enumerate(size.items(), 1)
    )
    chain = tmp_path / "same.chain"
    chain.write_text("\n".join(chains))
    out = tmp_path / "r.zarr"
    run(cli, "score", "vcf", vcf, "--store", store.path, "--out", out, "-q", "--liftover", chain)
    found = cli("export", out, tmp_path / "o.vcf")
    assert found.exit_code == 1
    assert "holds lifted variants" in found.stderr


def test_declarations_are_found_outside_quotes() -> None:
    lines = {
        b'##FILTER=<ID=q10,Description="a,ID=q20,b">': b"q10",
        b'##INFO=<Description="of \\"x\\",ID=no",ID=DP,Number=1>': b"DP",
        b"##contig=<length=5,ID=chr1>": b"chr1",
    }
    for line, name in lines.items():
        assert declaration(line)[1][b"ID"] == name


def test_an_info_of_semicolons_is_empty(cli: Cli, store: Store, tmp_path: Path) -> None:
    contig, at = tss(store, "GENE02")
    path = tmp_path / "in.vcf"
    path.write_text(HEADER + f"{contig}\t{at}\t.\tA\tC\t.\t.\t;\n")
    run(cli, "score", "vcf", path, "--store", store.path, "--out", tmp_path / "o.vcf")
    ((*_, info),) = (row[:8] for row in viewed(tmp_path / "o.vcf")[1])
    assert info.startswith("SEAL_")


def test_telomeres_and_long_alleles_stay(cli: Cli, store: Store, tmp_path: Path) -> None:
    """POS 0 and N+1; REF of 1.1 Mb; an ID of 85 kB, which is scored."""
    contig, at = tss(store, "GENE02")
    length = store.attributes.genome.contigs[contig]
    bases = store.sequence("GENE02").tobytes().decode()[22_500:]  # from the TSS on
    other = {base: "ACGT".replace(base, "")[0] for base in "ACGT"}
    rows = [
        (0, "t0", "N", "<DUP>", "telomere"),
        (5, "long", "ACGTA" * 220_000, "A", "beyond_contig"),
        (at, "i" * 85_000, bases[0], other[bases[0]], "scored"),
        (at + 1, "\u03b1\u200b\u03b2", bases[1], other[bases[1]], "scored"),
        (at + 2, "big", "A", "ACGTA" * 220_000, "too_long"),
        (at + 3, "ref", "A" * 50_000, "A", "too_long"),
        (length, "end", "A", "C", "no_gene_in_range"),
        (length + 1, "after", "A", "C", "telomere"),
        (length + 2, "beyond", "A", "C", "beyond_contig"),
    ]
    path = tmp_path / "in.vcf"
    head = "".join(HEADER.splitlines(keepends=True)[:-1]) + HEADER.splitlines()[-1][:-13] + "\n"
    lines = [f"{contig}\t{p}\t{i}\t{r}\t{a}\t.\t.\tDP=1" for p, i, r, a, _ in rows]
    path.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")
    for ending in ("vcf.gz", "bcf"):
        out = tmp_path / f"o.{ending}"
        run(cli, "score", "vcf", path, "--store", store.path, "--out", out, "-q")
        text = bcftools.view("-H", str(out)).splitlines()
        assert [line.split("\tDP=1;")[0] for line in text] == [x[:-5] for x in lines]
        assert [",".join(s) for s in statuses_in_order(out)] == [row[4] for row in rows]
    assert (tmp_path / "o.vcf.gz.tbi").exists()


def test_htslib_says_nothing_of_its_own(
    cli: Cli, store: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of an END before POS, a field that is not declared, a contig that is not."""
    contig, at = tss(store, "GENE02")
    path = tmp_path / "in.vcf"
    path.write_text(
        "##fileformat=VCFv4.2\n"
        '##INFO=<ID=END,Number=1,Type=Integer,Description="e">\n'
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
        f"{contig}\t{at}\tx\tA\tG\t.\t.\tEND=10\n{contig}\t{at + 1}\ty\tA\tG\t.\tq\tXX=1\n"
    )
    for ending in ("vcf.gz", "bcf", "tsv"):
        out = tmp_path / f"o.{ending}"
        run(cli, "score", "vcf", path, "--store", store.path, "--out", out, "-q")
        if ending == "bcf":
            run(cli, "score", "vcf", out, "--store", store.path, "--out", tmp_path / "x.tsv", "-q")
    assert capfd.readouterr().err == ""
