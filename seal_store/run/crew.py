"""Who does work that can be divided: this process, several, or a Dask scheduler's workers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from seal_store.common.tasks import failed
from seal_store.errors import InputError, OutputError, printable
from seal_store.run.work import Done, Work
from seal_store.run.workers import run_workers

PARTS = 4
"""Slices for each worker, so that none waits long for the last."""

SHOWN = 3
"""Failures that a message names."""


@dataclass(frozen=True)
class Crew:
    """Who does the work: ``workers`` processes of this machine, or those of a ``scheduler``.

    ``scheduler`` is the address of one of Dask, or ``local`` for one that is started here with
    ``workers``. ``device`` is as for :func:`~seal_store.common.device.resolve_device`, or
    ``cuda:all``: the workers are spread over all GPUs, by default one to each.
    """

    workers: int | None = None
    scheduler: str = ""
    device: str = "auto"

    @property
    def is_one(self) -> bool:
        """Whether this process does everything itself."""
        return self.workers in (None, 1) and not self.scheduler and self.device != "cuda:all"

    @property
    def kind(self) -> str:
        """The device as one process would be told it."""
        return "cuda" if self.device == "cuda:all" else self.device

    @property
    def slices(self) -> int:
        """How many slices at least to divide a score into."""
        return 1 if self.is_one else PARTS * len(self.devices())

    def devices(self) -> list[str]:
        """The device of each worker."""
        if self.device != "cuda:all":
            return [self.device] * (self.workers or 1)
        import torch

        if not (count := torch.cuda.device_count()):
            raise InputError("device 'cuda:all': no CUDA device found", "use `device='cpu'`")
        return [f"cuda:{i % count}" for i in range(self.workers or count)]

    def check(self) -> None:
        """Raise :class:`OutputError` if there is a scheduler and it does not answer."""
        if self.scheduler not in ("", "local"):
            from seal_store.run.engine_dask import check_answers

            check_answers(self.scheduler)

    def do(self, work: Work, tasks: Sequence[int], done: Done = bool) -> dict[int, Any]:
        """Do ``tasks``; what each returned.

        What fails or whose process dies is tried again. Raises :class:`OutputError` that names
        those that failed nonetheless, when all others are done.
        """
        if not tasks:
            return {}
        if self.scheduler:
            from seal_store.run.engine_dask import run_dask

            count = len(self.devices())
            outcome = run_dask(work, tasks, self.scheduler, self.kind, count, self.threads, done)
        else:
            outcome = run_workers(work, tasks, self.devices()[: len(tasks)], self.threads, done)
        if work.partial is not None:
            for task, reason in outcome.failures.items():
                failed(work.partial, task, reason)
        if outcome.failures:
            shown = sorted(outcome.failures.items())[:SHOWN]
            more = len(outcome.failures) - len(shown)
            text = "; ".join(f"{work.unit} {task}: {printable(reason)}" for task, reason in shown)
            raise OutputError(
                f"{len(outcome.failures)} of {len(tasks)} {work.unit}s failed: {text}"
                + f"; and {more} more" * bool(more),
                "the others are done; mend the cause and go on with `resume=True`",
            )
        return outcome.values

    @property
    def threads(self) -> int:
        """Threads of each worker: its share of the cores, or fewer if OMP_NUM_THREADS says so.

        More than its share take several times as long: they wait for each other's turn.
        """
        given = os.environ.get("OMP_NUM_THREADS", "")
        share = max(1, len(os.sched_getaffinity(0)) // len(self.devices()))
        return min(int(given), share) if given.isdigit() and int(given) else share


ALONE = Crew()
"""This process does everything itself."""
