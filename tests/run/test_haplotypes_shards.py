"""Haplotypes in shards: the same bytes by whoever they are made, however often that is cut off."""

from __future__ import annotations

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

import numpy as np
import pytest
from click.testing import Result
from interrupted import files
from phased import Row, random_rows, written
from seldom import slow, soak

from seal_store.building.build import build
from seal_store.building.options import BuildOptions
from seal_store.check.verify import verify
from seal_store.common.beside import partial_path
from seal_store.errors import InputError, OutputError, UnfinishedError
from seal_store.results.haplotypes import Haplotypes
from seal_store.run.crew import Crew
from seal_store.run.haplotypes import (
    PLAN,
    finalize_haplotypes,
    plan_haplotypes,
    run_shards,
    score_haplotypes,
)
from seal_store.run.haplotypes_job import HaplotypesJob, Prepared
from seal_store.run.status import status
from seal_store.scoring.options import ScoreOptions
from seal_store.store.store import Store
from seal_store.synthetic import random_bases, write_fasta, write_world

Cli = Callable[..., Result]
GENES = ("GENE02", "GENE03", "GENE04")


@pytest.fixture(scope="module")
def job(store: Store, tmp_path_factory: pytest.TempPathFactory) -> HaplotypesJob:
    folder = tmp_path_factory.mktemp("people")
    rng = np.random.default_rng(5)
    rows = {row[0]: row for gene in (1, 2, 3) for row in random_rows(store, gene, rng, 10, 4)}
    vcf = written(folder / "p.vcf", list(rows.values()), list("abcd"))
    options = ScoreOptions(device="cpu")
    return HaplotypesJob(store.path, folder / "h.zarr", vcf, (), GENES, options, command="c")


@pytest.fixture(scope="module")
def whole(job: HaplotypesJob) -> Haplotypes:
    """Made in one process."""
    return score_haplotypes(Prepared(job))


def test_array_tasks_in_any_order_end_as_one_command(
    job: HaplotypesJob, whole: Haplotypes, tmp_path: Path
) -> None:
    out = tmp_path / "h.zarr"
    prepared = Prepared(replace(job, out=out))
    with pytest.raises(UnfinishedError, match="no planned haplotypes"):
        run_shards(prepared, [0])
    plan_haplotypes(prepared)
    run_shards(prepared, [1])
    found = status(out)
    assert (found.unit, found.total, found.done) == ("shard", 3, (1,))
    with pytest.raises(UnfinishedError, match="shard 0 of 3 is not done") as caught:
        finalize_haplotypes(prepared)
    assert "score haplotypes --shard 0" in caught.value.hint
    run_shards(prepared, [2, 0, 1])
    made = finalize_haplotypes(prepared)
    assert files(made.path) == files(whole.path)  # type: ignore[arg-type]
    assert status(out).finished
    assert verify(out).ok


def test_what_is_planned_otherwise_is_not_mixed(job: HaplotypesJob, tmp_path: Path) -> None:
    job = replace(job, out=tmp_path / "h.zarr")
    plan_haplotypes(Prepared(job))
    others = {
        "gene_ids": replace(job, genes=("GENE02", "GENE03", "GENE05")),
        "samples": replace(job, samples=("a", "b", "c")),
        "context_names": replace(job, options=replace(job.options, contexts=("childhood.DFC",))),
    }
    for name, other in others.items():
        with pytest.raises(OutputError, match=name):
            run_shards(Prepared(other), [0])
        with pytest.raises(OutputError, match=name):
            score_haplotypes(Prepared(other), resume=True)
    with pytest.raises(InputError, match="`shard` 3"):
        run_shards(Prepared(job), [3])
    planned = partial_path(job.out) / PLAN
    planned.write_text(re.sub(r'"torch": "[^"]+"', '"torch": "1.0"', planned.read_text()))
    with pytest.raises(OutputError, match="begun with software.torch '1.0', not"):
        run_shards(Prepared(job), [0])
    with pytest.raises(OutputError, match="did not finish"):
        score_haplotypes(Prepared(job))


def test_resume_scores_what_is_missing_or_damaged(
    job: HaplotypesJob, whole: Haplotypes, tmp_path: Path
) -> None:
    job = replace(job, out=tmp_path / "h.zarr")
    partial = partial_path(job.out)
    plan_haplotypes(Prepared(job))
    run_shards(Prepared(job), [0, 1, 2])
    damaged = partial / "journal/gene-0000001.npz"  # type: ignore[operator]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(UnfinishedError, match="shard 1 of 3: .* is not as its journal lists it"):
        finalize_haplotypes(Prepared(job))
    kept = (partial / "journal/gene-0000000.npz").stat().st_mtime_ns  # type: ignore[operator]
    looked: list[int] = []

    def look(what: str, done: int, total: int | None) -> None:
        now = (partial / "journal/gene-0000000.npz").stat().st_mtime_ns  # type: ignore[operator]
        looked.append(now)

    made = score_haplotypes(Prepared(job), resume=True, progress=look)
    assert set(looked) == {kept}
    assert files(made.path) == files(whole.path)  # type: ignore[arg-type]
    assert score_haplotypes(Prepared(job), resume=True).sha256 == made.sha256
    with pytest.raises(OutputError, match="samples"):
        score_haplotypes(Prepared(replace(job, samples=("a",))), resume=True)
    with pytest.raises(OutputError, match="exists already"):
        score_haplotypes(Prepared(job))


def test_another_vcf_of_the_same_name_is_refused(job: HaplotypesJob, tmp_path: Path) -> None:
    vcf = tmp_path / "p.vcf.gz"
    for end in ("", ".tbi"):
        (tmp_path / f"p.vcf.gz{end}").write_bytes(Path(f"{job.vcf}{end}").read_bytes())
    job = replace(job, vcf=vcf, out=tmp_path / "h.zarr")
    plan_haplotypes(Prepared(job))
    os.utime(vcf, ns=(1, 1))  # the same content: read again, and gone on with
    run_shards(Prepared(job), [0])
    vcf.write_bytes(vcf.read_bytes() + vcf.read_bytes()[-28:])  # one more empty block
    os.utime(f"{vcf}.tbi")
    with pytest.raises(OutputError, match="variants_sha256"):
        run_shards(Prepared(job), [1])


@pytest.mark.slow
def test_processes_make_the_same_bytes(
    job: HaplotypesJob, whole: Haplotypes, tmp_path: Path
) -> None:
    prepared = Prepared(replace(job, out=tmp_path / "h.zarr"))
    made = score_haplotypes(prepared, Crew(workers=2, device="cpu"))
    assert files(made.path) == files(whole.path)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_dask_scheduler_makes_the_same_bytes(
    job: HaplotypesJob, whole: Haplotypes, tmp_path: Path
) -> None:
    prepared = Prepared(replace(job, out=tmp_path / "h.zarr"))
    made = score_haplotypes(prepared, Crew(workers=2, scheduler="local", device="cpu"))
    assert files(made.path) == files(whole.path)  # type: ignore[arg-type]


def test_the_steps_as_commands(
    cli: Cli, job: HaplotypesJob, whole: Haplotypes, tmp_path: Path
) -> None:
    out = tmp_path / "h.zarr"
    args = ["score", "haplotypes", job.vcf, "--store", job.store, "--out", out, "--device", "cpu"]
    args += [word for gene in GENES for word in ("--gene", gene)]
    planned = cli(*args, "--plan", "-q")
    assert "planned 3 genes in 3 shards: run --shard 0 to --shard 2" in planned.stdout
    assert cli(*args, "--shard", 0, "--shard", 2, "-q").exit_code == 0
    assert "2 of 3 shards done" in cli("status", out).stdout
    assert "shard 1 of 3 is not done" in cli(*args, "--finalize", "-q").stderr
    assert "did not finish" in cli(*args, "-q").stderr
    assert cli(*args, "--resume", "-q").exit_code == 0
    np.testing.assert_array_equal(Haplotypes(out).column("effect"), whole.column("effect"))
    unused = cli(*args, "--shard", 0, "--resume")
    assert "--resume has no effect with --shard" in unused.stderr


COMMAND = "import sys; from seal_store.cli import run; run(sys.argv[1:])"


PEAK = f"""
from pathlib import Path
try:
    {COMMAND}
except SystemExit as end:
    assert not end.code
print(next(line.split()[1] for line in Path("/proc/self/status").open() if "VmHWM" in line))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is told by Linux")
def test_memory_does_not_grow_with_genes_and_samples(store: Store, tmp_path: Path) -> None:
    """Carried by 20 samples of 20, near one gene, or by 20 of 10,000, near all genes."""
    rng = np.random.default_rng(2)
    genes = [g for g in range(len(store)) if store.column("contig")[g] == "chr1"]
    rows: dict[int, Row] = {}
    for gene in genes:
        for i, row in enumerate(random_rows(store, gene, rng, 2_000, 20)):
            rows.setdefault(row[0], row if i % 40 == 0 else (*row[:3], ["0|0"] * 20))

    def peak(samples: int, *some: str) -> int:
        more = ["0|0"] * (samples - 20)
        own = [(*row[:3], [*row[3], *more]) for row in rows.values()]
        vcf = written(tmp_path / f"{samples}.vcf", own, [f"s{i}" for i in range(samples)])
        args = ["score", "haplotypes", vcf, "--store", store.path, "--out", tmp_path / f"{samples}"]
        command = [sys.executable, "-c", PEAK, *map(str, args), *some, "--device", "cpu", "-q"]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
        return int(done.stdout.split()[-1]) << 10

    few = peak(20, "--gene", str(store.gene_id[genes[0]]))
    many = peak(10_000)
    genotypes = len(rows) * 10_000 * 2 * 2
    assert genotypes > 20 << 20
    assert many - few < genotypes / 2


@pytest.mark.parametrize(("genes", "workers", "kills"), [slow(6, 2, 1), soak(24, 3, 3)])
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
    own = build(how, "cpu")
    rng = np.random.default_rng(genes)
    found = [row for gene in range(genes) for row in random_rows(own, gene, rng, 5, 2)]
    rows = {row[0] // 70: row for row in found}
    vcf = written(tmp_path / "p.vcf", list(rows.values()), list("ab"), length=1_800_000)
    (tmp_path / "one").mkdir()
    (tmp_path / "many").mkdir()
    args = ["score", "haplotypes", str(vcf), "--store", str(own.path), "--out", "h.zarr"]
    command = [sys.executable, "-c", COMMAND, *args, "--device", "cpu"]
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
            journal = tmp_path / "many/h.zarr.partial/journal"
            wanted = len(list(journal.glob("shard-*"))) + random.randint(1, genes // 5 + 1)
            while child.poll() is None and len(list(journal.glob("shard-*"))) < wanted:
                time.sleep(0.02)
            os.killpg(child.pid, signal.SIGKILL)
            killed += 1
        _, said = child.communicate()
        if child.returncode == 0:
            break
        assert child.returncode == -signal.SIGKILL, said
    one, many = (tmp_path / folder / "h.zarr" for folder in ("one", "many"))
    assert files(one) == files(many)
    assert len(Haplotypes(many).column("gene_id")) == genes
    assert [p.name for p in (tmp_path / "many").iterdir()] == ["h.zarr"]
