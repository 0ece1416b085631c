"""Damage of every kind to every file: found, named, never read as a number, repaired."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from click.testing import Result
from interrupted import files, kill_after, scored

from seal_store.building import plan as plan_module
from seal_store.building.build import add_heads, build
from seal_store.building.options import BuildOptions
from seal_store.check.integrity import Report
from seal_store.check.repair import _Repair, repair
from seal_store.check.verify import verify
from seal_store.common.beside import unpartial_path
from seal_store.common.lock import hold
from seal_store.errors import (
    FormatError,
    HeadsError,
    OutputError,
    SealStoreError,
    StoreError,
    UnfinishedError,
)
from seal_store.model.beluga import load_cnn
from seal_store.model.grid import aggregate
from seal_store.model.heads import load_heads
from seal_store.results.group import Results
from seal_store.run.crew import Crew
from seal_store.run.scores import write_scores
from seal_store.run.work import Done, Work
from seal_store.scoring import reading
from seal_store.scoring.options import AttributionOptions, ScoreOptions
from seal_store.scoring.scorer import Scorer
from seal_store.store import layout, manifest
from seal_store.store.store import Store
from seal_store.synthetic import TINY, TINY_LATENT, World, write_models
from seal_store.variants.source import read_variants

SOAK = pytest.mark.soak


@pytest.fixture(scope="module")
def small_pieces() -> Iterator[None]:
    """Three shards and many chunks in a tiny store."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "VARIANTS_PER_CHUNK", 8)
        yield


@pytest.fixture(scope="module")
def whole(
    small_pieces: None, options: BuildOptions, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("whole") / "store.zarr"
    return build(replace(options, out=out, genes_per_shard=4), "cpu").path


@pytest.fixture(scope="module")
def scores(whole: Path, world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scores") / "scores.zarr"
    chosen = AttributionOptions("deeplift", ("all",), dtype="float16")
    scorer = Scorer(
        Store(whole),
        ScoreOptions(device="cpu", heads=("cell_state_mid_fetal_to_adult",)),
        attribution=chosen,
    )
    write_scores(scorer, read_variants(world.variants), out)
    return out


@pytest.fixture
def store_copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "store.zarr"))


@pytest.fixture
def scores_copy(scores: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(scores, tmp_path / "scores.zarr"))


def names(path: Path) -> list[str]:
    return sorted(files(path))


def flip(file: Path, rng: np.random.Generator) -> None:
    data = bytearray(file.read_bytes())
    data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    file.write_bytes(data)


def truncate(file: Path, rng: np.random.Generator) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: rng.integers(len(data))])


def delete(file: Path, rng: np.random.Generator) -> None:
    file.unlink()


def leave_partial(file: Path, rng: np.random.Generator) -> None:
    file.with_name(f"{file.name}.{rng.integers(1 << 30):x}.partial").write_bytes(b"left")


DAMAGE = {"flip": flip, "truncate": truncate, "delete": delete}
TOP = ("zarr.json", manifest.MANIFEST)


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("which", ["store_copy", "scores_copy"])
def test_damage_to_all_files_is_found_in_all(
    which: str, kind: str, request: pytest.FixtureRequest, rng: np.random.Generator
) -> None:
    path = request.getfixturevalue(which)
    before = files(path)
    damaged = [name for name in before if name not in TOP]
    for name in damaged:
        DAMAGE[kind](path / name, rng)
    report = verify(path, contents=False)
    assert report.faulty() == set(damaged)
    for name in damaged:
        (path / name).write_bytes(before[name])
    for name in TOP:  # these alone: a damaged one says nothing of the others
        for _ in range(4):
            DAMAGE[kind](path / name, rng)
            assert name in verify(path, contents=False).faulty()
            with pytest.raises(StoreError, match=name if kind != "delete" else "manifest|missing"):
                (Store if which == "store_copy" else Results)(path)
            (path / name).write_bytes(before[name])


@pytest.mark.parametrize("which", ["store_copy", "scores_copy"])
def test_every_stray_file_is_found_and_none_is_read(
    which: str, request: pytest.FixtureRequest, rng: np.random.Generator
) -> None:
    path = request.getfixturevalue(which)
    before = names(path)
    for name in before:
        leave_partial(path / name, rng)
    (path / "journal").mkdir()
    (path / "journal" / "shard-00000.json").write_text("{}")
    (path / "elsewhere").symlink_to(path.parent)
    strays = {p.relative_to(path).as_posix() for p in path.rglob("*") if not p.is_dir()}
    strays = (strays | {"elsewhere"}) - set(before)
    assert len(strays) == len(before) + 2
    assert verify(path, contents=False).faulty("stray") == strays
    (Store if which == "store_copy" else Results)(path)


@SOAK
@pytest.mark.parametrize("kind", [*DAMAGE, "partial"])
@pytest.mark.parametrize("which", ["store_copy", "scores_copy"])
def test_damage_to_any_one_file_is_found_and_named(
    which: str, kind: str, request: pytest.FixtureRequest, rng: np.random.Generator
) -> None:
    path = request.getfixturevalue(which)
    for name in names(path):
        file = path / name
        saved = file.read_bytes()
        for _ in range(3):
            before = set(names(path))
            (leave_partial if kind == "partial" else DAMAGE[kind])(file, rng)
            added = set(names(path)) - before
            assert verify(path, contents=False).faulty() == (added or {name}), name
            for stray in added:
                (path / stray).unlink()
            file.write_bytes(saved)


def everything(path: Path) -> dict[str, bytes | None]:
    """All arrays of a store or of results, as a reader gets them; None where one is refused."""
    group = (Store(path) if (path / "features").exists() else Results(path)).group
    found: dict[str, bytes | None] = {}
    for name, array in group.members(max_depth=None):
        if isinstance(array, zarr.Array):
            try:
                values = layout.read(array)
            except FormatError:
                found[name] = None
            else:
                found[name] = repr(values.tolist()).encode()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [2, pytest.param(100, marks=SOAK)])
@pytest.mark.parametrize("which", ["store_copy", "scores_copy"])
def test_a_flipped_bit_is_never_read_as_a_number(
    which: str, rounds: int, request: pytest.FixtureRequest, rng: np.random.Generator
) -> None:
    path = request.getfixturevalue(which)
    original, saved = everything(path), files(path)
    for _ in range(rounds):
        damaged = set()
        for name in saved:
            if name not in TOP:
                flip(path / name, rng)
                damaged.add(name.rpartition("/c/")[0])
        found = everything(path)
        assert {name for name, values in found.items() if values is None} == damaged & set(found)
        assert all(found[n] == original[n] for n in found if n not in damaged)
        for name, data in saved.items():
            (path / name).write_bytes(data)


@pytest.mark.parametrize("count", [4, pytest.param(200, marks=SOAK)])
def test_scores_from_a_damaged_store_are_right_or_refused(
    count: int, store_copy: Path, world: World, rng: np.random.Generator
) -> None:
    def scored() -> list[bytes]:
        scorer = Scorer(Store(store_copy), ScoreOptions(device="cpu"))
        batches = scorer.score(list(read_variants(world.variants))[:6])
        return [rows.effect.tobytes() for rows in batches]

    expected, refused = scored(), 0
    chosen = rng.choice(names(store_copy), count)
    for name in ("features/c/0/0/0", "zarr.json", *chosen):
        file = store_copy / str(name)
        saved = file.read_bytes()
        DAMAGE[str(rng.choice(list(DAMAGE)))](file, rng)
        try:
            assert scored() == expected
        except SealStoreError:
            refused += 1
        file.write_bytes(saved)
    assert refused >= 1


def test_whole_ones_have_no_fault(
    cli: Callable[..., Result], whole: Path, scores: Path, make_store: Callable[..., Store]
) -> None:
    report = verify(whole, full=True)
    assert report.faults == []
    assert report.skipped == {}
    assert report.checked["files"] == len(names(whole)) - 1
    for what in ("genes", "decay sums", "hidden", "predictions", "coordinates"):
        assert report.checked[what] == 11
    assert report.checked["windows"] == 16
    report = verify(scores)
    assert report.faults == []
    assert report.checked["rows"] == report.checked["attributions"] == len(Results(scores))
    coarse = make_store(keep_bits=7, hidden=False, heads=(), gene=("GENE01", "GENE07"))
    done = cli("verify", coarse.path, "--json", "--windows", "3", "-q")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["ok"], found["faults"]) == (True, [])
    assert found["skipped"] == {"predictions": "the store has no heads"}
    assert found["checked"]["windows"] == 3


class InTurn(Crew):
    """A crew whose parts are done here, one after the other."""

    def do(self, work: Work, tasks: Sequence[int], done: Done = bool) -> dict[int, Any]:
        check = work.begin("cpu")
        return {task: pickle.loads(pickle.dumps(check(task))) for task in reversed(tasks)}


def told(report: Report) -> object:
    """What a report says, in whatever order it was found; of what was skipped no counts."""
    faults = [replace(fault, genes=sorted(fault.genes)) for fault in report.faults]
    return sorted(map(repr, faults)), report.skipped or report.checked


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["store", "scores"])
def test_in_parts_the_report_is_the_same(
    store_copy: Path, scores_copy: Path, rng: np.random.Generator, kind: str
) -> None:
    path = store_copy if kind == "store" else scores_copy
    how: dict[str, Any] = {"full": True, "windows": 5, "seed": 3}
    for damaged in (0, 1, 3):
        for name in rng.choice([n for n in names(path) if "/c/" in n], damaged, replace=False):
            DAMAGE[str(rng.choice(["flip", "truncate", "delete"]))](path / name, rng)
        assert told(verify(path, crew=InTurn(3), **how)) == told(verify(path, **how))


@pytest.mark.slow
def test_processes_share_the_checks(
    cli: Callable[..., Result], store_copy: Path, rng: np.random.Generator
) -> None:
    flip(store_copy / "features/c/1/0/0", rng)
    before = {name: (store_copy / name).read_bytes() for name in names(store_copy)}
    found = [
        json.loads(cli("verify", store_copy, "--json", "-q", *more).stdout)
        for more in ((), ("--workers", "2"))
    ]
    assert found[0] == found[1]
    assert not found[0]["ok"]
    assert {name: (store_copy / name).read_bytes() for name in names(store_copy)} == before


def reseal(path: Path) -> None:
    """A manifest that fits the files as they are: only their contents can tell."""
    zarr.consolidate_metadata(str(path), zarr_format=3)
    kept = [name for name in names(path) if name != manifest.MANIFEST]
    manifest.write(path, {name: manifest.entry(path / name) for name in kept})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning")
def test_numbers_that_do_not_follow_are_found_and_repaired(
    store_copy: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = zarr.open_group(str(store_copy), mode="r+", use_consolidated=False)

    def change(name: str, key: object, by: Callable[[np.ndarray], np.ndarray]) -> None:
        group[name][key] = by(group[name][key])  # type: ignore[index]

    change("features", (0, 7), lambda v: v + 1)
    change("features", (1, 199, 3), lambda v: v * np.nan)
    change("aggregated", (4, 2), lambda v: v * 1.00001)
    change("hidden", (5, 100, 0), lambda v: v + 0.1)
    change("expression", 9, lambda v: v + 1e-3)
    change("tss", 10, lambda v: v + 1)
    change("decay_weight", (0, 3), lambda v: v + 1)
    reseal(store_copy)
    report = verify(store_copy, full=True, windows=0)
    gene = [str(name) for name in Store(whole).gene_id]
    found = {(f.check, f.file, f.shard, *f.genes) for f in report.faults}
    assert found >= {
        ("range", "features/c/0/0/0", 0, gene[0]),
        ("finite", "features/c/0/0/0", 0, gene[1]),
        ("aggregated", "aggregated/c/1/0/0", 1, gene[4]),
        ("hidden", "hidden/c/1/0/0/0", 1, gene[5]),
        ("coordinates", "tss/c/0", None, gene[10]),
        ("coordinates", "decay_weight/c/0/0", None),
    }
    wrong = {f.check: set(f.genes) for f in report.faults}
    assert gene[9] in wrong["expression"]
    assert not {gene[2], gene[3], gene[6], gene[7], gene[8]} & set().union(*wrong.values())
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(_Repair, "predictions", interrupted)
        repair(store_copy, "cpu")
    assert {"features/c/0/0/0", "tss/c/0"} <= verify(store_copy, contents=False).faulty()
    done = repair(store_copy, "cpu")
    assert not done.same
    assert files(store_copy) == files(whole)


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning")
def test_another_genome_or_other_weights_are_found(store_copy: Path) -> None:
    group = zarr.open_group(str(store_copy), mode="r+", use_consolidated=False)
    group["sequence"][3] = group["sequence"][3][::-1]
    group["sequence"][4, 0] = ord("!")
    reseal(store_copy)
    report = verify(store_copy, windows=30)
    assert any(f.check == "window" and "GENE04" in f.genes for f in report.faults)
    assert [f.genes for f in report.faults if f.check == "sequence"] == [["GENE05"]]
    group["cnn/conv1_bias"][0] = 9.0
    group["heads/cell_state_early_fetal/b2"][0] = 9.0
    reseal(store_copy)
    found = verify(store_copy, windows=0).faulty("fingerprint")
    assert found == {"cnn", "heads/cell_state_early_fetal"}
    with pytest.raises(StoreError, match="cannot be|SHA-256") as caught:
        repair(store_copy, "cpu")
    assert "copy the store again or build anew" in caught.value.hint


@pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning")
def test_results_that_cannot_be_are_found(scores_copy: Path) -> None:
    group = zarr.open_group(str(scores_copy), mode="r+", use_consolidated=False)
    group["effect"][9, 5] = np.nan
    group["pos"][3] = 0
    group["strand"][12] = 0
    group["ref_match"][0] = not group["ref_match"][0]
    group["completeness"][20, 1] += 0.1
    reseal(scores_copy)
    found = {(f.check, f.file) for f in verify(scores_copy).faults}
    assert {f for f in found if f[0] != "completeness"} == {
        ("finite", "effect/c/1/0"),
        ("values", "pos/c/0"),
        ("values", "strand/c/1"),
        ("counts", "ref_match/zarr.json"),
    }
    assert any(check == "completeness" for check, _ in found)


@pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning")
def test_attributions_of_another_order_than_the_effect_are_found(scores_copy: Path) -> None:
    group = zarr.open_group(str(scores_copy), mode="r+", use_consolidated=False)
    features = group["attribution"].shape[2]
    garbage = np.random.default_rng(0).standard_normal(features).astype(np.float16)
    group["attribution"][7, 1] = garbage
    group["attribution_scale"][7, 1] = 1e8
    target = list(zip(group["context_set"][:], group["context_name"][:], strict=True)).index(
        (group["target_set"][1], group["target_name"][1])
    )
    group["completeness"][7, 1] = (
        1e8 * garbage.astype(np.float64).sum() - group["effect"][7, target]
    )
    reseal(scores_copy)
    faults = [f for f in verify(scores_copy).faults if f.check == "completeness"]
    assert [f.file.split("/")[0] for f in faults] == ["completeness"]
    assert "row 7 (0-based): the sum of attributions is" in faults[0].message


def damage_much(path: Path, rng: np.random.Generator) -> set[str]:
    """Damage of every repairable kind; the files."""
    damaged = {
        "features/c/1/0/0": flip,
        "hidden/c/2/0/0/0": truncate,
        "aggregated/c/0/0/0": delete,
        "expression/c/0/0": flip,
        "gene_id/c/0": flip,
        "tss/c/0": truncate,
        "context_stage/c/0": delete,
        "feature_name/c/0": flip,
        "window_offset/c/0": flip,
        "features/zarr.json": flip,
        "cnn/conv1_bias/zarr.json": delete,
    }
    for name, how in damaged.items():
        how(path / name, rng)
    leave_partial(path / "features/c/1/0/0", rng)
    return set(damaged)


@pytest.mark.slow
def test_a_repaired_store_is_the_same_byte_by_byte(
    cli: Callable[..., Result], store_copy: Path, whole: Path, rng: np.random.Generator
) -> None:
    damaged = damage_much(store_copy, rng)
    shown = cli("verify", store_copy, "-q")
    assert shown.exit_code == 1
    assert all(name in shown.stdout for name in damaged)
    line = next(x for x in shown.stdout.splitlines() if x.startswith("sha256: features/c/1"))
    assert "(shard 1)" in line
    with hold(store_copy):
        refused = cli("build", "--repair", "--out", store_copy, "-q")
    assert "is being written by process" in refused.stderr
    done = cli("build", "--repair", "--out", store_copy, "--json", "-q", "--device", "cpu")
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert set(facts["files"]) == damaged
    assert facts["same"]
    assert files(store_copy) == files(whole)
    assert [p.name for p in store_copy.parent.iterdir()] == [store_copy.name]
    done = cli("build", "--repair", "--out", store_copy, "-q")
    assert done.stdout == f"{store_copy}: no fault\n"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning")
def test_a_store_of_other_software_is_repaired_as_a_whole_shard(
    store_copy: Path, whole: Path, rng: np.random.Generator
) -> None:
    group = zarr.open_group(str(store_copy), mode="r+", use_consolidated=False)
    features = group["features"][:4] * np.float32(1 - 1e-5)
    group["features"][:4] = features
    group["aggregated"][:4] = aggregate(Store(whole).grid.decay_weights, features)
    reseal(store_copy)
    flip(store_copy / "features/c/0/0/0", rng)
    done = repair(store_copy, "cpu")
    assert not done.same
    assert {"features/c/0/0/0", "aggregated/c/0/0/0"} <= set(done.files)
    assert files(store_copy) == files(whole)


def repair_once(path: Path) -> None:
    """In a process of its own, with the threads that the store was built with."""
    torch.set_num_threads(1)
    repair(path, "cpu")


@SOAK
@pytest.mark.parametrize("kills", [25])
def test_a_killed_repair_is_repaired(
    kills: int, store_copy: Path, whole: Path, rng: np.random.Generator
) -> None:
    done = 0
    while done < kills:
        damage_much(store_copy, rng)
        while done < kills and kill_after(partial(repair_once, store_copy), rng.uniform(0.1, 4.0)):
            done += 1
            report = verify(store_copy, contents=False)
            assert report.faults or files(store_copy) == files(whole)
        repair(store_copy, "cpu")
        assert files(store_copy) == files(whole)
    assert [p.name for p in store_copy.parent.iterdir()] == [store_copy.name]


@pytest.mark.parametrize(
    "name",
    [
        "sequence/c/1/0",
        "cnn/conv2_weight/c/0/0/0",
        "heads/cell_state_early_fetal/context/c/0",
        "table/tss/c/0",
        "zarr.json",
        "manifest.json",
    ],
)
def test_what_cannot_be_computed_is_not_repaired(
    name: str, store_copy: Path, rng: np.random.Generator
) -> None:
    flip(store_copy / "features/c/1/0/0", rng)
    truncate(store_copy / name, rng)
    before = files(store_copy)
    with pytest.raises(StoreError, match=name) as caught:
        repair(store_copy, "cpu")
    assert "copy the store again or build anew" in caught.value.hint
    assert files(store_copy) == before


@pytest.mark.slow
def test_imported_features_are_repaired_from_their_folder(
    make_store: Callable[..., Store], whole: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    profiles = tmp_path / "profiles"
    profiles.mkdir()
    store = Store(whole)
    for gene in (0, 4):
        np.save(profiles / f"{store.gene_id[gene]}.npy", store.features(gene))
    path = make_store(from_profiles=profiles).path
    report = verify(path)
    assert report.ok
    assert "imported" in report.skipped["windows"]
    before = files(path)
    flip(path / "features/c/0/0/0", rng)
    with pytest.raises(StoreError, match="were imported") as caught:
        repair(path, "cpu")
    assert "`from_profiles`" in caught.value.hint
    assert repair(path, "cpu", from_profiles=profiles).same
    assert files(path) == before


def test_what_is_not_finished_is_not_verified(
    cli: Callable[..., Result], options: BuildOptions, scores_copy: Path, tmp_path: Path
) -> None:
    with pytest.raises(FormatError, match="not found"):
        verify(tmp_path / "none.zarr")
    planned = plan_module.plan(replace(options, out=tmp_path / "planned.zarr"))
    for path in (planned.path, unpartial_path(planned.path)):
        with pytest.raises(UnfinishedError):
            verify(path)
    done = cli("verify", tmp_path)
    assert done.exit_code == 1
    assert "not a seal-store" in done.stderr
    done = cli("build", "--repair", "--out", scores_copy, "-q")
    assert done.exit_code == 1
    assert "holds results: not repaired" in done.stderr


@pytest.mark.slow
def test_what_does_not_belong_together_is_refused_with_both_fingerprints(
    make_store: Callable[..., Store],
    options: BuildOptions,
    store: Store,
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wide = replace(TINY, features=17)
    cnn, heads = write_models(tmp_path / "wide", wide, TINY_LATENT, seed=5)
    other = load_cnn(cnn).sha256()
    with pytest.raises(HeadsError, match="takes 170 inputs, this CNN gives 160") as caught:
        add_heads(Path(shutil.copytree(store.path, tmp_path / "s.zarr")), heads)
    first = min(load_heads(heads), key=lambda s: s.name).sha256()
    assert first in str(caught.value)
    assert store.attributes.cnn.sha256 in str(caught.value)

    own = replace(options, out=tmp_path / "planned.zarr")
    plan_module.plan(own)
    with pytest.raises(OutputError, match="another cnn.sha256") as refused:
        plan_module.plan(replace(own, cnn=cnn, heads=(), resume=True))
    assert other in str(refused.value)
    assert store.attributes.cnn.sha256 in str(refused.value)

    monkeypatch.setattr(reading, "ALLELES_PER_CHUNK", 4)
    with pytest.raises(KeyboardInterrupt):
        scored(store, world.variants, tmp_path / "out.zarr", stop_after=20)
    moved = make_store(gene=tuple(str(g) for g in store.gene_id[:9]))
    with pytest.raises(OutputError, match="begun with store.sha256") as another:
        scored(moved, world.variants, tmp_path / "out.zarr")
    assert store.sha256 in str(another.value)
    assert moved.sha256 in str(another.value)
