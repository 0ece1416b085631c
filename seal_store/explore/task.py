"""Saturations in the background: begun, watched, cancelled, kept for a while.

Each is scored in pieces, between which a typed variant has its turn and a cancel is heard.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from seal_store.errors import InputError, SealStoreError
from seal_store.explore.engine import Engine
from seal_store.results.memory import dataset
from seal_store.scoring.rows import Rows
from seal_store.scoring.saturate import saturation
from seal_store.scoring.scorer import Scorer
from seal_store.variants.alleles import Allele
from seal_store.variants.source import Alleles

if TYPE_CHECKING:
    import xarray as xr

PIECE = 24
"""SNVs of a piece: about half a second at full size, which a typed variant may have to wait."""
KEPT, WAITING = 8, 4
"""Saturations that are kept, and how many may wait for others."""
SPANS = (5, 500)
"""Least and largest span, bp."""


@dataclass(frozen=True)
class Wanted:
    """Every SNV within ``span`` bp of the 1-based ``center``, against one gene."""

    gene_id: str
    center: int
    span: int
    scheme: str


@dataclass
class Job:
    """How far one is. ``state``: waiting, running, done, cancelled or failed.

    ``data`` is there when it is done, ``problem`` when it failed.
    """

    wanted: Wanted
    total: int
    done: int = 0
    state: str = "waiting"
    problem: str = ""
    data: xr.Dataset | None = None
    stop: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def is_going(self) -> bool:
        """Whether it has not ended."""
        return self.state in ("waiting", "running")

    def facts(self) -> dict[str, str | int]:
        """What a page is told, JSON-ready."""
        return {"state": self.state, "done": self.done, "total": self.total}


class Saturations:
    """The saturations of one engine; one is computed at a time."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._jobs: OrderedDict[Wanted, Job] = OrderedDict()
        self._lock, self._turn = threading.Lock(), threading.Lock()

    def get(self, wanted: Wanted) -> Job | None:
        """What is known of one; None if it was not begun or is not kept any more."""
        with self._lock:
            return self._jobs.get(wanted)

    def start(self, wanted: Wanted) -> Job:
        """Begin one, unless it is going on or done.

        Raises :class:`InputError` if too many wait, :class:`GeneTableError` for an unknown gene.
        """
        alleles = list(saturation(self.engine.store, wanted.gene_id, wanted.span, wanted.center))
        if not alleles:
            raise InputError("there is no base A, C, G or T to change", "choose another position")
        with self._lock:
            known = self._jobs.get(wanted)
            if known is not None and (known.is_going or known.state == "done"):
                return known
            if sum(job.is_going for job in self._jobs.values()) >= WAITING:
                raise InputError(
                    f"{WAITING} saturations are waiting already", "cancel one, or wait"
                )
            job = self._jobs[wanted] = Job(wanted, len(alleles))
            self._jobs.move_to_end(wanted)
            ended = [key for key, own in self._jobs.items() if not own.is_going]
            for key in ended[: max(0, len(self._jobs) - KEPT)]:
                del self._jobs[key]
        threading.Thread(
            target=self._work, args=(job, alleles), daemon=True, name="seal-store-saturation"
        ).start()
        return job

    def cancel(self, wanted: Wanted) -> Job | None:
        """Stop one behind the piece that is being computed."""
        job = self.get(wanted)
        if job is not None and job.is_going:
            job.stop.set()
            job.state = "cancelled"
        return job

    def close(self) -> None:
        """Stop all."""
        with self._lock:
            for job in self._jobs.values():
                job.stop.set()

    def _work(self, job: Job, alleles: list[Allele]) -> None:
        with self._turn:
            if job.stop.is_set():
                return
            job.state = "running"
            try:
                self._compute(job, alleles)
            except (SealStoreError, OSError, MemoryError, RuntimeError) as error:
                job.problem = " ".join(filter(None, (str(error), getattr(error, "hint", ""))))
                job.state = "failed"

    def _compute(self, job: Job, alleles: list[Allele]) -> None:
        wanted, engine = job.wanted, self.engine
        scorer = engine.run(lambda: engine.scorer(wanted.scheme, gene=wanted.gene_id))
        found: list[Rows] = []
        for start in range(0, len(alleles), PIECE):
            piece = alleles[start : start + PIECE]
            found += engine.run(partial(_rows, scorer, piece))
            if job.stop.is_set():
                job.state = "cancelled"
                return
            job.done += len(piece)
        job.data = dataset(scorer, found, Alleles([], "explore"), "seal-store explore")
        job.state = "done"


def _rows(scorer: Scorer, alleles: Sequence[Allele]) -> list[Rows]:
    return list(scorer.score(alleles))
