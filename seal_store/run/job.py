"""A run of `score` as data: what is scored, how, and where it goes. It can be sent to a process."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from seal_store.atlas.entries import Entries
from seal_store.atlas.known import Known
from seal_store.exporting.render import Form
from seal_store.results.group import result_attributes
from seal_store.results.view import EVERYTHING, Selection
from seal_store.run.scores import fingerprint
from seal_store.run.watch import UNWATCHED, Watch, matched
from seal_store.scoring.options import DEFAULTS, AttributionOptions, ScoreOptions
from seal_store.scoring.saturate import saturation
from seal_store.scoring.scorer import Scorer
from seal_store.store.outside import check_outside
from seal_store.store.place import Place
from seal_store.store.store import Store
from seal_store.variants.regions import Region
from seal_store.variants.source import Alleles, Entry, VariantSource


@dataclass(frozen=True)
class ScoreJob:
    """The alleles of the file ``variants``, or every SNV within ``span`` bp of a ``gene``.

    ``regions`` are called ``named`` in results. ``selection`` and ``precision`` say what is
    written of the results; ``command`` is what they say they were made by. What ``atlas`` has is
    not computed.
    """

    store: Place
    out: Place
    variants: str = ""
    gene: str | None = None
    span: int = 0
    options: ScoreOptions = DEFAULTS
    attribution: AttributionOptions | None = None
    regions: tuple[Region, ...] = ()
    named: tuple[str, ...] = ()
    liftover: Path | None = None
    check_assembly: bool = True
    atlas: Place | None = None
    selection: Selection = EVERYTHING
    precision: int = 6
    command: str = ""

    def on(self, device: str) -> ScoreJob:
        """The same job on another device."""
        return replace(self, options=replace(self.options, device=device))


class Prepared:
    """A job whose store and input are opened."""

    def __init__(self, job: ScoreJob, store: Store | None = None) -> None:
        self.job = job
        self.store = store or Store(job.store)
        self.source = VariantSource(job.variants, job.regions, job.named) if job.variants else None

    @cached_property
    def _begun(self) -> tuple[Alleles, Watch]:
        return self.alleles()

    @property
    def whole(self) -> Alleles:
        """All alleles, to be read once."""
        return self._begun[0]

    @property
    def watch(self) -> Watch:
        """Of :attr:`whole`."""
        return self._begun[1]

    def alleles(self, entry: Entry | None = None) -> tuple[Alleles, Watch]:
        """All alleles, or those from the record at ``entry`` on, and a watch over them."""
        job = self.job
        if self.source is None:
            assert job.gene is not None
            return saturation(self.store, job.gene, job.span), UNWATCHED
        return matched(
            self.store,
            self.source.alleles(entry),
            liftover=job.liftover,
            check_assembly=job.check_assembly,
        )

    def part(self, first: int, count: int, entry: Entry | None) -> Alleles:
        """``count`` alleles after the ``first``, entering the file at ``entry`` if it has one."""
        at = entry if entry is not None and entry.start is not None else None
        alleles, _ = self.alleles(at)
        skipped = first - (at.alleles if at else 0)
        return replace(alleles, stream=islice(alleles, skipped, skipped + count))

    @property
    def seen(self) -> tuple[int, int] | None:
        """Records of the file that were read, and how many of them were malformed."""
        seen = self.source.seen if self.source is not None else None
        return None if seen is None else (seen.records, seen.malformed)

    @cached_property
    def scorer(self) -> Scorer:
        """The engine, loaded."""
        gene = None if self.source is not None else self.job.gene
        known = None
        if self.job.atlas is not None:
            atlas = Entries(self.job.atlas)
            check_outside(self.job.out, atlas, what="atlas")
            known = Known(atlas, self.store, self.job.options)
        return Scorer(self.store, self.job.options, gene, self.job.attribution, known=known)

    @property
    def form(self) -> Form:
        """What is written of the results."""
        return Form(self.job.selection, self.job.precision, self.source)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """The attributes of the results but their counts."""
        return result_attributes(self.scorer.provenance(), self.whole, self.job.command)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """See :func:`~seal_store.run.scores.fingerprint`."""
        return fingerprint(self.scorer, self.whole, self.form, self.job.out, self.facts)
