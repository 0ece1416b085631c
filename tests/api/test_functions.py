"""The commands as functions: what they write is what the commands write."""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import xarray as xr
from click.testing import Result
from interrupted import files
from planted import Planted, write_planted

import seal_store
from seal_store.errors import InputError, OutputError, ParameterError, StoreError, VariantError
from seal_store.scoring.options import AttributionOptions
from seal_store.store.store import Store
from seal_store.synthetic import World

Cli = Callable[..., Result]
TARGETS = ("childhood.DFC", "early_fetal.OC")
EXPLAIN = {"method": "deeplift", "targets": TARGETS}


@pytest.fixture(scope="module")
def calibrated(
    store: Store, world: World, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Store, Store]:
    """A copy of the store, as it was opened and as it is calibrated by the function."""
    folder = tmp_path_factory.mktemp("calibrated")
    opened = seal_store.open(shutil.copytree(store.path, folder / "store.zarr"))
    return opened, seal_store.calibrate(opened, world.variants, device="cpu")


def assert_same(found: xr.Dataset, expected: xr.Dataset, *places: str) -> None:
    """Values, dtypes, order, labels and their attributes; ``places`` alone may differ."""
    found, expected = found.load().drop_vars(places), expected.load().drop_vars(places)
    assert list(found.coords) == list(expected.coords)
    assert "context_name" in found.indexes
    assert set(found.indexes) == set(expected.indexes)
    for name, variable in expected.variables.items():
        assert found[name].dtype == variable.dtype, name
    assert set(found.attrs) == set(expected.attrs)
    own = {"command", "variants", "variants_sha256", "counts"}
    same = {name: value for name, value in expected.attrs.items() if name not in own}
    assert {name: found.attrs[name] for name in same} == same
    xr.testing.assert_identical(found.drop_attrs(deep=False), expected.drop_attrs(deep=False))


# Scoring


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_score_gives_is_what_it_saves(
    calibrated: tuple[Store, Store], world: World, tmp_path: Path, dtype: str
) -> None:
    store = calibrated[1]
    options = {**EXPLAIN, "by": "assay", "dtype": dtype}
    how: dict[str, Any] = {"calibrated": True, "attributions": options, "device": "cpu"}
    held = seal_store.score(store, world.variants, **how)
    saved = seal_store.score(store, world.variants, **how, out=tmp_path / "x.zarr")
    opened = seal_store.open_results(tmp_path / "x.zarr")
    assert not saved.effect.variable._in_memory
    assert opened.attributes.command == "seal_store.score"
    assert {"effect", "quantile", "z", "attribution", "attribution_assay"} <= set(held.data_vars)
    assert held.attribution.dims == ("variant", "target", "feature")
    for found in (saved, opened.to_xarray()):
        if dtype == "float16":
            found = found.drop_vars(["attribution", "attribution_scale"], errors="ignore")
            held = held.drop_vars("attribution", errors="ignore")
        assert_same(held, found)
    lines = world.variants.read_text().splitlines()
    for line, pos in zip(saved.line.values, saved.pos.values, strict=True):
        assert lines[line - 1].split("\t")[1] == str(pos)


def test_float16_attributions_are_scaled_back(store: Store, world: World, tmp_path: Path) -> None:
    options = {**EXPLAIN, "dtype": "float16"}
    held = seal_store.score(store, world.variants, attributions=options, device="cpu")
    seal_store.score(
        store, world.variants, attributions=options, device="cpu", out=tmp_path / "x.zarr"
    )
    stored = seal_store.open_results(tmp_path / "x.zarr").attribution()["attribution"]
    np.testing.assert_array_equal(held.attribution.values, stored)
    shown = seal_store.open_results(tmp_path / "x.zarr").to_xarray()
    assert "attribution_scale" not in shown
    assert shown.attribution.dtype == np.float32
    parts = (3,), (slice(1, 4), 0, 5), ([2, 0], slice(None), slice(None, None, 3))
    for part in parts:
        np.testing.assert_array_equal(shown.attribution[part], held.attribution[part])
    np.testing.assert_array_equal(shown.attribution, stored)
    exact = seal_store.score(store, world.variants, attributions=EXPLAIN, device="cpu")
    np.testing.assert_allclose(held.attribution, exact.attribution, rtol=2e-3, atol=1e-6)


def test_everything_is_netcdf(store: Store, world: World, tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    options = {**EXPLAIN, "dtype": "float16"}
    out = tmp_path / "x.zarr"
    held = seal_store.score(store, world.variants, attributions=options, device="cpu")
    saved = seal_store.score(store, world.variants, attributions=EXPLAIN, device="cpu", out=out)
    part = store.to_xarray()[["expression", "tss", "window_offset"]]
    for i, given in enumerate((held, saved, part)):
        given.to_netcdf(tmp_path / f"{i}.nc", engine="scipy")
        with xr.open_dataset(tmp_path / f"{i}.nc", engine="scipy") as found:
            for name in given.data_vars:
                np.testing.assert_array_equal(found[name], given[name])
            assert found.attrs == given.attrs
    assert json.loads(held.attrs["counts"])["alleles"]


def test_stores_and_results_open_as_datatrees(store: Store, world: World, tmp_path: Path) -> None:
    out = tmp_path / "x.zarr"
    seal_store.score(store, world.variants, device="cpu", out=out)
    with xr.open_datatree(store.path, engine="zarr") as tree:
        assert tree["cnn/conv2_weight"].dims == ("conv2", "conv1", "tap")
        assert tree["features"].shape[0] == len(store)
    with xr.open_datatree(out, engine="zarr") as tree:
        assert tree["effect"].dims == ("variant", "context")


def test_a_table_is_saved_with_its_rows(store: Store, world: World, tmp_path: Path) -> None:
    table = [("chr2", 34810, "A", "T", "a"), ("chrZ", 1, "A", "C", "b"), ("chr1", 107140, "A", "C")]
    held = seal_store.score(store, table, device="cpu")
    saved = seal_store.score(store, table, device="cpu", out=tmp_path / "x.zarr")
    assert saved.row.values.tolist() == [0, 2]
    assert_same(held, saved)
    with pytest.raises(OutputError, match="exists already"):
        seal_store.score(store, table, device="cpu", out=tmp_path / "x.zarr")
    with pytest.raises(InputError, match="`resume`: whether a table or list"):
        seal_store.score(store, table, device="cpu", out=tmp_path / "x.zarr", resume=True)
    with pytest.raises(OutputError, match="`out` is a results group"):
        seal_store.score(store, table, device="cpu", out=tmp_path / "x.tsv")
    done = seal_store.score(store, world.variants, device="cpu", out=tmp_path / "y.zarr")
    again = seal_store.score(
        store, world.variants, device="cpu", out=tmp_path / "y.zarr", resume=True
    )
    assert_same(done, again)


def test_attributions_as_the_command_stores_them(
    cli: Cli, store: Store, world: World, tmp_path: Path
) -> None:
    explain = ["--attribute", "deeplift", "--target", TARGETS[0], "--target", TARGETS[1]]
    args = ["score", "vcf", world.variants, "--store", store.path, "--out", tmp_path / "c.zarr"]
    assert cli(*args, "--device", "cpu", *explain, "--by", "assay", "-q").exit_code == 0
    options = AttributionOptions("deeplift", TARGETS, by=("assay",))
    held = seal_store.score(store, world.variants, attributions=options, device="cpu")
    assert_same(held, seal_store.open_results(tmp_path / "c.zarr").to_xarray())
    # added afterwards: the same
    seal_store.score(store, world.variants, device="cpu", out=tmp_path / "f.zarr")
    plain = seal_store.open_results(tmp_path / "f.zarr")
    found = seal_store.attribute(plain, {**EXPLAIN, "by": "assay"}, device="cpu")
    np.testing.assert_array_equal(found.attribution()["attribution"], held.attribution)
    with pytest.raises(OutputError, match="has attributions already"):
        seal_store.attribute(found, EXPLAIN, device="cpu")
    with pytest.raises(StoreError, match="not there"):
        moved = seal_store.open_results(found.path)
        object.__setattr__(moved.attributes.store, "path", str(tmp_path / "gone"))
        seal_store.attribute(moved, EXPLAIN, device="cpu")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("deeplift", "`attributions`: a str"),
        ({"targets": "all"}, "`attributions`: no `method`"),
        ({"method": "deeplift", "target": "all"}, "`attributions`: no option 'target'"),
        ({"method": "deeplift"}, "no target to attribute"),
        ({"method": "deeplift", "targets": 5}, "`targets` 5: not a text"),
        ({"method": "deeplift", "targets": "all", "top_features": "3"}, "`top_features` '3': not"),
    ],
)
def test_odd_attributions_are_one_line(store: Store, given: Any, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        seal_store.score(store, [], attributions=given)
    assert "\n" not in str(caught.value)


def test_saturate_as_the_command_does(cli: Cli, store: Store, tmp_path: Path) -> None:
    args = ["score", "saturate", "GENE02", "--store", store.path, "--span", 4, "--device", "cpu"]
    assert cli(*args, "--out", tmp_path / "c.zarr", "-q").exit_code == 0
    expected = seal_store.open_results(tmp_path / "c.zarr").to_xarray()
    assert "line" not in expected
    assert_same(seal_store.saturate(store, "GENE02", span=4, device="cpu"), expected)
    saved = seal_store.saturate(
        store, store.gene("GENE02"), span=np.int64(4), device="cpu", out=tmp_path / "f.zarr"
    )
    assert_same(saved, expected)
    for span, says in ((20_001, "not between"), ("4", "not a whole number")):
        with pytest.raises(InputError, match=says):
            seal_store.saturate(store, "GENE02", span=span)  # type: ignore[arg-type]


def test_calibrate_gives_the_store_that_scores_with_it(
    cli: Cli, calibrated: tuple[Store, Store], store: Store, world: World, tmp_path: Path
) -> None:
    before, after = calibrated
    assert not before.attributes.calibration
    assert after.attributes.calibration["grid"].command == "seal_store.calibrate"
    path = shutil.copytree(store.path, tmp_path / "c.zarr")
    assert cli("calibrate", path, world.variants, "--device", "cpu", "-q").exit_code == 0
    expected = seal_store.open(path)
    for name in ("effect_quantile", "mean", "sd"):
        np.testing.assert_array_equal(
            after.array(f"calibration/grid/{name}")[...],
            expected.array(f"calibration/grid/{name}")[...],
        )
    table = seal_store.score(after, world.variants, calibrated=True, device="cpu")
    assert set(table.data_vars) == {"effect", "quantile", "z"}
    wide = seal_store.to_frame(table)
    assert (
        wide["childhood.DFC.z"].tolist()
        == table.z.sel(context_name="childhood.DFC").values.tolist()
    )
    long = seal_store.to_frame(table, long=True)
    np.testing.assert_array_equal(long["quantile"], table["quantile"].values.ravel())
    with pytest.raises(ParameterError, match="`effects`: a int"):
        seal_store.to_frame(5)  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="no calibration"):
        seal_store.score(store, world.variants, calibrated=True, device="cpu")
    with pytest.raises(OutputError, match="has a calibration"):
        seal_store.calibrate(after, world.variants, device="cpu")


# What is of another assembly, and parts of a file


def test_variants_of_another_assembly_are_refused_as_by_the_commands(
    store: Store, world: World, tmp_path: Path
) -> None:
    lines = world.variants.read_text().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if line.startswith("#CHROM"))
    other = tmp_path / "other.vcf"
    lengths = "##contig=<ID=chr1,length=248956422>\n"
    other.write_text("".join([*lines[:1], lengths, *lines[at:]]))
    for out in (None, tmp_path / "o.zarr"):
        with pytest.raises(VariantError, match="##contig lines"):
            seal_store.score(store, other, device="cpu", out=out)
    with pytest.raises(VariantError, match="##contig lines"):
        seal_store.score(store, seal_store.read_variants(other), device="cpu")
    with pytest.raises(VariantError, match="##contig lines"):
        seal_store.calibrate(shutil.copytree(store.path, tmp_path / "c.zarr"), other, device="cpu")
    assert seal_store.score(store, other, device="cpu", check_assembly=False).sizes["variant"]
    contig, tss = str(store.table.contig[0]), int(store.table.tss[0])
    bases = store.sequence(0).tobytes().decode()[22_000:]
    shifted = [
        (contig, tss - 500 + i, b, "ACGT".replace(b, "")[0])
        for i, b in enumerate(bases[1:601])
        if b != bases[i]
    ] * 2
    for out in (None, tmp_path / "o.zarr"):
        with pytest.raises(VariantError, match=r"another assembly\?"):
            seal_store.score(store, shifted, device="cpu", out=out)
    assert not (tmp_path / "o.zarr").exists()


def test_parts_of_a_file(store: Store, world: World) -> None:
    whole = seal_store.score(store, world.variants, device="cpu")
    contig, pos = str(whole.contig[0].item()), int(whole.pos[0])
    part = seal_store.score(store, world.variants, region=f"{contig}:{pos}-{pos}", device="cpu")
    assert set(part.pos.values.tolist()) == {pos}
    np.testing.assert_allclose(part.effect[0], whole.effect[0], atol=1e-7)  # another batch
    with pytest.raises(VariantError, match="`region`: is for variants in a file"):
        seal_store.score(store, [(contig, pos, "A", "C")], region=contig, device="cpu")
    with pytest.raises(VariantError, match="neither in the store nor"):
        seal_store.score(store, world.variants, region="nowhere:1-2", device="cpu")


# Export


def test_export_as_the_command_does(cli: Cli, store: Store, world: World, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "r.zarr"
    seal_store.score(store, world.variants, attributions=EXPLAIN, device="cpu", out=path)
    results = seal_store.open_results(path)
    for name, options, flags in (
        ("x.tsv", {"top": 3}, ["--top", 3]),
        ("x.parquet", {"contexts": TARGETS[0]}, ["--contexts", TARGETS[0]]),
        ("a.tsv", {"attributions": 4}, ["--attributions", 4]),
        (
            "a.parquet",
            {"attributions": 4, "contexts": TARGETS},
            ["--attributions", 4, "--contexts", TARGETS[0], "--contexts", TARGETS[1]],
        ),
        (
            "x.bedgraph",
            {"contexts": TARGETS[0], "gene": "GENE02"},
            ["--contexts", TARGETS[0], "--gene", "GENE02"],
        ),
    ):
        done = seal_store.export(results, tmp_path / name, **options)  # type: ignore[arg-type]
        assert cli("export", path, tmp_path / f"c_{name}", *flags, "-q").exit_code == 0
        assert (tmp_path / name).read_bytes() == (tmp_path / f"c_{name}").read_bytes(), name
        assert done.rows > 0
        with pytest.raises(OutputError, match="exists already"):
            seal_store.export(path, tmp_path / name, **options)  # type: ignore[arg-type]
    profile = seal_store.export(
        store, tmp_path / "p.bedgraph", feature="feature_1", gene=["GENE02"]
    )
    assert profile.rows > 0
    with pytest.raises(ParameterError, match="`top` 2.5: not a whole number"):
        seal_store.export(path, tmp_path / "y.tsv", top=2.5)  # type: ignore[arg-type]


# Training


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return write_planted(tmp_path_factory.mktemp("planted"), np.random.default_rng(3), genes=80)


@pytest.mark.slow
def test_train_and_evaluate_as_the_commands_do(cli: Cli, planted: Planted, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    given = {"features": planted.features, "genes": planted.genes}
    loop: dict[str, Any] = {"epochs": np.int64(2), "lr": 0.01, "device": "cpu", "root": tmp_path}
    pre = seal_store.train(
        "pretrain", planted.expression, **given, name="n", out=tmp_path / "f", latent=8, **loop
    )
    args = [*planted.args(), "--name", "n", "--epochs", 2, "--lr", 0.01, "--device", "cpu", "-q"]
    made = cli(
        "train", "pretrain", *args, "--latent", 8, "--root", tmp_path, "--out", tmp_path / "c"
    )
    assert made.exit_code == 0, made.output
    name = "n_seal_pt_metrics.tsv"
    assert (tmp_path / "f" / name).read_bytes() == (tmp_path / "c" / name).read_bytes()
    fine = seal_store.train(
        "finetune",
        planted.expression,
        **given,
        name="n",
        out=tmp_path / "f",
        base=Path(pre["summary"]),
        **loop,
    )
    assert fine["stage"] == "finetune"
    found = seal_store.evaluate(
        planted.expression,
        **given,
        models={"mine": fine["summary"]},
        out=tmp_path / "e",
        device="cpu",
    )
    assert [row["model"] for row in found["medians"]] == ["mine"]
    for step, more, says in (
        ("train", {}, "`step` 'train'"),
        ("pretrain", {"base": tmp_path}, "`base` is for finetune"),
        ("finetune", {"latent": 4}, "`latent` is for pretrain"),
        ("pretrain", {"epochs": "3"}, "`epochs` '3': not a whole number"),
    ):
        with pytest.raises(InputError, match=says):
            seal_store.train(step, planted.expression, **given, name="n", out=tmp_path, **more)  # type: ignore[arg-type]


# Names


PAIRS: list[tuple[str, Callable[..., Any], set[str], set[str]]] = [
    # command, function; what only the command has (its own flags, or another name); what only the
    # function has
    (
        "score vcf",
        seal_store.score,
        {"vcf", "top", "long", "min_effect", "precision", "verbose", "format"}
        | {"plan", "slices", "slice", "finalize"}
        | set(AttributionOptions.__dataclass_fields__),
        {"variants", "attributions"},
    ),
    (
        "score saturate",
        seal_store.saturate,
        {"top", "long", "min_effect", "precision", "verbose"}
        | set(AttributionOptions.__dataclass_fields__),
        {"attributions"},
    ),
    (
        "attribute",
        seal_store.attribute,
        set(AttributionOptions.__dataclass_fields__),
        {"attributions"},
    ),
    ("calibrate", seal_store.calibrate, set(), set()),
    ("export", seal_store.export, {"out_option"}, set()),
    ("train pretrain", seal_store.train, set(), {"base", "step"}),
    ("train finetune", seal_store.train, set(), {"latent", "step"}),
    ("train evaluate", seal_store.evaluate, set(), set()),
]


@pytest.mark.parametrize(
    ("line", "function", "cli_only", "api_only"), PAIRS, ids=[pair[0] for pair in PAIRS]
)
def test_options_have_the_names_and_defaults_of_the_command(
    line: str, function: Callable[..., Any], cli_only: set[str], api_only: set[str]
) -> None:
    from seal_store.cli import main

    command: click.Command = main
    for word in line.split():
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), word)  # type: ignore[assignment]
    flags = {p.name: p for p in command.params if p.name not in ("quiet", "as_json")}
    own = inspect.signature(function).parameters
    assert set(flags) - cli_only == set(own) - {"progress"} - api_only
    for name in set(flags) & set(own):
        default = flags[name].default
        if name == "tf32" and isinstance(default, str):  # also spelled `--products`
            default = default == "tf32"
        if name == "bin_edges" and isinstance(default, str):
            default = tuple(map(int, default.split(",")))
        if isinstance(default, int | float | str | tuple) and name != "test_chromosomes":
            assert own[name].default in (default, None), name


@pytest.mark.slow
def test_workers_share_what_goes_to_an_output(store: Store, world: World, tmp_path: Path) -> None:
    """The same bytes; what cannot be divided is refused."""
    for name, workers in (("one", None), ("two", 2)):
        out = tmp_path / f"{name}.zarr"
        seal_store.score(store, world.variants, out=out, workers=workers, device="cpu")
        sat = tmp_path / f"{name}-saturated.zarr"
        seal_store.saturate(store, 0, span=3, out=sat, workers=workers, device="cpu")
    for end in ("", "-saturated"):
        assert files(tmp_path / f"one{end}.zarr") == files(tmp_path / f"two{end}.zarr")
    for variants, out in (([("chr1", 5, "A", "C")], tmp_path / "o.zarr"), (world.variants, None)):
        with pytest.raises(InputError, match="`workers`: only what goes to an `out`"):
            seal_store.score(store, variants, out=out, workers=2)
    with pytest.raises(InputError, match="`workers`: only what"):
        seal_store.saturate(store, 0, scheduler="local")
