"""Effects of a batch of alleles, for both schemes, on one device.

Both take the change of the first linear layer's output from :mod:`seal_store.delta`, turn it
into the change of the features without cancellation, and evaluate the heads in delta form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seal_store.assign import Task
from seal_store.cnn import Beluga
from seal_store.delta import Delta, Edit
from seal_store.device import to_device
from seal_store.genome import one_hot
from seal_store.grid import decay_weights
from seal_store.haplotype import SHIFTS, Stretch
from seal_store.heads import Heads
from seal_store.layout import read
from seal_store.store import Store, grid_slice
from seal_store.sweep import sweep
from seal_store.trunk import Trunk

SWEEP_BATCH = 16
"""Stretches of ten windows swept at once: activations of 5 MB a layer and kilobase."""


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


class Evaluator:
    """What both schemes need: the store, the CNN and the heads on ``device``."""

    def __init__(self, store: Store, heads: Heads, device: torch.device) -> None:
        self.store, self.heads, self.device = store, heads, device
        self.model = store.cnn().to(device)
        self.trunk = Trunk(self.model)
        self.delta = Delta(self.model, self.trunk)
        self.weights = to_device(store.grid.decay_weights.astype(np.float32), device)

    def genes(self, sequence: Mapping[int, bytes], aggregated: np.ndarray) -> Genes:
        """Genes to evaluate against; ``aggregated`` has them in the order of ``sequence``."""
        sums = to_device(aggregated, self.device)
        row = {gene: i for i, gene in enumerate(sequence)}
        return Genes(sequence, row, sums, self.heads.first(sums.flatten(1)))

    def grid(self, tasks: Sequence[Task], stretches: Sequence[Stretch], genes: Genes) -> Tensor:
        """Effects ``(n, contexts)``, scheme ``grid``; stretches have the same number of windows."""
        grid = self.store.grid
        own = {task.gene: task for task in tasks}
        frame_of = {gene: i for i, gene in enumerate(own)}
        frames = [
            genes.sequence[gene][grid_slice(grid, task.tss, task.strand)]
            for gene, task in own.items()
        ]
        edits = [
            Edit(frame_of[t.gene], int(grid.index_of(s.windows[0], t.strand)), s.count, s.alt)
            for t, s in zip(tasks, stretches, strict=True)
        ]
        change = self.delta.hidden_change(frames, edits)
        base, rows = self._reference(own, frames, edits)
        features = feature_change(self.model, base, rows, change)
        windows = to_device(np.stack([s.windows for s in stretches]), self.device)
        weights = self.weights[:, windows].transpose(0, 1)
        delta = self.heads.first_delta((weights @ features).flatten(1))
        return self.heads.effect(genes.first[self._rows(tasks, genes)], delta)

    def centered(self, tasks: Sequence[Task], stretches: Sequence[Stretch], genes: Genes) -> Tensor:
        """Effects ``(n, contexts)``, scheme ``centered``: nine replaced windows, summed."""
        sums = genes.sums[self._rows(tasks, genes)]
        grid, model = self.store.grid, self.model
        base = self._swept([s.ref for s in stretches])
        edits = [Edit(i, 0, s.count, s.alt) for i, s in enumerate(stretches)]
        change = self.delta.hidden_change([s.ref for s in stretches], edits)
        rows = torch.arange(base.shape[0] * base.shape[1], device=self.device)
        features = feature_change(model, base.flatten(0, 1), rows.view(base.shape[:2]), change)
        ref = model.output(base).mean(2)
        offsets = np.array([(t.allele.pos - t.tss + SHIFTS) * t.strand for t in tasks])
        bins = grid.nearest_bin(offsets)
        stored = np.stack([self._profile(t.gene, b) for t, b in zip(tasks, bins, strict=True)])
        weights = decay_weights(offsets.ravel(), grid.rates).T.astype(np.float32)
        placed = to_device(weights, self.device).reshape(*offsets.shape, -1, 1)
        gone = self.weights[:, to_device(bins, self.device)].permute(1, 2, 0)[..., None]
        removed = gone * to_device(stored, self.device)[:, :, None]
        replaced = sums[:, None] - removed + placed * ref[:, :, None]
        hidden = self.heads.first(replaced.flatten(2).flatten(0, 1))
        delta = self.heads.first_delta((placed * features[:, :, None]).flatten(2).flatten(0, 1))
        return self.heads.effect(hidden, delta).unflatten(0, offsets.shape).sum(1)

    def _reference(
        self, genes: Mapping[int, Task], frames: Sequence[bytes], edits: Sequence[Edit]
    ) -> tuple[Tensor, Tensor]:
        """Reference ``hidden`` of all windows needed, and each edit's rows of it.

        ``(rows, strand, unit)`` float32 and int64 ``(edits, windows)``. Taken from the store
        where it has ``hidden``, else computed.
        """
        blocks: list[Tensor] = []
        origin: list[int] = []
        total = 0
        for i, (gene, task) in enumerate(genes.items()):
            own = [e for e in edits if e.frame == i]
            low = min(e.first for e in own)
            high = max(e.first + e.count for e in own)
            if self.store.has_hidden:
                order = self.store.grid.index_of(np.arange(low, high), task.strand)
                part = slice(int(order.min()), int(order.max()) + 1)
                stored = read(self.store.array("hidden"), (gene, part))
                ordered = np.ascontiguousarray(stored[order - part.start])
                blocks.append(to_device(ordered, self.device).float())
            else:
                step = self.store.grid.step
                bases = frames[i][step * low : step * (high - 1) + self.model.config.window]
                blocks.append(self._swept([bases])[0])
            origin.append(total - low)
            total += high - low
        rows = [np.arange(e.first, e.first + e.count) + origin[e.frame] for e in edits]
        return torch.cat(blocks), to_device(np.stack(rows), self.device)

    def _swept(self, sequences: Sequence[bytes]) -> Tensor:
        """``hidden`` ``(n, windows, strand, unit)`` of stretches of equal length."""
        codes = np.frombuffer(b"".join(sequences), np.uint8).reshape(len(sequences), -1)
        x = to_device(one_hot(codes), self.device)
        step = self.store.grid.step
        return torch.cat(
            [sweep(self.model, part, step, self.trunk) for part in x.split(SWEEP_BATCH)]
        )

    def _rows(self, tasks: Sequence[Task], genes: Genes) -> Tensor:
        """Each task's row in ``genes``."""
        return to_device(np.array([genes.row[task.gene] for task in tasks]), self.device)

    def _profile(self, gene: int, bins: np.ndarray) -> np.ndarray:
        """The gene's reference features at ``bins``, ``(bins, feature)``."""
        low, high = int(bins.min()), int(bins.max())
        return self.store.features(gene, slice(low, high + 1))[bins - low]


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
