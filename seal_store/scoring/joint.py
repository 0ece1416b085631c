"""Haplotypes of a gene: the alleles that one copy of it carries, evaluated together.

Coordinates are anchored at the TSS, as in scheme ``grid``: to its right the haplotype is counted
from the left, at it and to its left from the right, so that what lies nearer to the TSS moves what
lies farther away. A window is evaluated if an allele touches it in these coordinates; others keep
the reference's features. One allele alone is what ``score`` evaluates.

Changes of single bases with nothing longer or shorter before them, seen from the TSS, leave all
other bases in their places. Groups of these that are too far apart to meet in the last
convolution are evaluated once each, whatever haplotypes carry them, and added before the first
ReLU that follows. Windows with moved bases are evaluated whole.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from seal_store.model.cone import CONE
from seal_store.model.edits import Edit
from seal_store.model.grid import Grid
from seal_store.scoring.evaluate import Evaluator, feature_change
from seal_store.store.store import sequence_start
from seal_store.variants.alleles import Change

APART = CONE
"""Bases between changes that no position of the last convolution sees both of: all that the
positions which one of them changes read lies within a cone around it."""

SWEPT = 64
"""Windows in a row from which both haplotypes are swept: a long change takes more."""

AT_ONCE = 32
"""Edits evaluated at once."""

KNOWN = 2_048
"""Groups that are kept, about: of the published CNN each takes some 160 kB."""


@dataclass(frozen=True)
class Haplotype:
    """A haplotype of the windows of a gene, 0-based along the + strand.

    ``alt`` has as many bases as the windows together. ``touched`` bool ``(windows,)`` says which
    an allele touches, ``moved`` which of them hold bases that are not in their places, or an
    allele that moves others. ``groups`` are the changes of the others, those that meet together.
    ``moves`` has, sorted, where in ``alt`` bases begin that stand so many to the right of their
    place in the genome.
    """

    alt: bytes
    touched: np.ndarray
    moved: np.ndarray
    groups: tuple[tuple[Change, ...], ...]
    moves: tuple[tuple[int, int], ...]

    def shift(self, place: int) -> int:
        """By how many the base at ``place`` stands to the right of its place in the genome."""
        return self.moves[max(0, bisect_right(self.moves, (place, len(self.alt))) - 1)][1]


@dataclass(frozen=True)
class Frame:
    """The windows of a gene: where they begin, 0-based on the contig, and the stored sequence."""

    grid: Grid
    tss: int
    strand: int
    sequence: bytes

    @property
    def first(self) -> int:
        """Begin of the windows."""
        return self.grid.first_start(self.tss, self.strand)

    @property
    def length(self) -> int:
        """Bases of all windows."""
        return self.grid.run_length(self.grid.bins)

    @property
    def ref(self) -> bytes:
        """The genome's bases."""
        start = self.first - sequence_start(self.tss)
        return self.sequence[start : start + self.length]

    def haplotype(self, changes: Sequence[Change]) -> Haplotype | None:
        """The haplotype with ``changes``, sorted and without overlap.

        None if the stored sequence is too short for it.
        """
        left = [c for c in changes if c.start <= self.tss - 1]
        right = [c for c in changes if c.start > self.tss - 1]
        middle = max([self.tss, *(c.end for c in left)])
        origin = sequence_start(self.tss)
        before = self._with(left, origin, middle)
        after = self._with(right, middle, origin + len(self.sequence))
        wanted = middle - self.first
        if len(before) < wanted or len(after) < self.length - wanted:
            return None
        alt = before[len(before) - wanted :] + after[: self.length - wanted]
        touched, moved = np.zeros(self.grid.bins, bool), np.zeros(self.grid.bins, bool)
        plain: list[Change] = []
        # left of the last allele all is moved by all of the left ones; then by one less, and so on
        moves = [(0, -sum(c.net for c in left)), (wanted, 0)]
        for side, sign in ((right, 1), (left[::-1], -1)):
            shift, shifted = 0, False
            for change in side:
                reach = max(change.length, len(change.alt))
                low = change.start + shift if sign > 0 else change.end - shift - reach
                windows = self._windows(low, low + reach)
                touched[windows] = True
                shifted |= change.net != 0
                if sign > 0:
                    moves.append((low + reach - self.first, shift + change.net))
                else:
                    moves.append((low + reach - self.first, -shift))
                shift += change.net
                if shifted:
                    moved[windows] = True
                else:
                    plain.append(change)
        groups = grouped(sorted(plain, key=lambda c: c.start))
        return Haplotype(alt, touched, moved, groups, tuple(sorted(moves)))

    def _with(self, changes: Sequence[Change], start: int, end: int) -> bytes:
        """Bases ``[start, end)`` of the contig with ``changes``."""
        origin, parts = sequence_start(self.tss), []
        for change in changes:
            parts += [self.sequence[start - origin : change.start - origin]]
            parts += [change.alt.encode("ascii")]
            start = change.end
        return b"".join([*parts, self.sequence[start - origin : end - origin]])

    def _windows(self, low: int, high: int) -> slice:
        """Windows that overlap ``[low, high)``, in the order of the + strand."""
        run = self.grid.touched(self.tss, self.strand, low, high)
        if run is None:
            return slice(0, 0)
        first = (run.start - self.first) // self.grid.step
        return slice(first, first + run.count)

    def edit(self, group: Sequence[Change]) -> Edit | None:
        """The windows that changes of single bases touch, with these alone; None without any."""
        run = self._windows(group[0].start, group[-1].end)
        if run.start == run.stop:
            return None
        begin = self.first + self.grid.step * run.start
        count = run.stop - run.start
        alt = self._with(group, begin, begin + self.grid.run_length(count))
        return Edit(0, run.start, count, alt)


def grouped(changes: Sequence[Change]) -> tuple[tuple[Change, ...], ...]:
    """Changes in groups, of which each is at least :data:`APART` from the next."""
    ends = [i for i, (a, b) in enumerate(pairwise(changes), 1) if b.start - a.end >= APART]
    parts = pairwise([0, *ends, len(changes)])
    return tuple(tuple(changes[a:b]) for a, b in parts if b > a)


def runs_of(mask: np.ndarray) -> list[tuple[int, int]]:
    """Begin and end of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


class Carried:
    """Evaluates haplotypes of one gene; each group of changes once, as far as they are kept.

    ``gene`` is its position in the store of ``evaluator``, of scheme ``grid``; ``sums``
    ``(1, decay, feature)`` are its decay sums, on the device.
    """

    def __init__(self, evaluator: Evaluator, gene: int, frame: Frame, sums: Tensor) -> None:
        self.evaluator, self.gene, self.frame, self.sums = evaluator, gene, frame, sums
        self._first = evaluator.heads.first(sums.flatten(1))
        self._known: dict[tuple[Change, ...], tuple[int, Tensor] | None] = {}
        self._base: Tensor | None = None

    def effects(self, haplotypes: Sequence[Haplotype]) -> np.ndarray:
        """Effects float32 ``(haplotypes, contexts)`` against the genome's own bases."""
        self._learn([group for h in haplotypes for group in h.groups])
        found = [self._effect(haplotype) for haplotype in haplotypes]
        return (
            np.stack(found) if found else np.zeros((0, self.evaluator.heads.contexts), np.float32)
        )

    def _effect(self, haplotype: Haplotype) -> np.ndarray:
        evaluator, grid = self.evaluator, self.frame.grid
        windows = np.flatnonzero(haplotype.touched)
        if not len(windows):
            return np.zeros(evaluator.heads.contexts, np.float32)
        change = self._hidden_change(haplotype)[torch.from_numpy(windows).to(evaluator.device)]
        base = self._hidden(windows)
        rows = torch.arange(len(windows), device=evaluator.device)[None]
        features = feature_change(evaluator.model, base, rows, change[None])
        weights = evaluator.weights[:, grid.index_of(windows, self.frame.strand).copy()]
        delta = evaluator.heads.first_delta((weights @ features).flatten(1))
        effect: np.ndarray = evaluator.heads.effect(self._first, delta)[0].cpu().numpy()
        return effect

    def _hidden_change(self, haplotype: Haplotype) -> Tensor:
        """Change of the first linear layer's output: ``(windows, strand, unit)``, + strand."""
        evaluator = self.evaluator
        units = evaluator.model.config.hidden
        change = torch.zeros(self.frame.grid.bins, 2, units, device=evaluator.device)
        for group in haplotype.groups:
            if (known := self._known[group]) is not None:
                first, own = known
                change[first : first + len(own)] += own
        for start, stop in runs_of(haplotype.moved):
            change[start:stop] = self._moved(haplotype, start, stop)
        return change

    def _moved(self, haplotype: Haplotype, start: int, stop: int) -> Tensor:
        """The same of windows whose bases are moved."""
        step, count = self.frame.grid.step, stop - start
        part = slice(step * start, step * start + self.frame.grid.run_length(count))
        alt, ref = haplotype.alt[part], self.frame.ref[part]
        if count >= SWEPT:
            swept = self.evaluator.swept([alt, ref])
            return swept[0] - swept[1]
        ends = haplotype.shift(part.start), haplotype.shift(part.stop)
        edit = Edit(0, start, count, alt, *ends)
        return self.evaluator.delta.hidden_change([self.frame.ref], [edit])[0]

    def _learn(self, groups: Sequence[tuple[Change, ...]]) -> None:
        """Evaluate groups that are not known yet."""
        new = [group for group in dict.fromkeys(groups) if group not in self._known]
        if self._known and len(self._known) + len(new) > KNOWN:
            self._known.clear()
            new = list(dict.fromkeys(groups))
        by_count: dict[int, list[tuple[tuple[Change, ...], Edit]]] = {}
        for group in new:
            edit = self.frame.edit(group)
            if edit is None:
                self._known[group] = None
            else:
                by_count.setdefault(edit.count, []).append((group, edit))
        for members in by_count.values():
            for begin in range(0, len(members), AT_ONCE):
                part = members[begin : begin + AT_ONCE]
                edits = [edit for _, edit in part]
                found = self.evaluator.delta.hidden_change([self.frame.ref], edits)
                for (group, edit), own in zip(part, found, strict=True):
                    self._known[group] = edit.first, own

    def _hidden(self, windows: np.ndarray) -> Tensor:
        """The reference's ``hidden`` of windows in the order of the + strand."""
        evaluator, strand = self.evaluator, self.frame.strand
        if evaluator.windows is None:
            if self._base is None:
                self._base = evaluator.swept([self.frame.ref])[0]
            return self._base[torch.from_numpy(windows).to(evaluator.device)]
        index = self.frame.grid.index_of(windows, strand)
        order = np.argsort(index)
        values = evaluator.stored(np.full(len(index), self.gene), index[order])[np.argsort(order)]
        return torch.from_numpy(values).to(evaluator.device, evaluator.weights.dtype)
