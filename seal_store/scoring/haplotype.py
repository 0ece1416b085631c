"""The reference and alt sequence that each scheme evaluates for an allele.

Both schemes look at consecutive windows of two haplotypes that differ in one allele only, so
each is a :class:`Stretch`: two sequences of equal length for :func:`seal_store.model.sweep.sweep`.
Coordinates are 0-based and half-open; ``sequence`` is a gene's stored one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from seal_store.model.grid import Grid
from seal_store.scoring.assign import Task
from seal_store.store.store import sequence_start
from seal_store.variants.alleles import trim
from seal_store.variants.structural import KINDS

SHIFTS = np.arange(-800, 1000, 200)
"""Window centres of scheme ``centered`` relative to the variant, bp."""

_FLANK = 1_050
_MARGIN = 100
"""Scheme ``centered`` cuts windows out of 2,100 bp, so a net deletion may have 100."""


@dataclass(frozen=True)
class Stretch:
    """Windows to evaluate for a task, on both haplotypes.

    ``ref`` and ``alt`` are ASCII, ``200 * (count - 1) + 2000`` long. ``windows`` (scheme
    ``grid``) holds the window index of each, in the order of the sequence. ``left`` and
    ``right`` are the bases by which an insertion or deletion moves what is before and behind it
    in ``alt``, to the right.
    """

    task: Task
    ref: bytes
    alt: bytes
    windows: np.ndarray
    left: int = 0
    right: int = 0

    @property
    def count(self) -> int:
        """Number of windows."""
        return len(self.windows)


def grid_stretch(task: Task, sequence: bytes, grid: Grid) -> Stretch | None:
    """The grid windows that the allele touches, on the genome's bases and with the allele.

    The TSS side keeps its coordinates: right of the TSS the alt windows are counted from the
    left, at or left of it from the right. The second copy of a duplication is the one farther
    from the TSS: from there on the haplotypes differ. An allele that touches no window gives an
    empty stretch. None if the stored sequence is too short for it.
    """
    change = trim(task.allele.pos, task.allele.ref, task.allele.alt)
    reach = max(change.length, len(change.alt))
    right = change.start > task.tss - 1
    if right and KINDS.get(task.allele.read.alt) == "insertion":
        change = replace(change, start=change.start + reach)
    low, high = (change.start, change.start + reach) if right else (change.end - reach, change.end)
    run = grid.touched(task.tss, task.strand, low, high)
    if run is None:
        return Stretch(task, b"", b"", np.empty(0, np.int64))
    origin = sequence_start(task.tss)
    start, end = change.start - origin, change.end - origin
    if start < 0 or end > len(sequence):
        return None
    first = run.start - origin
    alt_first = first if right else first + change.net
    length = grid.run_length(run.count)
    if alt_first < 0 or alt_first + length > len(sequence) + change.net:
        return None
    ref, low = sequence[first : first + length], min(alt_first, start)
    stop = end + length + alt_first - low
    haplotype = sequence[low:start] + change.alt.encode("ascii") + sequence[end:stop]
    alt = haplotype[alt_first - low :][:length]
    moved = (0, change.net) if right else (-change.net, 0)
    return Stretch(task, ref, alt, run.index, *moved)


def centered_stretch(task: Task, sequence: bytes) -> Stretch | None:
    """Nine windows around the variant, with REF as the input says it and with ALT.

    A window is the central 2,000 of 2,100 bp with the allele put in, so an indel recentres by
    half its length. None for a net deletion over 100 bp or a REF that leaves the first window.
    """
    allele = task.allele
    net = len(allele.alt) - len(allele.ref)
    origin = sequence_start(task.tss)
    start = allele.pos - 1 - origin
    if net < -_MARGIN or len(allele.ref) > 1 + _FLANK + int(SHIFTS[0]):
        return None
    first = allele.pos + int(SHIFTS[0]) - _FLANK - origin
    length = int(SHIFTS[-1] - SHIFTS[0]) + 2 * _FLANK - _MARGIN
    before, after = sequence[:start], sequence[start + len(allele.ref) :]
    haplotypes: list[bytes] = []
    cuts: list[int] = []
    for bases, gained in ((allele.ref, 0), (allele.alt, net)):
        cut = first + (_MARGIN + gained) // 2
        haplotype = before + bases.encode("ascii") + after
        if cut < 0 or cut + length > len(haplotype):
            return None
        haplotypes.append(haplotype[cut : cut + length])
        cuts.append(cut)
    (ref, alt), left = haplotypes, cuts[0] - cuts[1]
    return Stretch(task, ref, alt, np.arange(len(SHIFTS)), left, left + net)
