"""Calibrations by kind and distance: the bins' distributions, uniform quantiles, several names."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest
import torch
import zarr
from click.testing import Result
from scipy.special import kolmogorov
from scipy.stats import kstest

import seal_store
from seal_store.building.build import build
from seal_store.building.options import BuildOptions
from seal_store.check.describe import describe
from seal_store.check.verify import verify
from seal_store.errors import InputError, OutputError
from seal_store.model.heads import load_heads
from seal_store.reference.gene_files import read_genes
from seal_store.results.group import Results
from seal_store.run.calibrate import background_path, calibrate
from seal_store.run.scores import write_scores
from seal_store.scoring.bins import ALL, Binning, bin_of, label
from seal_store.scoring.calibration import arrays_of
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.quantiles import read_calibration
from seal_store.scoring.rows import Rows
from seal_store.scoring.scorer import Scorer
from seal_store.store import manifest
from seal_store.store.attributes import CalibrationAttributes, CalibrationBin
from seal_store.store.opening import consolidate
from seal_store.store.store import Store
from seal_store.synthetic import World, write_head_set
from seal_store.variants.bases import StoreBases
from seal_store.variants.source import read_variants

Cli = Callable[..., Result]
pytestmark = pytest.mark.slow  # each worker of pytest would make its calibrations: minutes

CPU = ScoreOptions(device="cpu")
EDGES, LEAST, CONTEXTS = (1_000, 9_000), 40, 8


def reseal(path: Path) -> None:
    """A manifest that fits the files as they are: only their contents can tell."""
    consolidate(path)
    files = [f for f in path.rglob("*") if f.is_file() and f.name != manifest.MANIFEST]
    manifest.write(path, {f.relative_to(path).as_posix(): manifest.entry(f) for f in files})


def drawn(store: Store, count: int, seed: int) -> Iterator[str]:
    """Lines of a VCF: SNVs, insertions and deletions near the TSS and far from it."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        gene = int(rng.integers(len(store)))
        tss = int(store.column("tss")[gene])
        near, far = ((0, 1_000), (1_000, 9_000), (9_000, 19_000))[rng.integers(3)]
        pos = tss + int(rng.choice((-1, 1)) * rng.uniform(near, far))
        at = pos - tss + 22_500
        base = store.sequence(gene)[at : at + 1].tobytes().decode()
        length = int(rng.integers(1, 9))
        ref, alt = base, str(rng.choice([b for b in "ACGT" if b != base]))
        if (kind := rng.random()) < 0.25:
            alt = base + "".join(rng.choice(list("ACGT"), length))
        elif kind < 0.5:
            ref, alt = store.sequence(gene)[at : at + 1 + length].tobytes().decode(), base
        yield f"{store.column('contig')[gene]}\t{pos}\t.\t{ref}\t{alt}\n"


def write(store: Store, path: Path, count: int, seed: int) -> Path:
    path.write_text("##fileformat=VCFv4.2\n" + "".join(drawn(store, count, seed)))
    return path


@pytest.fixture(scope="module")
def plain(options: BuildOptions, world: World, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Four genes of the session's world, and a head set of a few contexts."""
    folder = tmp_path_factory.mktemp("plain")
    inputs = load_heads(world.heads)[0].inputs
    contexts = tuple(f"c{i}" for i in range(CONTEXTS))
    heads = write_head_set(folder / "heads", "few", contexts, inputs, 6, 1)
    genes = tuple(str(gene) for gene in read_genes(world.genes).gene_id[:4])
    return build(replace(options, heads=(heads,), gene=genes, out=folder / "store.zarr"), "cpu")


@pytest.fixture(scope="module")
def background(plain: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(plain, tmp_path_factory.mktemp("background") / "background.vcf", 600, 1)


@pytest.fixture(scope="module")
def calibrated(plain: Store, background: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Calibrated without bins, and by each of what there is, under its name."""
    path = tmp_path_factory.mktemp("calibrated") / "store.zarr"
    shutil.copytree(plain.path, path)
    calibrate(Store(path), background, CPU)
    for by in ("distance", "kind", "both"):
        calibrate(Store(path), background, CPU, name=by, binning=Binning(by, EDGES, LEAST))
    return Store(path)


@pytest.fixture(scope="module")
def effects(plain: Store, background: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    out = tmp_path_factory.mktemp("effects") / "effects.zarr"
    return score(plain, background, out)


def score(store: Store, vcf: Path, out: Path, **more: Any) -> Results:
    scorer = Scorer(store, ScoreOptions(device="cpu", **more))
    write_scores(scorer, read_variants(str(vcf)), out)
    return Results(out)


def facts_of(store: Store, by: str) -> CalibrationAttributes:
    return store.attributes.calibration[f"grid.{by}"]


@pytest.mark.parametrize("by", ["distance", "kind", "both"])
def test_a_bin_has_the_distribution_of_its_rows(
    calibrated: Store, effects: Results, by: str
) -> None:
    made, arrays = facts_of(calibrated, by), arrays_of(calibrated, f"grid.{by}")
    rows = effects.rows()
    use = rows.columns["status"] == "scored"
    effect, kind, size = (
        values[use]
        for values in (rows.effect, rows.columns["kind"], np.abs(rows.columns["dist_to_tss"]))
    )
    assert (made.by, made.bin_edges, made.bin_least) == (by, EDGES, LEAST)
    assert made.bins is not None
    assert len(made.bins) == {"distance": 3, "kind": 2, "both": 6}[by]
    for i, own in enumerate(made.bins):
        inside = np.isin(kind, own.kinds) & (size >= own.start) & (size < (own.stop or np.inf))
        assert inside.sum() == own.rows >= LEAST
        expected = np.quantile(effect[inside], arrays["quantile"], axis=0).T
        found = {name: arrays[f"bin_{name}"][i] for name in ("effect_quantile", "mean", "sd")}
        np.testing.assert_array_equal(found["effect_quantile"], expected.astype(np.float32))
        np.testing.assert_allclose(
            found["mean"], effect[inside].mean(0, dtype=np.float64), rtol=1e-9
        )
        np.testing.assert_allclose(found["sd"], effect[inside].std(0, dtype=np.float64), rtol=1e-9)
    whole = arrays_of(calibrated, "grid")
    for name, values in whole.items():
        np.testing.assert_array_equal(values, arrays[name])


@pytest.mark.parametrize("by", ["distance", "kind", "both"])
def test_a_row_is_compared_with_its_bin(
    calibrated: Store, effects: Results, tmp_path: Path, by: str
) -> None:
    """Each row alone against numpy, whatever its neighbours in the chunk."""
    vcf = write(calibrated, tmp_path / "some.vcf", 60, 7)
    rows = score(calibrated, vcf, tmp_path / "out.zarr", calibration=by).rows()
    made, arrays = facts_of(calibrated, by), arrays_of(calibrated, f"grid.{by}")
    own = bin_of(made.bins or (), rows.columns["kind"], rows.columns["dist_to_tss"])
    assert len(set(own.tolist())) == len(made.bins or ())
    level = arrays["quantile"]
    for row, b in enumerate(own.tolist()):
        for context in (0, 5):
            x = rows.effect[row, context]
            knots = arrays["bin_effect_quantile"][b, context].astype(np.float64)
            expected = 2 * np.interp(x, knots, level) - 1
            assert rows.calibrated["quantile"][row, context] == pytest.approx(expected, abs=2e-3)
            z = (x - arrays["bin_mean"][b, context]) / arrays["bin_sd"][b, context]
            assert rows.calibrated["z"][row, context] == pytest.approx(z, rel=1e-4)


# --- uniform quantiles


@pytest.fixture(scope="module")
def drawn_alike(plain: Store, tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Rows]:
    """Effects of a larger background, and of other variants drawn in the same way."""
    folder = tmp_path_factory.mktemp("alike")
    background, held_out = (
        score(plain, write(plain, folder / f"{name}.vcf", count, seed), folder / f"{name}.zarr")
        for name, count, seed in (("background", 2_000, 3), ("held_out", 700, 4))
    )
    return background, held_out.rows()


def least_p(store: Store, rows: Rows, bins: Sequence[CalibrationBin]) -> dict[str, float]:
    """The least p of KS tests of uniform quantiles and of their sizes, in each of ``bins``.

    Sizes tell where effects are larger on both sides. The background is a sample too, so D has
    the distribution of two samples; p is corrected for the number of tests.
    """
    contexts = [("few", f"c{i}") for i in range(CONTEXTS)]
    own = read_calibration(store, "grid", contexts, torch.device("cpu"))
    where = rows.columns["kind"], rows.columns["dist_to_tss"]
    quantile = own.of(torch.from_numpy(rows.effect), *where)["quantile"].double().numpy()
    found, at = np.hstack([(quantile + 1) / 2, np.abs(quantile)]), bin_of(bins, *where)
    least = {}
    for i, entry in enumerate(bins):
        n = (at == i).sum()
        effective = n * entry.rows / (n + entry.rows)
        largest = max(kstest(column[at == i], "uniform").statistic for column in found.T)
        least[label(entry)] = found.shape[1] * float(kolmogorov(effective**0.5 * largest))
    return least


@pytest.mark.parametrize("by", ["distance", "kind", "both"])
def test_held_out_variants_have_uniform_quantiles_in_each_bin(
    plain: Store, drawn_alike: tuple[Results, Rows], tmp_path: Path, by: str
) -> None:
    """And with one background for all they have not, so that the test can fail."""
    effects, held_out = drawn_alike
    stores = []
    for name, binning in (("apart", Binning(by, EDGES, 100)), ("together", Binning())):
        path = Path(shutil.copytree(plain.path, tmp_path / f"{name}.zarr"))
        # as a run leaves them that was interrupted after it had scored
        shutil.copytree(effects.path, background_path(path))
        vcf = Path(effects.attributes.variants)
        calibrate(Store(path), vcf, CPU, binning=binning, resume=True)
        stores.append(Store(path))
    bins = stores[0].attributes.calibration["grid"].bins or ()
    assert len(bins) == {"distance": 3, "kind": 2, "both": 6}[by]
    apart, together = (least_p(store, held_out, bins) for store in stores)
    assert min(apart.values()) > 1e-3 > min(together.values()), (apart, together)


def test_too_few_are_pooled_and_told(cli: Cli, plain: Store, tmp_path: Path) -> None:
    path = Path(shutil.copytree(plain.path, tmp_path / "store.zarr"))
    vcf = tmp_path / "snvs.vcf"
    lines = [line for line in drawn(plain, 200, 3) if len(line.split("\t")[3]) == 1]
    vcf.write_text("".join(line for line in lines if len(line.split("\t")[4]) == 2))
    args = ["calibrate", path, vcf, "--device", "cpu", "-q", "--bin-least", "20"]
    args += ["--bin-edges", "50,1000,5000,19000", "--by", "both"]
    text = cli(*args).stdout
    (made,) = Store(path).attributes.calibration.values()
    assert made.bins is not None
    assert {own.kinds for own in made.bins} == {ALL}
    assert {own.start for own in made.bins} <= {0, 50, 1_000, 5_000, 19_000}
    assert 1 < len(made.bins) < 5  # 50 bp and less, and 19,000 and more, are few
    assert all(own.rows >= 20 for own in made.bins)
    pooled = 10 - len(made.bins)
    assert f"pooled with a neighbour, as they had fewer than 20 effects: {pooled}" in text
    fewest = min(own.rows for own in made.bins)
    assert f"resolves no less than 1 in {fewest} in the smallest bin" in text
    assert f"{label(made.bins[0])}: {made.bins[0].rows}" in text
    facts = json.loads(cli(*args, "--overwrite", "--json").stdout)
    assert [own["rows"] for own in facts["bins"]] == [own.rows for own in made.bins]
    assert facts["by"] == "both"
    assert facts["pinned"] == describe(path)["calibration"]["grid"]["pinned"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--bin-least", "5"), "--bin-least has no effect without --by"),
        (("--by", "kind", "--bin-edges", "5"), "--bin-edges has no effect with --by kind"),
        (("--by", "both", "--bin-edges", "5,x"), "not whole numbers"),
        (("--by", "both", "--bin-edges", "9,5"), "--bin-edges"),
        (("--name", "a/b"), "--name 'a/b'"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_in_one_line(
    cli: Cli, plain: Store, background: Path, args: tuple[str, ...], says: str
) -> None:
    done = cli("calibrate", plain.path, background, "-q", "--device", "cpu", *args)
    assert done.exit_code in (1, 2)
    assert says in done.stderr
    assert "Traceback" not in done.output
    assert not Store(plain.path).attributes.calibration


def test_a_store_has_several_and_one_is_chosen_by_name(
    cli: Cli, calibrated: Store, world: World, tmp_path: Path
) -> None:
    assert set(calibrated.attributes.calibration) == {
        "grid",
        *(f"grid.{by}" for by in ("distance", "kind", "both")),
    }

    def run(name: str, *more: object) -> Any:
        out = tmp_path / f"{name}.zarr"
        args = ["score", "vcf", world.variants, "--store", calibrated.path, "--out", out, "-q"]
        done = cli(*args, "--device", "cpu", *more)
        assert done.exit_code == 0, done.output
        return Results(out), done.stdout

    one, text = run("one", "--calibration", "both")
    two, _ = run("two", "--calibrated")
    assert (one.attributes.calibration.name, one.attributes.calibration.by) == ("both", "both")
    assert (two.attributes.calibration.name, two.attributes.calibration.by) == (None, None)
    assert "SNVs and indels apart, by distance to the TSS" in text
    found = [own.rows().calibrated["quantile"] for own in (one, two)]
    assert np.abs(found[0] - found[1]).max() > 0.05
    python = seal_store.score(calibrated, str(world.variants), calibration="both", device="cpu")
    np.testing.assert_array_equal(python["quantile"].values, found[0])
    done = cli(
        "score", "vcf", world.variants, "--store", calibrated.path, "--out", tmp_path / "x.zarr",
        "--calibration", "none", "-q",
    )  # fmt: skip
    assert done.exit_code == 1
    assert "no calibration none for scheme grid (it has one for grid, grid.distance" in done.stderr
    spdi = f"{world.variants.read_text().splitlines()[-1]}".split("\t")
    text = ":".join((spdi[0], spdi[1], spdi[3], spdi[4]))
    args = ["score", "variant", text, "--store", calibrated.path, "--device", "cpu", "--json"]
    facts = [json.loads(cli(*args, *more).stdout) for more in ((), ("--calibration", "kind"))]
    assert [own["calibration"].get("by") for own in facts] == [None, "kind"]
    refused = cli(*args, "--calibration", "kind", "--no-calibrated")
    assert (refused.exit_code, "--calibration has no effect" in refused.stderr) == (2, True)


def test_workers_and_python_make_the_same(
    plain: Store, calibrated: Store, background: Path, tmp_path: Path
) -> None:
    path = shutil.copytree(plain.path, tmp_path / "store.zarr")
    how: dict[str, Any] = {"bin_edges": EDGES, "bin_least": LEAST, "device": "cpu"}
    made = seal_store.calibrate(path, background, name="x", by="both", workers=2, **how)
    assert replace(made.attributes.calibration["grid.x"], command="") == replace(
        facts_of(calibrated, "both"), command=""
    )
    for name, values in arrays_of(made, "grid.x").items():
        np.testing.assert_array_equal(values, arrays_of(calibrated, "grid.both")[name])
    again = seal_store.calibrate(path, background, name="x", by="both", resume=True, **how)
    assert again.sha256 == made.sha256
    with pytest.raises(OutputError, match="calibration x for scheme grid already"):
        seal_store.calibrate(path, background, name="x", by="kind", resume=True, **how)


# --- what inspect and verify say of them


def test_inspect_says_what_bins_there_are(cli: Cli, calibrated: Store) -> None:
    facts = describe(calibrated.path)["calibration"]
    assert facts["grid"].keys().isdisjoint(("by", "bins"))
    assert facts["grid.both"]["bin_edges"] == list(EDGES)
    assert sum(own["rows"] for own in facts["grid.both"]["bins"]) == facts["grid"]["rows"]
    assert all(own["pinned"] == [] for own in facts.values())
    assert "grid.both:" in cli("inspect", calibrated.path).stdout


@pytest.fixture
def changed(calibrated: Store, tmp_path: Path) -> Path:
    return Path(shutil.copytree(calibrated.path, tmp_path / "changed.zarr"))


def test_a_background_with_a_share_at_the_top_is_told(cli: Cli, changed: Path) -> None:
    """In which contexts and bins; half of one at the top, as in a track that saturates."""
    group: Any = zarr.open_group(str(changed), mode="r+", use_consolidated=False)
    values = group["calibration/grid.both/bin_effect_quantile"][...]
    level = group["calibration/grid.both/quantile"][...]
    values[2, 7, level >= 0.5] = values[2, 7, -1]
    group["calibration/grid.both/bin_effect_quantile"][...] = values
    reseal(changed)
    store = Store(changed)
    context = ":".join(str(column[7]) for column in reversed(store.contexts()))
    where = label((facts_of(store, "both").bins or ())[2])
    found = describe(changed)["calibration"]
    assert found["grid.both"]["pinned"] == [{"context": context, "bin": where, "share": 0.5}]
    assert found["grid"]["pinned"] == []
    assert f"{context}  {where}  0.5" in cli("inspect", changed).stdout


@pytest.mark.parametrize(
    ("array", "at", "value"),
    [
        ("bin_effect_quantile", (1, 2, 3), 9.0),
        ("bin_mean", (0, 1), 9.0),
        ("bin_sd", (2, 0), -1.0),
        ("mean", (1,), 9.0),
        ("count", (1,), 9),
        ("quantile", (4,), 0.5),
    ],
)
def test_verify_finds_numbers_that_cannot_be(
    changed: Path, array: str, at: tuple[int, ...], value: float
) -> None:
    group: Any = zarr.open_group(str(changed), mode="r+", use_consolidated=False)
    group[f"calibration/grid.both/{array}"][at] = value
    reseal(changed)
    found = {fault.file for fault in verify(changed, windows=0).faults}
    assert f"calibration/grid.both/{array}" in found


def test_verify_finds_bins_that_leave_rows_out(changed: Path, calibrated: Store) -> None:
    assert verify(calibrated.path, windows=0).ok
    group: Any = zarr.open_group(str(changed), mode="r+", use_consolidated=False)
    attributes = dict(group.attrs["seal_store"])
    attributes["calibration"]["grid.both"]["bins"][0]["stop"] = 200
    group.attrs["seal_store"] = attributes
    reseal(changed)
    (fault,) = verify(changed, windows=0).faults
    assert "has not one bin for snv at 200 bp" in fault.message


def test_a_chart_is_of_the_bin_asked_for(calibrated: Store) -> None:
    pytest.importorskip("altair")
    from seal_store import charts

    context = ":".join(str(column[0]) for column in reversed(calibrated.contexts()))

    def said(**more: Any) -> str:
        chart = charts.calibration(calibrated, context, 0.001, name="both", **more)
        return str(chart.description)

    bins = facts_of(calibrated, "both").bins or ()
    for own in bins:
        text = said(kind=own.kinds[0], distance=-own.start)
        assert f"{own.rows} rows ({label(own)})" in text
    assert f"{sum(own.rows for own in bins)} rows." in said()
    with pytest.raises(InputError, match="`distance` is not given"):
        said(kind="snv")
    with pytest.raises(InputError, match="in no bin"):
        said(kind="star", distance=4)


@pytest.mark.parametrize("name", ["", "both"])
def test_the_explorer_looks_a_typed_variant_up_in_its_bin(name: str, calibrated: Store) -> None:
    pytest.importorskip("uvicorn")
    from explored import served

    tss = int(calibrated.column("tss")[1])
    contig, bases = str(calibrated.column("contig")[1]), StoreBases(calibrated)
    ref = bases(contig, tss + 200, tss + 200)
    with served(calibrated, calibration=name) as explorer:
        page = unescape(explorer.get(f"/variant?v={contig}:{tss + 200}:{ref}:{ref}GATTA").text)
        links = re.findall(r'href="(/calibration\?[^"]*)" aria-label="quantile (\S+) of', page)
        chart = explorer.get(f"/chart{links[0][0]}").text
        assert explorer.get(links[0][0]).status_code == 200
    assert len(links) == CONTEXTS
    arrays = arrays_of(calibrated, "grid.both" if name else "grid")
    knots, rows = arrays["effect_quantile"], ""
    if name:
        bins = calibrated.attributes.calibration["grid.both"].bins
        assert bins is not None
        (at,) = (i for i, b in enumerate(bins) if "insertion" in b.kinds and b.start == 0)
        assert bins[at].stop == EDGES[0]
        knots, rows = arrays["bin_effect_quantile"][at], label(bins[at])
    for link, shown in links:
        asked = dict(parse_qsl(urlsplit(link).query, keep_blank_values=True))
        assert asked.get("name", "") == name
        i = arrays["context_name"].tolist().index(asked["context"].split(":")[-1])
        share = np.interp(float(asked["effect"]), knots[i], arrays["quantile"])
        assert float(shown) == pytest.approx(2 * share - 1, abs=1e-4)
    assert rows in chart


def test_the_explorer_refuses_a_calibration_that_is_not_there(cli: Cli, calibrated: Store) -> None:
    pytest.importorskip("uvicorn")
    done = cli("explore", calibrated.path, "--calibration", "none", "--device", "cpu")
    assert done.exit_code == 1
    assert "no calibration `none`; it has grid" in done.stderr
