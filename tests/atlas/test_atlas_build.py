"""An atlas in shards: the same bytes by whoever they are made, however often that is cut off."""

from __future__ import annotations

import errno
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import zarr
from click.testing import Result
from interrupted import files
from seldom import slow, soak

from seal_store.atlas.atlas import Atlas
from seal_store.building.build import build
from seal_store.building.options import BuildOptions
from seal_store.check.verify import verify
from seal_store.common.beside import partial_path
from seal_store.errors import InputError, OutputError, UnfinishedError
from seal_store.run.atlas import build_atlas, finalize_atlas, plan_atlas, run_shards
from seal_store.run.atlas_job import AtlasJob, Prepared
from seal_store.run.crew import Crew
from seal_store.run.status import status
from seal_store.store import manifest, shard_journal
from seal_store.store.place import place
from seal_store.store.store import Store
from seal_store.synthetic import random_bases, write_fasta, write_world

Cli = Callable[..., Result]


def test_array_tasks_in_any_order_end_as_one_command(
    job: AtlasJob, atlas: Atlas, tmp_path: Path
) -> None:
    prepared = Prepared(replace(job, out=tmp_path / "a.zarr"))
    plan_atlas(prepared)
    assert status(tmp_path / "a.zarr").to_dict()["done"] == 0
    run_shards(prepared, [1])
    found = status(tmp_path / "a.zarr")
    assert (found.unit, found.total, found.done) == ("shard", 2, (1,))
    with pytest.raises(UnfinishedError, match="shard 0 of 2 is not done") as caught:
        finalize_atlas(tmp_path / "a.zarr")
    assert "atlas build --shard 0" in caught.value.hint
    run_shards(prepared, [0, 1])
    made = finalize_atlas(tmp_path / "a.zarr")
    assert files(made.path) == files(atlas.path)
    assert status(made.path).finished


def test_what_was_not_made_alike_is_not_joined(job: AtlasJob, tmp_path: Path) -> None:
    job = replace(job, out=tmp_path / "a.zarr")
    plan_atlas(Prepared(job))
    run_shards(Prepared(job), [0, 1])
    partial = partial_path(job.out)
    for file in (shard_journal.entry_path(partial, 1), partial / "zarr.json"):
        text, found = re.subn(r'"torch": "[^"]+"', '"torch": "1.0"', file.read_text())
        assert found == 1
        file.write_text(text)
        with pytest.raises(OutputError, match="shard 1: made with software.torch '1.0'"):
            finalize_atlas(job.out)
    with pytest.raises(OutputError, match="begun with software.torch '1.0', not"):
        run_shards(Prepared(job), [1])


def test_what_is_planned_otherwise_is_not_mixed(job: AtlasJob, tmp_path: Path) -> None:
    job = replace(job, out=tmp_path / "a.zarr")
    with pytest.raises(UnfinishedError, match="no planned atlas"):
        run_shards(Prepared(job), [0])
    plan_atlas(Prepared(job))
    other = Prepared(replace(job, span=3))
    with pytest.raises(OutputError, match="span"):
        run_shards(other, [0])
    with pytest.raises(OutputError, match="span"):
        build_atlas(other, resume=True)
    one, two = (
        Prepared(replace(job, genes=(gene,), out=tmp_path / "b.zarr"))
        for gene in ("GENE02", "GENE03")  # of one contig, with as many variants
    )
    plan_atlas(one)
    for step in (lambda: run_shards(two, [0]), lambda: build_atlas(two, resume=True)):
        with pytest.raises(OutputError, match="gene_id.0 'GENE02', not 'GENE03'"):
            step()
    build_atlas(one, resume=True)
    with pytest.raises(OutputError, match="gene_id.0 'GENE02', not 'GENE03'"):
        build_atlas(two, resume=True)
    contexts = replace(job.options, contexts=("childhood.DFC",))
    other = replace(one.job, options=contexts, out=tmp_path / "c.zarr")
    plan_atlas(Prepared(other))
    other = replace(other, options=replace(contexts, contexts=("adulthood.DFC",)))
    with pytest.raises(OutputError, match="context_name.0 'childhood.DFC', not 'adulthood.DFC'"):
        build_atlas(Prepared(other), resume=True)
    with pytest.raises(InputError, match="`shard` 2"):
        run_shards(Prepared(job), [2])
    with pytest.raises(OutputError, match="did not finish"):
        build_atlas(Prepared(job))


def test_a_plan_that_was_cut_off_is_none(
    job: AtlasJob, atlas: Atlas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = replace(job, out=tmp_path / "a.zarr")
    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space"):
        patched.setattr("seal_store.run.atlas.create", no_space)
        plan_atlas(Prepared(job))
    with pytest.raises(UnfinishedError, match="is made by one process|nothing there"):
        status(job.out)
    with pytest.raises(UnfinishedError, match="no planned atlas here"):
        run_shards(Prepared(job), [0])
    assert files(build_atlas(Prepared(job), resume=True).path) == files(atlas.path)


def test_an_unfinished_atlas_says_what_finishes_it(cli: Cli, job: AtlasJob, tmp_path: Path) -> None:
    plan_atlas(Prepared(replace(job, out=tmp_path / "a.zarr")))
    for command in ("verify", "inspect"):
        for name in ("a.zarr", "a.zarr.partial"):
            done = cli(command, tmp_path / name)
            assert "`seal-store atlas build ... --resume`" in done.stderr, (command, done.stderr)


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_with_overwrite_another_plan_is_begun(job: AtlasJob, tmp_path: Path) -> None:
    job = replace(job, out=tmp_path / "a.zarr")
    plan_atlas(Prepared(job))
    other = Prepared(replace(job, span=3))
    made = build_atlas(other, resume=True, overwrite=True)
    assert made.attributes.span == 3
    again = build_atlas(Prepared(job), resume=True, overwrite=True)
    assert again.attributes.span == job.span


def test_resume_computes_what_is_missing_or_damaged(
    job: AtlasJob, atlas: Atlas, tmp_path: Path
) -> None:
    job = replace(job, out=tmp_path / "a.zarr")
    prepared, partial = Prepared(job), partial_path(job.out)  # type: ignore[arg-type]
    plan_atlas(prepared)
    run_shards(prepared, [0, 1])
    damaged = partial / "coefficient/c/1/0/0/0"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    made = build_atlas(prepared, resume=True)
    assert files(made.path) == files(atlas.path)
    again = build_atlas(prepared, resume=True)
    assert again.sha256 == made.sha256
    with pytest.raises(OutputError, match="exists already"):
        build_atlas(prepared)


def test_the_command(cli: Cli, store: Store, atlas: Atlas, tmp_path: Path) -> None:
    args = ["atlas", "build", store.path, "--gene", "GENE02", "--span", 2, "--device", "cpu"]
    tried = cli(*args, "--out", tmp_path / "a.zarr", "--dry-run")
    assert tried.exit_code == 0
    assert "about 15 SNVs of 1 gene in 1 shard: " in tried.stdout
    assert not list(tmp_path.iterdir())
    made = cli(*args, "--out", tmp_path / "a.zarr", "-q")
    assert made.exit_code == 0, made.output
    assert "1 gene, 15 SNVs, 802 contexts" in made.stdout
    assert Atlas(tmp_path / "a.zarr").column("entries").tolist() == [15]
    again = cli(*args, "--out", tmp_path / "a.zarr")
    assert "exists already" in again.stderr
    assert "measured" not in again.stderr
    for step in (["--plan"], ["--shard", 0], ["--finalize"]):
        done = cli(*args, "--out", tmp_path / "b.zarr", *step, "-q")
        assert done.exit_code == 0, done.output
    assert Atlas(tmp_path / "b.zarr").column("entries").tolist() == [15]
    done = cli(*args, "--out", tmp_path / "b.zarr", "--shard", 0)  # by a batch system, again
    assert (done.exit_code, "is finished, nothing is left" in done.stdout) == (0, True)
    done = cli(*args, "--out", tmp_path / "none.zarr", "--shard", 0)
    assert (done.exit_code, "no planned atlas" in done.stderr) == (1, True)
    regions = cli("atlas", "export", tmp_path / "b.zarr", "x.tsv.gz", "--regions", "chr1:1-5")
    assert "no such file; it names a file of regions" in regions.stderr
    unused = cli(*args, "--out", tmp_path / "c.zarr", "--full", "--max-error", 0.1)
    assert unused.exit_code == 2
    assert "--max-error has no effect with --full" in unused.stderr
    inside = cli(*args, "--out", store.path / "a.zarr", "-q")
    assert "lies in the store" in inside.stderr
    shown = cli("inspect", tmp_path / "a.zarr")
    assert "kind: atlas" in shown.stdout
    refused = cli("export", tmp_path / "a.zarr", tmp_path / "x.tsv")
    assert "is an atlas, not a results group" in refused.stderr


@pytest.mark.slow
def test_processes_make_the_same_bytes(job: AtlasJob, atlas: Atlas, tmp_path: Path) -> None:
    prepared = Prepared(replace(job, out=tmp_path / "a.zarr"))
    made = build_atlas(prepared, Crew(workers=2, device="cpu"))
    assert files(made.path) == files(atlas.path)


COMMAND = "import sys; from seal_store.cli import run; run(sys.argv[1:])"


@pytest.mark.parametrize(("genes", "workers", "kills"), [slow(8, 2, 1), soak(40, 4, 3)])
def test_workers_that_are_killed_and_go_on(
    genes: int, workers: int, kills: int, options: BuildOptions, tmp_path: Path
) -> None:
    """The bytes are those of one process; nothing is lost, nothing half-written is left."""
    world = write_world(tmp_path / "world", 5)
    write_fasta(world.genome, {"chr1": random_bases(1_800_000, 3)})
    lines = [
        f"chr1\t{40_000 * i + 30_000}\t{40_000 * i + 30_001}\t{'+-'[i % 2]}\tG{i:02d}\n"
        for i in range(genes)
    ]
    world.genes.write_text("".join(lines))
    how = replace(options, genome=world.genome, genes=world.genes, out=tmp_path / "s.zarr")
    own = build(replace(how, hidden=False), "cpu")
    args = ["atlas", "build", str(own.path), "--out", "a.zarr", "--span", "3", "--device", "cpu"]
    (tmp_path / "one").mkdir()
    (tmp_path / "many").mkdir()
    command = [sys.executable, "-c", COMMAND, *args]
    subprocess.run([*command, "-q"], cwd=tmp_path / "one", check=True, stdout=subprocess.DEVNULL)
    killed = 0
    while True:
        child = subprocess.Popen(
            [*command, "--workers", str(workers), "--resume"],
            cwd=tmp_path / "many",
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        if killed < kills:
            journal = tmp_path / "many/a.zarr.partial/journal"
            wanted = len(list(journal.glob("shard-*"))) + random.randint(1, genes // 5 + 1)
            while child.poll() is None and len(list(journal.glob("shard-*"))) < wanted:
                time.sleep(0.02)
            os.killpg(child.pid, signal.SIGKILL)
            killed += 1
        _, said = child.communicate()
        if child.returncode == 0:
            break
        assert child.returncode == -signal.SIGKILL, said
    one, many = (tmp_path / folder / "a.zarr" for folder in ("one", "many"))
    assert files(one) == files(many)
    assert len(Atlas(many)) == genes
    assert [p.name for p in (tmp_path / "many").iterdir()] == ["a.zarr"]


def test_every_damage_is_named(atlas: Atlas, own: Path) -> None:
    """A flipped bit, a cut, a missing and a stray file, of each array."""
    assert verify(own).ok
    names = sorted(n for n in files(own) if n != "manifest.json")
    arrays = {n.split("/c/")[0]: n for n in names if "/c/" in n}
    assert {"base", "coefficient", "basis", "step", "largest", "gene_id"} <= set(arrays)
    for name in (*arrays.values(), "zarr.json", "step/zarr.json"):
        whole = (own / name).read_bytes()
        place = len(whole) // 2
        flipped = bytearray(whole)
        flipped[place] ^= 1
        for bad in (bytes(flipped), whole[:-1], None):
            if bad is None:
                (own / name).unlink()
            else:
                (own / name).write_bytes(bad)
            report = verify(own, contents=bad is not None)
            assert name in {fault.file for fault in report.faults}, (name, bad is None)
            (own / name).write_bytes(whole)
    assert verify(own).ok
    (own / "stray").write_text("")
    assert [f.check for f in verify(own).faults] == ["stray"]


def sealed(own: Path) -> None:
    """Write a manifest of the files as they are."""
    names = (name for name in files(own) if name != "manifest.json")
    manifest.write(own, {name: manifest.entry(own / name) for name in names})


def test_numbers_that_do_not_fit_are_named(atlas: Atlas, own: Path) -> None:
    """Whole files with other numbers, and a manifest that says they are right."""
    group = zarr.open_group(str(own), mode="r+", use_consolidated=False)
    for name, message in (
        ("largest", "not the largest of the summary"),
        ("step", "not the largest of the summary"),
        ("base", "entries"),
    ):
        array = group[name]
        assert isinstance(array, zarr.Array)
        before = array[...]
        changed = before.copy()  # type: ignore[union-attr]
        changed[1, 3] = 0 if name == "base" else changed[1, 3] * 2  # type: ignore[index]
        array[...] = changed
        manifest.write(
            own, {n: manifest.entry(own / n) for n in files(own) if n != "manifest.json"}
        )
        found = verify(own).faults
        assert message in str([f.message for f in found]), name
        assert {gene for f in found for gene in f.genes} == {"GENE03"}, name
        array[...] = before
    sealed(own)
    assert verify(own).ok


@pytest.mark.slow
def test_in_a_bucket_it_is_as_here(
    bucket: str, job: AtlasJob, atlas: Atlas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out = place(f"{bucket}/atlases/a.zarr", work=tmp_path / "work")
    made = build_atlas(Prepared(replace(job, out=out)), Crew(workers=2, device="cpu"))
    assert str(made.path) == f"{bucket}/atlases/a.zarr"
    assert made.sha256 == atlas.sha256
    assert verify(made.path).ok
    again = build_atlas(Prepared(replace(job, out=out)), resume=True)
    assert again.sha256 == atlas.sha256


@pytest.mark.slow
def test_a_dask_scheduler_makes_the_same_bytes(job: AtlasJob, atlas: Atlas, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    prepared = Prepared(replace(job, out=tmp_path / "a.zarr"))
    made = build_atlas(prepared, Crew(workers=2, scheduler="local", device="cpu"))
    assert files(made.path) == files(atlas.path)
