"""The CNN on an alt allele: only what the allele changes.

A base reaches few positions of each layer, and the first linear layer is linear: its output on
the alt allele is the reference's plus ``W[changed positions] @ change``. So an allele needs the
reference activations of a *cone* of about 640 bp, the change of the positions that differ, layer
by layer, and one slice of the linear layer's weights per changed position. Exact: a convolution
is linear, so before its ReLU it is applied to the change alone; what is left out is zero.

Coordinates are those of a *frame*: consecutive windows a step apart, read on either strand; its
windows start at multiples of the step. One position of the last convolution spans 16 bp
(a *block*). With bases changed only in blocks ``b .. b + m``, these positions can change::

    conv 1   [16 b - 7,  16 (b + m) + 15]        conv 3   [4 b - 11, 4 (b + m) + 3]
    conv 2   [16 b - 14, 16 (b + m) + 15]        conv 4   [4 b - 18, 4 (b + m) + 3]
    pool     [4 b - 4,   4 (b + m) + 3]          pool     [b - 5,    b + m]
                                                 conv 5   [b - 12,   b + m]
                                                 conv 6   [b - 19,   b + m]

The last three are per phase: windows at even and odd steps pool 8 bp apart. The reference cone
of conv 6 starts 304 bp before block b and is ``622 + 16 m`` bases long. All of these follow from
the sizes of the convolutions and pools: :mod:`seal_store.model.cone`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from seal_store.common.device import to_device
from seal_store.model.beluga import Beluga
from seal_store.model.cone import (
    BASES_AT_ONCE,
    BLOCK,
    CONE,
    CONE_BEFORE,
    CONV1,
    CONV2,
    CONV3,
    CONV4,
    CONV5,
    CONV6,
    POOL,
    POOL1,
    POOL2,
    SHIFT,
    STEP,
    WINDOW,
)
from seal_store.model.trunk import Trunk
from seal_store.reference.fasta import reverse_complement

BYTES_PER_BASE = 13 * 4 * 320
"""On CUDA: of 320 float32 channels, about five activations are alive at a base of the first layers
and the eight that a convolution as one product gathers."""

GAP = (CONE - BLOCK) // BLOCK
"""Blocks to the next change up to which going on costs less than a cone of its own."""

LONGEST = 256
"""Blocks of the longest shared reference stretch."""


@dataclass(frozen=True)
class Edit:
    """Windows ``first .. first + count`` of frame ``frame`` with other bases.

    ``alt`` holds ``200 * (count - 1) + 2000`` ASCII bases in the place of the frame's.
    """

    frame: int
    first: int
    count: int
    alt: bytes


@dataclass(frozen=True)
class _Job:
    """One edit on one strand: changed blocks ``block .. block + extra``."""

    edit: int
    frame: int
    strand: int
    first: int
    block: int
    extra: int
    alt: bytes


class Delta:
    """Evaluates edits of frames with ``model``, on its device.

    ``shared`` and ``alone`` count the reference stretches evaluated for several edits and for
    one position each.
    """

    def __init__(self, model: Beluga) -> None:
        self.model, self.trunk = model, Trunk(model)
        self.device = model.get_buffer("linear1_weight").device
        self.shared = self.alone = 0
        self._bases_at_once = BASES_AT_ONCE
        if self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.device)
            self._bases_at_once = max(BASES_AT_ONCE, free // (4 * BYTES_PER_BASE))

    def hidden_change(self, frames: Sequence[bytes], edits: Sequence[Edit]) -> Tensor:
        """What each edit changes in ``hidden``: ``(edits, windows, strand, unit)``.

        All ``edits`` have the same number of windows, in the order of the frame. A frame is
        ``200 * (n - 1) + 2000`` ASCII bases.
        """
        config = self.model.config
        count = edits[0].count
        change = torch.zeros((len(edits), count, 2, config.hidden), device=self.device)
        by_extra: dict[int, list[_Job]] = defaultdict(list)
        for job in _jobs(frames, edits):
            by_extra[job.extra].append(job)
        for extra, jobs in by_extra.items():
            at_once = max(1, self._bases_at_once // (CONE + BLOCK * extra))
            for begin in range(0, len(jobs), at_once):
                part = jobs[begin : begin + at_once]
                tails = self._tails(frames, part, extra)
                self._add_linear(tails, part, count, extra, change)
        return change

    def _tails(self, frames: Sequence[bytes], jobs: Sequence[_Job], m: int) -> Tensor:
        """Change of conv 6, ``(phase, 20 + m, job, channel)``."""
        starts, spans = _tiles(jobs)
        order: list[int] = []
        outputs = []
        for span, members in spans.items():
            tiles = list(members)
            if span == 1:
                self.alone += len(tiles)
            else:
                self.shared += len(tiles)
            size = CONE + BLOCK * (m + span - 1)
            bases = [
                _window(frames[frame], strand, BLOCK * start - CONE_BEFORE, size)
                for frame, strand, start in tiles
            ]
            inside = [i for tile in tiles for i in members[tile]]
            tile_of = [t for t, tile in enumerate(tiles) for _ in members[tile]]
            shift = [jobs[i].block - starts[i] for i in inside]
            old = [_block_bases(frames, jobs[i], m) for i in inside]
            alt = [_with_alt(bases, jobs[i]) for bases, i in zip(old, inside, strict=True)]
            outputs.append(
                self._change(
                    self.trunk.encode(bases),
                    self.trunk.encode(alt).sub_(self.trunk.encode(old)).transpose(0, 1),
                    to_device(np.array(tile_of), self.device),
                    to_device(np.array(shift), self.device),
                    m,
                )
            )
            order += inside
        back = to_device(np.argsort(order), self.device)
        return torch.cat(outputs, 2)[:, :, back]

    def _change(self, ref: Tensor, bases: Tensor, tile: Tensor, shift: Tensor, m: int) -> Tensor:
        """Change of conv 6, ``(phase, 20 + m, job, channel)``.

        ``ref`` holds reference stretches; ``bases`` the change of the jobs' bases, position-major
        ``(16 + 16 m, job, 4)``; ``shift`` is a job's first block within its ``tile``.
        """
        trunk, blocks = self.trunk, 1 + m

        def take(x: Tensor, per_block: int, before: int, after: int = 0) -> Tensor:
            """Of each job's cone, its blocks' positions and so many around, position-major."""
            positions = torch.arange(-before, blocks * per_block + after, device=x.device)
            return x[tile, per_block * (CONV6 + shift) + positions[:, None]]

        x = trunk.before_relu(1, ref)
        old = take(x, BLOCK, CONV1)  # from 297 = 304 - 7 of the cone
        change = _relu_change(old, trunk.spread(1, bases))
        x = trunk.before_relu(2, x.relu_())
        old = take(x, BLOCK, POOL * POOL1)  # from 288 = 304 - 16 of the cone
        # unchanged positions before the changed ones complete the first pool of each
        margin = POOL * POOL1 - CONV2
        new = old + trunk.spread(2, change, margin)[: len(old)]
        change = trunk.pool(new.relu_(), 0) - trunk.pool(old.relu_(), 0)
        x = trunk.before_relu(3, trunk.pool(x.relu_()))
        old = take(x, POOL, CONV3)  # from 65 = 76 - 11 of the cone
        change = _relu_change(old, trunk.spread(3, change))
        x = trunk.before_relu(4, x.relu_())
        old = take(x, POOL, POOL * POOL2, SHIFT)  # from 56 = 76 - 20 of the cone
        margin = POOL * POOL2 - CONV4
        new = (old + trunk.spread(4, change, margin)).relu_()
        old, x = old.relu_(), x.relu_()
        phases = []
        for start in (0, SHIFT):
            part = slice(start, start + POOL * (POOL2 + blocks))
            change = trunk.pool(new[part], 0) - trunk.pool(old[part], 0)
            tail = trunk.before_relu(5, trunk.pool(x[:, start:]))
            change = _relu_change(take(tail, 1, CONV5), trunk.spread(5, change))
            tail = trunk.before_relu(6, tail.relu_())
            phases.append(_relu_change(take(tail, 1, CONV6), trunk.spread(6, change)))
        return torch.stack(phases)

    def _add_linear(
        self, tails: Tensor, jobs: Sequence[_Job], count: int, m: int, change: Tensor
    ) -> None:
        """Add the first linear layer's share of ``tails`` to ``change``.

        Pairs (job, window) are sorted by where the change begins in the window, so that the
        pairs which have a change at one position are neighbours: one product per position.
        """
        positions, length = self.model.config.positions, CONV6 + 1 + m
        window = np.arange(count)
        job = np.repeat(np.arange(len(jobs)), count)
        first = np.array([j.first for j in jobs])
        place = first[:, None] + window
        phase = place % 2
        # a window begins 12 blocks after the one before it, and 25 after the one before that
        window_begins = 2 * STEP // BLOCK * (place // 2) + STEP // BLOCK * phase
        begin = np.array([j.block for j in jobs])[:, None] - CONV6 - window_begins
        begin, phase = begin.ravel(), phase.ravel()
        strand = np.array([j.strand for j in jobs])[job]
        slot = np.tile(window, len(jobs))
        slot = np.where(strand == 0, slot, count - 1 - slot)
        keep = np.flatnonzero((begin < positions) & (begin + length > 0))
        keep = keep[np.argsort(begin[keep], kind="stable")]
        begin = begin[keep]
        rows = to_device((phase[keep] * length - begin) * len(jobs) + job[keep], self.device)
        flat = tails.flatten(0, 2)
        out = tails.new_zeros((len(keep), self.model.config.hidden))
        weight = self.model.get_buffer("linear1_weight")
        low = np.searchsorted(begin, np.arange(positions) - length, side="right")
        high = np.searchsorted(begin, np.arange(positions), side="right")
        for position in range(positions):
            a, b = int(low[position]), int(high[position])
            if a < b:
                out[a:b].addmm_(flat[rows[a:b] + position * len(jobs)], weight[position])
        edit = np.array([j.edit for j in jobs])[job[keep]]
        target = (edit * count + slot[keep]) * 2 + strand[keep]
        change.view(-1, out.shape[1])[to_device(target, self.device)] = out


def _jobs(frames: Sequence[bytes], edits: Sequence[Edit]) -> list[_Job]:
    """Both strands of every edit that changes something."""
    jobs = []
    for i, edit in enumerate(edits):
        frame = frames[edit.frame]
        start = STEP * edit.first
        ref = np.frombuffer(frame, np.uint8, len(edit.alt), start)
        differs = np.flatnonzero(ref != np.frombuffer(edit.alt, np.uint8))
        if not len(differs):
            continue
        low, high = start + int(differs[0]), start + int(differs[-1])
        windows = (len(frame) - WINDOW) // STEP + 1
        last = len(frame) - 1
        for strand, first, near, far in (
            (0, edit.first, low, high),
            (1, windows - edit.first - edit.count, last - high, last - low),
        ):
            block = near // BLOCK
            extra = _rounded(far // BLOCK - block)
            alt = edit.alt if strand == 0 else reverse_complement(edit.alt)
            jobs.append(_Job(i, edit.frame, strand, first, block, extra, alt))
    return jobs


def _rounded(blocks: int) -> int:
    """``blocks`` rounded up, so that few different shapes occur."""
    return blocks if blocks < 2 else -(-blocks // BLOCK) * BLOCK


_Tile = tuple[int, int, int]
"""Frame, strand and first block of a reference stretch."""


def _tiles(jobs: Sequence[_Job]) -> tuple[list[int], dict[int, dict[_Tile, list[int]]]]:
    """First block of each job's reference stretch; the stretches by their span in blocks.

    Neighbouring blocks share a stretch where that is cheaper than a cone for each.
    """
    by_strand: dict[tuple[int, int], dict[int, list[int]]] = defaultdict(dict)
    for i, job in enumerate(jobs):
        by_strand[(job.frame, job.strand)].setdefault(job.block, []).append(i)
    starts = [0] * len(jobs)
    spans: dict[int, dict[_Tile, list[int]]] = defaultdict(dict)
    for (frame, strand), members in by_strand.items():
        chain: list[int] = []
        for block in [*sorted(members), None]:
            ends = block is None or (
                chain and (block - chain[-1] > GAP or block - chain[0] >= LONGEST)
            )
            if chain and ends:
                inside = [i for b in chain for i in members[b]]
                for i in inside:
                    starts[i] = chain[0]
                spans[_rounded(chain[-1] - chain[0] + 1)][(frame, strand, chain[0])] = inside
                chain = []
            if block is not None:
                chain.append(block)
    return starts, spans


def _window(frame: bytes, strand: int, start: int, length: int) -> bytes:
    """Bases ``[start, start + length)`` of a strand of a frame; N outside it."""
    if strand:
        start = len(frame) - start - length
    inner = frame[max(start, 0) : max(start + length, 0)]
    bases = b"N" * min(max(-start, 0), length) + inner
    bases += b"N" * (length - len(bases))
    return reverse_complement(bases) if strand else bases


def _block_bases(frames: Sequence[bytes], job: _Job, m: int) -> bytes:
    """The frame's bases of a job's blocks."""
    return _window(frames[job.frame], job.strand, BLOCK * job.block, BLOCK * (m + 1))


def _with_alt(bases: bytes, job: _Job) -> bytes:
    """The same with the edit's bases in their place."""
    start, length = BLOCK * job.block, len(bases)
    offset = STEP * job.first - start
    low, high = max(offset, 0), min(offset + len(job.alt), length)
    return bases[:low] + job.alt[low - offset : high - offset] + bases[high:]


def _relu_change(old: Tensor, change: Tensor) -> Tensor:
    """``relu(old + change) - relu(old)``; overwrites both."""
    return change.add_(old).relu_().sub_(old.relu_())
