"""Bins of a calibration: a background for each kind of variant and distance to the TSS.

An effect's size falls with the distance, and insertions and deletions move more than SNVs do: one
background for all of them makes near ones look rare.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seal_store.common.typed import conform, shown, whole
from seal_store.errors import InputError
from seal_store.model.grid import MAX_DISTANCE
from seal_store.store.attributes import CalibrationBin

BY = ("distance", "kind", "both")
IN_WORDS = {
    "distance": "by distance to the TSS",
    "kind": "SNVs and indels apart",
    "both": "SNVs and indels apart, by distance to the TSS",
}
"""What is said of a calibration made ``by`` each."""
KINDS = (("snv", "mnv"), ("insertion", "deletion", "complex"))
"""``kind`` of rows that are in a bin together: of one length, and indels."""
ALL = tuple(kind for kinds in KINDS for kind in kinds)

EDGES = (500, 1_000, 2_000, 5_000, 10_000)
"""|distance to the TSS| at which a bin ends and the next begins, bp."""
LEAST = 1_000
"""Effects that a bin has, or it is pooled with its neighbour."""
MOST_EDGES = 100


@dataclass(frozen=True)
class Binning:
    """Which bins are asked for: ``by`` one of :data:`BY`, None for no bins.

    ``bin_edges`` are distances where bins begin, bp, ascending, beside 0: a bin has those from its
    edge to below the next, the last one all beyond. ``bin_least``: effects that a bin has, or it
    is pooled with its neighbour. Raises :class:`InputError` for other values.
    """

    by: str | None = None
    bin_edges: Sequence[int] = EDGES
    bin_least: int = LEAST

    def __post_init__(self) -> None:
        conform(self)
        if self.by is not None and self.by not in BY:
            raise InputError(f"`by` {shown(self.by)}: not one of {', '.join(BY)}")
        given = self.bin_edges
        edges = tuple(whole("bin_edges", e) for e in (given if np.iterable(given) else [given]))
        object.__setattr__(self, "bin_edges", edges)
        rising = all(a < b for a, b in zip((0, *edges), (*edges, MAX_DISTANCE + 1), strict=True))
        if not (rising and 1 <= len(edges) <= MOST_EDGES):
            raise InputError(
                f"`bin_edges` {shown(edges)}: not 1 to {MOST_EDGES} ascending distances",
                f"give whole numbers of bp from 1 to {MAX_DISTANCE}",
            )
        if self.bin_least < 1:
            raise InputError(f"`bin_least` {self.bin_least}: not positive")

    @property
    def asked(self) -> list[tuple[tuple[str, ...], int, int | None]]:
        """The bins before any are pooled: kinds, first distance and the one that it ends before."""
        return [(kinds, *own) for kinds in self._kinds for own in self._intervals]

    @property
    def _kinds(self) -> tuple[tuple[str, ...], ...]:
        return KINDS if self.by in ("kind", "both") else (ALL,)

    @property
    def _intervals(self) -> list[tuple[int, int | None]]:
        edges = self.bin_edges if self.by in ("distance", "both") else ()
        return list(zip((0, *edges), (*edges, None), strict=True))

    def bins(self, kind: np.ndarray, distance: np.ndarray) -> tuple[CalibrationBin, ...]:
        """Bins of a background, of its rows' ``kind`` and ``dist_to_tss`` in bp.

        Kinds of which there are too few are pooled with the others at all distances. Then, from
        the TSS outwards, an interval with too few is pooled with the next one, and what is left
        at the end with the one before.
        """
        groups = self._kinds
        if any(np.isin(kind, kinds).sum() < self.bin_least for kinds in groups):
            groups = (ALL,)
        return tuple(
            CalibrationBin(kinds=kinds, start=start, stop=stop, rows=rows)
            for kinds in groups
            for start, stop, rows in self._pooled(np.abs(distance[np.isin(kind, kinds)]))
        )

    def _pooled(self, distance: np.ndarray) -> list[tuple[int, int | None, int]]:
        made: list[tuple[int, int | None, int]] = []
        for start, stop in self._intervals:
            rows = int(
                ((distance >= start) & (distance < (np.inf if stop is None else stop))).sum()
            )
            if made and made[-1][2] < self.bin_least:
                before = made.pop()
                start, rows = before[0], before[2] + rows
            made.append((start, stop, rows))
        if len(made) > 1 and made[-1][2] < self.bin_least:
            _, stop, rows = made.pop()
            before = made.pop()
            made.append((before[0], stop, before[2] + rows))
        return made


def bin_of(bins: Sequence[CalibrationBin], kind: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """The bin of each row, int64, of its ``kind`` and ``dist_to_tss`` in bp; -1 if it has none."""
    size = np.abs(distance)
    found = np.full(len(size), -1)
    for i, own in enumerate(bins):
        within = (size >= own.start) & (size < (np.inf if own.stop is None else own.stop))
        found[within & np.isin(kind, own.kinds)] = i
    return found


def label(own: CalibrationBin) -> str:
    """A bin in words."""
    kinds = "all kinds" if set(own.kinds) == set(ALL) else ", ".join(own.kinds)
    if own.stop is None:
        return f"{kinds}, any distance" if not own.start else f"{kinds}, {own.start:,} bp and more"
    return f"{kinds}, {own.start:,} to {own.stop - 1:,} bp"
