"""Runs in processes of their own that are killed or stopped."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np

from seal_store.common.beside import remove
from seal_store.run.scores import write_scores
from seal_store.scoring import reading
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.scorer import Scorer
from seal_store.store import layout
from seal_store.store.store import Store
from seal_store.variants.source import read_variants

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["pytest", "seal_store.run.scores", "seal_store.building.build"])


def small_chunks() -> None:
    """Many chunks and checkpoints in a short run."""
    import torch

    torch.set_num_threads(1)
    reading.ALLELES_PER_CHUNK = 4
    layout.VARIANTS_PER_CHUNK = 8


def files(path: Path) -> dict[str, bytes]:
    if path.is_file():
        return {"": path.read_bytes()}
    found = {p.relative_to(path).as_posix(): p for p in sorted(path.rglob("*")) if p.is_file()}
    return {name: p.read_bytes() for name, p in found.items()}


def finish(work: Callable[[], None]) -> tuple[float, int | None]:
    """Run in a process of its own until it ends: seconds and exit code."""
    begin = time.perf_counter()
    process = SERVER.Process(target=work)
    process.start()
    process.join()
    return time.perf_counter() - begin, process.exitcode


def kill_after(work: Callable[[], None], seconds: float) -> bool:
    """Whether the run was still going when it was killed."""
    process: BaseProcess = SERVER.Process(target=work)
    process.start()
    process.join(seconds)
    going = process.exitcode is None
    if going:
        assert process.pid is not None
        try:
            os.kill(process.pid, signal.SIGKILL)
        except ProcessLookupError:  # it has just ended
            going = False
    process.join()
    assert going or process.exitcode == 0
    return going


def kill_often(work: Callable[[], None], out: Path, kills: int, rng: np.random.Generator) -> None:
    """Kill and resume ``kills`` times at random moments, then let it finish."""
    whole, code = finish(work)
    assert code == 0
    expected = files(out)
    remove(out)
    done = 0
    while done < kills:
        done += kill_after(work, rng.uniform(0.0, whole))
        if out.exists():
            assert files(out) == expected
            remove(out)
    assert finish(work)[1] == 0
    assert files(out) == expected
    assert sorted(p.name for p in out.parent.iterdir()) == [out.name]


def scored(store: Store, vcf: Path, out: Path, stop_after: int = 0, **options: Any) -> None:
    """Score in this process; Ctrl-C after some alleles."""

    def progress(what: str, done: int, total: int | None) -> None:
        if stop_after and done >= stop_after:
            raise KeyboardInterrupt

    chosen = ScoreOptions(device="cpu", batch=1, **options)
    scorer = Scorer(store, chosen)
    write_scores(scorer, read_variants(vcf), out, resume=True, progress=progress)
