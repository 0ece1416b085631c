"""Evaluate alleles in batches: the change of the heads' input, for both schemes, on one device.

Both take the change of the first linear layer's output from :mod:`seal_store.model.delta` and turn
it into the change of the features without cancellation, then of the decay sums and of the heads'
hidden units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seal_store.common.device import full_precision, pinned, to_device
from seal_store.model.beluga import Beluga
from seal_store.model.delta import Delta
from seal_store.model.edits import Edit
from seal_store.model.grid import decay_weights
from seal_store.model.heads import Heads
from seal_store.model.sweep import sweep
from seal_store.scoring.assign import Task
from seal_store.scoring.haplotype import SHIFTS, Stretch
from seal_store.scoring.reading import Chunk
from seal_store.store.shards import ShardFiles
from seal_store.store.store import Store, grid_slice

SWEEP_BATCH = 8
"""Stretches of ten windows swept at once, both strands: 20 MB a layer and kilobase."""


@dataclass(frozen=True)
class Genes:
    """Genes of a batch: stored sequences by position in the store, and on the device.

    ``row`` places a gene in ``sums`` ``(genes, decay, feature)``, its reference decay sums, and
    in ``first`` ``(genes, units)``, the heads' hidden units on them.
    """

    sequence: Mapping[int, bytes]
    row: Mapping[int, int]
    sums: Tensor
    first: Tensor


@dataclass(frozen=True)
class Batch:
    """Stretches evaluated together; they have the same number of windows.

    ``stored`` is what the store holds of the reference, read ahead of the evaluation, each
    window once: for ``grid`` ``hidden`` ``(n, strand_read, unit)`` of the windows touched (None
    without ``hidden``), for ``centered`` the features ``(n, feature)`` of the nine bins.
    ``rows`` ``(stretches, windows)`` says where in ``stored`` the windows of each are.
    """

    stretches: Sequence[Stretch]
    stored: Tensor | None
    rows: np.ndarray

    def part(self, start: int, stop: int | None = None) -> Batch:
        """Some of the stretches, with what the store holds of these."""
        rows, stored = self.rows[start:stop], self.stored
        if stored is not None:
            used, inverse = np.unique(rows, return_inverse=True)
            stored, rows = stored[torch.from_numpy(used)], inverse.reshape(rows.shape)
        return Batch(self.stretches[start:stop], stored, rows)


@dataclass(frozen=True)
class Change:
    """What ``n`` alleles change: ``effect`` is the sum over shifts of the heads' differences.

    ``sums`` ``(n, shifts, decay, feature)`` is the change of the decay sums, ``first``
    ``(n, shifts, units)`` the heads' hidden units before ReLU on the reference and
    ``first_change`` what the allele adds to them. ``grid`` has one shift, ``centered`` nine.
    """

    sums: Tensor
    first: Tensor
    first_change: Tensor


class Evaluator:
    """What both schemes need: the store, and the CNN of ``delta`` and the heads on its device."""

    def __init__(self, store: Store, heads: Heads, delta: Delta, scheme: str) -> None:
        self.store, self.heads, self.delta, self.scheme = store, heads, delta, scheme
        self.model, self.trunk, self.device = delta.model, delta.trunk, delta.device
        self.weights = to_device(store.grid.decay_weights.astype(np.float32), self.device)
        held = "features" if scheme == "centered" else "hidden" if store.has_hidden else None
        self.windows = ShardFiles(store.array(held)) if held else None

    def genes(self, chunk: Chunk) -> Genes:
        """The genes of a chunk, to evaluate its stretches against."""
        sums = to_device(chunk.aggregated, self.device)
        row = {gene: i for i, gene in enumerate(chunk.sequences)}
        return Genes(chunk.sequences, row, sums, self.heads.first(sums.flatten(1)))

    def read(self, stretches: Sequence[Stretch]) -> Batch:
        """A batch with what the store holds of it. Needs no device: runs ahead in a thread."""
        grid, windows = self.store.grid, np.stack([s.windows for s in stretches])
        if self.windows is None:
            return Batch(stretches, None, windows)
        if self.scheme == "centered":
            windows = np.stack([grid.nearest_bin(_offsets(s.task)) for s in stretches])
        genes = np.array([s.task.gene for s in stretches])[:, None]
        wanted, rows = np.unique(genes * grid.bins + windows, return_inverse=True)
        values = self.stored(*np.divmod(wanted, grid.bins))
        return Batch(stretches, pinned(values, self.device), rows.reshape(windows.shape))

    def stored(self, genes: np.ndarray, windows: np.ndarray) -> np.ndarray:
        """What the store holds of windows of genes, both ascending, one row each."""
        assert self.windows is not None
        size = self.windows.chunk[1]
        chunks, place = np.unique(np.stack([genes, windows // size]), axis=1, return_inverse=True)
        rest = (0,) * (len(self.windows.chunk) - 2)
        values = self.windows.read([(int(gene), int(chunk), *rest) for gene, chunk in chunks.T])
        return values.reshape(-1, *values.shape[3:])[place.ravel() * size + windows % size]

    def change(self, batch: Batch, genes: Genes) -> Change:
        """What the batch's alleles change."""
        scheme = self._centered if self.scheme == "centered" else self._grid
        return scheme(batch, genes)

    def _grid(self, batch: Batch, genes: Genes) -> Change:
        grid, stretches = self.store.grid, batch.stretches
        own = {s.task.gene: s.task for s in stretches}
        frame_of = {gene: i for i, gene in enumerate(own)}
        frames = [
            genes.sequence[gene][grid_slice(grid, task.tss, task.strand)]
            for gene, task in own.items()
        ]
        edits = [
            Edit(
                frame_of[s.task.gene],
                int(grid.index_of(s.windows[0], s.task.strand)),  # along the + strand
                s.count,
                s.alt,
                s.left,
                s.right,
            )
            for s in stretches
        ]
        change = self.delta.hidden_change(frames, edits)
        if batch.stored is not None:
            base, rows = batch.stored.to(self.device, non_blocking=True), batch.rows
            base = base.to(self.weights.dtype)
        else:
            base, rows = self._swept_frames(frames, edits)
        features = feature_change(self.model, base, to_device(rows, self.device), change)
        windows = to_device(np.stack([s.windows for s in stretches]), self.device)
        sums = (self.weights[:, windows].transpose(0, 1) @ features)[:, None]
        first = genes.first[self._rows(stretches, genes)][:, None]
        return Change(sums, first, self.heads.first_delta(sums.flatten(2)))

    def _centered(self, batch: Batch, genes: Genes) -> Change:
        grid, model, stretches = self.store.grid, self.model, batch.stretches
        base = self.swept([s.ref for s in stretches])
        edits = [Edit(i, 0, s.count, s.alt, s.left, s.right) for i, s in enumerate(stretches)]
        change = self.delta.hidden_change([s.ref for s in stretches], edits)
        rows = torch.arange(base.shape[0] * base.shape[1], device=self.device)
        features = feature_change(model, base.flatten(0, 1), rows.view(base.shape[:2]), change)
        ref = model.output(base).mean(2)
        offsets = np.stack([_offsets(s.task) for s in stretches])
        bins = grid.nearest_bin(offsets)
        weights = decay_weights(offsets.ravel(), grid.rates).T.astype(np.float32)
        placed = to_device(weights, self.device).reshape(*offsets.shape, -1, 1)
        gone = self.weights[:, to_device(bins, self.device)].permute(1, 2, 0)[..., None]
        assert batch.stored is not None
        stored = batch.stored.to(self.device, non_blocking=True)
        removed = gone * stored[to_device(batch.rows, self.device)][:, :, None]
        reference = genes.sums[self._rows(stretches, genes)]
        replaced = reference[:, None] - removed + placed * ref[:, :, None]
        sums = placed * features[:, :, None]
        first = self.heads.first(replaced.flatten(2))
        return Change(sums, first, self.heads.first_delta(sums.flatten(2)))

    def _swept_frames(
        self, frames: Sequence[bytes], edits: Sequence[Edit]
    ) -> tuple[Tensor, np.ndarray]:
        """``hidden`` of all windows between a frame's edits, and the rows of each edit's."""
        step, window = self.store.grid.step, self.model.config.window
        low, high = np.full(len(frames), self.store.grid.bins), np.zeros(len(frames), np.int64)
        for edit in edits:
            low[edit.frame] = min(low[edit.frame], edit.first)
            high[edit.frame] = max(high[edit.frame], edit.first + edit.count)
        base = [
            self.swept([frame[step * a : step * (b - 1) + window]])[0]
            for frame, a, b in zip(frames, low, high, strict=True)
        ]
        origin = np.cumsum([0, *(high - low)[:-1]]) - low
        first = np.array([edit.first + origin[edit.frame] for edit in edits])
        return torch.cat(base), first[:, None] + np.arange(edits[0].count)

    @full_precision()
    def swept(self, sequences: Sequence[bytes]) -> Tensor:
        """``hidden`` ``(n, windows, strand, unit)`` of stretches of equal length."""
        parts = self.trunk.encode(sequences).transpose(1, 2).split(SWEEP_BATCH)
        step = self.store.grid.step
        return torch.cat([sweep(self.model, part, step, self.trunk) for part in parts])

    def _rows(self, stretches: Sequence[Stretch], genes: Genes) -> Tensor:
        """The row in ``genes`` of each stretch's gene."""
        return to_device(np.array([genes.row[s.task.gene] for s in stretches]), self.device)


def _offsets(task: Task) -> np.ndarray:
    """Of the nine windows of ``centered``: bp from the TSS, downstream positive."""
    return (task.allele.pos - task.tss + SHIFTS) * task.strand


def feature_change(model: Beluga, base: Tensor, rows: Tensor, change: Tensor) -> Tensor:
    """Change of the features, strands averaged: ``(n, windows, feature)``.

    ``base`` ``(rows, strand, unit)`` is the reference's hidden before its ReLU, ``rows``
    ``(n, windows)`` says which row each window has, ``change`` ``(n, windows, strand, unit)``
    what the allele changes. Neither layer is evaluated as a difference of two large numbers:
    the linear one is applied to the change, and for the sigmoid s,
    ``s(z + d) - s(z) = -expm1(-d) s(z + d) s(-z)``.
    """
    weight, bias = model.get_buffer("linear2_weight"), model.get_buffer("linear2_bias")
    z = F.linear(base.relu(), weight, bias)
    before = base[rows]
    d = F.linear((before + change).relu_() - before.relu_(), weight)
    z = z[rows]
    gained = (z + d).sigmoid_().mul_(z.neg_().sigmoid_()).mul_(d.neg_().expm1_().neg_())
    return gained.mean(2)
