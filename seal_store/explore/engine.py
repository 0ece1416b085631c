"""The warm engine: a store opened once, and one thread that computes with it, first come first.

Everything that scores goes through that thread, so that a typed variant waits for one piece of a
saturation at most, and pages that compute nothing for neither.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import cached_property
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from seal_store.api.outputs import effects
from seal_store.common.progress import silent
from seal_store.errors import InputError
from seal_store.scoring.calibration import fits, source_of
from seal_store.scoring.options import SCHEMES, ScoreOptions
from seal_store.scoring.scorer import Scorer
from seal_store.store.store import Store
from seal_store.variants.bases import StoreBases
from seal_store.variants.notation import parse_variant
from seal_store.variants.source import Alleles

if TYPE_CHECKING:
    import xarray as xr

T = TypeVar("T")
RECENT = 16
"""Answers that are kept, so that going back does not compute again."""


@dataclass(frozen=True)
class Scored:
    """A typed variant: ``data`` as :func:`seal_store.score` gives it, and where alleles went.

    ``not_scored`` has examples by reason, see :data:`seal_store.scoring.assign.REASONS`.
    """

    data: xr.Dataset
    not_scored: dict[str, list[str]]


class Engine:
    """Scores variants against ``store`` on ``device``, one request after another.

    Quantiles are from the ``calibration`` of this name, by default from the one without.
    """

    def __init__(self, store: Store, device: str = "auto", calibration: str = "") -> None:
        """Raises :class:`InputError` if no scheme has a calibration of that name."""
        if calibration and not any(source_of(store, scheme, calibration) for scheme in SCHEMES):
            known = ", ".join(store.attributes.calibration) or "none"
            raise InputError(f"the store has no calibration `{calibration}`", f"it has {known}")
        self.store, self.device, self.calibration = store, device, calibration
        self._waiting: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        self._recent: OrderedDict[tuple[str, str, str], Scored] = OrderedDict()
        # a daemon: the end of the process does not wait for it
        threading.Thread(target=self._work, daemon=True, name="seal-store-engine").start()

    def run(self, work: Callable[[], T]) -> T:
        """What ``work`` returns or raises, run when its turn comes."""
        made: Future[T] = Future()
        self._waiting.put((work, made))
        return made.result()

    def close(self) -> None:
        """Let the thread end, behind what it was given."""
        self._waiting.put(None)

    def _work(self) -> None:
        while (given := self._waiting.get()) is not None:
            work, made = given
            try:
                made.set_result(work())
            except BaseException as error:
                made.set_exception(error)

    @cached_property
    def bases(self) -> StoreBases:
        """The store's own bases, for notations that leave some out."""
        return StoreBases(self.store)

    def scorer(
        self, scheme: str = "grid", genes: str = "nearest", gene: str | None = None
    ) -> Scorer:
        """A scorer of all contexts, calibrated if the chosen calibration fits."""
        options = ScoreOptions(scheme, genes, device=self.device)
        chosen = replace(options, calibrated=True, calibration=self.calibration)
        return Scorer(self.store, chosen if fits(self.store, chosen) else options, gene)

    @cached_property
    def example(self) -> str:
        """An SNV at the first gene's TSS, as it is typed. Raises :class:`InputError` without."""
        if not len(self.store):
            raise InputError(f"{self.store.path} holds no gene")
        table = self.store.table
        row = table.row(str(self.store.gene_id[0]))
        contig, tss = str(table.contig[row]), int(table.tss[row])
        ref = self.bases(contig, tss, tss) or "A"
        return f"{contig}:{tss}:{ref}:{'C' if ref != 'C' else 'G'}"

    def score(self, text: str, genes: str = "nearest", scheme: str = "grid") -> Scored:
        """Effects of a variant as written, against the nearest gene or ``all`` in reach.

        Raises :class:`VariantError` if the text is not understood.
        """
        if scheme not in SCHEMES:
            raise InputError(f"`scheme` {scheme!r}: not one of {', '.join(SCHEMES)}")
        key = (text, genes, scheme)
        return self.run(lambda: self._scored(key))

    def _scored(self, key: tuple[str, str, str]) -> Scored:
        if key not in self._recent:
            text, genes, scheme = key
            alleles = parse_variant(text, self.bases, self.store.attributes.assembly)
            scorer = self.scorer(scheme, genes)
            stream = Alleles(alleles, "explore")
            nothing: dict[str, Any] = {"overwrite": False, "resume": False}
            data = effects(scorer, stream, None, "seal-store explore", silent, **nothing)
            self._recent[key] = Scored(data, dict(scorer.counts.examples))
        self._recent.move_to_end(key)
        while len(self._recent) > RECENT:
            self._recent.popitem(last=False)
        return self._recent[key]
