"""The same variants by every way in; names from other people's files in every table."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pysam
import pysam.bcftools
import pytest
import torch
from click.testing import Result

from seal_store.building.build import build
from seal_store.building.options import BuildOptions
from seal_store.exporting.cells import cell
from seal_store.model.config import CnnConfig
from seal_store.reference.fasta import Genome
from seal_store.results.group import Results
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.scorer import Scorer
from seal_store.store.layout import SEQUENCE_LENGTH
from seal_store.store.store import Store
from seal_store.synthetic import World, random_bases, random_weights, write_fasta, write_head_set
from seal_store.variants.source import read_variants

Cli = Callable[..., Result]


@pytest.fixture(scope="module")
def twenty(store: Store, world: World) -> list[tuple[str, int, str, str, str]]:
    """Contig, POS, REF, ALT, and the same as HGVS: SNVs, insertions, MNVs and deletions."""
    rng = np.random.default_rng(5)
    found: list[tuple[str, int, str, str, str]] = []
    with Genome(world.genome) as genome:
        for i in range(20):
            gene = f"GENE{i % 8 + 1:02d}"
            row = store.table.row(gene)
            contig, tss = str(store.table.contig[row]), int(store.table.tss[row])
            pos = tss + int(rng.integers(-3_000, 3_000))
            near = genome.fetch(contig, pos - 1, pos + 9).decode()
            other = {"A": "C", "C": "G", "G": "T", "T": "A"}
            if i % 5 < 2:
                change = (pos, near[0], other[near[0]], f"{pos}{near[0]}>{other[near[0]]}")
            elif i % 5 == 2:
                new = other[near[0]]
                change = (pos, near[0], near[0] + new, f"{pos}_{pos + 1}ins{new}")
            elif i % 5 == 3:
                ref, alt = near[:3], other[near[0]] + near[1] + other[near[2]]
                change = (pos, ref, alt, f"{pos}_{pos + 2}delins{alt}")
            else:
                change = (pos, near[:4], near[0], f"{pos + 1}_{pos + 3}del")
            found.append((contig, *change[:3], f"{contig}:g.{change[3]}"))
    return found


def normal(rows: list[tuple[str, int, str, str]], folder: Path, world: World) -> list:
    """The rows as `bcftools norm` leaves them, and a VCF of these, ``in.vcf``."""
    head = "##fileformat=VCFv4.2\n" + "".join(
        f"##contig=<ID={c},length={length}>\n"
        for c, length in (("chr1", 320_000), ("chr2", 180_000), ("chr3", 120_000))
    )
    head += "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    own = []
    for contig, pos, ref, alt in rows:
        (folder / "one.vcf").write_text(f"{head}{contig}\t{pos}\t.\t{ref}\t{alt}\t.\t.\t.\n")
        out = pysam.bcftools.norm("-f", str(world.genome), str(folder / "one.vcf"))
        fields = out.splitlines()[-1].split("\t")
        own.append((fields[0], int(fields[1]), fields[3], fields[4]))
    body = "".join(f"{c}\t{p}\tv{i}\t{r}\t{a}\t.\t.\t.\n" for i, (c, p, r, a) in enumerate(own))
    (folder / "in.vcf").write_text(head + body)
    return own


def test_twenty_variants_by_every_way_in(
    cli: Cli, store: Store, world: World, twenty: list, tmp_path: Path
) -> None:
    rows = normal([row[:4] for row in twenty], tmp_path, world)
    text = tmp_path / "in.vcf"
    (tmp_path / "gzip.vcf.gz").write_bytes(gzip.compress(text.read_bytes()))
    pysam.tabix_compress(str(text), str(tmp_path / "bgzip.vcf.gz"))
    for name, kind in (("in.bcf", "b"), ("raw.bcf", "u")):
        pysam.bcftools.view(f"-O{kind}", "-o", str(tmp_path / name), str(text), catch_stdout=False)
    args = ["--store", store.path, "--device", "cpu"]
    effects, columns = {}, {}
    for name in ("in.vcf", "gzip.vcf.gz", "bgzip.vcf.gz", "in.bcf", "raw.bcf", "-"):
        out = tmp_path / f"{name}.zarr"
        stdin = text.read_bytes() if name == "-" else None
        source = "-" if name == "-" else tmp_path / name
        result = cli("score", "vcf", source, *args, "--out", out, "-q", stdin=stdin)
        assert result.exit_code == 0, result.output
        found = Results(out).rows()
        effects[name], columns[name] = found.effect, found.columns
    expected = effects["in.vcf"]
    assert expected.shape == (20, 802)
    assert (np.abs(expected).max(1) > 0).all()
    for name, values in effects.items():
        assert (values == expected).all(), name
        for column, own in columns[name].items():
            assert (own == columns["in.vcf"][column]).all(), (name, column)
    keys = (columns["in.vcf"][name].tolist() for name in ("contig", "pos", "ref", "alt"))
    places = list(zip(*keys, strict=True))
    assert places == rows

    names, sets = store.contexts()
    order = {pair: i for i, pair in enumerate(zip(sets.tolist(), names.tolist(), strict=True))}
    strings = [":".join(map(str, row)) for row in rows]
    for written in (strings, [row[4] for row in twenty]):
        result = cli("score", "variant", *written, *args, "--json", "--top", 802)
        assert result.exit_code == 0, result.output
        variants = json.loads(result.stdout)["variants"]
        assert [(v["contig"], v["pos"], v["ref"], v["alt"]) for v in variants] == rows
        for variant, values in zip(variants, expected, strict=True):
            own = np.empty(802, np.float32)
            for effect in variant["effects"]:
                own[order[effect["context_set"], effect["context_name"]]] = effect["effect"]
            assert (own == values).all()


def test_alleles_longer_than_the_stored_sequence_take_no_memory(
    store: Store, tmp_path: Path
) -> None:
    tss = int(store.table.tss[store.table.row("GENE02")])
    path = tmp_path / "long.vcf.gz"
    with gzip.open(path, "wb", compresslevel=1) as handle:
        for _ in range(40):
            handle.write(f"chr1\t{tss}\t.\tA\t{'AC' * 450_000}\n".encode())
        handle.write(f"chr1\t{tss}\t.\tA\tA{'C' * (SEQUENCE_LENGTH - 1)}\n".encode())
    scorer = Scorer(store, ScoreOptions(device="cpu", contexts=("early_fetal.OC",)))
    tracemalloc.start()
    try:
        rows = sum(map(len, scorer.score(read_variants(path))))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (rows, dict(scorer.counts.not_scored)) == (1, {"too_long": 40})
    assert peak < 25e6


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (-5, "-5"),
        (-0.25, "-0.25"),
        (True, "True"),
        (np.str_("chr1"), "chr1"),
        ("", ""),
        ("-", "-"),
        ("+", "+"),
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("-cmd", "'-cmd"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\uff1d1", "'\uff1d1"),
        ("\t=1", "\\t=1"),
        ("\r=1", "\\r=1"),
        ("a\tb\nc", "a\\tb\\nc"),
        ("\x1b[31m", "\\x1b[31m"),
        ("'quoted", "'quoted"),
        ("'=1", "''=1"),
        ("''", "'''"),
        ("été", "été"),
    ],
)
def test_no_field_begins_a_formula(value: object, field: str) -> None:
    assert cell(value) == field


def test_guarded_text_can_be_had_back() -> None:
    def back(field: str) -> str:
        return field[1:] if field[:1] == "'" and field[1:2] in tuple("=+-@'") else field

    texts = {a + b + c for a in "'=+-@x" for b in ("", *"'=+-@x") for c in ("", *"'=+-@x")}
    assert {text: back(cell(text)) for text in texts} == {text: text for text in texts}
    assert len({cell(text) for text in texts}) == len(texts)


GENE, CONTEXT = "=HYPERLINK('http://x')", "@SUM(A1)"


def test_foreign_names_in_tables_are_guarded_and_in_zarr_are_not(cli: Cli, tmp_path: Path) -> None:
    config = CnnConfig(channels=(4,) * 6, hidden=8, features=3)
    bases = random_bases(60_000, 1)
    write_fasta(tmp_path / "genome.fa", {"chr1": bases})
    (tmp_path / "genes.bed").write_text(f"chr1\t29999\t30000\t-\t{GENE}\n")
    torch.save(random_weights(config, 1), tmp_path / "cnn.pth")
    write_head_set(tmp_path / "heads", "h", (CONTEXT, "plain"), 30, 5, 1)
    paths = [tmp_path / name for name in ("genome.fa", "genes.bed", "cnn.pth")]
    options = BuildOptions(*paths, (tmp_path / "heads",), tmp_path / "s.zarr", command="tests")
    build(options, "cpu")
    base = chr(bases[29_999])
    alt = "ACGT"[("ACGT".index(base) + 1) % 4]
    vcf = tmp_path / "in.vcf"
    vcf.write_text(f"chr1\t30000\t=cmd|' /C calc'!A0\t{base}\t{alt}\n=1+1\t5\t.\tA\tC\n")
    args = ["score", "vcf", vcf, "--store", tmp_path / "s.zarr", "--device", "cpu", "-q"]
    said = cli(*args, "--out", tmp_path / "o.tsv")
    assert said.exit_code == 0, said.output
    assert cli(*args, "--out", tmp_path / "o.zarr").exit_code == 0
    assert cli("export", tmp_path / "o.zarr", tmp_path / "e.tsv").exit_code == 0
    expression = cli("expression", tmp_path / "s.zarr", "--out", tmp_path / "x.tsv")
    assert expression.exit_code == 0, expression.output
    header, row = (line.split("\t") for line in (tmp_path / "o.tsv").read_text().splitlines())
    assert header[13:] == [f"'{CONTEXT}", "plain"]
    assert row[:8] == ["chr1", "30000", base, alt, "-", f"'{GENE}", "0", "True"]
    assert row[8:12] == ["'=cmd|' /C calc'!A0", "scored", "chr1", ""]
    assert float(row[13]) != 0
    assert (tmp_path / "e.tsv").read_bytes() == (tmp_path / "o.tsv").read_bytes()
    header, row = (line.split("\t") for line in (tmp_path / "x.tsv").read_text().splitlines())
    assert (header[1], row[0]) == (f"'{CONTEXT}", f"'{GENE}")
    results = Results(tmp_path / "o.zarr")
    assert results.rows().columns["id"].tolist() == ["=cmd|' /C calc'!A0"]
    assert results.rows().columns["gene_id"].tolist() == [GENE]
    assert results.contexts()[0] == [CONTEXT, "plain"]
