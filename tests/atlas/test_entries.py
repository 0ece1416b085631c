"""An atlas has what scoring gives, within its error: both strands, edges, N, several genes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from atlas.conftest import CPU, GENES, SPAN
from click.testing import Result

from seal_store.atlas.atlas import Atlas
from seal_store.atlas.entries import Entries
from seal_store.building.build import build
from seal_store.building.options import BuildOptions
from seal_store.check.verify import verify
from seal_store.errors import GeneTableError, InputError
from seal_store.run.atlas import build_atlas
from seal_store.run.atlas_job import AtlasJob, Prepared
from seal_store.run.atlas_values import estimate
from seal_store.scoring.options import AttributionOptions
from seal_store.scoring.rows import Rows
from seal_store.scoring.saturate import saturation
from seal_store.scoring.scorer import Scorer
from seal_store.store.store import Store
from seal_store.synthetic import World
from seal_store.variants.regions import Region


def ascii_of(texts: list[str]) -> np.ndarray:
    return np.frombuffer("".join(texts).encode(), np.uint8)


def looked_up(atlas: Entries, rows: Rows) -> tuple[Any, np.ndarray]:
    """Where the SNVs of ``rows`` are found, and their effects."""
    c = rows.columns
    bases = (ascii_of(c[name].tolist()) for name in ("ref", "alt"))
    found = atlas.find(c["contig"], c["pos"], *bases)
    return found, atlas.values(found)


@pytest.mark.parametrize("gene", GENES)
def test_effects_are_those_of_scoring_within_the_error(
    gene: str, atlas: Atlas, scored: dict[str, Rows]
) -> None:
    rows = scored[gene]
    found, effect = looked_up(atlas, rows)
    assert found.row.tolist() == list(range(len(rows)))
    assert set(atlas.of_genes("gene_id")[found.gene].tolist()) == {gene}
    largest = np.abs(rows.effect).max(1)
    off = np.abs(effect - rows.effect).max(1)
    assert (off <= 0.01 * largest * (1 + 1e-5)).all()
    assert off.max() > 0  # it is not the exact ones that are read
    errors = dict(zip(atlas.of_genes("gene_id").tolist(), atlas.column("error"), strict=True))
    assert (off / largest).max() == pytest.approx(errors[gene], rel=1e-3)


@pytest.mark.parametrize("gene", GENES)
def test_summaries_are_exact(gene: str, atlas: Atlas, scored: dict[str, Rows]) -> None:
    rows = scored[gene]
    found, _ = looked_up(atlas, rows)
    own, effect = atlas.summaries(found), rows.effect
    place = np.abs(effect).argmax(1)
    np.testing.assert_array_equal(own["largest_context"], place)
    np.testing.assert_array_equal(own["largest"], effect[np.arange(len(effect)), place])
    rms = np.sqrt((effect.astype(np.float64) ** 2).mean(1))
    np.testing.assert_allclose(own["rms"], rms, rtol=1e-6)
    sets = [name for name, _ in atlas.contexts]
    for i, name in enumerate(atlas.column("head_set").tolist()):
        of_set = effect[:, [s == name for s in sets]]
        strongest = np.abs(of_set).argmax(1)
        expected = of_set[np.arange(len(of_set)), strongest]
        np.testing.assert_array_equal(own["largest_by_set"][:, i], expected)


def test_a_full_atlas_has_the_very_numbers(
    job: AtlasJob, scored: dict[str, Rows], tmp_path: Path
) -> None:
    job = replace(job, out=tmp_path / "full.zarr", max_error=None, genes=("GENE02",))
    full = build_atlas(Prepared(job))
    _, effect = looked_up(full, scored["GENE02"])
    np.testing.assert_array_equal(effect, scored["GENE02"].effect)
    keep = np.array([5, 800])
    found, _ = looked_up(full, scored["GENE02"])
    np.testing.assert_array_equal(full.values(found, keep), effect[:, keep])


def test_the_other_scheme(job: AtlasJob, store: Store, tmp_path: Path) -> None:
    options = replace(CPU, scheme="centered")
    job = replace(job, out=tmp_path / "c.zarr", options=options, genes=("GENE03",), span=3)
    atlas = build_atlas(Prepared(job))
    (rows,) = Scorer(store, options, "GENE03").score(saturation(store, "GENE03", 3))
    found, effect = looked_up(atlas, rows)
    assert len(found) == 21
    assert (np.abs(effect - rows.effect).max(1) <= 0.0101 * np.abs(rows.effect).max(1)).all()


def test_some_contexts_alone(atlas: Atlas, scored: dict[str, Rows]) -> None:
    found, effect = looked_up(atlas, scored["GENE02"])
    keep = np.array([3, 400, 7])
    np.testing.assert_array_equal(atlas.values(found, keep), effect[:, keep])


def test_unsorted_and_repeated_snvs_are_found(
    atlas: Atlas, scored: dict[str, Rows], rng: np.random.Generator
) -> None:
    parts = [scored[gene] for gene in GENES]
    columns = {n: np.concatenate([p.columns[n] for p in parts]) for n in parts[0].columns}
    effect = np.concatenate([p.effect for p in parts])
    order = rng.integers(0, len(effect), 400)
    mixed = Rows({n: v[order] for n, v in columns.items()}, effect[order])
    found, values = looked_up(atlas, mixed)
    assert found.row.tolist() == list(range(400))
    largest = np.abs(mixed.effect).max(1)
    assert (np.abs(values - mixed.effect).max(1) <= 0.0101 * largest).all()


def test_beyond_the_span_and_off_the_reference_nothing_is_found(atlas: Atlas, store: Store) -> None:
    row = store.table.row("GENE02")
    contig, tss = str(store.table.contig[row]), int(store.table.tss[row])
    pos = np.array([tss - SPAN - 1, tss + SPAN + 1, tss, tss])
    ref = atlas.bases(contig, np.array([tss]))[0]
    wrong = next(b for b in b"ACGT" if b != ref)
    third = next(b for b in b"ACGT" if b not in (ref, wrong))
    refs, alts = np.array([65, 65, wrong, ref], np.uint8), np.array([67, 67, third, ref], np.uint8)
    found = atlas.find(np.full(4, contig), pos, refs, alts)
    assert len(found) == 0
    assert found.known.tolist() == [False, False, True, True]


def test_bases_that_are_none_are_left_out_and_counted(
    options: BuildOptions, tmp_path: Path
) -> None:
    """TSS beside a run of N, near the end of a contig."""
    genes = tmp_path / "genes.bed"
    genes.write_text("chr1\t10002\t10003\t+\tEDGE\nchr1\t319990\t319991\t-\tEND\n")
    own = build(replace(options, genes=genes, out=tmp_path / "s.zarr"), "cpu")
    job = AtlasJob(own.path, tmp_path / "a.zarr", CPU, span=20)
    atlas = build_atlas(Prepared(job))
    # chr1 has 10,000 N, then bases from 10,001 on, and 320,000 of all
    expected = {"EDGE": 10_023 - 10_001 + 1, "END": 320_000 - 319_971 + 1}
    entries = dict(zip(own.gene_id.tolist(), atlas.column("entries").tolist(), strict=True))
    assert entries == {gene: 3 * count for gene, count in expected.items()}
    others = atlas.column("other_bases").tolist()
    assert others == [41 - expected["EDGE"], 0]  # beyond the end of END's contig there are none
    base = atlas.bases("chr1", np.array([10_000, 10_001, 320_000, 320_001]))
    assert base.astype(bool).tolist() == [False, True, True, False]


def test_overlapping_genes(options: BuildOptions, tmp_path: Path) -> None:
    """A position has an entry against the nearest gene, or against all."""
    genes = tmp_path / "genes.bed"
    genes.write_text("chr1\t99999\t100000\t+\tA\nchr1\t100009\t100010\t-\tB\n")
    own = build(replace(options, genes=genes, out=tmp_path / "s.zarr"), "cpu")
    made = {}
    for which in ("nearest", "all"):
        how = replace(CPU, genes=which)
        job = AtlasJob(own.path, tmp_path / f"{which}.zarr", how, span=12)
        made[which] = build_atlas(Prepared(job))
    assert made["all"].column("entries").tolist() == [75, 75]
    nearest = dict(zip("AB", made["nearest"].column("entries").tolist(), strict=True))
    # at 100,005 both are as near: the left one, as in `score`
    assert nearest == {"A": 3 * (100_005 - 99_988 + 1), "B": 3 * (100_022 - 100_006 + 1)}
    for which, atlas in made.items():
        scorer = Scorer(own, replace(CPU, genes=which, max_distance=12))
        (rows,) = scorer.score(saturation(own, "A", 12))
        found, effect = looked_up(atlas, rows)
        genes_found = atlas.of_genes("gene_id")[found.gene]
        c = rows.columns
        wanted = sorted(zip(c["pos"], c["alt"], c["gene_id"], strict=True))
        got = zip(c["pos"][found.row], c["alt"][found.row], genes_found, strict=True)
        assert sorted(set(got)) == wanted, which
        assert np.isfinite(effect).all()


def test_regions_limit_the_positions(job: AtlasJob, store: Store, tmp_path: Path) -> None:
    row = store.table.row("GENE03")
    tss = int(store.table.tss[row])
    regions = (Region("chr1", tss - 2, tss), Region("1", tss + 3, tss + 3))
    job = replace(job, out=tmp_path / "r.zarr", genes=(), regions=regions, named=("x.bed",))
    atlas = build_atlas(Prepared(job))
    assert atlas.of_genes("gene_id").tolist() == ["GENE03"]
    assert atlas.column("entries").tolist() == [12]
    assert atlas.bases("chr1", np.arange(tss - 3, tss + 5)).astype(bool).tolist() == [
        *(False, True, True, True, False, False, True, False)
    ]
    assert Prepared(job).notes() == []
    strange = replace(job, regions=(*regions, Region("chrUn_1"), Region("chrUn_2", 5, 9)))
    (note,) = Prepared(strange).notes()
    assert note == "2 of 4 regions are on contigs without a gene, such as chrUn_1"
    nowhere = replace(job, regions=(Region("chr1", 1, 2),))
    with pytest.raises(GeneTableError, match="no gene of the store"):
        Prepared(nowhere)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"span": 20_001}, "`span` 20001"),
        ({"max_error": 0.5}, "`max_error` 0.5"),
        ({"max_error": 1e-6}, "`max_error` 1e-06"),
        ({"genes_per_shard": 0}, "`genes_per_shard` 0"),
    ],
)
def test_options_that_cannot_be(job: AtlasJob, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(job, **change)


def test_an_estimate_is_of_the_size_of_what_comes(job: AtlasJob, atlas: Atlas) -> None:
    takes = estimate(Prepared(job))
    assert takes.entries == atlas.column("entries").sum()
    assert (takes.genes, takes.shards) == (3, 2)
    parts = ("coefficient/", "basis/", "step/", "largest", "rms/", "base/")
    own = sum(e["size"] for n, e in atlas.listed.items() if n.startswith(parts))
    assert own / 2 < takes.bytes < 2 * own
    assert takes.seconds > 0


@pytest.mark.parametrize("name", ["", "few"])
def test_quantiles_are_those_of_the_calibration_that_is_named(
    name: str, cli: Callable[..., Result], store: Store, tmp_path: Path, world: World
) -> None:
    import shutil

    from seal_store.run.calibrate import calibrate

    own = Path(shutil.copytree(store.path, tmp_path / "calibrated.zarr"))
    few = tmp_path / "few.vcf"
    few.write_text("".join(world.variants.read_text().splitlines(keepends=True)[:-20]))
    calibrate(Store(own), world.variants, CPU)
    calibrate(Store(own), few, CPU, name="few")
    out = tmp_path / "q.zarr"
    given = ["atlas", "build", own, "--out", out, "--gene", "GENE02", "--span", 4]
    made = cli(*given, "--device", "cpu", *(["--calibration", name] if name else []))
    assert made.exit_code == 0, made.output
    atlas = Atlas(out)
    assert atlas.attributes.calibration is not None
    assert atlas.attributes.floor > 0
    expected = {}
    for other in ("", "few"):
        how = replace(CPU, calibrated=True, calibration=other)
        (rows,) = Scorer(Store(own), how, "GENE02").score(saturation(Store(own), "GENE02", 4))
        place = np.abs(rows.effect).argmax(1)
        expected[other] = rows.calibrated["quantile"][np.arange(len(place)), place]
    assert (expected[""] != expected["few"]).any()
    found, effect = looked_up(atlas, rows)
    np.testing.assert_array_equal(atlas.summaries(found)["quantile"], expected[name])
    allowed = np.maximum(0.01 * np.abs(rows.effect).max(1), atlas.attributes.floor)
    assert (np.abs(effect - rows.effect).max(1) <= allowed * (1 + 1e-5)).all()


def test_attributions_are_those_of_scoring(job: AtlasJob, store: Store, tmp_path: Path) -> None:
    """The strongest features of each SNV, as `attribute` keeps them."""
    why = AttributionOptions(
        "deeplift", ("childhood.DFC", "early_fetal.OC"), top_features=3, dtype="float16"
    )
    job = replace(job, out=tmp_path / "w.zarr", genes=("GENE03",), span=4, attribution=why)
    atlas = build_atlas(Prepared(job))
    assert verify(atlas.path).ok
    (rows,) = Scorer(store, CPU, "GENE03", why).score(saturation(store, "GENE03", 4))
    found, _ = looked_up(atlas, rows)
    own, theirs = atlas.of_features(found), rows.attribution
    np.testing.assert_array_equal(own["attribution_feature"], theirs["attribution_feature"])
    np.testing.assert_array_equal(own["completeness"], theirs["completeness"])
    scaled = theirs["attribution"].astype(np.float32) * theirs["attribution_scale"][..., None]
    np.testing.assert_array_equal(own["attribution"], scaled)
    c = rows.columns
    table = atlas.attributions([(c["contig"][0], c["pos"][0], c["ref"][0], c["alt"][0])])
    assert table["rank"].tolist() == [1, 2, 3] * 2
    assert table["target"].unique().tolist() == ["early_fetal.OC", "childhood.DFC"]
    names = store.column("feature_name")[theirs["attribution_feature"][0].ravel()]
    assert table["feature"].tolist() == names.tolist()
    np.testing.assert_array_equal(table["attribution"], scaled[0].ravel())


def test_without_attributions_there_are_none(atlas: Atlas) -> None:
    with pytest.raises(InputError, match="has no attributions"):
        atlas.attributions([("chr1", 1, "A", "C")])
    with pytest.raises(InputError, match="`attribution`: an atlas keeps the strongest"):
        AtlasJob(atlas.path, atlas.path, attribution=AttributionOptions("deeplift", ("all",)))
