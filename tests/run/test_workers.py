"""Work shared by processes and by a Dask scheduler: the same bytes, whatever dies meanwhile."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from interrupted import files
from marks import Marks

import seal_store
from seal_store.building.build import build
from seal_store.building.options import BuildOptions
from seal_store.building.plan import plan
from seal_store.common.beside import partial_path
from seal_store.common.tasks import notes
from seal_store.errors import InputError, OutputError, UnfinishedError
from seal_store.results import journal
from seal_store.run import engine_dask
from seal_store.run.crew import Crew
from seal_store.run.job import Prepared, ScoreJob
from seal_store.run.scores import write_scores
from seal_store.run.shards import ShardWork, build_with
from seal_store.run.slices import run_slices, score_in_slices
from seal_store.run.slices_plan import plan_scores
from seal_store.run.work import Done
from seal_store.run.workers import run_workers, unheard
from seal_store.scoring.options import ScoreOptions
from seal_store.store import shard_journal
from seal_store.store.store import Store
from seal_store.synthetic import World

TESTS = str(Path(__file__).parents[1])
"""Where workers find :mod:`marks`."""

TWO = Crew(workers=2, device="cpu")


def tries(folder: Path) -> dict[int, int]:
    return {int(p.name): len(p.read_text()) for p in folder.iterdir() if p.name.isdigit()}


@pytest.fixture
def job(store: Store, world: Any, tmp_path: Path) -> ScoreJob:
    """2,000 variants and more."""
    rng = np.random.default_rng(3)
    lines = ["#CHROM\tPOS\tID\tREF\tALT"]
    contigs, tss = store.column("contig").tolist(), store.column("tss").tolist()
    sequences = [store.sequence(gene) for gene in range(len(store))]
    for gene in rng.integers(0, len(store), 2_300).tolist():
        away = int(rng.integers(-15_000, 15_000))
        base = chr(sequences[gene][away + 22_500])
        if base in "ACGT":
            alt = "CGTA"["ACGT".index(base)]
            lines.append(f"{contigs[gene]}\t{tss[gene] + away}\t.\t{base}\t{alt}")
    path = tmp_path / "many.vcf"
    path.write_text("\n".join(lines) + "\n")
    options = ScoreOptions(device="cpu")
    return ScoreJob(store.path, tmp_path / "out.zarr", str(path), options=options, command="c")


def test_processes_and_one_process_end_with_the_same_bytes(job: ScoreJob, tmp_path: Path) -> None:
    tally, plan = score_in_slices(Prepared(job), replace(TWO, workers=3))
    assert len(plan.slices) == 3
    one = Prepared(replace(job, out=tmp_path / "one.zarr"))
    counts = write_scores(one.scorer, one.whole, one.job.out, command="c")
    assert files(job.out) == files(one.job.out)
    assert tally.counts.to_dict() == counts.to_dict()


def test_what_cannot_be_joined_ends_the_work_early(job: ScoreJob) -> None:
    class Here(Crew):
        def do(self, work: Any, tasks: Sequence[int], done: Done = bool) -> dict[int, Any]:
            run = work.begin("cpu")
            while damaged.exists():
                time.sleep(0.01)
            for task in tasks:
                run(task)
                done(task)
            return {}

    prepared = Prepared(job)
    planned = plan_scores(prepared, least=12)
    run_slices(prepared, [0])
    damaged = planned.path(partial_path(job.out), 0)
    (damaged / "effect/c/0/0").write_bytes(b"cut")
    with pytest.raises(UnfinishedError, match="slice 0 was damaged and is removed"):
        score_in_slices(prepared, Here(), resume=True)
    assert planned.missing(partial_path(job.out)) == [0, 2]


@pytest.mark.slow
def test_a_build_by_processes_has_the_same_bytes(options: BuildOptions, tmp_path: Path) -> None:
    options = replace(options, genes_per_shard=1)
    whole = build(replace(options, out=tmp_path / "whole.zarr"), "cpu")
    assert whole.attributes.shards >= 8
    shared = build_with(replace(options, out=tmp_path / "shared.zarr"), TWO)
    assert files(shared.path) == files(whole.path)


def test_a_shard_is_done_once_however_often_it_is_given(
    options: BuildOptions, tmp_path: Path
) -> None:
    """As by Dask, which does a task again if the worker that has its result is lost."""
    partial = plan(replace(options, out=tmp_path / "x.zarr", genes_per_shard=4)).path
    run = ShardWork(partial).begin("cpu")
    entry = shard_journal.entry_path(partial, 0)

    def written() -> int:
        run(0)
        return entry.stat().st_mtime_ns

    first = written()
    assert written() == first
    (partial / "features/c/0/0/0").write_bytes(b"damaged")
    assert written() > first
    assert shard_journal.missing(partial, 1) == []


@pytest.mark.slow
def test_what_dies_is_replaced_and_its_task_done_again(tmp_path: Path) -> None:
    done: list[int] = []
    work = Marks(tmp_path, once=(1, 4))
    found = TWO.do(work, range(6), done.append)
    assert found == {i: i * i for i in range(6)}
    assert sorted(done) == list(range(6))
    assert tries(tmp_path) == {0: 1, 1: 2, 2: 1, 3: 1, 4: 2, 5: 1}


def test_what_always_fails_is_named_and_the_rest_is_done(tmp_path: Path) -> None:
    work = Marks(tmp_path, always=(2,), dies=(5,), refused=(3,))
    with pytest.raises(OutputError) as caught:
        TWO.do(work, range(8))
    said = str(caught.value)
    assert said.startswith("3 of 8 shards failed: shard 2: ValueError: task 2 is odd; ")
    assert "shard 3: refused; mend it; shard 5: its process died (SIGKILL" in said
    assert tries(tmp_path) == {i: {2: 3, 5: 3}.get(i, 1) for i in range(8)}
    assert {i: note.state for i, note in notes(tmp_path).items()} == dict.fromkeys(
        (2, 3, 5), "failed"
    )


@pytest.mark.slow
def test_work_that_cannot_begin_ends_at_once(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="a worker could not begin: no cuda:7 here"):
        run_workers(Marks(tmp_path), range(4), ["cuda:7"], 1)
    with pytest.raises(InputError, match="no CUDA device found"):
        Crew(device="cuda:all").do(Marks(tmp_path), range(4))
    assert tries(tmp_path) == {}


# --- Dask, as its users start it


class Cluster:
    """A scheduler and workers as commands."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "scheduler.json"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.scheduler = self.start("dask_scheduler", "--port", "0", "--no-show")
        while not self.file.exists():
            assert self.scheduler.poll() is None
            time.sleep(0.05)
        self.address = json.loads(self.file.read_text())["address"]
        self.workers = [self.worker(), self.worker()]

    def worker(self) -> subprocess.Popen[bytes]:
        return self.start("dask_worker", "--nthreads", "1", "--no-nanny", "--no-dashboard")

    def start(self, kind: str, *args: str) -> subprocess.Popen[bytes]:
        given = [*args, "--host", "127.0.0.1", "--scheduler-file", str(self.file)]
        process = subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{kind}", *given],
            env={**os.environ, "PYTHONPATH": TESTS, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.processes.append(process)
        return process

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    found = Cluster(tmp_path_factory.mktemp("dask"))
    yield found
    found.close()


def kill(*processes: subprocess.Popen[bytes]) -> None:
    for process in processes:
        assert process.poll() is None
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_cluster_ends_with_the_same_bytes_whatever_dies(
    cluster: Cluster, options: BuildOptions, job: ScoreJob, tmp_path: Path
) -> None:
    options = replace(options, genes_per_shard=1)
    built = build(replace(options, out=tmp_path / "whole.zarr"), "cpu")
    whole, shards = files(built.path), built.attributes.shards
    crew = Crew(scheduler=str(cluster.file), device="cpu")

    def shared(name: str, event: Callable[[], object], **more: Any) -> Path:
        left = [event]

        def progress(unit: str, done: int, total: int | None) -> None:
            if unit == "shards" and done == 2 and left:
                left.pop()()

        out = tmp_path / name
        build_with(replace(options, out=out), crew, progress=progress)
        assert not left
        return out

    assert files(shared("plain.zarr", list)) == whole
    assert files(shared("one.zarr", lambda: kill(cluster.workers[0]))) == whole

    def renewed() -> None:
        kill(cluster.workers[1])
        cluster.workers = [cluster.worker(), cluster.worker()]

    assert files(shared("both.zarr", renewed)) == whole
    score_in_slices(Prepared(job), crew)
    one = Prepared(replace(job, out=tmp_path / "one-process.zarr"))
    write_scores(one.scorer, one.whole, one.job.out, command="c")
    assert files(job.out) == files(one.job.out)
    with pytest.raises(OutputError, match="was lost"):
        shared("lost.zarr", lambda: kill(cluster.scheduler))
    lost = replace(options, out=tmp_path / "lost.zarr", resume=True)
    left = shard_journal.missing(partial_path(lost.out), shards)
    assert 0 < len(left) < shards
    assert files(build_with(lost, Crew(device="cpu")).path) == whole


@pytest.mark.slow
def test_what_workers_keep_is_of_one_run(
    cluster: Cluster, options: BuildOptions, job: ScoreJob, tmp_path: Path
) -> None:
    """The same command again, of a gene on the other strand, or of a file that has changed."""
    crew = Crew(scheduler=cluster.address, device="cpu")
    out = tmp_path / "g.zarr"
    for gene in ("GENE01", "GENE02"):
        made = build_with(replace(options, out=out, gene=(gene,), overwrite=True), crew)
        alone = replace(options, out=tmp_path / f"{gene}.zarr", gene=(gene,))
        assert files(made.path) == files(build(alone, "cpu").path)
    score_in_slices(Prepared(job), crew)
    lines = Path(job.variants).read_text().splitlines()
    Path(job.variants).write_text("\n".join(lines[:-50]) + "\n")
    score_in_slices(Prepared(job), crew, overwrite=True)
    assert len(seal_store.open_results(job.out)) == len(lines) - 51


@pytest.mark.slow
def test_a_task_that_fails_in_a_cluster_is_named(cluster: Cluster, tmp_path: Path) -> None:
    crew = Crew(scheduler=cluster.address, device="cpu")
    work = Marks(tmp_path, always=(2,), once=(1,))
    with pytest.raises(OutputError, match=r"^1 of 5 shards failed: shard 2: ValueError: task 2"):
        crew.do(work, range(5))
    assert tries(tmp_path)[2] == 3
    assert set(tries(tmp_path)) == set(range(5))


@pytest.mark.slow
def test_what_is_queued_is_cancelled(cluster: Cluster, tmp_path: Path) -> None:
    def interrupt(task: int) -> None:
        raise KeyboardInterrupt

    work = Marks(tmp_path, seconds=0.2)
    with pytest.raises(KeyboardInterrupt):
        Crew(scheduler=cluster.address, device="cpu").do(work, range(100), interrupt)
    time.sleep(1.0)  # what had begun may end
    begun = tries(tmp_path)
    time.sleep(1.0)
    assert tries(tmp_path) == begun
    assert len(begun) < 100


def test_an_interrupt_waits_until_a_process_is_started_whole() -> None:
    """Also where another thread takes the signal, which Python passes on to this one."""
    ended, reached = threading.Event(), False
    threading.Thread(target=ended.wait).start()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), unheard():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
            reached = True
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
        ended.set()
    assert reached


@pytest.mark.slow
def test_an_interrupted_command_leaves_no_process_and_goes_on(
    job: ScoreJob, tmp_path: Path
) -> None:
    program = "import sys; from seal_store.cli import run; run(sys.argv[1:])"
    fixed = ["score", "vcf", job.variants, "--store", str(job.store), "--out", str(job.out), "-q"]
    command = [sys.executable, "-c", program, *fixed, "--device", "cpu", "--workers", "2"]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, preexec_fn=hear_interrupts)
    assert child.stderr is not None
    while not (partial_path(job.out) / journal.PLAN).exists():
        assert child.poll() is None
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    said = child.stderr.read()  # ends when no process has it open
    assert child.wait() == 130
    assert said.endswith(b"interrupted; the same command with --resume goes on\n")
    child.stderr.close()
    assert not job.out.exists()
    subprocess.run([*command, "--resume"], check=True, stdout=subprocess.DEVNULL)
    one = Prepared(replace(job, out=tmp_path / "one.zarr"))
    write_scores(one.scorer, one.whole, one.job.out)
    effect = "effect/c/0/0"
    assert files(job.out)[effect] == files(one.job.out)[effect]


@pytest.mark.slow
def test_of_a_killed_worker_nothing_is_left_and_nothing_said(job: ScoreJob) -> None:
    program = "import sys; from seal_store.cli import run; run(sys.argv[1:])"
    fixed = ["score", "vcf", job.variants, "--store", str(job.store), "--out", str(job.out)]
    command = [sys.executable, "-c", program, *fixed, "--device", "cpu", "--workers", "2", "--json"]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert child.stderr is not None
    while not (found := notes(partial_path(job.out))):
        assert child.poll() is None
        time.sleep(0.01)
    os.kill(next(iter(found.values())).pid, signal.SIGKILL)
    said = child.stderr.read()  # ends when no process has it open, that which counts locks too
    child.stderr.close()
    assert child.wait() == 0
    assert b"leaked" not in said
    assert b"resource_tracker" not in said


def hear_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.slow
def test_a_scheduler_of_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", TESTS)
    crew = Crew(workers=2, scheduler="local", device="cpu")
    assert crew.do(Marks(tmp_path, once=(3,)), range(6)) == {i: i * i for i in range(6)}


@pytest.mark.soak
def test_the_script_for_slurm_of_the_documentation(job: ScoreJob, tmp_path: Path) -> None:
    """Four tasks of a job that is no job: a scheduler, the script, two workers."""
    pytest.importorskip("dask_jobqueue")
    page = Path(__file__).parents[2] / "docs" / "cluster.md"
    (script,) = re.findall(r"^```py\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    folder = tmp_path / "job"
    folder.mkdir()
    (folder / "score.py").write_text(script)
    (folder / "hg19.zarr").symlink_to(job.store)
    (folder / "in.vcf.gz").write_bytes(gzip.compress(Path(job.variants).read_bytes()))
    own = {**os.environ, "SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "OMP_NUM_THREADS": "1"}
    tasks = [
        subprocess.Popen(
            [sys.executable, "score.py"],
            cwd=folder,
            env={**own, "SLURM_PROCID": str(rank), "DASK_DISTRIBUTED__DASHBOARD__LINK": ""},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for rank in range(4)
    ]
    said = [task.communicate()[1].decode() for task in tasks]
    assert tasks[1].returncode == 0, said[1][-2_000:]
    seal_store.score(job.store, folder / "in.vcf.gz", out=tmp_path / "one.zarr", device="auto")
    found, one = (
        {n: d for n, d in files(path).items() if n not in ("zarr.json", "manifest.json")}
        for path in (folder / "out.zarr", tmp_path / "one.zarr")
    )
    assert found == one


def test_no_scheduler_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_dask, "PATIENCE", 1)
    for address in ("tcp://127.0.0.1:1", "nonsense"):
        with pytest.raises(OutputError, match=f"no Dask scheduler answers at {address}"):
            Crew(scheduler=address).do(Marks(tmp_path), range(2))


def test_a_scheduler_is_asked_before_anything_is_planned(
    cli: Callable[..., Result], world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_dask, "PATIENCE", 1)
    store = tmp_path / "none.zarr"
    args = ["score", "vcf", world.variants, "--store", store, "--out", tmp_path / "o.zarr"]
    done = cli(*args, "--scheduler", "tcp://127.0.0.1:1")
    assert "no Dask scheduler answers at tcp://127.0.0.1:1" in done.stderr
    assert not list(tmp_path.iterdir())


def test_threads_are_divided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cores = len(os.sched_getaffinity(0))
    assert Crew(workers=cores).threads == 1
    assert Crew(workers=1, scheduler="local").threads == cores
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(16))
    for given, threads in (("2", 2), ("16", 5), ("0", 5), ("x", 5)):
        monkeypatch.setenv("OMP_NUM_THREADS", given)
        assert Crew(workers=3).threads == threads
