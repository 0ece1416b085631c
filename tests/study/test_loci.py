"""Credible sets: weighted sums by hand, swapped alleles, and what has no row."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import Result

import seal_store
from seal_store.errors import InputError
from seal_store.results.group import Results
from seal_store.scoring.options import AttributionOptions
from seal_store.store.store import Store
from seal_store.synthetic import World

Make = Callable[..., Results]
Write = Callable[..., Path]
Cli = Callable[..., Result]


def test_sums_are_those_by_hand(make: Make, table: Write) -> None:
    effect = np.array([[1.0, 2, -4], [-3, 2, 0], [10, 10, 10], [5, 5, 5]])
    results = make(effect, gene_id=["G1", "G1", "G1", "G2"], gene_symbol=["S1", "S1", "S1", ""])
    sets = table(
        locus=["a", "a", "b", "b", "a"],
        PIP=[0.5, 0.25, 0.9, 0.1, 0.2],
        pos=[1_000, 1_010, 1_020, 1_030, 1_040],
    )
    found = seal_store.loci(results, sets)
    names, head_sets = results.contexts()
    assert len(found) == 3 * 3
    assert found["context"].tolist() == names * 3
    assert found["context_set"].tolist() == head_sets * 3
    a = found[found["locus"] == "a"]
    assert a["effect"].tolist() == pytest.approx([0.5 - 0.75, 1.5, -2])
    assert a["size"].tolist() == pytest.approx([0.5 + 0.75, 1.5, 2])
    assert set(a["gene_id"]) == {"G1"}
    assert set(a["gene_symbol"]) == {"S1"}
    np.testing.assert_allclose(a["pip_matched"], 0.75)
    np.testing.assert_allclose(a["pip_unmatched"], 0.2)
    assert a["variants"].tolist() == [
        "1:1010:A:C 0.60; 1:1000:A:C 0.40",
        "1:1000:A:C 0.67; 1:1010:A:C 0.33",
        "1:1000:A:C 1.00",
    ]
    b = found[found["locus"] == "b"]
    assert b.groupby("gene_id")["effect"].first().tolist() == pytest.approx([9, 0.5])
    assert b.groupby("gene_id")["pip_unmatched"].first().tolist() == pytest.approx([0.1, 0.9])
    assert found.attrs["unmatched"]["no row at this position"]["lines"] == 1
    assert found.attrs["pip"] == pytest.approx(1.95)
    assert found.attrs["pip_matched"] == pytest.approx(1.75)
    one = seal_store.loci(results, sets, contexts=f"{head_sets[1]}:{names[1]}", top=1)
    assert one["effect"].tolist() == pytest.approx([1.5, 9, 0.5])
    assert one["variants"][0] == "1:1000:A:C 0.67"


def test_swapped_alleles_turn_the_sign_and_the_line_says_so(make: Make, tmp_path: Path) -> None:
    results = make(np.array([[1.0, 1, 1], [2, 2, 2]]))
    path = tmp_path / "finemap.snp"
    path.write_text(
        "index\trsid\tchromosome\tposition\tallele1\tallele2\tregion\tprob\n"
        "1\trs1\t01\t1\tA\tC\tr\t0.1\n"
        "1\trs1\t1\t1000\tC\tA\tr\t0.5\n"
        "2\trs2\t1\t1010\tA\tC\tr\t0.25\n"
        "3\trs3\t1\t1010\tA\tG\tr\t0.05\n"
    )
    found = seal_store.loci(results, path)
    assert found["effect"].tolist() == pytest.approx([0] * 3)
    assert found["size"].tolist() == pytest.approx([1] * 3)
    assert found["swapped"].tolist() == [1] * 3
    assert found["variants"][0] == "1:1000:C:A (swapped) 0.50; 1:1010:A:C 0.50"
    assert found.attrs["swapped"] == 1
    assert {k: v["lines"] for k, v in found.attrs["unmatched"].items()} == {
        "no row at this position": 1,
        "other alleles at this position": 1,
    }
    ordered = path.read_text().replace("allele1\tallele2", "ref\talt")
    path.write_text(ordered)
    assert seal_store.loci(results, path)["effect"].tolist() == pytest.approx([0.5] * 3)


def test_alleles_in_their_order_go_before_swapped_ones(make: Make, table: Write) -> None:
    results = make(np.array([[1.0] * 3, [7] * 3]), pos=[5, 5], ref=["A", "C"], alt=["C", "A"])
    sets = table(pos=[5], ref=["C"], alt=["A"], pip=[1], locus=["x"])
    sets.write_text(sets.read_text().replace("ref\talt", "A1\tA2"))
    found = seal_store.loci(results, sets)
    assert found["effect"].tolist() == [7] * 3
    assert found["swapped"].tolist() == [0] * 3


def test_credible_sets_of_a_region_are_loci_of_their_own(make: Make, table: Write) -> None:
    results = make(np.ones((4, 3)))
    sets = table(region=["r"] * 4, cs=[1, 2, -1, ""], variable_prob=[0.5, 0.6, 0.7, 0.8])
    found = seal_store.loci(results, sets)
    assert list(dict.fromkeys(found["locus"])) == ["r cs 1", "r cs 2"]
    assert found.attrs["odd_lines"]["skipped: in no credible set"]["lines"] == 2
    alone = table(cs=["x"] * 4, pip=[0.5, 0.6, 0.7, 0.8])
    found = seal_store.loci(results, alone)
    assert found["effect"].tolist() == pytest.approx([2.6] * 3)
    assert found.attrs["loci_of_several_signals"] == 1


def test_odd_lines_are_counted_and_contradictions_refused(make: Make, table: Write) -> None:
    results = make(np.ones((6, 3)))
    sets = table(
        locus=["a", "a", "a", "", "b", "b"],
        pip=["0.5", "1.5", "x", "0.5", "NA", "0.5"],
        pos=[1_000, 1_010, 1_020, 1_030, 1_040, 9],
    )
    text = sets.read_text()
    sets.write_text(text + text.splitlines()[1] + "\n")
    found = seal_store.loci(results, sets)
    assert {k: v["lines"] for k, v in found.attrs["odd_lines"].items()} == {
        "skipped: PIP is not from 0 to 1": 1,
        "skipped: PIP is not a number": 1,
        "skipped: no locus": 1,
        "skipped: no PIP": 1,
        "skipped: the same variant in the same locus again": 1,
    }
    assert found.attrs["loci_without_rows"] == 1
    assert found.attrs["first_locus_without_rows"] == "b"
    assert set(found["locus"]) == {"a"}
    sets.write_text(text + text.splitlines()[1].replace("0.5", "0.6") + "\n")
    with pytest.raises(InputError, match=r":8, 1:1000:A:C: another PIP in a than on .*:2"):
        seal_store.loci(results, sets)
    with pytest.raises(InputError, match="no variant has a row in .*: 1 line no row at this"):
        seal_store.loci(results, table(locus=["a"], pip=[1], pos=[3]))
    with pytest.raises(InputError, match="no column locus or cs among"):
        seal_store.loci(results, table(pip=[1]))


def test_a_variant_counts_once_in_a_locus_however_it_is_named(make: Make, table: Write) -> None:
    results = make(np.ones((2, 3)))
    sets = table(
        chrom=["chr1", "1", "NC_000001.10"],
        pos=[1000] * 3,
        gene=[str(results.labels("gene_id")[0]), "", "NA"],
        pip=[0.6, 0.6, 0.6],
        locus=["x"] * 3,
    )
    found = seal_store.loci(results, sets)
    assert found["effect"].tolist() == pytest.approx([0.6] * 3)
    assert found["pip_unmatched"].tolist() == [0] * 3
    assert found["matched"].tolist() == [1] * 3
    assert found.attrs["pip"] == pytest.approx(0.6)
    odd = found.attrs["odd_lines"]["skipped: the same variant in the same locus again"]
    assert odd["lines"] == 2
    sets.write_text(sets.read_text().replace("\t0.6\tx", "\t0.7\tx", 1))
    with pytest.raises(InputError, match="another PIP in x than on"):
        seal_store.loci(results, sets)


def test_a_file_of_finemap_is_one_region(make: Make, tmp_path: Path) -> None:
    """Apart by spaces, without a locus."""
    path = tmp_path / "region7.snp"
    path.write_text(
        "index rsid chromosome position allele1 allele2 maf beta se z prob log10bf\n"
        "1 rs1 1 1000 A C 0.3 0.1 0.02 5 0.75 2.1\n2 rs2 1 1010 A C 0.3 0.1 0.02 4 0.25 NA\n"
    )
    found = seal_store.loci(make(np.array([[1.0] * 3, [2] * 3])), path)
    assert set(found["locus"]) == {"region7"}
    assert found["effect"].tolist() == pytest.approx([1.25] * 3)
    path = path.rename(tmp_path / "region7.tsv")
    with pytest.raises(InputError, match="no column locus or cs among"):
        seal_store.loci(make(np.ones((1, 3))), path)


def test_a_gene_column_leaves_its_rows(make: Make, table: Write) -> None:
    results = make(np.array([[1.0] * 3, [2] * 3]), pos=[1_000, 1_000], gene_id=["G1", "G2"])
    found = seal_store.loci(results, table(locus=["a"], pip=[1]))
    assert found["gene_id"].tolist() == ["G1"] * 3 + ["G2"] * 3
    found = seal_store.loci(results, table(locus=["a"], pip=[1], gene=["G2"]))
    assert found["effect"].tolist() == [2] * 3


@pytest.mark.parametrize("method", ["deeplift", "saliency"])
def test_features_are_the_weighted_attributions(
    store: Store, world: World, scored: Results, tmp_path: Path, method: str
) -> None:
    """By hand, of three variants of a gene, one of them turned; with all features or each row's."""
    names, sets = scored.contexts()
    target = f"{sets[1]}:{names[1]}"
    how: dict[str, Any] = {"device": "cpu", "contexts": [f"{sets[0]}:{names[0]}", target]}
    found = {}
    for top in (None, store.config.features):
        out = tmp_path / f"{top}.zarr"
        why = AttributionOptions(method, targets=(target,), top_features=top)
        seal_store.score(store, world.variants, attributions=why, out=out, **how)
        found[top] = Results(out)
    columns = found[None].rows().columns
    snv = np.flatnonzero(np.strings.str_len(columns["ref"]) == 1)
    gene = columns["gene_id"][snv]
    several = next(g for g in dict.fromkeys(gene.tolist()) if (gene == g).sum() >= 3)
    rows = snv[gene == several][:3]
    pip, sign = np.array([0.5, 0.3, 0.2]), np.array([1, -1, 1])
    head = "chrom\tpos\tother_allele\teffect_allele\tgene\tpip\tlocus\n"
    lines = []
    for row, p, s in zip(rows.tolist(), pip.tolist(), sign.tolist(), strict=True):
        contig, pos, *alleles = (columns[n][row] for n in ("contig", "pos", "ref", "alt"))
        lines.append("\t".join(map(str, (contig, pos, *alleles[::s], several, p, "x"))))
    sets_ = tmp_path / "sets.tsv"
    sets_.write_text(head + "\n".join(lines) + "\n")
    values = found[None].attribution()["attribution"][rows, 0].astype(float)
    weight = pip * (sign if method == "deeplift" else 1)
    expected = (values * weight[:, None]).sum(0)
    order = np.argsort(-np.abs(expected), kind="stable")[:4]
    labels = found[None].labels("feature_name")
    text = "; ".join(f"{labels[i]} {expected[i]:.3g}" for i in order)
    for results in found.values():
        table = seal_store.loci(results, sets_, top=4)
        by_context = dict(zip(table["context"], table["features"], strict=True))
        assert by_context == {names[0]: "", names[1]: text}


def test_the_command(cli: Cli, make: Make, table: Write, tmp_path: Path) -> None:
    evil = "@SUM(1)\u202e"
    sets = table(locus=[evil, "b"], pip=[0.5, 0.25])
    results, out = make(np.ones((2, 3))), tmp_path / "o.tsv"
    args = ["loci", results.path, "--credible-sets", sets, "--out", out, "-q"]
    done = cli(*args, "--json")
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert (facts["loci"], facts["rows"], facts["matched"]) == (2, 6, 2)
    lines = out.read_text().splitlines()
    assert lines[1].startswith("'@SUM(1)\\u202e\t")
    plain = cli(*args, "--overwrite")
    assert "2 of 2 loci have rows, of 1 gene; PIP 0.75 of 0.75; alleles swapped: 0" in plain.stdout
    assert "\u202e" not in plain.stdout
    assert cli(*args[:-3], "--out", tmp_path / "o.parquet", "-q").exit_code == 0
    frame = pd.read_parquet(tmp_path / "o.parquet")
    assert frame["locus"].tolist() == [evil] * 3 + ["b"] * 3
    expected = seal_store.loci(results, sets)
    np.testing.assert_array_equal(frame["effect"], expected["effect"])
    refused = cli(*args, "--overwrite", "--contexts", "nowhere")
    assert refused.exit_code == 1
    assert "'nowhere'" in refused.stderr
    assert out.read_text().splitlines() == lines


def test_long_alleles_are_whole_in_the_table_only(
    make: Make, table: Write, cli: Cli, tmp_path: Path
) -> None:
    long = "A" * 400
    sets = table(locus=["a", "a"], PIP=[0.5, 0.5], ref=[long, "A"], alt=["A", long + "C"])
    out = tmp_path / "out.tsv"
    results = make(np.ones((1, 3)), ref=[long], alt=["A"])
    text = cli("loci", results.path, "--credible-sets", sets, "--out", out, "-q").stdout
    shown = f"{'A' * 20}...(400 bases)"
    assert f", by 1:1000:{shown}:A 1.00\n" in text
    assert f"{shown.replace('400', '401')})\n" in text
    assert long not in text
    assert f"1:1000:{long}:A 1.00" in out.read_text()


def test_pip_without_a_row_is_of_the_gene(make: Make, table: Write) -> None:
    """A signal for each of two genes, and lines that name no gene."""
    results = make(np.ones((5, 3)), pos=[1_000, 1_000, 1_010, 1_010, 1_020], gene_id=[*"abab", "a"])
    two = {
        "pos": [1_000, 1_010, 1_000, 1_010, 5_000],
        "gene": [*"aabb", "b"],
        "pip": [0.6, 0.4, 0.2, 0.7, 0.1],
        "locus": ["L"] * 5,
    }
    found = seal_store.loci(results, table(**two))
    of = {gene: own.iloc[0] for gene, own in found.groupby("gene_id")}
    assert of["a"][["pip_matched", "pip_unmatched"]].tolist() == pytest.approx([1, 0])
    assert of["b"][["pip_matched", "pip_unmatched"]].tolist() == pytest.approx([0.9, 0.1])
    assert found.attrs["pip"] == pytest.approx(2)
    assert found.attrs["pip_matched"] == pytest.approx(1.9)
    assert found.attrs["loci_of_several_signals"] == 0
    for genes in (["a", ""], ["", "a"]):  # a line for the gene, and one for any
        both = table(pos=[1_000, 1_000], gene=genes, pip=[0.6, 0.6], locus=["L", "L"])
        found = seal_store.loci(results, both)
        assert found["pip_unmatched"].max() == pytest.approx(0)
        assert found.attrs["pip"] == pytest.approx(0.6)


def test_an_unmatched_variant_written_twice_counts_once(make: Make, table: Write) -> None:
    results = make(np.ones((1, 3)))
    lines = {
        "pos": [1_000, 2_000, 1_999],
        "ref": ["A", "CA", "GCA"],
        "alt": ["C", "C", "GC"],
        "pip": [0.5, 0.4, 0.4],
        "locus": ["L"] * 3,
    }
    found = seal_store.loci(results, table(**lines))
    assert found["pip_unmatched"].tolist() == pytest.approx([0.4] * 3)


def test_numbers_as_programs_write_them(make: Make, tmp_path: Path) -> None:
    """pandas and R write whole numbers as others; BGEN and PLINK chromosomes."""
    results = make(
        np.ones((4, 3)), contig=["chr1", "chr1", "chr2", "chrX"], pos=[1_000, 1_000_000, 5, 6]
    )
    path = tmp_path / "region7.snp.gz"
    lines = ["1.0 1000.0 0.1", "01 1e+06 0.2", "2 5 0.3", "23 6 0.4"]
    text = "chromosome position prob allele1 allele2\n" + "".join(f"{x} A C\n" for x in lines)
    path.write_bytes(gzip.compress(text.encode()))
    found = seal_store.loci(results, path)
    assert set(found["locus"]) == {"region7"}
    assert found.attrs["pip_matched"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [("pip", "5%", "PIP is not a number"), ("locus", "", "no locus")],
)
def test_lines_that_say_nothing_are_no_missing_rows(
    make: Make, table: Write, column: str, value: str, said: str
) -> None:
    lines = {"pip": [0.5], "locus": ["L"], column: [value]}
    with pytest.raises(InputError, match=f"no line can be used: 1 line skipped: {said}"):
        seal_store.loci(make(np.ones((1, 3))), table(**lines))
