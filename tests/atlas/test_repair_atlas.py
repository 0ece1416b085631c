"""A damaged atlas is computed again where it is damaged, and only there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from click.testing import Result
from interrupted import files

from seal_store.atlas.atlas import Atlas
from seal_store.check.repair_atlas import repair_atlas
from seal_store.check.verify import verify
from seal_store.common.beside import partial_path
from seal_store.errors import InputError, OutputError, SealStoreError, StoreError
from seal_store.run.atlas import build_atlas, plan_atlas, run_shards
from seal_store.run.atlas_job import AtlasJob, Prepared
from seal_store.store import manifest
from seal_store.store.store import Store
from seal_store.variants.regions import Region

Cli = Callable[..., Result]


def damage(file: Path, how: str) -> None:
    """Flip a bit, cut the file or remove it."""
    whole = file.read_bytes()
    if how == "missing":
        file.unlink()
    elif how == "cut":
        file.write_bytes(whole[:-1])
    else:
        middle = len(whole) // 2
        file.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])


def numbered(own: Path) -> dict[str, int]:
    """Inode of each file: those taken over keep it."""
    return {name: os.stat(own / name).st_ino for name in files(own)}


@pytest.fixture
def own_job(job: AtlasJob, own: Path) -> AtlasJob:
    return replace(job, out=own, command="repair")


def test_every_file_of_an_atlas_comes_back(own_job: AtlasJob, own: Path) -> None:
    """Byte by byte, with the command that it was built by; whole shards are not computed."""
    before, inodes = files(own), numbered(own)
    names = sorted(set(before) - {"manifest.json", "zarr.json"})
    first = [n for n in names if n.split("/c/")[-1].startswith("0") and "coefficient/c" in n]
    for how, damaged in (
        ("missing", first),
        ("flipped", ["step/c/1/0/0", "gene_id/c/0", "basis/zarr.json"]),
        ("cut", ["error/c/0"]),
        ("missing", names),
    ):
        for name in damaged:
            damage(own / name, how)
        assert not verify(own).ok
        done = repair_atlas(own_job)
        assert done.same
        assert set(damaged) <= set(done.files)
        assert files(own) == before, how
        if damaged == first:  # of shard 0: shard 1 is linked, not computed
            now = numbered(own)
            assert now["step/c/1/0/0"] == inodes["step/c/1/0/0"]
            assert now["step/c/0/0/0"] != inodes["step/c/0/0/0"]
    assert repair_atlas(own_job).files == []
    assert [p.name for p in own.parent.iterdir()] == [own.name]


def test_numbers_that_do_not_fit_are_computed_again(own_job: AtlasJob, own: Path) -> None:
    before = files(own)
    shutil.copyfile(own / "largest/c/1/0/0", own / "largest/c/0/0/0")
    names = (name for name in files(own) if name != "manifest.json")
    manifest.write(own, {name: manifest.entry(own / name) for name in names})
    done = repair_atlas(own_job)
    assert not done.same
    assert "largest/c/0/0/0" in done.files
    assert files(own) == before


def test_what_it_was_made_by_may_differ(own_job: AtlasJob, own: Path) -> None:
    """Its record of that stays."""
    text = json.loads((own / "zarr.json").read_text())
    text["attributes"]["seal_store_atlas"]["software"]["torch"] = "1.0"
    (own / "zarr.json").write_text(json.dumps(text))
    names = (name for name in files(own) if name != "manifest.json")
    manifest.write(own, {name: manifest.entry(own / name) for name in names})
    damage(own / "rms/c/0/0/0", "cut")
    repair_atlas(own_job)
    assert verify(own).ok
    assert Atlas(own).attributes.software["torch"] == "1.0"
    assert Atlas(own).attributes.command == "tests"


@pytest.mark.parametrize("name", ["zarr.json", "manifest.json", "stray"])
def test_what_cannot_be_computed_is_refused(own_job: AtlasJob, own: Path, name: str) -> None:
    damage(own / "rms/c/0/0/0", "cut")
    if name == "stray":
        (own / name).write_text("")
    else:
        damage(own / name, "cut")
    before = files(own)
    with pytest.raises(StoreError, match=name) as told:
        repair_atlas(own_job)
    assert ("move it away" if name == "stray" else "copy the atlas again") in str(told.value.hint)
    assert files(own) == before


def test_another_job_is_refused(own_job: AtlasJob, own: Path, store: Store, tmp_path: Path) -> None:
    damage(own / "rms/c/0/0/0", "cut")
    before = files(own)
    with pytest.raises(OutputError, match="span 12, not 3"):
        repair_atlas(replace(own_job, span=3))
    with pytest.raises(OutputError, match="gene_id"):
        repair_atlas(replace(own_job, genes=("GENE02", "GENE03", "GENE06")))
    with pytest.raises(InputError, match="is no atlas"):
        repair_atlas(replace(own_job, out=Path(shutil.copytree(store.path, tmp_path / "s"))))
    assert files(own) == before


def no_time(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["zarr.json", "tss/c/0", "step/zarr.json", "journal/key", ""])
def test_a_repair_that_is_cut_off_leaves_the_atlas(
    own_job: AtlasJob, own: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one begins anew, whatever is damaged in what it left."""
    whole = files(own)
    for shard in (0, 1):
        damage(own / f"rms/c/{shard}/0/0", "cut")
    damaged = files(own)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("seal_store.run.atlas.finalize_atlas", no_time)
        repair_atlas(own_job)
    assert files(own) == damaged
    if name:
        damage(partial_path(own) / name, "flipped")
    assert repair_atlas(own_job).same
    assert files(own) == whole


def test_what_a_repair_left_is_removed_where_nothing_is_damaged(
    own_job: AtlasJob, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (own / "rms/c/0/0/0").read_bytes()
    damage(own / "rms/c/0/0/0", "cut")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("seal_store.run.atlas.finalize_atlas", no_time)
        repair_atlas(own_job)
    (own / "rms/c/0/0/0").write_bytes(whole)
    assert repair_atlas(own_job).files == []
    assert not partial_path(own).exists()


def test_labels_alone_take_no_shard(own_job: AtlasJob, own: Path) -> None:
    before, inodes = files(own), numbered(own)
    for name in ("gene_id/c/0", "tss/c/0", "strand/c/0"):
        damage(own / name, "flipped")
    done = repair_atlas(own_job)
    assert done.same
    assert files(own) == before
    assert {f for f in done.files if "/c/" in f} == {"gene_id/c/0", "tss/c/0", "strand/c/0"}
    now = numbered(own)
    assert all(now[name] == inodes[name] for name in now if name.startswith("coefficient/c"))


def test_other_genes_are_refused_where_their_labels_are_damaged(
    own_job: AtlasJob, own: Path
) -> None:
    """All labels that tell genes apart are lost; the manifest still knows them."""
    for name in ("gene_id/c/0", "tss/c/0", "strand/c/0", "contig/c/0"):
        damage(own / name, "missing")
    before = files(own)
    with pytest.raises(StoreError, match="is not what the manifest lists"):
        repair_atlas(replace(own_job, genes=("GENE02", "GENE03", "GENE06")))
    assert files(own) == before
    assert not partial_path(own).exists()
    assert repair_atlas(own_job).same


def test_facts_that_are_wrong_in_several_shards_come_back(own_job: AtlasJob, own: Path) -> None:
    before = files(own)
    entries: Any = zarr.open_group(str(own), mode="r+", use_consolidated=False)["entries"]
    entries[...] = np.asarray(entries[...]) + 3
    names = (name for name in files(own) if name != "manifest.json")
    manifest.write(own, {name: manifest.entry(own / name) for name in names})
    repair_atlas(own_job)
    assert files(own) == before


def test_a_store_that_was_moved_and_regions_named_otherwise(
    own_job: AtlasJob, store: Store, tmp_path: Path
) -> None:
    regions = (Region("chr1"),)
    named = (f"/a/x.bed {'0' * 64}",)
    job = replace(own_job, out=tmp_path / "r.zarr", regions=regions, named=named)
    before = files(build_atlas(Prepared(job)).path)
    damage(tmp_path / "r.zarr/rms/c/0/0/0", "cut")
    moved = Path(shutil.copytree(store.path, tmp_path / "moved.zarr"))
    other = replace(job, store=moved, named=(f"b/y.bed {'0' * 64}",))
    assert repair_atlas(other).same
    assert files(tmp_path / "r.zarr") == before


def test_the_command(cli: Cli, store: Store, own: Path) -> None:
    genes = [a for gene in ("GENE02", "GENE03", "GENE05") for a in ("--gene", gene)]
    args = ["atlas", "build", store.path, "--out", own, *genes, "--span", 12]
    args += ["--genes-per-shard", 2, "--device", "cpu"]
    assert cli(*args, "--repair").stdout == f"{own}: no fault\n"
    damage(own / "step/c/1/0/0", "flipped")
    refused = cli("build", "--repair", "--out", own)
    assert "`seal-store atlas build --repair` mends it" in refused.stderr
    done = cli(*args, "--repair", "--json")
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert (facts["files"], facts["same"]) == (["step/c/1/0/0"], True)
    assert verify(own).ok
    both = cli(*args, "--repair", "--finalize")
    assert "exclude each other" in both.stderr
    unused = cli(*args, "--repair", "--resume")
    assert "--resume has no effect with --repair" in unused.stderr


def test_another_build_that_was_begun_is_kept(own_job: AtlasJob, own: Path) -> None:
    damage(own / "rms/c/0/0/0", "cut")
    plan_atlas(Prepared(replace(own_job, span=3)), overwrite=True)
    run_shards(Prepared(replace(own_job, span=3)), [0])
    begun = files(partial_path(own))
    with pytest.raises(OutputError, match="another build was begun there"):
        repair_atlas(own_job)
    assert files(partial_path(own)) == begun
    assert repair_atlas(own_job, overwrite=True).same
    assert not partial_path(own).exists()


@pytest.mark.slow
def test_workers_repair(own_job: AtlasJob, own: Path) -> None:
    from seal_store.run.crew import Crew

    before = files(own)
    for shard in (0, 1):
        damage(own / f"rms/c/{shard}/0/0", "cut")
    assert repair_atlas(own_job, Crew(workers=2, device="cpu")).same
    assert files(own) == before


def test_resume_says_how_a_damaged_atlas_is_repaired(own_job: AtlasJob, own: Path) -> None:
    damage(own / "rms/c/0/0/0", "cut")
    with pytest.raises(SealStoreError) as told:
        build_atlas(Prepared(own_job), resume=True)
    assert "repair" in str(told.value.hint)
