"""The CNN on an alt allele: only what the allele changes.

A base reaches few positions of each layer, and the first linear layer is linear: its output on
the alt allele is the reference's plus ``W[changed positions] @ change``. So an allele needs the
reference activations of a *cone* of about 640 bp, the change of the positions that differ, layer
by layer, and one slice of the linear layer's weights per changed position. Exact: a convolution
is linear, so before its ReLU it is applied to the change alone; what is left out is zero.

Changes of many blocks, of insertions and deletions above all, are evaluated in another way:
:mod:`seal_store.model.moved`. The first linear layer is the same for both.

Coordinates are those of a *frame* (:mod:`seal_store.model.edits`), read on either strand. One
position of the last convolution spans 16 bp (a *block*). With bases changed only in blocks
``b .. b + m``, these positions can change::

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
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from seal_store.common.device import full_precision, to_device
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
)
from seal_store.model.edits import Edit, Job, Tails, bases_of, jobs_of, window_begins, with_alt
from seal_store.model.moved import bases_needed, tiles_of
from seal_store.model.moved import changes as long_changes
from seal_store.model.trunk import Trunk

GAP = (CONE - BLOCK) // BLOCK
"""Blocks to the next change up to which going on costs less than a cone of its own."""

LONGEST = 256
"""Blocks of the longest shared reference stretch."""

LONG = 32
"""Blocks beyond its first up to which a change is evaluated as one, layer by layer; from there on
both haplotypes are (:mod:`seal_store.model.moved`)."""


class Delta:
    """Evaluates edits of frames with ``model``, on its device.

    ``shared`` and ``alone`` count the reference stretches evaluated for several edits and for
    one position, or one long change, each.
    """

    def __init__(self, model: Beluga) -> None:
        self.model, self.trunk = model, Trunk(model)
        self.device = model.get_buffer("linear1_weight").device
        self.shared = self.alone = 0
        self._bases_at_once = BASES_AT_ONCE[self.device.type]

    def hidden_change(self, frames: Sequence[bytes], edits: Sequence[Edit]) -> Tensor:
        """What each edit changes in ``hidden``: ``(edits, windows, strand, unit)``.

        All ``edits`` have the same number of windows, in the order of the frame. A frame is
        ``200 * (n - 1) + 2000`` ASCII bases.
        """
        count, weight = edits[0].count, self.model.get_buffer("linear1_weight")
        change = weight.new_zeros((len(edits), count, 2, weight.shape[2]))
        short: dict[int, list[Job]] = defaultdict(list)
        long: list[Job] = []
        for job in jobs_of(frames, edits):
            if job.extra > LONG:
                long.append(job)
            else:
                short[_rounded(job.extra)].append(job)
        for extra, jobs in short.items():
            at_once = max(1, self._bases_at_once // (CONE + BLOCK * extra))
            for begin in range(0, len(jobs), at_once):
                part = jobs[begin : begin + at_once]
                self._add_linear(self._tails(frames, part, extra), part, change)
        for part in self._parts(long):
            tiles = tiles_of(part, self.model.config.positions)
            alone = sum(len(tile.jobs) == 1 for tile in tiles)
            self.alone, self.shared = self.alone + alone, self.shared + len(tiles) - alone
            self._add_linear(long_changes(self.trunk, frames, part, tiles), part, change)
        return change

    def _parts(self, jobs: Sequence[Job]) -> Iterator[list[Job]]:
        """Long changes, in the order of the frames, as many as are evaluated at once."""
        part: list[Job] = []
        bases = 0
        for job in sorted(jobs, key=lambda job: (job.frame, job.strand, job.block)):
            needed = bases_needed(job)
            if part and bases + needed > self._bases_at_once:
                yield part
                part, bases = [], 0
            part.append(job)
            bases += needed
        if part:
            yield part

    def _tails(self, frames: Sequence[bytes], jobs: Sequence[Job], m: int) -> Tails:
        """Change of conv 6 by changes of at most ``m + 1`` blocks."""
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
                bases_of(frames[frame], strand, BLOCK * start - CONE_BEFORE, size)
                for frame, strand, start in tiles
            ]
            inside = [i for tile in tiles for i in members[tile]]
            tile_of = [t for t, tile in enumerate(tiles) for _ in members[tile]]
            shift = [jobs[i].block - starts[i] for i in inside]
            inner = [(jobs[i], BLOCK * jobs[i].block) for i in inside]
            old = [
                bases_of(frames[job.frame], job.strand, start, BLOCK * (m + 1))
                for job, start in inner
            ]
            alt = [
                with_alt(bases, start, job) for bases, (job, start) in zip(old, inner, strict=True)
            ]
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
        rows = torch.cat(outputs, 2)[:, :, back].flatten(0, 2)
        count, low = CONV6 + 1 + m, np.array([job.block for job in jobs]) - CONV6
        each = len(jobs)
        return Tails(rows, low, np.full(each, count), np.arange(each), each, count * each)

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

        x = self._reference(1, ref)
        old = take(x, BLOCK, CONV1)  # from 297 = 304 - 7 of the cone
        change = _relu_change(old, trunk.spread(1, bases))
        x = self._reference(2, x.relu_())
        old = take(x, BLOCK, POOL * POOL1)  # from 288 = 304 - 16 of the cone
        # unchanged positions before the changed ones complete the first pool of each
        margin = POOL * POOL1 - CONV2
        new = old + trunk.spread(2, change, margin)[: len(old)]
        change = trunk.pool(new.relu_(), 0) - trunk.pool(old.relu_(), 0)
        x = self._reference(3, trunk.pool(x.relu_()))
        old = take(x, POOL, CONV3)  # from 65 = 76 - 11 of the cone
        change = _relu_change(old, trunk.spread(3, change))
        x = self._reference(4, x.relu_())
        old = take(x, POOL, POOL * POOL2, SHIFT)  # from 56 = 76 - 20 of the cone
        margin = POOL * POOL2 - CONV4
        new = (old + trunk.spread(4, change, margin)).relu_()
        old, x = old.relu_(), x.relu_()
        phases = []
        for start in (0, SHIFT):
            part = slice(start, start + POOL * (POOL2 + blocks))
            change = trunk.pool(new[part], 0) - trunk.pool(old[part], 0)
            tail = self._reference(5, trunk.pool(x[:, start:]))
            change = _relu_change(take(tail, 1, CONV5), trunk.spread(5, change))
            tail = self._reference(6, tail.relu_())
            phases.append(_relu_change(take(tail, 1, CONV6), trunk.spread(6, change)))
        return torch.stack(phases)

    @full_precision()
    def _reference(self, layer: int, x: Tensor) -> Tensor:
        """Convolution ``layer`` of reference stretches, without its ReLU."""
        return self.trunk.before_relu(layer, x)

    def _add_linear(self, tails: Tails, jobs: Sequence[Job], change: Tensor) -> None:
        """Add the first linear layer's share of ``tails`` to ``change``.

        Pairs (job, window) are sorted so that those which have a change at one position are
        neighbours: one product per position. At first come the changes that are in a window from
        its beginning on, by where they end; then the others, by where they begin.
        """
        positions, count = self.model.config.positions, change.shape[1]
        job, slot = (x.ravel() for x in np.indices((len(jobs), count)))
        place = np.array([j.first for j in jobs])[job] + slot
        begin = tails.low[job] - window_begins(place)
        end = np.minimum(begin + tails.count[job], positions)
        strand = np.array([j.strand for j in jobs])[job]
        slot = np.where(strand == 0, slot, count - 1 - slot)
        row = tails.begin[job] - begin * tails.step + place % 2 * tails.per_phase
        target = (np.array([j.edit for j in jobs])[job] * count + slot) * 2 + strand
        keep = np.flatnonzero((begin < positions) & (end > 0))
        order = np.where(begin <= 0, end - 2 * positions, begin)[keep]
        keep = keep[np.argsort(order, kind="stable")]
        changed = begin[keep] <= np.arange(positions)[:, None]
        changed &= np.arange(positions)[:, None] < end[keep]
        rows = to_device(row[keep], self.device)
        out = tails.rows.new_zeros((len(keep), self.model.config.hidden))
        weight = self.model.get_buffer("linear1_weight")
        for position in np.flatnonzero(changed.any(1)):
            here = changed[position]
            a, b = int(here.argmax()), len(here) - int(here[::-1].argmax())
            at = rows[a:b] + int(position) * tails.step
            if here[a:b].all():
                x = tails.rows[at]
            else:  # changes that neither begin nor end with their windows
                inside = to_device(here[a:b], self.device)[:, None]
                x = tails.rows[at.clamp(0, len(tails.rows) - 1)] * inside
            out[a:b].addmm_(x, weight[position])
        change.view(-1, out.shape[1])[to_device(target[keep], self.device)] = out


def _rounded(blocks: int) -> int:
    """``blocks`` rounded up, so that few different shapes occur."""
    return blocks if blocks < 2 else -(-blocks // BLOCK) * BLOCK


_Tile = tuple[int, int, int]
"""Frame, strand and first block of a reference stretch."""


def _tiles(jobs: Sequence[Job]) -> tuple[list[int], dict[int, dict[_Tile, list[int]]]]:
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


def _relu_change(old: Tensor, change: Tensor) -> Tensor:
    """``relu(old + change) - relu(old)``; overwrites both."""
    return change.add_(old).relu_().sub_(old.relu_())
