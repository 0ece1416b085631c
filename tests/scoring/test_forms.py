"""One change in several forms: exchanged, shifted, padded; and what rows say to join them back."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pysam
import pytest
import torch
from click.testing import Result

import seal_store
from seal_store.building.build import build
from seal_store.building.options import BuildOptions, gather
from seal_store.errors import VariantError
from seal_store.model.config import CnnConfig
from seal_store.results.group import Results
from seal_store.run.calibrate import calibrate
from seal_store.scoring.calibration import in_words
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.rows import Rows
from seal_store.scoring.scorer import Scorer
from seal_store.store.layout import LIFTED
from seal_store.store.store import Store
from seal_store.synthetic import random_bases, random_weights, write_fasta, write_head_set
from seal_store.variants.alleles import Allele, Origin, classify
from seal_store.variants.source import Alleles

Cli = Callable[..., Result]

FIRST, SECOND, LENGTH = 40_000, 46_000, 110_000
RUN = 40_101
"""1-based first base of a run of T behind a C."""

SCHEMES = pytest.mark.parametrize("scheme", ["grid", "centered"])


def genome() -> str:
    bases = bytearray(random_bases(LENGTH, 5))
    bases[RUN - 2 : RUN + 9] = b"C" + b"T" * 9 + b"G"
    return bases.decode()


GENOME = genome()


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> BuildOptions:
    """Two genes with symbols, on chr1."""
    folder = tmp_path_factory.mktemp("forms")
    config = CnnConfig(channels=(4,) * 6, hidden=8, features=3)
    write_fasta(folder / "g.fa", {"chr1": GENOME.encode()})
    lines = ["id,symbol,seqnames,strand,CAGE_representative_TSS,type"]
    lines += [f"G1,ONE,chr1,+,{FIRST},t", f"G2,,chr1,-,{SECOND},t"]
    (folder / "genes.csv").write_text("\n".join(lines) + "\n")
    torch.save(random_weights(config, 3), folder / "cnn.pth")
    write_head_set(folder / "heads", "h", ("one", "two"), 30, 5, 4)
    paths = (folder / name for name in ("g.fa", "genes.csv", "cnn.pth"))
    return BuildOptions(*paths, (folder / "heads",), folder / "s.zarr", command="tests")


@pytest.fixture(scope="module")
def store(options: BuildOptions) -> Store:
    return build(options, "cpu")


def made(pos: int, ref: str, alt: str, contig: str = "chr1") -> Allele:
    return Allele(0, contig, pos, f"v{pos}", ref, alt, classify(ref, alt))


def other(base: str, by: int = 1) -> str:
    return "ACGT"[("ACGT".index(base) + by) % 4]


def at(pos: int, length: int = 1) -> str:
    return GENOME[pos - 1 : pos - 1 + length]


def scorer(store: Store, **options: object) -> Scorer:
    return Scorer(store, ScoreOptions(device="cpu", **options))


def rows_of(made: Scorer, *alleles: Allele) -> Rows:
    (rows,) = made.score(alleles)
    return rows


def swapped(pos: int, by: int = 1) -> Allele:
    """REF is another base than the genome's, ALT is the genome's."""
    return made(pos, other(at(pos), by), at(pos))


def write_vcf(path: Path, *alleles: Allele) -> Path:
    lines = [f"{a.contig}\t{a.pos}\t{a.id}\t{a.ref}\t{a.alt}\t.\t.\t." for a in alleles]
    head = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    path.write_text(head + "\n".join(lines) + "\n")
    return path


def succeeded(found: Result) -> Result:
    assert found.exit_code == 0, found.output
    return found


def test_an_alt_that_is_the_genomes_says_so(store: Store) -> None:
    """Nothing changes: its effect is exactly 0, and it is not `scored` as another 0 would be."""
    own = scorer(store)
    wrong = made(40_020, other(at(40_020)), other(at(40_020), 2))
    rows = rows_of(own, swapped(40_010), wrong, made(40_030, at(40_030), other(at(40_030))))
    assert rows.columns["status"].tolist() == ["alt_is_reference", "scored", "scored"]
    assert rows.columns["ref_match"].tolist() == [False, False, True]
    assert (rows.effect != 0).any(1).tolist() == [False, True, True]
    assert (own.counts.alt_is_reference, own.counts.ref_mismatches, own.counts.swapped) == (1, 2, 0)


@SCHEMES
def test_swap_scores_the_other_direction_and_turns_the_sign(store: Store, scheme: str) -> None:
    places = [40_010, 39_000, 46_400]
    padded = made(40_200, other(at(40_200)) + at(40_201, 3), at(40_200, 4))
    turned = scorer(store, scheme=scheme, ref_mismatch="swap")
    inputs = [*map(swapped, places), padded, made(40_020, at(40_020), other(at(40_020)))]
    rows = rows_of(turned, *inputs)
    back = [made(a.pos, a.alt, a.ref) for a in inputs[:4]]
    expected = rows_of(scorer(store, scheme=scheme), *back, inputs[4])
    assert (np.abs(expected.effect).max(1) > 0).all()
    np.testing.assert_array_equal(rows.effect[:4], -expected.effect[:4])
    np.testing.assert_array_equal(rows.effect[4], expected.effect[4])
    assert rows.columns["ref"].tolist() == [a.ref for a in inputs]
    assert rows.columns["alt"].tolist() == [a.alt for a in inputs]
    assert rows.columns["status"].tolist() == [*["swapped"] * 4, "scored"]
    assert rows.columns["ref_match"].tolist() == [*[False] * 4, True]
    counts = turned.counts
    assert (counts.swapped, counts.alt_is_reference, counts.ref_mismatches) == (4, 0, 4)


def test_swap_flags_what_neither_allele_is(store: Store) -> None:
    """An indel too: the base before it is the genome's either way."""
    wrong = made(40_020, other(at(40_020)), other(at(40_020), 2))
    indel = made(40_030, at(40_030) + other(at(40_031)), at(40_030))
    for policy in ("flag", "swap"):
        rows = rows_of(scorer(store, ref_mismatch=policy), wrong, indel)
        assert rows.columns["status"].tolist() == ["scored", "scored"]
        assert rows.columns["ref_match"].tolist() == [False, False]
        assert (rows.effect != 0).any(1).all()


def test_skip_and_error_tell_the_two_apart(store: Store) -> None:
    wrong = made(40_020, other(at(40_020)), other(at(40_020), 2))
    skipping = scorer(store, ref_mismatch="skip")
    assert len(rows_of(skipping, swapped(40_010), wrong, swapped(40_012))) == 0
    assert skipping.counts.not_scored == {"alt_is_reference": 2, "ref_mismatch": 1}
    with pytest.raises(VariantError, match="which has ALT") as caught:
        rows_of(scorer(store, ref_mismatch="error"), swapped(40_010))
    assert caught.value.hint == "`ref_mismatch='swap'` exchanges them"
    with pytest.raises(VariantError, match="genome"):
        rows_of(scorer(store, ref_mismatch="error"), wrong)


@pytest.mark.slow
def test_swapped_rows_from_the_command_to_every_output(
    cli: Cli, store: Store, tmp_path: Path
) -> None:
    """Attributions add up to the turned effect, afterwards too; `verify` finds no fault."""
    vcf = write_vcf(
        tmp_path / "in.vcf",
        swapped(40_010),
        made(40_015, at(40_015), other(at(40_015))),
        made(RUN + 6, "TT", "T"),
        made(40_020, other(at(40_020)), other(at(40_020), 2)),
    )
    score = ("score", "vcf", vcf, "--store", store.path, "--ref-mismatch", "swap", "--device")
    score = (*score, "cpu", "--normalize", "--scheme", "centered")
    why = ("--attribute", "deeplift", "--target", "all")
    facts = json.loads(succeeded(cli(*score, "--out", tmp_path / "a.zarr", *why, "--json")).stdout)
    counted = ("swapped", "alt_is_reference", "ref_mismatches", "normalized", "rows")
    assert [facts[name] for name in counted] == [1, 0, 2, 1, 4]
    text = succeeded(cli(*score, "--out", tmp_path / "b.zarr")).stdout
    assert "the store's genome has ALT in 1 row (swapped" in text
    assert "left-aligned or trimmed in 1 row" in text
    succeeded(cli("attribute", tmp_path / "b.zarr", "--method", "deeplift", "--target", "all"))
    for name in ("a.zarr", "b.zarr"):
        succeeded(cli("verify", tmp_path / name, "--full"))
        results = Results(tmp_path / name)
        assert (results.attributes.ref_mismatch, results.attributes.normalize) == ("swap", True)
        sums = results.attribution()["attribution"].sum(-1)
        np.testing.assert_allclose(sums, results.rows().effect, atol=1e-6)
    succeeded(cli(*score, "--out", tmp_path / "o.vcf"))
    with pysam.VariantFile(str(tmp_path / "o.vcf")) as records:
        status = [record.info["SEAL_STATUS"][0] for record in records]
    assert status == ["swapped", "scored", "scored", "scored"]
    again = succeeded(cli(*score, "--out", tmp_path / "b.zarr", "--resume")).stdout
    assert "swapped, the sign" in again  # finished: the same counts
    other_form = cli(*score, "--no-normalize", "--out", tmp_path / "b.zarr", "--resume")
    assert other_form.exit_code == 1
    assert "normalize True, not False" in other_form.stderr


@pytest.mark.slow
def test_a_background_has_no_rows_that_change_nothing(
    cli: Cli, options: BuildOptions, tmp_path: Path
) -> None:
    """A quantile is that of the turned effect; rows without a change would be zeros."""
    store = build(replace(options, out=tmp_path / "s.zarr"), "cpu")
    snvs = [made(p, at(p), other(at(p))) for p in range(39_600, 40_400, 20)]
    vcf = write_vcf(tmp_path / "b.vcf", *snvs, *map(swapped, range(39_610, 39_810, 20)))
    flagged = calibrate(store, vcf, ScoreOptions(device="cpu"))
    assert (flagged.rows, flagged.counts["alt_is_reference"]) == (40, 10)
    again = ("calibrate", store.path, vcf, "--device", "cpu", "-q")
    text = succeeded(cli(*again, "--ref-mismatch", "swap", "--overwrite")).stdout
    assert "with 50 effects" in text
    assert "swapped, the sign" in text
    opened = Store(store.path)
    assert opened.attributes.calibration["grid"].ref_mismatch == "swap"
    known = scorer(opened, calibrated=True)
    back = rows_of(known, *(made(a.pos, a.alt, a.ref) for a in map(swapped, (39_650, 39_990))))
    turned = scorer(opened, calibrated=True, ref_mismatch="swap")
    rows = rows_of(turned, swapped(39_650), swapped(39_990))
    np.testing.assert_array_equal(rows.effect, -back.effect)
    expected = turned.calibration(torch.from_numpy(rows.effect))
    for name, values in rows.calibrated.items():
        np.testing.assert_array_equal(values, expected[name].numpy())


@SCHEMES
def test_normalized_forms_of_one_change_have_one_effect(store: Store, scheme: str) -> None:
    """`centered` follows the published procedure otherwise, whose windows begin at POS and REF."""
    deletions = [
        made(RUN - 1, "CT", "C"),
        made(RUN + 4, "TT", "T"),
        made(RUN, "TTTTTTTTTG", "TTTTTTTTG"),
    ]
    insertions = [
        made(RUN - 1, "C", "CT"),
        made(RUN + 5, "T", "TT"),
        made(RUN + 7, "TTG", "TTTG"),
    ]
    mnvs = [made(40_300, at(40_300, 2), other(at(40_300)) + other(at(40_301)))]
    mnvs.append(made(40_295, at(40_295, 9), at(40_295, 5) + mnvs[0].alt + at(40_302, 2)))
    for forms in (deletions, insertions, mnvs):
        own = scorer(store, scheme=scheme, normalize=True)
        rows = rows_of(own, *forms)
        assert own.counts.normalized == len(forms) - 1
        assert (np.abs(rows.effect) > 0).any()
        for effect in rows.effect:
            np.testing.assert_allclose(effect, rows.effect[0], rtol=1e-4, atol=1e-8)
        for name in ("pos", "ref", "alt", "kind", "id"):
            assert rows.columns[name].tolist() == [getattr(a, name) for a in forms]
        assert rows.columns["dist_to_tss"].tolist() == [a.pos - FIRST for a in forms]
        assert set(rows.columns["status"].tolist()) == {"scored"}
        plain = rows_of(scorer(store, scheme=scheme), *forms)
        np.testing.assert_allclose(plain.effect[0], rows.effect[0], rtol=1e-3, atol=1e-7)
        if scheme == "centered":
            assert (np.abs(plain.effect[1:] - plain.effect[0]).max(1) > 1e-5).all()


def test_lifted_alleles_are_normalized_and_swapped_where_they_arrive(store: Store) -> None:
    read = [
        Allele(3, "chrQ", 7, "a", "CT", "C", "deletion"),
        Allele(4, "chrQ", 9, "b", "A", "C", "snv"),
    ]
    there = made(RUN + 4, "TT", "T"), swapped(40_010)
    lifted = [
        replace(to, id=own.id, origin=Origin(own, "lifted", lifted=True))
        for own, to in zip(read, there, strict=True)
    ]
    own = scorer(store, scheme="centered", normalize=True, ref_mismatch="swap")
    (rows,) = own.score(Alleles(lifted, columns=LIFTED))
    native = rows_of(own, *there)
    np.testing.assert_array_equal(rows.effect, native.effect)
    for name in ("pos", "ref", "alt", "ref_match", "status"):
        assert rows.columns[name].tolist() == native.columns[name].tolist()
    assert rows.columns["source_pos"].tolist() == [7, 9]
    assert rows.columns["source_ref"].tolist() == ["CT", "A"]
    assert rows.columns["liftover"].tolist() == ["lifted", "lifted"]
    assert rows.columns["input_chrom"].tolist() == ["chrQ", "chrQ"]
    assert native.columns["input_chrom"].tolist() == ["chr1", "chr1"]


@pytest.mark.parametrize("lead", [1_500, 2_200])
def test_the_genes_of_a_padded_allele_are_those_of_its_change(
    options: BuildOptions, store: Store, tmp_path: Path, lead: int
) -> None:
    """The change is in reach of the TSS, POS is not; `dist_to_tss` stays POS - TSS."""
    pos = FIRST - 19_500
    plain = made(pos, at(pos), other(at(pos)))
    padded = made(pos - lead, at(pos - lead, lead + 1), at(pos - lead, lead) + plain.alt)
    rows = rows_of(scorer(store), plain, padded)
    assert rows.columns["dist_to_tss"].tolist() == [-19_500, -19_500 - lead]
    assert rows.columns["pos"].tolist() == [pos, pos - lead]
    assert np.abs(rows.effect).max() > 0
    np.testing.assert_allclose(rows.effect[0], rows.effect[1], rtol=1e-4, atol=1e-8)
    long = scorer(store, scheme="centered")
    assert not len(rows_of(long, padded))
    assert long.counts.not_scored == {"too_long": 1}
    both = rows_of(scorer(store, scheme="centered", normalize=True), plain, padded)
    np.testing.assert_allclose(both.effect[0], both.effect[1], rtol=1e-4, atol=1e-8)
    far = made(pos - 1_000, at(pos - 1_000), other(at(pos - 1_000)))
    own = scorer(store)
    assert not len(rows_of(own, far))
    assert own.counts.not_scored == {"no_gene_in_range": 1}
    near = gather(
        tmp_path / "n.zarr",
        near_vcf=write_vcf(tmp_path / "in.vcf", padded),
        **{name: getattr(options, name) for name in ("genome", "genes", "cnn", "heads")},
    )
    assert near.options.near == [("chr1", pos)]


def test_the_nearest_gene_is_that_of_the_change(store: Store) -> None:
    """Of a SNV behind the middle of two TSSs, written from before it."""
    middle = (FIRST + SECOND) // 2
    pos = middle + 10
    padded = made(pos - 30, at(pos - 30, 31), at(pos - 30, 30) + other(at(pos)))
    rows = rows_of(scorer(store), padded, made(pos, at(pos), other(at(pos))))
    assert rows.columns["gene_id"].tolist() == ["G2", "G2"]
    np.testing.assert_allclose(rows.effect[0], rows.effect[1], rtol=1e-4, atol=1e-8)


def test_rows_join_back_to_the_input(cli: Cli, store: Store, tmp_path: Path) -> None:
    """ID, contig as the input spells it and the gene's symbol, in every output."""
    alleles = [
        replace(made(pos, at(pos), other(at(pos))), contig="1", id=name)
        for pos, name in ((40_010, "rs1;rs2"), (46_010, "."), (46_020, "a|b"))
    ]
    vcf = write_vcf(tmp_path / "in.vcf", *alleles)
    score = ("score", "vcf", vcf, "--store", store.path, "--device", "cpu", "-q", "--out")
    for name in ("a.tsv", "a.zarr", "a.parquet", "a.vcf"):
        succeeded(cli(*score, tmp_path / name))
    ids, symbols = ["rs1;rs2", ".", "a|b"], ["ONE", "", ""]
    names = ("id", "status", "input_chrom", "gene_symbol")
    with (tmp_path / "a.tsv").open() as handle:
        header, *lines = csv.reader(handle, delimiter="\t")
    assert header[8:] == ["id", "status", "input_chrom", "gene_symbol", "end", "one", "two"]
    own = list(zip(ids, ["scored"] * 3, ["1"] * 3, symbols, strict=True))
    assert [tuple(line[8:12]) for line in lines] == own
    assert {line[0] for line in lines} == {"chr1"}
    assert [line[12] for line in lines] == [line[1] for line in lines]  # END of one base
    succeeded(cli("export", tmp_path / "a.zarr", tmp_path / "b.tsv", "--long"))
    with (tmp_path / "b.tsv").open() as handle:
        assert [tuple(line[8:12]) for line in csv.reader(handle, delimiter="\t")][1::2] == own
    columns = Results(tmp_path / "a.zarr").rows().columns
    assert list(zip(*(columns[name].tolist() for name in names), strict=True)) == own
    table = pq.read_table(tmp_path / "a.parquet").select(names).to_pylist()
    assert [tuple(row.values()) for row in table] == own
    with pysam.VariantFile(str(tmp_path / "a.vcf")) as records:
        found = [record.info["SEAL_SYMBOL"] for record in records]
    assert found == [("ONE",), (".",), (".",)]
    dataset = seal_store.score(store.path, vcf, device="cpu")
    assert dataset["gene_symbol"].values.tolist() == symbols
    assert dataset["input_chrom"].values.tolist() == ["1"] * 3
    args = ("score", "variant", f"1:40010:{alleles[0].ref}:{alleles[0].alt}", "--store", store.path)
    (row,) = json.loads(succeeded(cli(*args, "--json")).stdout)["variants"]
    assert (row["gene_symbol"], row["input_chrom"], row["contig"]) == ("ONE", "1", "chr1")
    assert ", G1 (ONE), +10 bp" in succeeded(cli(*args)).stdout


def test_a_context_named_as_a_column_gets_its_sets_name(
    options: BuildOptions, tmp_path: Path
) -> None:
    write_head_set(tmp_path / "heads", "h", ("gene_symbol", "two"), 30, 5, 4)
    out = tmp_path / "s.zarr"
    store = build(replace(options, heads=(tmp_path / "heads",), out=out), "cpu")
    frame = seal_store.to_frame(
        seal_store.score(store, [("chr1", 40_010, at(40_010), other(at(40_010)))], device="cpu")
    )
    assert "h:gene_symbol" in frame.columns
    assert frame["gene_symbol"].tolist() == ["ONE"]


@pytest.mark.slow
def test_one_variant_is_said_to_be_unusual_if_the_store_knows(
    cli: Cli, options: BuildOptions, tmp_path: Path
) -> None:
    store = build(replace(options, out=tmp_path / "s.zarr"), "cpu")
    text = f"chr1:40010:{at(40_010)}:{other(at(40_010))}"
    args = ("score", "variant", text, "--store", store.path, "--device", "cpu")
    assert "background" not in succeeded(cli(*args)).stdout
    snvs = [made(p, at(p), other(at(p))) for p in range(39_600, 40_400, 8)]
    calibrate(store, write_vcf(tmp_path / "b.vcf", *snvs), ScoreOptions(device="cpu"))
    said = succeeded(cli(*args)).stdout.splitlines()
    facts = json.loads(succeeded(cli(*args, "--json")).stdout)
    assert facts["calibration"]["file"] == "b.vcf"
    first = facts["variants"][0]["effects"][0]
    assert said[2].endswith(f"h:{first['context_name']}, {in_words(first['quantile'])}")
    assert said[4].startswith("background: 100 effects of b.vcf in each context")
    assert "background" not in succeeded(cli(*args, "--no-calibrated")).stdout
    for unlike in (("--genes", "all"), ("--max-distance", "5000"), ("--scheme", "centered")):
        assert "background" not in succeeded(cli(*args, *unlike)).stdout


@pytest.mark.parametrize(
    ("quantile", "says"),
    [
        (0.0, "higher than 50.0 % of the background"),
        (0.974, "higher than 98.7 % of the background"),
        (-0.974, "lower than 98.7 % of the background"),
        (0.99996, "higher than 99.9980 % of the background"),
        (1.0, "higher than all of the background"),
        (-1.0, "lower than all of the background"),
        (None, ""),
    ],
)
def test_a_quantile_in_words(quantile: float | None, says: str) -> None:
    assert in_words(quantile) == says


def test_every_reason_is_in_the_summary(cli: Cli, store: Store, tmp_path: Path) -> None:
    vcf = tmp_path / "g.vcf"
    base = at(40_010)
    vcf.write_text(
        f"1\t40010\ta\t{base}\t<NON_REF>\t.\t.\tEND=40100\n1\t40011\tb\t{at(40_011)}\t<*>\n"
        f"1\t40010\tc\t{base}\t{other(base)},<NON_REF>\t.\t.\t.\n1\t40012\td\tG\t.\n"
        f"1\t40013\te\tG\t<DEL>\n"
    )
    args = ("score", "vcf", vcf, "--store", store.path, "--device", "cpu", "--out")
    text = succeeded(cli(*args, tmp_path / "a.tsv")).stdout
    assert "alleles in: 6, scored: 1, not scored: 5" in text
    assert "reference_block: 3 (<NON_REF> or <*> of a gVCF" in text
    assert "symbolic: 1" in text
    assert f"    line 1, 1:40010 {base}><NON_REF>" in text
    facts = json.loads(succeeded(cli(*args, tmp_path / "b.tsv", "--json")).stdout)
    assert facts["not_scored"] == {"missing": 1, "reference_block": 3, "symbolic": 1}
    succeeded(cli(*args, tmp_path / "o.vcf"))
    with pysam.VariantFile(str(tmp_path / "o.vcf")) as records:
        found = [record.info["SEAL_STATUS"] for record in records]
    assert found[:3] == [("reference_block",), ("reference_block",), ("scored", "reference_block")]
