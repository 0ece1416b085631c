"""How far does the work scale? Measured task times replayed for 1 to 1,024 workers.

A worker takes a task when it is free. What the model knows: the time of each task, a worker's
start-up, what one process does before (plan) and after (finalize), the cores that workers share,
and the bandwidth of the file system that all read from and write to. It is checked against runs of
the tiny CNN by 1, 2 and 4 processes of this machine.
"""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from benchmarks.common import arguments, report, world
from benchmarks.memory import write_vcf
from seal_store.common.beside import remove
from seal_store.common.tasks import notes
from seal_store.run.crew import PARTS
from seal_store.run.job import Prepared, ScoreJob
from seal_store.run.slices import SliceWork, finalize_scores
from seal_store.run.slices_plan import SLICE_COST, plan_scores, planned_at
from seal_store.run.workers import run_workers
from seal_store.scoring.options import ScoreOptions

WORKERS = tuple(2**n for n in range(11))
CONTEXT_BYTES = 802 * 4
"""Effects of a variant in a results group, before compression."""


@dataclass(frozen=True)
class Case:
    """Times in seconds, bytes of all tasks together; ``before`` and ``after`` are one process's.

    ``bandwidth`` is that of the file system, bytes a second.
    """

    name: str
    tasks: Sequence[float]
    start: float
    before: float
    after: float
    bytes_moved: float
    bandwidth: float


def makespan(tasks: Sequence[float], workers: int, start: float) -> float:
    """When the last task ends, each taken by the worker that is free first."""
    free = [start] * min(workers, len(tasks))
    for task in tasks:
        heapq.heapreplace(free, free[0] + task)
    return max(free)


def modelled(case: Case, workers: int) -> tuple[float, str]:
    """Wall time, and what keeps it from being the work divided by the workers."""
    work = sum(case.tasks) / workers
    ends = makespan(case.tasks, workers, case.start)
    moving = case.bytes_moved / case.bandwidth
    wall = case.before + max(ends, moving) + case.after
    losses = {
        "plan and finalize": case.before + case.after,
        "start-up": case.start,
        "too few or too long tasks": ends - case.start - work,
        "the file system": max(0.0, moving - ends),
    }
    worst = max(losses, key=lambda name: losses[name])
    return wall, worst if wall > 1.25 * work else ""


def checked(args: Any) -> list[dict[str, Any]]:
    """Runs of the tiny CNN by real processes, beside what the model says of them."""
    store = world(args, 16).store
    vcf = args.work / "scale.vcf"
    write_vcf(vcf, store, args.variants)
    job = ScoreJob(
        store.path, args.work / "scale.zarr", str(vcf), options=ScoreOptions(device="cpu")
    )
    rows = []
    alone: list[float] = []
    for workers in (1, 2, 4):
        remove(args.work / "scale.zarr")
        prepared = Prepared(job)
        times = [time.perf_counter()]
        with planned_at(job.out) as held:
            plan = plan_scores(prepared, PARTS * 4, overwrite=True, held=held)
            times.append(time.perf_counter())
            run_workers(SliceWork(job, held.partial), range(len(plan.slices)), ["cpu"] * workers, 1)
            times.append(time.perf_counter())
            tasks = [note.seconds for note in notes(held.partial).values()]
            finalize_scores(prepared, held=held)
        times.append(time.perf_counter())
        alone = alone or tasks
        before, ran, after = (b - a for a, b in pairwise(times))
        if workers == 1:
            start = ran - sum(tasks)
        crowded = max(1.0, workers / len(os.sched_getaffinity(0)))
        slowed = [seconds * crowded for seconds in alone]
        case = Case("", slowed, start * crowded, before, after, 0, 1)
        rows.append(
            {
                "workers": workers,
                "slices": len(tasks),
                "wall, s": times[-1] - times[0],
                "modelled, s": modelled(case, workers)[0],
                "mean slice, s": sum(tasks) / len(tasks),
                "start-up, s": start,
                "plan, s": before,
                "finalize, s": after,
            }
        )
    return rows


def cases(args: Any, finalize_rate: float, plan_rate: float) -> list[Case]:
    """A genome, and 1e9 variants, by the figures of docs/scale.md."""
    genes, shard = 24_339, 64
    sizes = [shard] * (genes // shard) + [genes % shard]
    bandwidth = args.bandwidth * 1e9
    common: dict[str, Any] = {"start": 3.0, "bandwidth": bandwidth}
    build = Case(
        "build of 24,339 genes, two CPU threads a worker",
        [4.35 * size for size in sizes],
        before=60,
        after=120,
        bytes_moved=75e9,
        **common,
    )
    on_gpu = replace(
        build,
        name="build of 24,339 genes, a GPU a worker",
        tasks=[0.0261 * size for size in sizes],
        start=8.0,
    )
    variants = 1_000_000_000
    slices = [SLICE_COST] * (variants // SLICE_COST)
    moved = variants * 2 * CONTEXT_BYTES
    score = Case(
        "1e9 SNVs, dense, two CPU threads a worker",
        [9.5e-3 * size for size in slices],
        before=variants / plan_rate,
        after=variants / finalize_rate,
        bytes_moved=moved,
        **common,
    )
    parts = replace(
        score,
        name="1e9 SNVs in 1,000 files of their own, dense, two CPU threads a worker",
        before=variants / plan_rate / 1_000,
        after=variants / finalize_rate / 1_000,
    )
    return [build, on_gpu, score, parts]


def main() -> None:
    args = arguments(
        __doc__ or "",
        ("--variants", {"type": int, "default": 16_384}),
        ("--bandwidth", {"type": float, "default": 2.0, "help": "of the file system, GB/s"}),
        ("--finalize-rate", {"type": float, "default": 0.0, "help": "rows a second; 0: measured"}),
    )
    args.tiny = True
    args.threads = 1
    found = checked(args)
    finalize_rate = args.finalize_rate or args.variants / found[0]["finalize, s"]
    plan_rate = args.variants / found[0]["plan, s"]
    rows = []
    for case in cases(args, finalize_rate, plan_rate):
        for workers in WORKERS:
            wall, why = modelled(case, workers)
            rows.append(
                {
                    "work": case.name,
                    "workers": workers,
                    "wall, hours": wall / 3600,
                    "of the ideal": sum(case.tasks) / workers / wall,
                    "lost most to": why,
                }
            )
    report("scale-check", "The model against real processes, tiny CNN.", found, args)
    report("scale", "Modelled wall times.", rows, args)


if __name__ == "__main__":
    main()
