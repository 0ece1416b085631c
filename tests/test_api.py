"""`import seal_store`: what analysis code calls."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from click.testing import Result

import seal_store
from seal_store.errors import (
    FormatError,
    GeneTableError,
    HeadsError,
    InputError,
    MissingExtraError,
    OutputError,
    StoreError,
    VariantError,
)
from seal_store.results.group import Results
from seal_store.store.layout import RESULTS
from seal_store.store.store import Store
from seal_store.synthetic import TINY, World
from seal_store.variants.bases import StoreBases
from seal_store.variants.given import given_alleles, position

ROOT = Path(seal_store.__file__).parent.parent
COLUMNS = [entry.name for entry in RESULTS if entry.dims == ("variant",)]


@pytest.fixture(scope="session")
def variants(world: World) -> pd.DataFrame:
    """The world's VCF as pandas reads it."""
    lines = world.variants.read_text().splitlines()
    skip = next(i for i, line in enumerate(lines) if line.startswith("#CHROM"))
    return pd.read_csv(world.variants, sep="\t", skiprows=skip)


@pytest.fixture(scope="session")
def commanded(store: Store, world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The world's VCF as `score vcf` scores it."""
    from seal_store.cli import main

    out = tmp_path_factory.mktemp("commanded") / "scores.zarr"
    args = ["score", "vcf", world.variants, "--store", store.path, "--out", out, "--device", "cpu"]
    main([str(a) for a in args], standalone_mode=False)
    return out


@pytest.fixture(scope="session")
def scored(store: Store, variants: pd.DataFrame) -> xr.Dataset:
    return seal_store.score(store, variants, device="cpu")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the arrays of weights as they are read."""
    names: list[str] = []

    def counting(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args: names.append(name) or plain(*args)

    for name in ("read_weights", "read_heads"):
        module = "seal_store.store.store"
        plain = getattr(importlib.import_module(module), name)
        monkeypatch.setattr(f"{module}.{name}", counting(name, plain))
    return names


# The package


def test_public_names_are_there_and_documented() -> None:
    assert sorted(seal_store.__all__) == dir(seal_store)
    for name in seal_store.__all__:
        found = getattr(seal_store, name)
        if name == "__version__":
            continue
        assert inspect.getdoc(found), name
        methods = vars(found) if inspect.isclass(found) else {}
        for own, member in methods.items():
            if not own.startswith("_") and (callable(member) or isinstance(member, property)):
                assert inspect.getdoc(member), f"{name}.{own}"
    with pytest.raises(AttributeError, match="no_such"):
        _ = seal_store.no_such


def test_every_public_name_is_in_the_documentation() -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    for name in seal_store.__all__:
        if name != "__version__":
            assert f":: {name}\n" in page, name
    methods = [name for name in vars(Store) if not name.startswith("_")]
    missing = [name for name in methods if name not in page]
    assert not missing


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import seal_store, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "seal_store" in loaded
    assert not loaded & {"numpy", "torch", "zarr", "xarray", "pandas", "anndata", "click"}


def test_the_function_score_is_not_hidden_by_a_module() -> None:
    for module in (ROOT / "seal_store").rglob("*.py"):
        name = module.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        __import__(name.removesuffix(".__init__"))
    for name in seal_store.__all__:
        assert not inspect.ismodule(getattr(seal_store, name)), name
    assert importlib.util.find_spec("seal_store.score") is None


# A store


def test_genes_by_id_and_by_position(store: Store) -> None:
    opened = seal_store.open(store.path)
    assert isinstance(opened, Store)
    for method in ("features", "aggregated", "expression", "sequence"):
        by_id = getattr(opened, method)("GENE03")
        np.testing.assert_array_equal(by_id, getattr(opened, method)(store.gene("GENE03")))
        array = opened.array(method)
        assert (by_id.shape, by_id.dtype) == (array.shape[1:], array.dtype)
        np.testing.assert_array_equal(by_id, array[store.gene("GENE03")])
        with pytest.raises(GeneTableError, match="NOPE"):
            getattr(opened, method)("NOPE")
        for place in (-1, len(store)):
            with pytest.raises(IndexError, match=f"gene {place}: there are 0 to"):
                getattr(opened, method)(place)
    assert opened.position(np.int64(3)) == 3


def test_opening_something_else_is_refused(tmp_path: Path, store: Store) -> None:
    with pytest.raises(FormatError):
        seal_store.open_results(store.path)
    with pytest.raises(seal_store.SealStoreError):
        seal_store.open(tmp_path / "no.zarr")


def test_a_store_as_xarray_is_lazy_and_labelled(store: Store) -> None:
    found = store.to_xarray()
    lazy = ("features", "hidden", "aggregated", "sequence", "expression")
    assert not any(found[name].variable._in_memory for name in lazy)
    assert {"gene_id", "tss", "gene_type", "feature_factor", "context_stage"} <= set(found.coords)
    profile = found.features.sel(gene_id="GENE03")
    np.testing.assert_array_equal(profile.values, store.features("GENE03"))
    assert json.loads(found.attrs["seal_store"]) == store.attributes.to_dict()
    one = found.expression.sel(gene_id="GENE03", context_name="childhood.DFC")
    place = store.contexts()[0].tolist().index("childhood.DFC")
    assert one.item() == store.expression("GENE03")[place]


def test_expression_as_anndata(store: Store, tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata")
    found = store.to_anndata()
    assert found.shape == (len(store), len(store.contexts()[0]))
    np.testing.assert_array_equal(found.X, store.array("expression")[:])
    assert found.obs_names.tolist() == store.gene_id.tolist()
    assert found.obs["tss"].tolist() == store.column("tss").tolist()
    assert found.var["context_name"].tolist() == store.contexts()[0].tolist()
    assert found.var_names.is_unique
    assert found.uns["sha256"] == store.sha256
    found.write_h5ad(tmp_path / "x.h5ad")
    again = anndata.read_h5ad(tmp_path / "x.h5ad")
    np.testing.assert_array_equal(again.X, found.X)
    assert again.var["context_stage"].tolist() == found.var["context_stage"].tolist()
    assert bool(again.uns["synthetic"]) is True


def test_a_store_without_heads_says_so(make_store: Callable[..., Store]) -> None:
    bare = make_store(heads=())
    for call in (lambda: bare.expression(0), bare.to_anndata):
        with pytest.raises(HeadsError, match="has no heads"):
            call()
    assert "expression" not in bare.to_xarray()
    assert not bare.synthetic


# Scoring


def test_every_way_in_gives_the_effects_of_the_command(
    scored: xr.Dataset, store: Store, world: World, variants: pd.DataFrame, commanded: Path
) -> None:
    expected = Results(commanded)
    rows, counts = expected.rows(), expected.attributes.counts.to_dict()
    tuples = list(variants[["#CHROM", "POS", "REF", "ALT"]].itertuples(index=False, name=None))
    ways = {
        "table": scored,
        "tuples": seal_store.score(store.path, tuples, device="cpu"),
        "generator": seal_store.score(store, iter(tuples), device="cpu"),
        "vcf": seal_store.score(store, world.variants, device="cpu"),
        "mapping": seal_store.score(
            store, {c: variants[c].tolist() for c in variants.columns}, device="cpu"
        ),
    }
    for way, found in ways.items():
        np.testing.assert_array_equal(found.effect.values, rows.effect, err_msg=way)
        for name in COLUMNS:
            if name != "id" or way not in ("tuples", "generator"):
                assert found[name].values.tolist() == rows.columns[name].tolist(), (way, name)
        own = json.loads(found.attrs["counts"])
        assert {k: v for k, v in own.items() if k != "examples"} == {
            k: v for k, v in counts.items() if k != "examples"
        }
        assert own["alleles"] == own["alleles_scored"] + sum(own["not_scored"].values())
        assert json.loads(found.attrs["store"])["sha256"] == store.sha256
        assert json.loads(found.attrs["store"])["synthetic"] is True
        json.dumps(found.attrs)
    assert counts["not_scored"]
    assert json.loads(ways["vcf"].attrs["counts"])["examples"] == counts["examples"]
    assert "row 3" in str(list(given_alleles(variants, StoreBases(store)))[3])


def test_rows_lead_back_to_the_input(
    scored: xr.Dataset, store: Store, variants: pd.DataFrame, world: World
) -> None:
    back = variants.iloc[scored.row.values]
    assert back["POS"].tolist() == scored.pos.values.tolist()
    assert back["ID"].tolist() == scored.id.values.tolist()
    by_line = seal_store.score(store, str(world.variants), device="cpu")
    lines = world.variants.read_text().splitlines()
    for line, pos in zip(by_line.line.values, by_line.pos.values, strict=True):
        assert lines[line - 1].split("\t")[1] == str(pos)
    lower = variants.assign(REF=variants["REF"].str.lower(), ALT=" " + variants["ALT"].str.lower())
    again = seal_store.score(store, lower, device="cpu")
    np.testing.assert_array_equal(again.effect.values, scored.effect.values)
    # every gene in range: several rows of one variant, and repeated variants
    doubled = pd.concat([variants, variants])
    found = seal_store.score(store, doubled, genes="all", device="cpu")
    assert doubled["POS"].to_numpy()[found.row.values].tolist() == found.pos.values.tolist()
    assert found.row.values.tolist() == sorted(found.row.values.tolist())


def test_results_open_as_what_score_gives(scored: xr.Dataset, commanded: Path) -> None:
    found = seal_store.open_results(commanded).to_xarray()
    assert not found.effect.variable._in_memory
    np.testing.assert_array_equal(found.effect.values, scored.effect.values)
    assert set(found.coords) ^ set(scored.coords) == {"row", "line"}  # of a table, of a file
    for name in set(found.coords) - {"line"}:
        assert found[name].values.tolist() == scored[name].values.tolist(), name
        assert found[name].attrs == scored[name].attrs or name.startswith("context_"), name
    assert found.attrs["scheme"] == scored.attrs["scheme"] == "grid"
    assert json.loads(found.attrs["store"]) == json.loads(scored.attrs["store"])
    assert set(scored.attrs) == set(found.attrs)


def test_options_reach_the_scorer(store: Store, variants: pd.DataFrame) -> None:
    found = seal_store.score(
        store,
        variants,
        scheme="centered",
        max_distance=9_000,
        ref_mismatch="skip",
        contexts="childhood.DFC",
        device="cpu",
        batch=3,
    )
    assert found.context_name.values.tolist() == ["childhood.DFC"]
    assert found.context_stage.values.tolist() == ["childhood"]
    assert (found.attrs["scheme"], found.attrs["max_distance"]) == ("centered", 9_000)
    assert abs(found.dist_to_tss.values).max() <= 9_000
    assert json.loads(found.attrs["counts"])["not_scored"]["ref_mismatch"] == 1
    one = seal_store.score(store, variants, heads=[store.head_sets[1]], device="cpu")
    assert set(one.context_set.values.tolist()) == {store.head_sets[1]}
    for wrong in ({"scheme": "x"}, {"batch": 0}, {"contexts": ["no such"]}, {"heads": ["no"]}):
        with pytest.raises(InputError):
            seal_store.score(store, variants, device="cpu", **wrong)
    with pytest.raises(VariantError, match=r"table: row \d+, chr1:.* REF differs"):
        seal_store.score(store, variants, ref_mismatch="error", device="cpu")


def test_a_table_from_effects(
    scored: xr.Dataset, commanded: Path, cli: Any, tmp_path: Path
) -> None:
    wide = seal_store.to_frame(scored)
    assert json.loads(wide.attrs["counts"]) == json.loads(scored.attrs["counts"])
    assert cli("export", commanded, tmp_path / "x.tsv", "--precision", 9).exit_code == 0
    text = pd.read_csv(tmp_path / "x.tsv", sep="\t")
    names = text.columns[13:]
    assert wide.columns[-len(names) :].tolist() == names.tolist()
    np.testing.assert_array_equal(wide[names].to_numpy(), text[names].to_numpy(np.float32))
    assert wide["gene_id"].tolist() == text["gene_id"].tolist()
    long = seal_store.to_frame(scored.isel(context=[5, 2]), long=True)
    assert len(long) == 2 * len(wide)
    assert long["effect"].tolist() == scored.effect.values[:, [5, 2]].ravel().tolist()
    assert long["context_name"].tolist()[:2] == scored.context_name.values[[5, 2]].tolist()
    assert long["pos"].tolist()[::2] == wide["pos"].tolist()
    odd = scored.isel(context=[0, 1]).assign_coords(context_name=("context", ["pos", "x"]))
    odd_set = odd.context_set.values[0]
    assert seal_store.to_frame(odd).columns[-2:].tolist() == [f"{odd_set}:pos", "x"]
    with pytest.raises(InputError, match="no effects"):
        seal_store.to_frame(scored.isel(context=0))


def test_nothing_to_score_is_no_error(store: Store) -> None:
    for empty in ([], pd.DataFrame(columns=["contig", "pos", "ref", "alt"])):
        found = seal_store.score(store, empty, device="cpu")
        assert found.effect.shape == (0, len(store.contexts()[0]))
        assert json.loads(found.attrs["counts"])["alleles"] == 0
        assert len(seal_store.to_frame(found)) == 0
    far = seal_store.score(store, [("chrZ", 5, "A", "C")], device="cpu")
    assert far.sizes["variant"] == 0
    assert json.loads(far.attrs["counts"])["not_scored"] == {"unknown_contig": 1}
    assert json.loads(far.attrs["counts"])["examples"] == {"unknown_contig": ["row 0, chrZ:5 A>C"]}


def test_values_that_a_vcf_could_hold_are_counted(store: Store, variants: pd.DataFrame) -> None:
    first = variants.iloc[0]
    chrom, pos, ref = str(first["#CHROM"]), int(first["POS"]), str(first["REF"])
    table = pd.DataFrame(
        {
            "CHROM": [chrom, chrom, chrom, None, chrom.removeprefix("chr"), chrom, chrom],
            "pos": [pos, np.nan, 0, pos, float(pos), pos, pos],
            "ref": [ref, "A", "A", ref, ref.lower(), None, ref],
            "alt": ["ACGT".replace(ref, "")[0], "C", "C", "C", "<DEL>,*", "C", "NOT!"],
        }
    )
    found = seal_store.score(store, table, device="cpu")
    assert found.row.values.tolist() == [0]
    expected = {"malformed": 4, "missing": 1, "star": 1, "symbolic": 1}
    assert json.loads(found.attrs["counts"])["not_scored"] == expected
    assert json.loads(found.attrs["counts"])["alleles"] == 8
    assert "row 1, chr1:0" in json.loads(found.attrs["counts"])["examples"]["malformed"][0]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(7, 7), (np.int32(7), 7), (7.0, 7), ("7", 7), (np.float64(7), 7)]
    + [
        (bad, 0)
        for bad in (0, -1, 7.5, "7.0", "x", True, None, np.nan, 2**31, "²", np.inf, "9" * 5_000)
    ],
    ids=lambda value: repr(value)[:12],
)
def test_positions(value: object, expected: int) -> None:
    assert position(value) == expected


GOOD = {"contig": ["chr1"], "pos": [5], "ref": ["A"], "alt": ["C"]}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({k: v for k, v in GOOD.items() if k != "ref"}, "no column 'ref' among 'contig', 'pos'"),
        (GOOD | {"chrom": ["chr1"]}, "are all contig"),
        (GOOD | {"pos": ["chr1"]}, "column 'pos' holds no position: row 0 has 'chr1'"),
        (GOOD | {"alt": [3]}, "row 0: alt is 3, not bases"),
        (GOOD | {"alt": [["C"]]}, r"row 0: alt is \['C'\], not bases"),
        (GOOD | {"alt": ["C", "T"]}, "columns of unequal length"),
        ([("chr1", 5, "A", "C"), ("chr1", 5)], "row 1 has 2 values, not 4 or 5"),
        ([5], "row 0 is 5, not a variant"),
        (5, "a int"),
        ("no-such.vcf", "no-such.vcf"),
    ],
)
def test_other_shapes_are_refused_in_one_line(store: Store, given: Any, message: str) -> None:
    forms = [given]
    if isinstance(given, dict) and "unequal" not in message:
        forms.append(pd.DataFrame(given))
    for form in forms:
        with pytest.raises(VariantError, match=message) as caught:
            seal_store.score(store, form, device="cpu")
        assert "\n" not in str(caught.value) + caught.value.hint
        assert caught.value.hint


def test_a_missing_package_is_named(
    store: Store, commanded: Path, scored: xr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = seal_store.open_results(commanded)
    for name in ("xarray", "anndata"):
        monkeypatch.setitem(sys.modules, name, None)
    calls: list[tuple[str, Callable[[], object]]] = [
        ("xarray", store.to_xarray),
        ("xarray", opened.to_xarray),
        ("xarray", lambda: seal_store.to_frame(scored)),
        ("xarray", lambda: seal_store.score(store, [], device="cpu")),
        ("anndata", store.to_anndata),
    ]
    for extra, call in calls:
        with pytest.raises(MissingExtraError, match=f"needs {extra}") as caught:
            call()
        assert caught.value.hint == f"pip install 'seal-store[{extra}]'"


# What stays loaded


SNV = [("chr1", 107140, "A", "C")]


def test_a_second_score_reads_no_weights(store: Store, read: list[str]) -> None:
    opened = seal_store.open(store.path)
    first = seal_store.score(opened, SNV, device="cpu")
    assert sorted(read) == ["read_heads", "read_weights"]
    second = seal_store.score(opened, SNV, device="cpu", genes="all", batch=3, max_distance=9_000)
    assert len(read) == 2
    assert second.sizes["variant"] >= first.sizes["variant"] == 1
    assert json.loads(second.attrs["counts"])["alleles"] == 1  # its own
    assert opened.scorer(device="cpu").engine is opened.scorer(device="cpu", batch=7).engine
    assert len(read) == 2


def test_engines_share_the_cnn_and_few_are_kept(store: Store, read: list[str]) -> None:
    opened = seal_store.open(store.path)
    names = opened.contexts()[0].tolist()
    found = [opened.scorer(device="cpu", contexts=[name]).engine for name in names[:3]]
    found.append(opened.scorer(device="cpu", scheme="centered").engine)
    assert read.count("read_weights") == 1
    assert len({id(engine.evaluator.model) for engine in found}) == 1
    assert list(opened.kept.values()) == found[2:]
    assert opened.scorer(device="cpu", contexts=names[2]).engine is found[2]
    opened.scorer(device="cpu", contexts=names[0])
    assert found[2] in opened.kept.values()  # it was used last but one


def test_a_store_that_was_replaced_is_refused(store: Store, tmp_path: Path) -> None:
    opened = seal_store.open(shutil.copytree(store.path, tmp_path / "copy.zarr"))
    seal_store.score(opened, SNV, device="cpu")
    manifest = opened.path / "manifest.json"
    manifest.write_bytes(manifest.read_bytes() + b" ")
    with pytest.raises(StoreError, match="was replaced since it was opened"):
        seal_store.score(opened, SNV, device="cpu")


def test_a_store_is_pickled_without_its_engines(store: Store) -> None:
    opened = seal_store.open(store.path)
    opened.scorer(device="cpu")
    again = pickle.loads(pickle.dumps(opened))
    assert (again.kept, len(opened.kept)) == ({}, 1)
    np.testing.assert_array_equal(again.sequence(0), opened.sequence(0))


def test_the_scorer_of_a_store(store: Store, world: World, scored: xr.Dataset) -> None:
    scorer = seal_store.open(store.path).scorer(device="cpu")
    assert isinstance(scorer, seal_store.Scorer)
    rows = list(scorer.score(seal_store.read_variants(world.variants)))
    np.testing.assert_array_equal(np.concatenate([r.effect for r in rows]), scored.effect)
    counts = scorer.counts.to_dict() | {"examples": {}}  # by line, not by row
    assert counts == json.loads(scored.attrs["counts"]) | {"examples": {}}
    with pytest.raises(TypeError, match="shceme"):
        store.scorer(shceme="grid")


# Building


@pytest.mark.slow
def test_build_as_the_command_does(
    cli: Callable[..., Result], world: World, tmp_path: Path
) -> None:
    given = {"genome": world.genome, "genes": world.genes, "cnn": world.cnn, "heads": world.heads}
    given["features"] = tmp_path / "features.tsv"
    names = [f"F{i}" for i in range(TINY.features)]
    given["features"].write_text("\n".join(["name", *names, ""]))
    chosen = {"gene": ["GENE01", "GENE02"], "keep_bits": 12, "hidden": False}
    store = seal_store.build(tmp_path / "a.zarr", **given, **chosen, device="cpu")
    args = [a for name, path in given.items() for a in (f"--{name}", path)]
    args += ["--gene", "GENE01", "--gene", "GENE02", "--keep-bits", 12, "--no-hidden"]
    result = cli("build", "--out", tmp_path / "b.zarr", *args, "--device", "cpu", "-q")
    assert result.exit_code == 0, result.output
    made = [seal_store.open(tmp_path / f"{x}.zarr").attributes.to_dict() for x in "ab"]
    assert made[0].pop("command") == "seal_store.build"
    assert made[1].pop("command").startswith("seal-store build")
    assert made[0] == made[1]
    assert store.column("feature_name").tolist() == names
    np.testing.assert_array_equal(
        store.features(0), seal_store.open(tmp_path / "b.zarr").features(0)
    )
    with pytest.raises(OutputError):
        seal_store.build(tmp_path / "a.zarr", **given, device="cpu")
    with pytest.raises(InputError, match="inputs are missing"):
        seal_store.build(tmp_path / "c.zarr", genome=world.genome)


def test_every_option_of_the_command_is_one_of_the_function() -> None:
    from seal_store.cli.build import build

    names = {parameter.name for parameter in build.params}
    steps = {"plan", "shard", "finalize", "add_hidden", "repair", "quiet", "as_json"}
    assert names - steps == set(inspect.signature(seal_store.build).parameters) - {"progress"}
