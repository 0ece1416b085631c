"""What long changes change in the last convolution, mostly of insertions and deletions.

An insertion or deletion moves all bases on one side of it, so its windows differ from there to
their end. Its conv 2 is the reference's at other positions, apart from those that read bases on
both sides: only these are computed, and the others looked up. The pools hold other positions of
conv 2 than on the reference, wherever it moves by no multiple of 4, so from conv 3 on both
haplotypes are evaluated; neighbours share the reference's.

Everything lies in one long row, stretch behind stretch, which the convolutions take at once.
Positions that reach from one stretch into the next are never read. A stretch of ``n`` positions
of conv 6 begins with the block of the first and takes these positions behind it, in both phases::

    conv 6   n                          of one block each
    conv 2   16 n + 288                 of one base each: 4 n + 72 of the first pool
    bases    16 n + 302
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from seal_store.common.device import full_precision, to_device
from seal_store.model.cone import BLOCK, CONE, CONV6, REACH, SHIFT
from seal_store.model.edits import Job, Tails, bases_of, window_begins, with_alt
from seal_store.model.trunk import Trunk

READ = 2 * REACH
"""Bases behind its own that a position of conv 2 reads."""

BESIDE = (CONE - READ) // BLOCK - CONV6 - 1
"""Blocks of conv 2 that a stretch takes beyond its positions of conv 6: 18, of 608 - 20 x 16."""


_Span = tuple[int, int]
"""Positions of conv 6, from one block up to another."""


@dataclass
class Tile:
    """A stretch of a strand of a frame, and the ``jobs`` whose reference it is.

    It has the blocks ``low`` up to ``high`` of conv 6, and holds the bases from ``start`` up to
    ``stop``: also those that its jobs move in.
    """

    frame: int
    strand: int
    low: int
    high: int
    start: int
    stop: int
    jobs: list[int]


def bases_needed(job: Job) -> int:
    """Bases that a job takes in the row, at most: both haplotypes."""
    return 2 * BLOCK * (job.extra + 1 + CONV6 + BESIDE) + abs(job.left) + abs(job.right)


def tiles_of(jobs: Sequence[Job], positions: int) -> list[Tile]:
    """The stretches of jobs, one where those of several overlap.

    Windows have ``positions`` of conv 6.
    """
    spans = [_span(job, positions) for job in jobs]
    tiles: list[Tile] = []
    for i in sorted(range(len(jobs)), key=lambda i: (jobs[i].frame, jobs[i].strand, spans[i])):
        job, (low, high) = jobs[i], spans[i]
        stretch = _stretch(low, high)
        before, behind = max(0, job.left, job.right), max(0, -job.left, -job.right)
        if max(before, behind) > len(stretch):  # longer than the stretch itself
            before = behind = 0
        start, stop = int(stretch[0]) - before, int(stretch[-1]) + 1 + READ + behind
        last = tiles[-1] if tiles else None
        if (
            last is not None
            and (last.frame, last.strand) == (job.frame, job.strand)
            and start < last.stop
        ):
            last.high, last.stop = max(last.high, high), max(last.stop, stop)
            last.start = min(last.start, start)
            last.jobs.append(i)
        else:
            tiles.append(Tile(job.frame, job.strand, low, high, start, stop, [i]))
    return tiles


@full_precision()
def changes(
    trunk: Trunk, frames: Sequence[bytes], jobs: Sequence[Job], tiles: Sequence[Tile]
) -> Tails:
    """What ``jobs`` change in the last convolution of their windows."""
    spans = [_span(job, trunk.config.positions) for job in jobs]
    layout, device = _Layout(frames, jobs, spans, tiles), trunk.device
    x = trunk.encode([b"".join(layout.bases)])
    x = trunk.conv(2, trunk.conv(1, x))[0]
    x = trunk.pooled(x, to_device(layout.positions, device))
    x = trunk.conv(4, trunk.conv(3, x[None]))[0]
    phases = [trunk.pool(x[start:], 0) for start in (0, SHIFT)]
    per_phase = len(phases[0])
    x = trunk.conv(6, trunk.conv(5, torch.cat(phases)[None]))[0]
    alt, ref = (
        to_device(np.concatenate([rows, rows + per_phase]), device)
        for rows in (layout.alt_rows, layout.ref_rows)
    )
    low, high = np.array(spans).T
    change = x[alt].sub_(x[ref])
    return Tails(change, low, high - low, layout.begin, 1, len(layout.alt_rows))


def _span(job: Job, positions: int) -> _Span:
    """The positions of conv 6 that a job changes in its windows, of ``positions`` each."""
    begins = window_begins(np.array([job.first, job.first + job.count - 1]))
    low = max(job.block - CONV6, int(begins[0]))
    return low, min(job.block + job.extra + 1, int(begins[1]) + positions)


class _Layout:
    """Where everything lies in the row.

    ``bases`` are the row's pieces; ``positions`` of conv 2 the ones that the stretches of the
    first pool take, of all tiles and then of all jobs; ``alt_rows`` and ``ref_rows`` the rows of
    conv 6 that are compared, those of a job from its ``begin`` on.
    """

    def __init__(
        self,
        frames: Sequence[bytes],
        jobs: Sequence[Job],
        spans: Sequence[_Span],
        tiles: Sequence[Tile],
    ) -> None:
        self.bases: list[bytes] = []
        self._length = 0
        self._frames, self._jobs, self._spans = frames, jobs, spans
        refs, alts = [], [np.empty(0, np.int64)] * len(jobs)
        for tile in tiles:
            source = bases_of(frames[tile.frame], tile.strand, tile.start, tile.stop - tile.start)
            origin = self._put(source) - tile.start
            refs.append(origin + _stretch(tile.low, tile.high))
            for i in tile.jobs:
                alts[i] = self._alt(jobs[i], spans[i], source, tile.start, origin)
        self.positions = np.concatenate([*refs, *alts])
        blocks = np.array([len(taken) // BLOCK for taken in (*refs, *alts)])
        rows = np.cumsum(blocks) - blocks
        counts = np.array([high - low for low, high in spans])
        self.begin = np.cumsum(counts) - counts
        within = np.arange(counts.sum()) - np.repeat(self.begin, counts)
        ref_begin = np.empty(len(jobs), np.int64)
        for row, tile in zip(rows, tiles, strict=False):
            for i in tile.jobs:
                ref_begin[i] = row + spans[i][0] - tile.low
        self.alt_rows = within + np.repeat(rows[len(tiles) :], counts)
        self.ref_rows = within + np.repeat(ref_begin, counts)

    def _put(self, bases: bytes) -> int:
        """Add a piece to the row; where it begins."""
        begin = self._length
        self.bases.append(bases)
        self._length += len(bases)
        return begin

    def _alt(self, job: Job, span: _Span, source: bytes, start: int, origin: int) -> np.ndarray:
        """Where the positions of conv 2 on the alt haplotype are.

        In the tile, wherever all that one reads is there too, moved; else in a piece of its own.
        """
        wanted = _stretch(*span)
        length = len(wanted) + READ
        frame = self._frames[job.frame]
        alt = with_alt(bases_of(frame, job.strand, int(wanted[0]), length), int(wanted[0]), job)
        found = np.full(len(wanted), -1)
        for moved in (job.left, job.right):
            at = int(wanted[0]) - moved - start
            if at >= 0 and at + length <= len(source):
                same = _all_equal(alt, source[at : at + length])
                found[same] = origin + wanted[same] - moved
        missing = np.flatnonzero(found < 0)
        for piece in np.split(missing, np.flatnonzero(np.diff(missing) > 1) + 1):
            if len(piece):
                first, last = int(piece[0]), int(piece[-1])
                found[piece] = self._put(alt[first : last + READ + 1]) + piece - first
        return found


def _stretch(low: int, high: int) -> np.ndarray:
    """Positions of conv 2 that ``low .. high`` of conv 6 read."""
    return np.arange(BLOCK * low, BLOCK * (high + BESIDE))


def _all_equal(a: bytes, b: bytes) -> np.ndarray:
    """Of each position of conv 2, whether all bases that it reads are equal."""
    differ = np.frombuffer(a, np.uint8) != np.frombuffer(b, np.uint8)
    until = np.concatenate([[0], np.cumsum(differ)])
    return until[READ + 1 :] == until[: -READ - 1]
