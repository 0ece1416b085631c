"""Building a store: every array against the plain CNN; shards in any order; resume."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
import torch
import xarray
import zarr
from seldom import slow

from seal_store.building import build as building
from seal_store.building.build import add_heads, add_hidden, build, finalize, run_shards
from seal_store.building.options import BuildOptions
from seal_store.building.plan import plan
from seal_store.check.repair import repair
from seal_store.check.verify import verify
from seal_store.common.files import file_sha256
from seal_store.errors import (
    FormatError,
    GeneTableError,
    HeadsError,
    InputError,
    OutputError,
    ProfileError,
    StoreError,
    UnfinishedError,
)
from seal_store.model.heads import load_heads
from seal_store.reference.fasta import Genome, one_hot
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.scorer import Scorer
from seal_store.store import manifest
from seal_store.store.layout import STORE
from seal_store.store.store import Store
from seal_store.synthetic import DECAYS, TINY, World, write_head_set
from seal_store.variants.source import read_variants


def windows_of(store: Store, world: World, gene: int, indices: list[int]) -> torch.Tensor:
    """One-hot windows straight from the FASTA, by the definition of the grid."""
    row = store.table.row(str(store.gene_id[gene]))
    tss, strand = int(store.table.tss[row]), int(store.table.strand[row])
    with Genome(world.genome) as genome:
        bases = [
            genome.fetch(str(store.table.contig[row]), centre - 1000, centre + 1000)
            for centre in (tss + strand * (store.grid.first_offset + 200 * i) for i in indices)
        ]
    return torch.stack([torch.from_numpy(one_hot(b)) for b in bases])


def test_features_and_hidden_are_the_plain_cnn_on_every_gene(store: Store, world: World) -> None:
    model, indices = store.cnn(), [0, 1, 2, 57, 99, 100, 198, 199]
    for gene in range(len(store)):
        x = windows_of(store, world, gene, indices)
        with torch.inference_mode():
            plain, forward = model(x).numpy(), model.hidden(x).numpy()
            reverse = model.hidden(x.flip((1, 2))).numpy()
        assert np.abs(store.features(gene)[indices] - plain).max() <= 1e-6
        hidden = np.asarray(store.array("hidden")[gene])[indices].astype(np.float32)
        np.testing.assert_allclose(hidden[:, 0], forward, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(hidden[:, 1], reverse, rtol=1e-3, atol=1e-3)


def test_a_gene_equals_the_slow_reference(store: Store, world: World) -> None:
    gene = len(store) - 1  # near the end of its contig
    row = store.table.row(str(store.gene_id[gene]))
    with Genome(world.genome) as fasta:
        genome = {n: fasta.fetch(n, 0, length).decode() for n, length in fasta.lengths.items()}
    contig, tss, strand = (
        x[row] for x in (store.table.contig, store.table.tss, store.table.strand)
    )
    expected = reference.gene_features(store.cnn().state(), genome, contig, int(tss), int(strand))
    assert np.abs(store.features(gene) - expected).max() <= 1e-6
    aggregated = reference.aggregate(expected)
    np.testing.assert_allclose(store.aggregated(gene).ravel(), aggregated, rtol=1e-5)
    heads = [
        {
            "layers.0.weight": torch.from_numpy(s.w1),
            "layers.0.bias": torch.from_numpy(s.b1),
            "layers.2.weight": torch.from_numpy(s.w2),
            "layers.2.bias": torch.from_numpy(s.b2),
        }
        for s in load_heads(world.heads)
    ]
    expression = np.asarray(store.array("expression")[gene])
    np.testing.assert_allclose(expression, reference.heads_out(heads, aggregated), atol=1e-4)


def test_sequence_is_the_genome_around_the_tss(store: Store, world: World) -> None:
    with Genome(world.genome) as genome:
        for gene, name in enumerate(store.gene_id):
            row = store.table.row(str(name))
            tss = int(store.table.tss[row])
            # 1-based TSS-22500 ... TSS+22499
            expected = genome.fetch(str(store.table.contig[row]), tss - 22_501, tss + 22_499)
            assert store.sequence(gene).tobytes() == expected


def test_the_store_keeps_the_whole_gene_table(
    make_store: Callable[..., Store], store: Store
) -> None:
    assert len(store.table) == 12
    assert store.table_status.tolist().count("computed") == 11
    assert store.table_status[store.table.row("GENE12")] == "contig_not_in_fasta"
    some = make_store(gene=("GENE03", "GENE01"))
    assert some.gene_id.tolist() == ["GENE01", "GENE03"]
    assert len(some.table) == 12
    assert some.table_status.tolist().count("not_selected") == 9
    with pytest.raises(GeneTableError, match="GENE02 is in the gene table but was not computed"):
        some.gene("GENE02")
    with pytest.raises(GeneTableError, match="not in the gene table"):
        some.gene("GENE99")


def test_only_genes_near_variants(make_store: Callable[..., Store], store: Store) -> None:
    row = store.table.row("GENE05")
    contig, tss = str(store.table.contig[row]), int(store.table.tss[row])
    near = make_store(near=[(contig.removeprefix("chr"), tss + 20_000), ("chrUn", 5)])
    expected = store.table.within(contig, tss + 20_000, 20_000)
    assert near.gene_id.tolist() == [str(store.table.gene_id[i]) for i in expected]


def test_another_first_offset_moves_the_grid(
    make_store: Callable[..., Store], world: World
) -> None:
    other = make_store(first_offset=-20_000, gene=("GENE01", "GENE02"))
    assert other.attributes.grid.first_offset == -20_000
    for gene in range(2):
        x = windows_of(other, world, gene, [0, 77, 199])
        with torch.inference_mode():
            assert np.abs(other.features(gene)[[0, 77, 199]] - other.cnn()(x).numpy()).max() <= 1e-6


def test_keep_bits_rounds_features_and_nothing_else(
    make_store: Callable[..., Store], store: Store
) -> None:
    rounded = make_store(keep_bits=10)
    exact, found = store.features(3), rounded.features(3)
    assert (exact != found).any()
    assert (np.abs(found / exact - 1) <= 2.0**-11).all()
    assert not (found.view(np.uint32) & (2 ** (23 - 10) - 1)).any()
    assert (rounded.aggregated(3) == store.aggregated(3)).all()


def test_without_hidden(make_store: Callable[..., Store]) -> None:
    store = make_store(hidden=False)
    assert not store.has_hidden
    assert "hidden" not in dict(store.group.members())


@pytest.fixture
def profiles(store: Store, tmp_path: Path) -> Path:
    folder = tmp_path / "profiles"
    folder.mkdir()
    for gene, name in enumerate(store.gene_id[:-2]):
        np.save(folder / f"{name}.npy", store.features(gene))
    return folder


def test_imported_profiles(make_store: Callable[..., Store], store: Store, profiles: Path) -> None:
    imported = make_store(from_profiles=profiles)
    assert imported.gene_id.tolist() == store.gene_id[:-2].tolist()
    missing = imported.table_status[[store.table.row(str(g)) for g in store.gene_id[-2:]]]
    assert missing.tolist() == ["no_profile", "no_profile"]
    assert not imported.has_hidden
    assert (imported.features(2) == store.features(2)).all()
    np.testing.assert_allclose(imported.aggregated(2), store.aggregated(2), rtol=1e-5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros((200, 15), np.float32), r"shape \(200, 15\)"),
        (np.zeros((199, 16), np.float32), r"shape \(199, 16\)"),
        (np.zeros((200, 16), np.int64), "int64"),
        (None, "not a readable .npy"),
    ],
)
def test_profiles_of_another_shape(
    make_store: Callable[..., Store],
    profiles: Path,
    tmp_path: Path,
    content: np.ndarray | None,
    message: str,
) -> None:
    if content is None:
        (profiles / "GENE03.npy").write_bytes(b"\x93NUMPY")
    else:
        np.save(profiles / "GENE03.npy", content)
    with pytest.raises(ProfileError, match=message):
        make_store(from_profiles=profiles)
    assert not (tmp_path / "other.zarr").exists()


def test_a_profile_with_code_inside_is_refused(
    make_store: Callable[..., Store], profiles: Path
) -> None:
    np.save(profiles / "GENE03.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(ProfileError, match="not a readable .npy"):
        make_store(from_profiles=profiles)


def contents(path: Path) -> dict[str, bytes]:
    files = (p for p in path.rglob("*") if p.is_file())
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in files}


def test_shards_in_any_order_give_the_same_bytes(options: BuildOptions, tmp_path: Path) -> None:
    options = replace(options, genes_per_shard=4)
    whole = build(replace(options, out=tmp_path / "whole.zarr"), "cpu")
    planned = plan(replace(options, out=tmp_path / "parts.zarr"))
    assert planned.shards == 3
    for shard in (2, 0, 1):
        with pytest.raises(UnfinishedError, match="is not done"):
            finalize(tmp_path / "parts.zarr")
        run_shards(planned.path, [shard], "cpu")
    made = finalize(tmp_path / "parts.zarr")
    assert contents(tmp_path / "parts.zarr") == contents(whole.path)
    assert finalize(tmp_path / "parts.zarr").sha256 == made.sha256  # as a scheduler may do


@pytest.mark.slow
def test_shards_have_the_size_of_the_plan(
    make_store: Callable[..., Store], options: BuildOptions, store: Store
) -> None:
    """The store tells it, and whatever is added later goes by that."""
    other = make_store(genes_per_shard=5, hidden=False)
    add_hidden(other.path, "cpu")
    other = Store(other.path)
    assert other.attributes.genes_per_shard == 5
    assert other.attributes.shards == -(-len(other) // 5)
    for name in ("features", "hidden", "aggregated", "sequence"):
        assert other.array(name).shards[0] == 5
        np.testing.assert_array_equal(other.array(name)[...], store.array(name)[...])
    with pytest.raises(OutputError, match="planned with another genes_per_shard: 5, now 64"):
        build(replace(options, out=other.path, resume=True), "cpu")
    for wrong in (0, 4097):
        with pytest.raises(InputError, match=f"`genes_per_shard` {wrong}: not between 1 and 4096"):
            plan(replace(options, out=other.path, overwrite=True, genes_per_shard=wrong))


@pytest.mark.slow
def test_resume_keeps_finished_shards(
    options: BuildOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(options, genes_per_shard=4)
    whole = build(replace(options, out=tmp_path / "whole.zarr"), "cpu")
    out = tmp_path / "resumed.zarr"
    planned = plan(replace(options, out=out))
    run_shards(planned.path, [1], "cpu")
    with pytest.raises(OutputError, match=r"did not finish"):
        build(replace(options, out=out), "cpu")
    with pytest.raises(OutputError, match="planned with another grid"):
        build(replace(options, out=out, resume=True, first_offset=-20_000), "cpu")
    computed: list[int] = []
    whole_run = building.ShardComputer.__call__

    def spy(self: building.ShardComputer, shards: list[int], *more: Any) -> None:
        computed.extend(shards)
        whole_run(self, shards, *more)

    monkeypatch.setattr(building.ShardComputer, "__call__", spy)
    resumed = build(replace(options, out=out, resume=True), "cpu")
    assert computed == [0, 2]
    assert contents(resumed.path) == contents(whole.path)
    again = build(replace(options, out=out, resume=True), "cpu")
    assert again.sha256 == resumed.sha256
    assert computed == [0, 2]
    with pytest.raises(OutputError, match="planned with another keep_bits"):
        build(replace(options, out=out, resume=True, keep_bits=9), "cpu")


def test_an_unfinished_store_cannot_be_opened(options: BuildOptions, tmp_path: Path) -> None:
    out = tmp_path / "s.zarr"
    planned = plan(replace(options, out=out))
    with pytest.raises(UnfinishedError, match="unfinished store"):
        Store(out)
    with pytest.raises(UnfinishedError, match="no manifest"):
        Store(planned.path)


def test_a_store_whose_files_changed_size_does_not_open(make_store: Callable[..., Store]) -> None:
    store = make_store()
    shard = store.path / "features" / "c" / "0" / "0" / "0"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    with pytest.raises(FormatError, match="features/c/0/0/0 is .* bytes, not"):
        Store(store.path)
    shard.unlink()
    with pytest.raises(FormatError, match="features/c/0/0/0 is missing"):
        Store(store.path)


@pytest.mark.parametrize(
    "file",
    [
        "features/c/0/0/0",
        slow("hidden/c/0/0/0/0"),
        slow("aggregated/c/0/0/0"),
        slow("sequence/c/0/0"),
        "cnn/conv2_weight/c/0/0/0",
        slow("heads/cell_state_early_fetal/w1/c/0/0"),
    ],
)
def test_a_flipped_bit_is_an_error_not_a_number(
    make_store: Callable[..., Store], world: World, file: str
) -> None:
    store = make_store()
    shard = store.path / file
    damaged = bytearray(shard.read_bytes())
    damaged[len(damaged) // 3] ^= 4
    shard.write_bytes(damaged)
    opened = Store(store.path)
    with pytest.raises(FormatError, match=f"{file.split('/c/')[0]}.*: damaged data"):
        for scheme in ("grid", "centered"):
            scorer = Scorer(opened, ScoreOptions(scheme=scheme, device="cpu"))
            list(scorer.score(read_variants(world.variants)))
        for gene in range(len(opened)):
            opened.features(gene)


def test_a_newer_format_and_foreign_attributes_are_refused(
    make_store: Callable[..., Store],
) -> None:
    def rewrite(path: Path, change: Callable[[dict[str, object]], None]) -> None:
        metadata = json.loads((path / "zarr.json").read_text())
        change(metadata["attributes"])
        (path / "zarr.json").write_text(json.dumps(metadata))
        listed = json.loads((path / manifest.MANIFEST).read_text())
        listed["files"]["zarr.json"] = manifest.entry(path / "zarr.json")
        manifest.write(path, listed["files"])

    path = make_store().path
    rewrite(path, lambda a: a["seal_store"].update(format_version=2))  # type: ignore[attr-defined]
    with pytest.raises(FormatError, match="format version 2, this seal-store reads 1"):
        Store(path)
    rewrite(path, lambda a: a["seal_store"].update(format_version=1, heads="x"))  # type: ignore[attr-defined]
    with pytest.raises(FormatError, match=r"\$\.heads"):
        Store(path)
    rewrite(path, lambda a: a.pop("seal_store"))
    with pytest.raises(FormatError, match="no 'seal_store' attributes"):
        Store(path)


def test_a_manifest_cannot_point_outside(make_store: Callable[..., Store]) -> None:
    path = make_store().path
    listed = json.loads((path / manifest.MANIFEST).read_text())
    listed["files"]["../../etc/passwd"] = {"sha256": "0" * 64, "size": 1}
    manifest.write(path, listed["files"])
    with pytest.raises(FormatError, match="outside the store"):
        Store(path)


def test_adding_heads(make_store: Callable[..., Store], tmp_path: Path) -> None:
    store = make_store()
    before = np.asarray(store.array("expression")[:])
    inputs = DECAYS * TINY.features
    summary = write_head_set(tmp_path, "mine", ["c1", "c2", "early_fetal.A1C"], inputs, 5, 9)
    added = add_heads(store.path, summary)
    opened = Store(store.path)
    names, sets = opened.contexts()
    assert names[-3:].tolist() == ["c1", "c2", "early_fetal.A1C"]
    assert set(sets[-3:]) == {"mine"}
    after = np.asarray(opened.array("expression")[:])
    np.testing.assert_allclose(after[:, :-3], before, atol=1e-5)
    sums = opened.aggregated(slice(None)).reshape(len(opened), -1)
    hidden = np.maximum(sums @ added[0].w1.T + added[0].b1, 0)
    np.testing.assert_allclose(after[:, -3:], hidden @ added[0].w2.T + added[0].b2, atol=1e-4)
    with pytest.raises(HeadsError, match="mine is there already"):
        add_heads(store.path, summary)
    wrong = write_head_set(tmp_path, "wrong", ["c"], inputs + 10, 5, 9)
    with pytest.raises(HeadsError, match="takes 170 inputs, this CNN gives 160"):
        add_heads(store.path, wrong)
    assert Store(store.path).sha256 == opened.sha256


def test_heads_added_but_interrupted_can_be_finished(
    make_store: Callable[..., Store],
    options: BuildOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = make_store()
    summary = write_head_set(tmp_path, "mine", ["c1"], DECAYS * TINY.features, 5, 9)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(building, "_write_expression", interrupted)
        with pytest.raises(KeyboardInterrupt):
            add_heads(store.path, summary)
    with pytest.raises(UnfinishedError):
        Store(store.path)
    resumed = build(replace(options, out=store.path, resume=True), "cpu")
    assert "mine" in resumed.head_sets


def test_a_store_without_heads_waits_for_them(
    make_store: Callable[..., Store], world: World, store: Store
) -> None:
    bare = make_store(heads=())
    assert "expression" not in bare.group
    add_heads(bare.path, world.heads)
    expected = np.asarray(store.array("expression")[:])
    assert (np.asarray(Store(bare.path).array("expression")[:]) == expected).all()


@pytest.mark.slow
def test_an_existing_output_is_kept_until_the_new_one_is_whole(
    make_store: Callable[..., Store], options: BuildOptions
) -> None:
    store = make_store(gene=("GENE01",))
    before = store.sha256
    again = replace(options, out=store.path, gene=("GENE02",))
    with pytest.raises(OutputError, match="exists already"):
        build(again, "cpu")
    planned = plan(replace(again, overwrite=True))
    assert Store(store.path).sha256 == before
    run_shards(planned.path, [0], "cpu")
    with pytest.raises(OutputError, match="exists already"):
        finalize(store.path)
    assert finalize(store.path, overwrite=True).gene_id.tolist() == ["GENE02"]


@pytest.mark.parametrize("first", [-21_499, -18_301])
def test_outermost_first_offsets_open_again(make_store: Callable[..., Store], first: int) -> None:
    store = make_store(first_offset=first, gene=("GENE01", "GENE02"))
    assert np.isfinite(store.features(0)).all()


@pytest.mark.parametrize(
    "change",
    [{"keep_bits": 0}, {"keep_bits": 24}, {"first_offset": -21_500}, {"first_offset": -18_300}],
)
def test_wrong_options(options: BuildOptions, tmp_path: Path, change: dict[str, int]) -> None:
    with pytest.raises(InputError):
        plan(replace(options, out=tmp_path / "x.zarr", **change))  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_xarray_opens_it_with_coordinates(store: Store) -> None:
    with xarray.open_zarr(str(store.path)) as ds:
        assert ds.features.dims == ("gene", "window", "feature")
        assert {"gene_id", "tss", "window_offset", "feature_name"} <= set(ds.features.coords)
        by_name = ds.set_xindex("gene_id").set_xindex("context_name")
        profile = by_name.features.sel(gene_id="GENE04").values
        assert (profile == store.features(store.gene("GENE04"))).all()
        expression = by_name.expression.sel(context_name="childhood.DFC")
        assert expression.shape == (11,)
        assert ds.features.attrs["units"] == "probability"


def test_every_array_is_as_the_layout_says_and_checksummed(store: Store) -> None:
    for entry in STORE:
        array = store.array(entry.name)
        assert array.metadata.dimension_names == entry.dims, entry.name
        if entry.dtype != "str":
            assert array.dtype == np.dtype(entry.dtype)
        inner = array.metadata.to_dict()["codecs"]
        assert "crc32c" in json.dumps(inner), entry.name
    for group in ("cnn", "heads/cell_state_early_fetal"):
        members = store.group[group].members()  # type: ignore[union-attr]
        for name, array in members:
            assert "crc32c" in json.dumps(array.metadata.to_dict()["codecs"]), name


def test_a_store_moves_and_needs_nothing_else(
    make_store: Callable[..., Store], tmp_path: Path
) -> None:
    store = make_store()
    moved = store.path.rename(tmp_path / "elsewhere.zarr")
    assert zarr.open_group(str(moved), mode="r")["features"].shape == (11, 200, 16)  # type: ignore[union-attr]
    assert Store(moved).sha256


@pytest.mark.slow
def test_hidden_can_be_added_later(
    make_store: Callable[..., Store], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = make_store(hidden=False)
    before = contents(bare.path)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(building.Shards, "sweep", interrupted)
        with pytest.raises(KeyboardInterrupt):
            add_hidden(bare.path, "cpu")
    with pytest.raises(UnfinishedError):
        Store(bare.path)
    assert not finalize(bare.path).has_hidden
    assert contents(bare.path) == before
    whole = add_hidden(bare.path, "cpu")
    assert whole.has_hidden
    for gene in range(len(store)):
        found, expected = (np.asarray(s.array("hidden")[gene]) for s in (whole, store))
        assert (found == expected).all()
    assert add_hidden(bare.path, "cpu").sha256 == whole.sha256


@pytest.mark.slow
def test_features_get_the_labels_of_a_table(
    make_store: Callable[..., Store], tmp_path: Path
) -> None:
    table = tmp_path / "features.tsv"
    rows = [f"{i}\tF{i}\tP{i % 3}" for i in range(TINY.features)]
    table.write_text("\n".join(["more\tname\tfactor", *rows, ""]))
    built = make_store(features=table)
    assert built.column("feature_name").tolist() == [f"F{i}" for i in range(TINY.features)]
    assert built.column("feature_factor").tolist() == [f"P{i % 3}" for i in range(TINY.features)]
    assert set(built.column("feature_cell_type").tolist()) == {""}
    assert built.attributes.cnn.features is not None
    assert built.attributes.cnn.features.sha256 == file_sha256(table)
    assert verify(built.path, full=True).ok
    other = tmp_path / "numbers.tsv"
    other.write_text("\n".join(["name", *(f"N{i}" for i in range(TINY.features))]))
    with pytest.raises(OutputError, match="planned with another cnn.features.sha256"):
        make_store(features=other, resume=True)
    (chunk,) = (built.path / "feature_name").rglob("c/0")
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"?")
    with pytest.raises(StoreError, match="feature_name") as caught:
        repair(built.path, "cpu")
    assert "cannot be computed again" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[:-1], "15 rows, the CNN has 16 features"),
        (lambda rows: ["label", *rows[1:]], "no table with a column 'name'"),
        (lambda rows: [*rows[:3], "", *rows[4:]], "15 rows"),
        (lambda rows: [*rows[:3], "F0", *rows[4:]], r"features\.tsv:2: name 'F0' twice"),
        (lambda rows: [*rows[:3], "\x1b[31m", *rows[4:]], r"features\.tsv:4: .* control"),
        (lambda rows: [], "no table with a column 'name'"),
    ],
)
def test_a_wrong_table_of_features_is_refused(
    make_store: Callable[..., Store],
    tmp_path: Path,
    change: Callable[[list[str]], list[str]],
    message: str,
) -> None:
    table = tmp_path / "features.tsv"
    table.write_text("\n".join(change(["name", *(f"F{i}" for i in range(TINY.features))])))
    with pytest.raises(InputError, match=message):
        make_store(features=table)
    assert not (tmp_path / "other.zarr.partial").exists()


def test_a_table_of_features_that_cannot_be_read(
    make_store: Callable[..., Store], tmp_path: Path
) -> None:
    for path, what in ((tmp_path / "absent.tsv", None), (tmp_path / "binary.tsv", b"\xff\xfe\x00")):
        if what is not None:
            path.write_bytes(what)
        with pytest.raises(InputError, match="not a readable text file"):
            make_store(features=path)
