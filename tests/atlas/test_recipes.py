"""Exports of an atlas in the hands of bcftools, vcfanno, DuckDB and others; names are only text."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from click.testing import Result

from seal_store.atlas.atlas import Atlas
from seal_store.atlas.export import Exporting, export_atlas
from seal_store.building.build import build
from seal_store.building.options import BuildOptions
from seal_store.reference.gene_files import read_genes
from seal_store.run.atlas import build_atlas
from seal_store.run.atlas_job import AtlasJob, Prepared
from seal_store.scoring.options import ScoreOptions
from seal_store.store.store import Store

pd = pytest.importorskip("pandas")
pysam = pytest.importorskip("pysam")

SPAN = 15
HOSTILE = {
    'A;B=1,<script>alert("x")</script>&y': "=1+1;SEAL_LARGEST=9,x%3By",
    "%41 %|é'": "@SUM(A1)",
}
"""Ids of two genes and their symbols."""


def needs(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"no {program} here")
    return found


def output(*command: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, check=True)
    return done.stdout.decode("utf-8")


def rows(path: Path) -> list[dict[str, str]]:
    """Lines of a `.tsv.gz`, by the names of its last header line."""
    with pysam.BGZFile(str(path), "rb") as handle:
        lines = [line.decode("utf-8") for line in handle]
    head = [line for line in lines if line.startswith("#")]
    names = head[-1].removeprefix("#").split("\t")
    body = [line.split("\t") for line in lines[len(head) :]]
    assert {len(line) for line in body} == {len(names)}
    return [dict(zip(names, line, strict=True)) for line in body]


def info(line: str) -> dict[str, str]:
    """INFO of a line of a VCF, decoded as VCF 4.3 says; a field once only."""
    fields = [part.partition("=") for part in line.rstrip("\n").split("\t")[7].split(";")]
    found = {key: unquote(value) for key, _, value in fields}
    assert len(found) == len(fields)
    return found


def records(path: Path) -> list[str]:
    with pysam.BGZFile(str(path), "rb") as handle:
        lines = [line.decode("utf-8") for line in handle]
    return [line for line in lines if not line.startswith("#")]


def exported(atlas: Atlas, folder: Path) -> Path:
    for ending in (".vcf.gz", ".tsv.gz"):
        export_atlas(atlas, folder / f"x{ending}", Exporting(precision=9))
    return folder


@pytest.fixture(scope="module")
def atlas(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    out = tmp_path_factory.mktemp("atlas") / "atlas.zarr"
    genes = tuple(store.gene_id[[1, 2]].tolist())
    job = AtlasJob(store.path, out, ScoreOptions(device="cpu"), genes, span=SPAN)
    return build_atlas(Prepared(job, store))


@pytest.fixture(scope="module")
def folder(atlas: Atlas, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(atlas, tmp_path_factory.mktemp("exported"))


@pytest.fixture(scope="module")
def hostile(options: BuildOptions, tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    """Two genes 10 bp apart, with names that are markup, formulas and INFO; all genes."""
    root = tmp_path_factory.mktemp("hostile")
    table = read_genes(options.genes)
    contig, tss = str(table.contig[1]), int(table.tss[1])
    with (root / "genes.csv").open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(("id", "symbol", "seqnames", "strand", "CAGE_representative_TSS", "type"))
        for i, (gene, symbol) in enumerate(HOSTILE.items()):
            writer.writerow((gene, symbol, contig, "+-"[i], tss + 10 * i, ""))
    changed = replace(options, genes=root / "genes.csv", out=root / "store.zarr")
    store = build(changed, "cpu")
    assert store.gene_id.tolist() == list(HOSTILE)
    scoring = ScoreOptions(device="cpu", genes="all")
    return build_atlas(Prepared(AtlasJob(store.path, root / "a.zarr", scoring, span=SPAN), store))


def some_vcf(folder: Path, atlas: Atlas) -> Path:
    """SNVs of both genes, beside what an atlas lacks; BGZF with an index."""
    records: set[tuple[str, int, str, str]] = set()
    for name in dict.fromkeys(atlas.of_genes("contig").tolist()):
        for tss in atlas.of_genes("tss")[atlas.of_genes("contig") == name].tolist():
            for pos in (tss - SPAN, tss, tss + 3, tss + SPAN):
                ref = chr(atlas.bases(name, np.array([pos]))[0])
                alts = [base for base in "ACGT" if base != ref]
                records |= {(name, pos, ref, alt) for alt in alts[: 1 + pos % 3]}
                records.add((name, pos, ref, ref + "TT"))
            records.add((name, tss + SPAN + 1, "A", "C"))
    head = "##fileformat=VCFv4.3\n"
    for name, length in atlas.attributes.contigs.items():
        head += f"##contig=<ID={name},length={length}>\n"
    head += '##INFO=<ID=OWN,Number=1,Type=Integer,Description="own">\n'
    head += "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    body = "".join(
        f"{contig}\t{pos}\tv{i}\t{ref}\t{alt}\t.\t.\tOWN={i}\n"
        for i, (contig, pos, ref, alt) in enumerate(sorted(records))
    )
    path = folder / "in.vcf"
    path.write_text(head + body, "utf-8")
    return Path(pysam.tabix_index(str(path), preset="vcf", force=True))


def test_bcftools_annotate_copies_the_summary(atlas: Atlas, folder: Path, tmp_path: Path) -> None:
    bcftools, given = needs("bcftools"), some_vcf(tmp_path, atlas)
    text = output(
        bcftools, "annotate", "-a", folder / "x.vcf.gz", "-c", "INFO", "--no-version", given
    )
    expected = atlas.summary(str(given)).set_index("id")
    assert 10 < len(expected) < len(records(given))
    seen = 0
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        own, name = info(line), line.split("\t")[2]
        assert own.pop("OWN") == name[1:]
        if name not in expected.index:
            assert not own
            continue
        row = expected.loc[name]
        assert own["SEAL_GENE_ID"] == row.gene_id
        assert int(own["SEAL_DIST_TO_TSS"]) == row.dist_to_tss
        assert own["SEAL_LARGEST_SET"] == row.largest_set
        assert own["SEAL_LARGEST_CONTEXT"] == row.largest_context
        for column in ("largest", "rms", *expected.columns[expected.columns.get_loc("rms") + 1 :]):
            value = float(own[f"SEAL_{column.upper()}"])
            assert value == pytest.approx(float(row[column]), rel=1e-5)  # bcftools' own digits
        seen += 1
    assert seen == len(expected)


def test_vcfanno_copies_the_summary(atlas: Atlas, folder: Path, tmp_path: Path) -> None:
    """By the file of the documentation, of split records: to four digits."""
    vcfanno, given = needs("vcfanno"), some_vcf(tmp_path, atlas)
    page = Path(__file__).parents[2] / "docs" / "atlas.md"
    (conf,) = re.findall(r"^```toml\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "conf.toml").write_text(conf.replace("atlas.vcf.gz", str(folder / "x.vcf.gz")))
    found = {}
    for line in output(vcfanno, tmp_path / "conf.toml", given).splitlines():
        if not line.startswith("#") and len(own := info(line)) > 1:
            assert set(own) == {"OWN", "seal_largest", "seal_set", "seal_context", "seal_gene"}
            found[line.split("\t")[2]] = own
    expected = atlas.summary(str(given)).set_index("id")
    assert 10 < len(expected) < len(records(given))
    assert set(found) == set(expected.index)
    for name, row in expected.iterrows():
        own = found[str(name)]
        assert float(own["seal_largest"]) == pytest.approx(float(row["largest"]), rel=1e-3)
        assert (own["seal_set"], own["seal_context"]) == (row.largest_set, row.largest_context)
        assert own["seal_gene"] == row.gene_id


def test_bcftools_takes_all_genes_of_an_snv_from_the_table(hostile: Atlas, tmp_path: Path) -> None:
    bcftools, given = needs("bcftools"), some_vcf(tmp_path, hostile)
    exported(hostile, tmp_path)
    (tmp_path / "head").write_text(
        '##INFO=<ID=SEAL_LARGEST,Number=.,Type=Float,Description="of each gene">\n'
        '##INFO=<ID=SEAL_DIST,Number=.,Type=Integer,Description="of each gene">\n'
    )
    columns = "CHROM,POS,REF,ALT,-,-,-,SEAL_DIST,SEAL_LARGEST"
    merging = "SEAL_DIST:append,SEAL_LARGEST:append"
    how = ("-c", columns, "-l", merging, "-h", tmp_path / "head")
    text = output(bcftools, "annotate", "-a", tmp_path / "x.tsv.gz", *how, given)
    found = {
        line.split("\t")[2]: info(line) for line in text.splitlines() if not line.startswith("#")
    }
    expected = hostile.summary(str(given)).groupby("id")
    assert {len(own) for _, own in expected} == {1, 2}
    for name, own in expected:
        values = [float(value) for value in found[name]["SEAL_LARGEST"].split(",")]
        assert values == pytest.approx(own.largest.tolist(), rel=1e-5)
        assert found[name]["SEAL_DIST"] == ",".join(map(str, own.dist_to_tss))
    assert sum("SEAL_LARGEST" in own for own in found.values()) == len(expected)


def test_tabix_gives_the_lines_of_a_region(atlas: Atlas, folder: Path) -> None:
    tabix = needs("tabix")
    contig, tss = str(atlas.of_genes("contig")[0]), int(atlas.of_genes("tss")[0])
    text = output(tabix, folder / "x.tsv.gz", f"{contig}:{tss - 2}-{tss + 1}")
    whole = rows(folder / "x.tsv.gz")
    expected = [r for r in whole if r["chrom"] == contig and tss - 2 <= int(r["pos"]) <= tss + 1]
    assert len(expected) == 12
    assert [line.split("\t") for line in text.splitlines()] == [[*r.values()] for r in expected]
    head = output(tabix, "-H", folder / "x.tsv.gz").splitlines()
    assert head[-1] == "#" + "\t".join(whole[0])
    assert f"##store_sha256={atlas.attributes.store.sha256}" in head
    assert any(line.startswith("##terms=as the weights") for line in head)


def test_duckdb_queries_the_parquet(atlas: Atlas, folder: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    pytest.importorskip("pyarrow")
    path = folder / "x.parquet"
    export_atlas(atlas, path, Exporting())
    found = duckdb.sql(
        "SELECT chrom, pos, ref, alt, gene_id, largest FROM "
        f"read_parquet('{path}') WHERE abs(dist_to_tss) <= 5 ORDER BY abs(largest) DESC LIMIT 7"
    ).fetchall()
    variants = [tuple(row[:4]) for row in found]
    expected = atlas.summary(variants)
    assert [row[4] for row in found] == expected.gene_id.tolist()
    assert np.array_equal(np.array([r[5] for r in found], np.float32), expected.largest)
    near = [row for row in rows(folder / "x.tsv.gz") if abs(int(row["dist_to_tss"])) <= 5]
    sizes = sorted((abs(float(row["largest"])) for row in near), reverse=True)
    assert [abs(row[5]) for row in found] == pytest.approx(sizes[:7], rel=1e-7)


@pytest.mark.parametrize("of_context", [False, True])
def test_bigwig_has_the_largest_of_a_base(
    of_context: bool, atlas: Atlas, folder: Path, tmp_path: Path
) -> None:
    big = pytest.importorskip("pyBigWig")
    chosen = (":".join(atlas.contexts[3]),) if of_context else ()
    export_atlas(atlas, tmp_path / "x.bw", Exporting(chosen))
    export_atlas(atlas, tmp_path / "x.tsv.gz", Exporting(chosen, precision=9))
    lines = rows(tmp_path / "x.tsv.gz")
    column = list(lines[0])[8]
    with big.open(str(tmp_path / "x.bw")) as track:
        assert track.chroms() == atlas.attributes.contigs
        covered = 0
        for contig, tss in zip(atlas.of_genes("contig"), atlas.of_genes("tss"), strict=True):
            for pos in range(tss - SPAN, tss + SPAN + 1):
                own = [
                    float(line[column])
                    for line in lines
                    if (line["chrom"], int(line["pos"])) == (contig, pos)
                ]
                (value,) = track.values(str(contig), int(pos) - 1, int(pos))
                assert value == pytest.approx(max(own, key=abs), rel=1e-6)
                covered += 1
        assert track.header()["nBasesCovered"] == covered
    if of_context:
        variants = [(r["chrom"], int(r["pos"]), r["ref"], r["alt"]) for r in lines]
        effect = atlas.effects(variants, contexts=chosen[0]).effect.values[:, 0]
        assert np.array_equal(effect, np.array([r[column] for r in lines], np.float32))


def test_options_that_do_nothing_in_an_export_are_refused(
    cli: Callable[..., Result], atlas: Atlas, tmp_path: Path
) -> None:
    for ending, option in ((".bw", "terms"), (".bigwig", "precision"), (".parquet", "precision")):
        out = tmp_path / f"x{ending}"
        done = cli("atlas", "export", atlas.path, out, f"--{option}", "5")
        assert done.exit_code == 2
        assert f"--{option} has no effect in x{ending}" in done.stderr
        assert not out.exists()


def test_hostile_names_stay_text_in_info(hostile: Atlas, tmp_path: Path) -> None:
    exported(hostile, tmp_path)
    lines = records(tmp_path / "x.vcf.gz")
    assert len(lines) == int(hostile.column("entries").sum())
    for line in lines:
        own = info(line)
        assert own["SEAL_GENE_SYMBOL"] == HOSTILE[own["SEAL_GENE_ID"]]
    assert {info(line)["SEAL_GENE_ID"] for line in lines} == {*HOSTILE}
    with pysam.VariantFile(str(tmp_path / "x.vcf.gz")) as file:  # htslib reads them as one value
        for record, line in zip(file, lines, strict=True):
            own = info(line)
            assert unquote(record.info["SEAL_GENE_ID"]) == own["SEAL_GENE_ID"]
            assert record.info["SEAL_LARGEST"] == pytest.approx(float(own["SEAL_LARGEST"]))


def test_hostile_names_pass_through_bcftools(hostile: Atlas, tmp_path: Path) -> None:
    bcftools, given = needs("bcftools"), some_vcf(tmp_path, hostile)
    exported(hostile, tmp_path)
    text = output(bcftools, "annotate", "-a", tmp_path / "x.vcf.gz", "-c", "INFO", given)
    expected = hostile.summary(str(given)).groupby("id").gene_id.agg(set)
    found = {
        line.split("\t")[2]: info(line) for line in text.splitlines() if not line.startswith("#")
    }
    for name, genes in expected.items():
        assert found[name]["SEAL_GENE_ID"] in genes
        assert found[name]["SEAL_GENE_SYMBOL"] == HOSTILE[found[name]["SEAL_GENE_ID"]]


def test_hostile_names_stay_text_in_tables(hostile: Atlas, tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    exported(hostile, tmp_path)
    lines = rows(tmp_path / "x.tsv.gz")
    assert {line["gene_id"] for line in lines} == {*HOSTILE}
    for line in lines:
        symbol = HOSTILE[line["gene_id"]]
        assert line["gene_symbol"] == f"'{symbol}"  # no spreadsheet takes it for a formula
    export_atlas(hostile, tmp_path / "x.parquet", Exporting())
    table = pq.read_table(tmp_path / "x.parquet").to_pydict()
    assert dict(zip(table["gene_id"], table["gene_symbol"], strict=True)) == HOSTILE
