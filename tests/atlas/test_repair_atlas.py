"""A damaged atlas is computed again where it is damaged, and only there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
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


def test_a_repair_that_is_cut_off_leaves_the_atlas_and_goes_on(
    own_job: AtlasJob, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = files(own)
    for shard in (0, 1):
        damage(own / f"rms/c/{shard}/0/0", "cut")
    damaged = files(own)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("seal_store.run.atlas.finalize_atlas", no_time)
        repair_atlas(own_job)
    assert files(own) == damaged
    computed = os.stat(partial_path(own) / "rms/c/1/0/0").st_ino
    assert repair_atlas(own_job).same
    assert files(own) == whole
    assert numbered(own)["rms/c/1/0/0"] == computed


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
    with pytest.raises(OutputError, match="span 3, not 12"):
        repair_atlas(own_job)
    assert files(partial_path(own)) == begun


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
