"""Calibration: the background's distribution, quantile and z of effects, and killed runs."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
import zarr
from click.testing import Result
from seldom import slow

from seal_store.building.build import add_heads, build
from seal_store.building.options import BuildOptions
from seal_store.common import output
from seal_store.common.beside import partial_path
from seal_store.common.files import file_sha256
from seal_store.common.output import JOURNAL
from seal_store.errors import (
    FormatError,
    HeadsError,
    OutputError,
    StoreError,
    UnfinishedError,
    VariantError,
)
from seal_store.model.heads import load_heads
from seal_store.reference.gene_files import read_genes
from seal_store.results.group import Results
from seal_store.run import calibrate as module
from seal_store.run.calibrate import background_path, calibrate, distribution
from seal_store.run.scores import write_scores
from seal_store.scoring.calibration import in_words, levels, uncalibrated
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.quantiles import Calibration, read_calibration
from seal_store.scoring.scorer import Scorer
from seal_store.store import manifest
from seal_store.store.layout import CALIBRATION_LEVELS
from seal_store.store.store import Store
from seal_store.synthetic import World, write_head_set
from seal_store.variants.source import read_variants

Cli = Callable[..., Result]
CPU = ScoreOptions(device="cpu")
CPU_DEVICE = torch.device("cpu")
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["pytest", "seal_store.run.calibrate"])


@pytest.fixture(scope="module")
def plan(
    options: BuildOptions, world: World, tmp_path_factory: pytest.TempPathFactory
) -> BuildOptions:
    """Four genes of the session's world and two head sets of a few contexts."""
    folder = tmp_path_factory.mktemp("plan")
    inputs = load_heads(world.heads)[0].inputs
    for seed, (name, count) in enumerate((("first", 5), ("second", 3))):
        contexts = (*(f"{name}{i}" for i in range(count - 1)), "both")
        write_head_set(folder / "heads", name, contexts, inputs, 6, seed)
    genes = tuple(str(gene) for gene in read_genes(world.genes).gene_id[:4])
    return replace(options, heads=(folder / "heads",), gene=genes, out=folder / "store.zarr")


@pytest.fixture(scope="module")
def store(plan: BuildOptions) -> Store:
    return build(plan, "cpu")


@pytest.fixture(scope="module")
def background(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 SNVs near genes, one of them twice, one variant far from all and one that is no SNV."""
    rng = np.random.default_rng(5)
    lines = ["##fileformat=VCFv4.2", "#CHROM\tPOS\tID\tREF\tALT"]
    seen: set[tuple[str, int]] = set()
    while len(seen) < 300:
        gene = int(rng.integers(len(store)))
        pos = int(store.column("tss")[gene] + rng.integers(-2_000, 2_000))
        contig = str(store.column("contig")[gene])
        base = chr(store.sequence(gene)[pos - int(store.column("tss")[gene]) + 22_500])
        if base in "ACGT" and (contig, pos) not in seen:
            seen.add((contig, pos))
            lines.append(f"{contig}\t{pos}\t.\t{base}\t{'ACGT'.replace(base, '')[pos % 3]}")
    lines += [lines[-1], f"{contig}\t{pos}\t.\t{base}\t<DEL>"]
    path = tmp_path_factory.mktemp("background") / "background.vcf"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def effects(store: Store, background: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The background scored."""
    return score(store, background, tmp_path_factory.mktemp("effects") / "effects.zarr")


@pytest.fixture(scope="module")
def calibrated(store: Store, background: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("calibrated") / "store.zarr"
    shutil.copytree(store.path, path)
    calibrate(Store(path), background, CPU, command="seal-store calibrate")
    return Store(path)


@pytest.fixture
def copied(store: Store, tmp_path: Path) -> Path:
    return Path(shutil.copytree(store.path, tmp_path / "copied.zarr"))


def succeeded(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.stdout


def score(store: Store, vcf: Path, out: Path, **more: Any) -> Results:
    scorer = Scorer(store, ScoreOptions(device="cpu", **more))
    write_scores(scorer, read_variants(str(vcf)), out)
    return Results(out)


def arrays(store: Store, scheme: str = "grid") -> dict[str, np.ndarray]:
    group: Any = store.group[f"calibration/{scheme}"]
    return {name: np.asarray(group[name][...]) for name in group}


def refused(result: Result, *says: str) -> None:
    assert result.exit_code == 1, result.output
    assert result.stderr.count("\n") == 1
    for text in says:
        assert text in result.stderr


# --- the distribution


def test_quantiles_mean_and_sd_are_numpys(calibrated: Store, effects: Results) -> None:
    values = effects.rows().effect
    found = arrays(calibrated)
    level = found["quantile"]
    assert len(values) == 301
    assert (level[0], level[-1]) == (0, 1)
    np.testing.assert_array_equal(level + level[::-1], 1)
    assert np.isin(np.arange(1_001) / 1_000, level).all()
    expected = np.quantile(values, level, axis=0).T.astype(np.float32)
    np.testing.assert_array_equal(found["effect_quantile"], expected)
    np.testing.assert_allclose(found["mean"], values.mean(0, dtype=np.float64), rtol=1e-9)
    np.testing.assert_allclose(found["sd"], values.std(0, dtype=np.float64), rtol=1e-9)
    assert (found["count"] == len(values)).all()
    assert found["context_name"].tolist() == calibrated.column("context_name").tolist()
    assert found["context_set"].tolist() == calibrated.column("context_set").tolist()


def test_blocks_of_contexts_change_nothing(effects: Results) -> None:
    whole = distribution(effects)
    contexts = len(whole["mean"])
    done: list[int] = []
    size = 4 * len(effects) * (contexts // 3)  # three blocks and a shorter one
    blocks = distribution(effects, block_bytes=size, progress=lambda unit, n, of: done.append(n))
    assert (contexts % 3, done[-1]) == (2, contexts)
    for name, values in whole.items():
        np.testing.assert_array_equal(values, blocks[name])
    with pytest.MonkeyPatch.context() as patch:
        reads: list[int] = []
        plain = module.read
        patch.setattr(module, "read", lambda *a: reads.append(1) or plain(*a))
        distribution(effects, block_bytes=size)
    assert len(reads) >= 3


@pytest.mark.slow
def test_rows_that_touch_no_window_count_for_nothing(plan: BuildOptions, tmp_path: Path) -> None:
    store = build(replace(plan, out=tmp_path / "shifted.zarr", first_offset=-18_400), "cpu")
    tss, strand = int(store.column("tss")[3]), int(store.column("strand")[3])
    contig, gene = store.column("contig")[3], str(store.gene_id[3])
    vcf = tmp_path / "some.vcf"
    places = [tss - strand * 19_990, *range(tss + 50, tss + 90)]
    bases = [chr(store.sequence(3)[pos - tss + 22_500]) for pos in places]
    alts = ["C" if base != "C" else "G" for base in bases]
    rows = zip(places, bases, alts, strict=True)
    vcf.write_text("".join(f"{contig}\t{p}\t.\t{r}\t{a}\n" for p, r, a in rows))
    assert calibrate(store, vcf, CPU).rows == 40
    store = Store(store.path)
    scorer = Scorer(store, ScoreOptions(device="cpu", calibrated=True), gene)
    (scored,) = scorer.score(read_variants(str(vcf)))
    outside = scored.columns["status"] == "outside_grid"
    assert outside.tolist() == [True] + [False] * 40
    found, values = arrays(store), scored.effect[~outside]
    assert found["count"].tolist() == [40] * 8
    np.testing.assert_allclose(found["mean"], values.mean(0, dtype=np.float64), rtol=1e-6)
    none = scorer.calibration(torch.zeros((1, 8)))  # type: ignore[misc]
    for name, value in none.items():
        np.testing.assert_array_equal(scored.calibrated[name][0], value[0])
        assert np.ptp(scored.calibrated[name][1:, 0]) > 1


def test_effects_that_are_not_finite_are_refused(effects: Results, tmp_path: Path) -> None:
    copy = shutil.copytree(effects.path, tmp_path / "nan.zarr")
    group: Any = zarr.open_group(str(copy), mode="r+", use_consolidated=False)
    group["effect"][5, 2] = np.inf
    # its chunk is no longer as long as the manifest says
    results = Results(copy, (group, effects.attributes))
    with pytest.raises(StoreError, match="not finite"):
        distribution(results)


def test_attributes_and_manifest_say_what_was_done(calibrated: Store, background: Path) -> None:
    facts = calibrated.attributes.calibration["grid"]
    assert (facts.file, facts.sha256) == (background.name, file_sha256(background))
    assert (facts.rows, facts.counts["alleles"]) == (301, 302)
    assert facts.counts["not_scored"] == {"symbolic": 1}
    assert facts.heads == {h.name: h.sha256 for h in calibrated.attributes.heads}
    listed = json.loads((calibrated.path / manifest.MANIFEST).read_text())["files"]
    on_disk = {
        p.relative_to(calibrated.path).as_posix()
        for p in calibrated.path.rglob("*")
        if p.is_file() and p.name != manifest.MANIFEST
    }
    assert set(listed) == on_disk
    assert any(name.startswith("calibration/grid/effect_quantile/c/") for name in listed)
    for name, entry in listed.items():
        assert manifest.entry(calibrated.path / name) == entry, name
    assert [p.name for p in calibrated.path.parent.iterdir()] == [calibrated.path.name]


def test_the_calibration_opens_in_xarray(calibrated: Store) -> None:
    with xr.open_zarr(calibrated.path, group="calibration/grid", consolidated=False) as data:
        assert data["effect_quantile"].dims == ("context", "level")
        assert "context_name" in data["effect_quantile"].coords
        np.testing.assert_array_equal(data["sd"].values, arrays(calibrated)["sd"])


# --- quantile and z


def test_a_background_against_itself_is_uniform_and_standard(
    calibrated: Store, background: Path, effects: Results, tmp_path: Path
) -> None:
    results = score(calibrated, background, tmp_path / "self.zarr", calibrated=True)
    rows = results.rows()
    np.testing.assert_array_equal(rows.effect, effects.rows().effect)
    n = len(rows)
    for context in range(rows.effect.shape[1]):
        values = rows.effect[:, context]
        below = (values[:, None] > values).sum(1)
        equal = (values[:, None] == values).sum(1)
        rank = below + (equal - 1) / 2
        error = np.abs(rows.calibrated["quantile"][:, context] - (2 * rank / (n - 1) - 1))
        assert error.max() < 2 / 1_000 + 2 / (n - 1)
    z = rows.calibrated["z"].astype(np.float64)
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(z.std(0), 1, rtol=1e-6)


def literal(value: float, level: np.ndarray, knots: np.ndarray) -> float:
    """The definition of ``quantile``, one effect at a time."""
    at = [i for i, knot in enumerate(knots) if knot == value]
    if at:
        return float(level[at[0]] + level[at[-1]]) - 1
    if value < knots[0]:
        return -1.0
    if value > knots[-1]:
        return 1.0
    i = max(i for i, knot in enumerate(knots) if knot < value)
    share = (value - knots[i]) / (knots[i + 1] - knots[i])
    return float(2 * (level[i] + share * (level[i + 1] - level[i])) - 1)


def test_quantile_is_as_defined_with_ties_and_beyond_the_ends(rng: np.random.Generator) -> None:
    level = levels()
    many = rng.standard_normal((4, 3_000))
    many[1, :1_400] = 0  # many zeros, on one side of the median or on both
    many[2] = np.round(many[2])
    many[3] = np.abs(many[3])
    many[3, :50] = many[3].max()
    values = many.astype(np.float32)
    knots = np.quantile(values, level, axis=1).T.astype(np.float32)
    at = np.concatenate([values[:, :60], knots[:, ::97], [[0.0]] * 4, [[-9.0]] * 4, [[9.0]] * 4], 1)
    at = at.astype(np.float32)
    mean, sd = values.mean(1, dtype=np.float64), values.std(1, dtype=np.float64)

    def made(knots: np.ndarray, mean: np.ndarray) -> Calibration:
        arrays = level, np.ascontiguousarray(knots), mean, sd
        return Calibration(*map(torch.from_numpy, arrays), {})

    found = made(knots, mean)(torch.from_numpy(at.T.copy()))
    expected = [
        [literal(float(v), level, k.astype(np.float64)) for v in row]
        for row, k in zip(at, knots, strict=True)
    ]
    np.testing.assert_allclose(found["quantile"].T, expected, atol=2e-7)
    np.testing.assert_allclose(found["z"].T, (at - mean[:, None]) / sd[:, None], rtol=1e-5)
    assert found["quantile"].dtype == found["z"].dtype == torch.float32
    turned = made(-knots[:, ::-1], -mean)(torch.from_numpy(-at.T))
    for name in ("quantile", "z"):
        np.testing.assert_allclose(turned[name], -found[name], atol=2e-7)
    medians = torch.from_numpy(knots[:, list(level).index(0.5)][None].copy())
    middle = made(knots, mean)(medians)["quantile"][0]
    assert middle[0] == middle[3] == 0


def test_a_context_without_spread_has_neither() -> None:
    level = levels()
    knots = np.stack([np.full(len(level), 0.1), level]).astype(np.float32)
    arrays = level, knots, knots[:, 0], np.array([0, 1.0])
    made = Calibration(*map(torch.from_numpy, arrays), {})
    found = made(torch.tensor([[0.1, 0.5], [3.0, 0.5]]))
    for name in ("quantile", "z"):
        assert torch.isnan(found[name][:, 0]).all()
        assert torch.isfinite(found[name][:, 1]).all()


def test_a_constant_background_has_sd_zero(effects: Results, tmp_path: Path) -> None:
    copy = shutil.copytree(effects.path, tmp_path / "same.zarr")
    group: Any = zarr.open_group(str(copy), mode="r+", use_consolidated=False)
    group["effect"][:, 1] = np.float32(0.1)
    results = Results(copy, (group, effects.attributes))
    found = distribution(results)
    assert (found["sd"][1], found["mean"][1]) == (0, np.float32(0.1))
    assert (found["sd"][[0, 2]] > 0).all()


def test_a_background_of_other_genes_is_told(
    cli: Cli, calibrated: Store, world: World, tmp_path: Path
) -> None:
    args = ["score", "vcf", world.variants, "--store", calibrated.path, "--calibrated", "-q"]
    args += ["--overwrite", "--out", tmp_path / "o.zarr"]
    same = cli(*args).stdout
    assert "(--genes nearest, --max-distance 20000)" in same
    assert "unlike" not in same
    other = cli(*args, "--genes", "all", "--max-distance", "5000")
    assert "these are of --genes all, --max-distance 5000" in other.stdout
    attributes = Results(tmp_path / "o.zarr").attributes
    assert (attributes.genes, attributes.max_distance) == ("all", 5000)
    assert attributes.calibration is not None
    assert (attributes.calibration.genes, attributes.calibration.max_distance) == ("nearest", 20000)


def test_results_and_tables_of_calibrated_scores(
    cli: Cli, calibrated: Store, world: World, tmp_path: Path
) -> None:
    def run(name: str, *more: str) -> Path:
        out = tmp_path / name
        args = ["score", "vcf", world.variants, "--store", calibrated.path, "--out", out]
        done = cli(*args, "--device", "cpu", "-q", *more)
        assert done.exit_code == 0, done.output
        return out

    scored = Results(run("c.zarr", "--calibrated"))
    rows, n = scored.rows(), len(calibrated.column("context_name"))
    facts = calibrated.attributes.calibration["grid"]
    named = scored.attributes.calibration
    assert (named.sha256, named.rows) == (facts.sha256, facts.rows)
    own = list(zip(*reversed(calibrated.contexts()), strict=True))
    made = read_calibration(calibrated, "grid", [(str(s), str(c)) for s, c in own], CPU_DEVICE)
    for name, values in made(torch.from_numpy(rows.effect)).items():
        np.testing.assert_array_equal(rows.calibrated[name], values.numpy())
        array: Any = scored.group[name]
        assert (array.dtype, array.metadata.dimension_names) == ("float32", ("variant", "context"))
    plain = Results(run("p.zarr"))
    assert "quantile" not in plain.group
    assert plain.attributes.calibration is None
    wide = [line.split("\t") for line in run("c.tsv", "--calibrated").read_text().splitlines()]
    narrow = [line.split("\t") for line in run("p.tsv").read_text().splitlines()]
    assert [line[: 13 + n] for line in wide] == narrow
    labels = narrow[0][13:]
    assert wide[0][13 + n :] == [f"{c}.{more}" for more in ("quantile", "z") for c in labels]
    quantiles = np.array([line[13 + n : 13 + 2 * n] for line in wide[1:]], float)
    np.testing.assert_allclose(quantiles, rows.calibrated["quantile"], rtol=1e-5, atol=1e-9)
    z = np.array([line[13 + 2 * n :] for line in wide[1:]], float)
    np.testing.assert_allclose(z, rows.calibrated["z"], rtol=1e-5)
    assert cli("export", scored.path, tmp_path / "e.tsv").exit_code == 0
    assert (tmp_path / "e.tsv").read_bytes() == (tmp_path / "c.tsv").read_bytes()
    with (tmp_path / "e.tsv").open() as handle:
        assert len(next(csv.reader(handle, delimiter="\t"))) == 13 + 3 * n


def test_one_variant_with_its_quantiles(
    cli: Cli, calibrated: Store, background: Path, tmp_path: Path
) -> None:
    rows = score(calibrated, background, tmp_path / "all.zarr", calibrated=True).rows()
    contig, pos, ref, alt = (rows.columns[name][7] for name in ("contig", "pos", "ref", "alt"))
    args = ["score", "variant", f"{contig}:{pos}:{ref}:{alt}", "--store", calibrated.path]
    args += ["--device", "cpu", "--calibrated"]
    (row,) = json.loads(succeeded(cli(*args, "--top", 3, "--json")))["variants"]
    places = np.argsort(-np.abs(rows.effect[7]), kind="stable")[:3]
    for found, place in zip(row["effects"], places, strict=True):
        assert found["quantile"] == pytest.approx(rows.calibrated["quantile"][7, place], abs=1e-4)
        assert found["z"] == pytest.approx(rows.calibrated["z"][7, place], rel=1e-3)
    strongest = row["effects"][0]
    heading, line = succeeded(cli(*args, "--precision", 3)).splitlines()[1:3]
    assert heading.split() == ["effect", "quantile", "z", "context"]
    line, words = line.split(", ")
    assert line.split() == [
        *(f"{strongest[name]:+.3g}" for name in ("effect", "quantile", "z")),
        f"{strongest['context_set']}:{strongest['context_name']}",
    ]
    assert words == in_words(strongest["quantile"])


def test_where_the_background_is_all_the_same_json_has_null(
    cli: Cli, copied: Path, tmp_path: Path
) -> None:
    store, background = Store(copied), tmp_path / "one.vcf"
    contig, tss = store.column("contig")[0], int(store.column("tss")[0])
    ref = chr(store.sequence(0)[22_500])
    alt = "ACGT".replace(ref, "")[0]
    background.write_text(f"{contig}\t{tss}\t.\t{ref}\t{alt}\n" * 2)
    calibrate(store, background, CPU)
    args = ["score", "variant", f"{contig}:{tss}:{ref}:{alt}", "--store", copied, "--calibrated"]
    (row,) = json.loads(succeeded(cli(*args, "--device", "cpu", "--json")))["variants"]
    assert {(effect["quantile"], effect["z"]) for effect in row["effects"]} == {(None, None)}
    assert succeeded(cli(*args, "--device", "cpu")).splitlines()[2].split()[1:3] == ["nan", "nan"]
    # a chunk that is all NaN, as where nothing was written, is written and read
    args = ["score", "vcf", background, "--store", copied, "--calibrated", "--device", "cpu", "-q"]
    out = tmp_path / "o.zarr"
    assert cli(*args, "--out", out).exit_code == 0
    assert cli(*args, "--out", tmp_path / "s.zarr", "--plan").exit_code == 0
    assert cli(*args, "--out", tmp_path / "s.zarr", "--slice", 0).exit_code == 0
    assert cli(*args, "--out", tmp_path / "s.zarr", "--finalize").exit_code == 0
    again = cli(*args, "--out", tmp_path / "s.zarr", "--slice", 0, "--json")
    assert (again.exit_code, json.loads(again.stdout)["slices"]) == (0, [0])  # is finished
    for path in (out, tmp_path / "s.zarr"):
        assert np.isnan(Results(path).rows().calibrated["quantile"]).all()
        assert "fault" not in succeeded(cli("verify", path)).replace("no fault", "")


def test_chosen_contexts_and_one_gene_have_their_own_quantiles(
    cli: Cli, calibrated: Store, tmp_path: Path
) -> None:
    names, sets = calibrated.contexts()
    gene = str(calibrated.gene_id[0])
    args = ["score", "saturate", gene, "--store", calibrated.path, "--span", 20]
    args += ["--device", "cpu", "-q", "--calibrated", "--out"]
    chosen = f"{sets[3]}:{names[3]}"
    assert cli(*args, tmp_path / "all.zarr").exit_code == 0
    assert cli(*args, tmp_path / "one.zarr", "--contexts", chosen).exit_code == 0
    whole, one = (Results(tmp_path / f"{n}.zarr").rows() for n in ("all", "one"))
    np.testing.assert_allclose(one.effect[:, 0], whole.effect[:, 3], rtol=1e-4, atol=1e-9)
    for name in ("quantile", "z"):
        found, expected = one.calibrated[name][:, 0], whole.calibrated[name][:, 3]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


# --- what is missing


def test_a_store_without_calibration_says_what_to_do(
    cli: Cli, store: Store, calibrated: Store, world: World, tmp_path: Path
) -> None:
    def run(path: Path, *more: str) -> Result:
        out = tmp_path / "x.zarr"
        args = ["score", "vcf", world.variants, "--store", path, "--out", out, "-q"]
        return cli(*args, "--device", "cpu", "--calibrated", *more)

    refused(run(store.path), "no calibration for scheme grid", "seal-store calibrate")
    refused(run(calibrated.path, "--scheme", "centered"), "for scheme centered", "one for grid")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_heads_added_later_are_told_and_calibrated_again(
    cli: Cli, calibrated: Store, background: Path, world: World, tmp_path: Path
) -> None:
    path = Path(shutil.copytree(calibrated.path, tmp_path / "s.zarr"))
    before = arrays(Store(path))
    inputs = calibrated.heads()[0].inputs
    summary = write_head_set(tmp_path / "more", "later", ("x1", "x2"), inputs, 4, 9)
    add_heads(path, summary)
    assert uncalibrated(Store(path), "grid") == [("later", "x1"), ("later", "x2")]
    for name, values in arrays(Store(path)).items():
        np.testing.assert_array_equal(values, before[name])
    args = ["score", "vcf", world.variants, "--store", path, "--device", "cpu", "-q"]
    args += ["--calibrated", "--out", tmp_path / "o.zarr"]
    refused(cli(*args), "lacks 2 of", "later:x1", "--overwrite")
    own = [item for name in calibrated.head_sets for item in ("--heads", name)]
    assert cli(*args, *own).exit_code == 0
    again = ["calibrate", path, background, "--device", "cpu", "-q"]
    refused(cli(*again), "has a calibration for scheme grid already", "--overwrite")
    assert cli(*again, "--overwrite").exit_code == 0
    assert uncalibrated(Store(path), "grid") == []
    assert cli(*args, "--overwrite").exit_code == 0


def test_both_schemes_can_be_calibrated(
    cli: Cli, calibrated: Store, world: World, tmp_path: Path
) -> None:
    path = Path(shutil.copytree(calibrated.path, tmp_path / "s.zarr"))
    before = arrays(Store(path))
    args = ["calibrate", path, world.variants, "--scheme", "centered", "--device", "cpu", "-q"]
    facts = json.loads(cli(*args, "--json").stdout)
    assert (facts["scheme"], facts["file"]) == ("centered", world.variants.name)
    store = Store(path)
    for name, values in arrays(store).items():
        np.testing.assert_array_equal(values, before[name])
    results = score(store, world.variants, tmp_path / "c.zarr", scheme="centered")
    values = results.rows().effect[results.labels("status") == "scored"]
    assert (arrays(store, "centered")["count"] == len(values)).all()
    expected = np.quantile(values, 0.5, axis=0).astype(np.float32)
    level = list(levels()).index(0.5)
    np.testing.assert_array_equal(arrays(store, "centered")["effect_quantile"][:, level], expected)


def test_bad_backgrounds_leave_the_store_as_it_was(cli: Cli, copied: Path, tmp_path: Path) -> None:
    sha256 = Store(copied).sha256
    args = ["calibrate", copied]
    refused(cli(*args, tmp_path / "nowhere.vcf", "-q"), "nowhere.vcf", "not found")
    far = tmp_path / "far.vcf"
    far.write_text("chrNone\t5\t.\tA\tC\n")
    refused(cli(*args, far, "-q", "--device", "cpu"), "no variant of it could be scored")
    bad = tmp_path / "bad.vcf"
    bad.write_text("chr1\tx\t.\tA\tC\n")
    refused(cli(*args, bad, "-q", "--device", "cpu"), f"{bad}: no line of it is a variant")
    bad.write_text("")
    refused(cli(*args, bad, "-q", "--device", "cpu"), "it has none")
    refused(cli("calibrate", tmp_path / "no.zarr", far), "not found")
    assert Store(copied).sha256 == sha256
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".vcf", ".vcf", ".zarr"]


def test_a_store_without_heads_is_refused(
    make_store: Callable[..., Store], background: Path
) -> None:
    bare = make_store(heads=())
    with pytest.raises(HeadsError, match="no heads"):
        calibrate(bare, background, CPU)


def test_damaged_calibrations_are_refused(calibrated: Store, tmp_path: Path) -> None:
    path = Path(shutil.copytree(calibrated.path, tmp_path / "s.zarr"))
    (path / "calibration/grid/sd/c/0").write_bytes(b"\0" * 40)
    with pytest.raises(FormatError, match="not 40|is 40 bytes"):
        Store(path)


def test_a_calibrated_store_is_still_what_its_build_planned(
    calibrated: Store, plan: BuildOptions, tmp_path: Path
) -> None:
    path = Path(shutil.copytree(calibrated.path, tmp_path / "s.zarr"))
    again = build(replace(plan, out=path, resume=True), "cpu")
    assert again.sha256 == calibrated.sha256


# --- killed runs


def run_killed(store: Path, background: Path, where: str, at: int) -> None:
    """Calibrate in this process and kill it at the ``at``-th call of ``where``."""
    owner, name = {
        "link": (os, "link"),
        "publish": (manifest, "publish"),
        "replace": (output, "replace"),
        "distribution": (module, "distribution"),
        "consolidate": (module, "consolidate"),
    }[where]
    plain, calls = getattr(owner, name), []

    def stop(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        if len(calls) == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(*args, **kwargs)

    torch.set_num_threads(1)
    setattr(owner, name, stop)
    calibrate(Store(store), background, CPU)


@pytest.mark.parametrize(
    ("where", "at"),
    [
        slow("distribution", 1),
        pytest.param("link", 1, marks=pytest.mark.soak),
        slow("link", 20),
        pytest.param("consolidate", 1, marks=pytest.mark.soak),
        pytest.param("publish", 2, marks=pytest.mark.soak),
        slow("replace", 2),
    ],
)
def test_a_killed_calibration_leaves_the_store_and_goes_on(
    copied: Path, calibrated: Store, background: Path, where: str, at: int
) -> None:
    sha256 = Store(copied).sha256
    process = SERVER.Process(target=partial(run_killed, copied, background, where, at))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    left = Store(copied)
    assert left.sha256 == sha256
    with pytest.raises(OutputError, match="did not finish"):
        calibrate(left, background, CPU)
    calibrate(left, background, CPU, resume=True)
    assert sorted(p.name for p in copied.parent.iterdir()) == [copied.name]
    for name, values in arrays(Store(copied)).items():
        np.testing.assert_array_equal(values, arrays(calibrated)[name])


@pytest.mark.slow
def test_a_run_killed_between_two_renames_is_finished_as_its_message_says(
    cli: Cli, copied: Path, calibrated: Store, background: Path
) -> None:
    process = SERVER.Process(target=partial(run_killed_in_replace, copied, background))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with pytest.raises(UnfinishedError) as error:
        Store(copied)
    assert f"seal-store build --finalize --out {copied}" in error.value.hint
    assert cli("build", "--finalize", "--out", copied, "-q").exit_code == 0
    store = Store(copied)
    for name, values in arrays(store).items():
        np.testing.assert_array_equal(values, arrays(calibrated)[name])
    facts = calibrate(store, background, CPU, resume=True)
    assert facts.rows == 301
    assert not background_path(copied).exists()


def run_killed_in_replace(store: Path, background: Path) -> None:
    """Killed when the old store has been moved away and the new one has not come."""
    plain = os.replace

    def stop(source: Any, target: Any) -> None:
        if Path(target) == store and Path(source).suffix == ".partial":
            os.kill(os.getpid(), signal.SIGKILL)
        plain(source, target)

    os.replace = stop  # type: ignore[assignment]
    torch.set_num_threads(1)
    calibrate(Store(store), background, CPU)


@pytest.mark.slow
def test_an_interrupted_background_goes_on_where_it_stopped(
    copied: Path, calibrated: Store, background: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seal_store.scoring.reading.ALLELES_PER_CHUNK", 64)
    monkeypatch.setattr("seal_store.store.layout.VARIANTS_PER_CHUNK", 64)

    def stop(unit: str, done: int, total: int | None) -> None:
        if unit == "alleles" and done > 150:
            raise KeyboardInterrupt

    small = ScoreOptions(device="cpu", batch=16)
    with pytest.raises(KeyboardInterrupt):
        calibrate(Store(copied), background, small, progress=stop)
    partial_results = partial_path(background_path(copied))
    assert partial_results.exists()
    assert not Store(copied).attributes.calibration
    seen: list[int] = []

    def watch(unit: str, done: int, total: int | None) -> None:
        if unit == "alleles":
            seen.append(done)

    calibrate(Store(copied), background, small, resume=True, progress=watch)
    assert min(seen) > 64
    for name in ("effect_quantile", "mean", "sd", "count"):
        np.testing.assert_allclose(
            arrays(Store(copied))[name], arrays(calibrated)[name], rtol=1e-4, atol=1e-9
        )


def test_another_background_does_not_go_on_with_this_one(
    copied: Path, background: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "distribution", stop)
        with pytest.raises(KeyboardInterrupt):
            calibrate(Store(copied), background, CPU)
    assert background_path(copied).exists()
    with pytest.raises(OutputError, match="effects of another calibration"):
        calibrate(Store(copied), world.variants, CPU, resume=True)
    facts = calibrate(Store(copied), world.variants, CPU, overwrite=True)
    assert facts.file == world.variants.name
    assert sorted(p.name for p in copied.parent.iterdir()) == [copied.name]


def test_an_unfinished_build_of_the_same_name_is_not_removed(
    copied: Path, background: Path
) -> None:
    other = partial_path(copied)
    (other / JOURNAL).mkdir(parents=True)
    shutil.copy(copied / "zarr.json", other)
    with pytest.raises(OutputError, match="another store that is not finished"):
        calibrate(Store(copied), background, CPU)
    assert (other / JOURNAL).exists()


def test_verify_knows_what_calibrating_adds(
    cli: Cli, calibrated: Store, world: World, tmp_path: Path
) -> None:
    assert len(levels()) == CALIBRATION_LEVELS
    out = tmp_path / "x.zarr"
    score = ["score", "vcf", world.variants, "--store", calibrated.path, "--out", out]
    assert cli(*score, "--calibrated", "-q").exit_code == 0
    for path in (calibrated.path, out):
        found = cli("verify", path, "-q", "--json")
        assert found.exit_code == 0, found.output
        assert json.loads(found.stdout)["faults"] == []


def test_a_background_of_another_assembly_on_request(
    store: Store, background: Path, copied: Path, tmp_path: Path
) -> None:
    """As for `score vcf`: the same flag means the same."""
    text = background.read_text()
    lengths = store.attributes.genome.contigs
    head = "".join(f"##contig=<ID={name},length={size + 7}>\n" for name, size in lengths.items())
    other = tmp_path / "other.vcf"
    other.write_text(text.replace("#CHROM", head + "#CHROM", 1))
    with pytest.raises(VariantError, match="assembly"):
        calibrate(Store(copied), other, CPU)
    made = calibrate(Store(copied), other, CPU, check_assembly=False)
    assert made.rows > 250
