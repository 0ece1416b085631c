"""What gives rows of alleles: a scorer, or an atlas in which they are looked up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from seal_store.common.progress import Progress
from seal_store.scoring.assign import Counts
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.rows import Rows
from seal_store.variants.alleles import Allele


class RowSource(Protocol):
    """See :class:`seal_store.scoring.scorer.Scorer`.

    ``known`` is not None if rows say their ``source``; ``reader`` has ``reason``, and ``store``
    the ``path`` of what they are from.
    """

    context_set: list[str]
    context_name: list[str]
    counts: Counts
    completeness: float | None
    options: ScoreOptions
    store: Any
    reader: Any
    known: Any
    calibration: Any
    attributor: Any

    def score(
        self,
        alleles: Iterable[Allele],
        where: str = ...,
        progress: Progress = ...,
        start: Any = ...,
    ) -> Iterator[Rows]:
        """Rows, a chunk of alleles at a time."""

    def provenance(self) -> dict[str, Any]:
        """What results say of their making, JSON-ready."""
