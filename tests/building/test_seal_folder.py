"""`--from-seal`: the store of explicit options; all that is missing in one message."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from website import Site
from website import serve as serve

from seal_store.building.build import build
from seal_store.building.options import BuildOptions
from seal_store.building.seal_folder import head_set_names, locate
from seal_store.errors import InputError
from seal_store.store.store import Store
from seal_store.synthetic import World

Cli = Callable[..., Result]
RESOURCES = ("hg19.fa", "hg19_geneanno.pc.sorted.bed", "deepsea.beluga.pth")


@pytest.fixture(scope="module")
def seal(world: World, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic world as Seal's root folder: ``resource/`` and ``model/``."""
    root = tmp_path_factory.mktemp("seal")
    resource = root / "resource"
    profiles = resource / "chromatin_tss"
    profiles.mkdir(parents=True)
    shutil.copy(world.genome, resource / RESOURCES[0])
    shutil.copy(world.genes, resource / RESOURCES[1])
    shutil.copy(world.cnn, resource / RESOURCES[2])
    shutil.copytree(world.heads, root / "model")
    for gene in map(str, store.gene_id):
        np.save(profiles / f"{gene}.npy", store.features(gene_row(store, gene)))
    return root


def gene_row(store: Store, gene: str) -> int:
    return store.gene_id.tolist().index(gene)


@pytest.fixture
def copy(seal: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(seal, tmp_path / "seal"))


@pytest.fixture(scope="module")
def expected(seal: Path, options: BuildOptions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of explicit options."""
    resource, out = seal / "resource", tmp_path_factory.mktemp("expected") / "store"
    build(
        replace(
            options,
            genome=resource / RESOURCES[0],
            genes=resource / RESOURCES[1],
            cnn=resource / RESOURCES[2],
            heads=tuple(seal / "model" / name for name in head_set_names()),
            from_profiles=resource / "chromatin_tss",
            out=out,
        ),
        "cpu",
    )
    return out


def same_store(one: Path, other: Path) -> None:
    """Every file equal but the metadata, which differ in the command alone."""
    found = []
    for path in (one, other):
        files: dict[str, Any] = json.loads((path / "manifest.json").read_text())["files"]
        del files["zarr.json"]
        found.append((files, replace(Store(path).attributes, command="")))
    assert found[0] == found[1]


def succeeded(result: Result) -> str:
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result.stdout


def refused(result: Result, *says: str) -> str:
    assert result.exit_code == 1, result.output
    line = result.stderr.splitlines()[-1]
    assert line.startswith("seal-store: error: ")
    for part in says:
        assert part in line, line
    return line


def test_the_published_head_sets() -> None:
    assert head_set_names() == (
        "tissue_state_early_fetal_to_adult",
        "cell_state_mid_fetal_to_adult",
        "cell_state_early_fetal",
    )


def test_the_store_is_that_of_explicit_options(
    cli: Cli, seal: Path, expected: Path, tmp_path: Path
) -> None:
    result = cli("build", "--from-seal", seal, "--out", tmp_path / "a", "--json", "-q")
    facts = json.loads(succeeded(result))
    same_store(tmp_path / "a", expected)
    store = Store(tmp_path / "a")
    assert store.head_sets == list(head_set_names())
    assert facts["contexts"] == 802
    assert store.attributes.source == "profiles"
    found = facts["from_seal"]
    assert found["genome"] == [str(seal / "resource" / "hg19.fa")]
    assert found["from_profiles"] == [str(seal / "resource" / "chromatin_tss")]
    assert len(found["heads"]) == 3
    assert f"found --genome {seal / 'resource' / 'hg19.fa'}" in result.stderr
    assert result.stderr.count("found --heads ") == 3


def test_fetched_from_a_server_then_built(
    cli: Cli, seal: Path, expected: Path, tmp_path: Path, serve: Callable[..., Site]
) -> None:
    """Both archives over HTTP, unpacked, and a store from the folder: two commands."""
    packed = {}
    for name in ("model", "resource"):
        path = tmp_path / f"seal_{name}.tar.gz"
        with tarfile.open(path, "w:gz", compresslevel=1) as out:
            out.add(seal / name, name)
        packed[f"/seal_{name}.tar.gz"] = path.read_bytes()
    site = serve(b"")

    def choose(handler: Any) -> None:
        site.content = packed[handler.path]

    site.script = [choose, choose]
    to = tmp_path / "to"
    succeeded(cli("fetch", "--to", to, "--base-url", site.url, "-q"))
    succeeded(cli("build", "--from-seal", to, "--out", tmp_path / "a", "-q"))
    same_store(tmp_path / "a", expected)


def test_explicit_options_come_first(cli: Cli, copy: Path, world: World, tmp_path: Path) -> None:
    (copy / "resource" / "hg19.fa").unlink()
    shutil.rmtree(copy / "model" / head_set_names()[0])
    one = copy / "model" / head_set_names()[2]
    args = ("--from-seal", copy, "--genome", world.genome, "--heads", one, "--gene", "GENE01")
    result = cli("build", *args, "--out", tmp_path / "a", "-q")
    succeeded(result)
    store = Store(tmp_path / "a")
    assert store.head_sets == [head_set_names()[2]]
    assert store.attributes.genome.file == world.genome.name
    assert store.gene_id.tolist() == ["GENE01"]
    assert "found --genome" not in result.stderr
    assert "found --heads" not in result.stderr


def test_every_option_can_be_given_otherwise(seal: Path) -> None:
    whole = locate(seal)
    for name, value in vars(whole).items():
        assert value
        assert not getattr(locate(seal, {name}), name)
        assert {**vars(locate(seal, {name})), name: value} == vars(whole)
    (seal / "empty").mkdir(exist_ok=True)
    assert locate(seal / "empty", set(vars(whole))).facts() == {}


def test_shards_find_their_profiles(cli: Cli, seal: Path, expected: Path, tmp_path: Path) -> None:
    args = ("build", "--from-seal", seal, "--out", tmp_path / "a", "-q")
    plan = json.loads(succeeded(cli(*args, "--plan", "--json")))
    assert plan["from_seal"] == locate(seal).facts()
    succeeded(cli(*args, "--shard", 0))
    succeeded(cli("build", "--out", tmp_path / "a", "-q", "--finalize"))
    same_store(tmp_path / "a", expected)


def test_one_message_names_all_that_is_missing(cli: Cli, copy: Path, tmp_path: Path) -> None:
    lost, headless = head_set_names()[0], head_set_names()[1]
    (copy / "resource" / "deepsea.beluga.pth").unlink()
    shutil.rmtree(copy / "resource" / "chromatin_tss")
    (copy / "model" / lost / f"{lost}_seal_model_summary.txt").unlink()
    (copy / "model" / headless / f"{headless}_seal_ft_model.pt").unlink()
    out = tmp_path / "out"
    line = refused(
        cli("build", "--from-seal", copy, "--out", out),
        "missing: deepsea.beluga.pth, chromatin_tss, ",
        f"{lost}_seal_model_summary.txt",
        f"the model of {headless}_seal_model_summary.txt",
        f"seal-store fetch models resources --to {copy}",
        "--cnn",
    )
    assert "hg19.fa" not in line
    assert not out.exists()
    assert "\n" not in line


def test_the_hint_fetches_only_what_is_missing(copy: Path) -> None:
    shutil.rmtree(copy / "model")
    with pytest.raises(InputError) as caught:
        locate(copy)
    assert f"seal-store fetch models --to {copy}" in caught.value.hint
    assert str(caught.value).count("_model_summary.txt") == 3


def test_the_gene_table_in_csv_will_do(copy: Path) -> None:
    bed = copy / "resource" / "hg19_geneanno.pc.sorted.bed"
    csv = copy / "resource" / "hg19_geneanno.csv"
    csv.write_text("x")
    assert locate(copy).genes == bed
    bed.unlink()
    assert locate(copy).genes == csv


def test_a_file_that_is_there_twice_is_not_guessed(copy: Path) -> None:
    shutil.copytree(copy / "resource", copy / "old" / "resource")
    with pytest.raises(InputError) as caught:
        locate(copy)
    assert "hg19.fa is there 2 times" in str(caught.value)
    assert "old/resource/hg19.fa" in str(caught.value)
    assert "give `genome`" in str(caught.value)
    shutil.move(copy / "old", copy / "old.partial")  # what an unfinished unpacking leaves
    assert locate(copy).genome == copy / "resource" / "hg19.fa"
    shutil.move(copy / "old.partial", copy / ".trash")
    assert locate(copy).genome == copy / "resource" / "hg19.fa"
    whole = locate(copy)
    summary = whole.heads[0]
    summary.with_name(f"._{summary.name}").write_text("x")  # what macOS adds to archives
    assert locate(copy) == whole


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_a_wrong_path(cli: Cli, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("x")
    refused(
        cli("build", "--from-seal", tmp_path / name, "--out", tmp_path / "out"),
        f"Seal's folder not found: {tmp_path / name}",
        "seal-store fetch models resources --to",
    )


def test_without_inputs_build_says_which(cli: Cli, tmp_path: Path) -> None:
    result = cli("build", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "--from-seal, or --genome, --genes and --cnn" in result.stderr
