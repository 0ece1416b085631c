"""The loaded engine: chunks of alleles -> effects and attributions, on one device.

It holds what takes long to load and does not change: the weights of a store, arranged for its
device. Loading this module loads PyTorch.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from seal_store.common.device import (
    OutOfMemory,
    check_tf32,
    enough_memory,
    inference,
    to_device,
)
from seal_store.common.prefetch import ahead
from seal_store.model.contexts import select_contexts
from seal_store.model.delta import Delta
from seal_store.model.head_set import HeadSet
from seal_store.model.heads import Heads
from seal_store.scoring.attribution import Attributor
from seal_store.scoring.evaluate import Batch, Evaluator, Genes
from seal_store.scoring.haplotype import Stretch
from seal_store.scoring.options import GROUPS, AttributionOptions, ScoreOptions
from seal_store.scoring.quantiles import read_calibration
from seal_store.scoring.reading import Chunk
from seal_store.store.store import Store


class Engine:
    """Weights of ``store`` for one scheme and choice of contexts.

    ``sets`` are the head sets chosen, ``delta`` has the CNN on its device. ``contexts`` are those
    of an effect, in order, each (head set, name). ``at_most`` variants are evaluated at once,
    None as long as the device's memory has sufficed for every batch.
    """

    def __init__(
        self, store: Store, options: ScoreOptions, sets: Sequence[HeadSet], delta: Delta
    ) -> None:
        self.store, self.device = store, delta.device
        self.at_most: int | None = None
        names = [(head_set.name, name) for head_set in sets for name in head_set.contexts]
        keep = select_contexts(names, options.contexts)
        self.contexts = [names[i] for i in keep]
        self.heads = Heads(sets, self.device, keep)
        self.evaluator = Evaluator(store, self.heads, delta, options.scheme)
        self.calibration = None
        if options.calibrated:
            self.calibration = read_calibration(
                store, options.scheme, self.contexts, self.device, options.calibration
            )

    def attributor(self, options: AttributionOptions) -> Attributor:
        """Attributions as ``options`` say. Raises :class:`HeadsError` for an unknown target."""
        wanted = () if "all" in options.targets else options.targets
        targets = select_contexts(self.contexts, wanted)
        labels = {name: self.store.column(name) for name in GROUPS.values()}
        return Attributor(self.heads, options, targets, self.store.config.features, labels)

    def launched(
        self, chunk: Chunk, options: ScoreOptions, by: Attributor | None
    ) -> Callable[[], dict[str, np.ndarray]]:
        """Evaluate a chunk; equal rows once. Does not wait for the device.

        Calling what is returned does: ``effect`` and attributions, one entry a row. Raises
        :class:`InputError` where the device's memory does not suffice for one row, and for
        ``tf32`` on a device that has none.
        """
        if options.tf32:
            check_tf32(self.device)
        first: dict[tuple[int, int, int, bytes, bytes], int] = {}
        by_count: dict[int, list[int]] = defaultdict(list)
        source = np.arange(len(chunk.stretches))
        for i, stretch in enumerate(chunk.stretches):
            task = stretch.task
            begin = int(stretch.windows[0]) if stretch.count else -1
            key = (task.gene, task.allele.pos, begin, stretch.ref, stretch.alt)
            source[i] = first.setdefault(key, i)
            if source[i] == i and stretch.count:
                by_count[stretch.count].append(i)
        found: list[tuple[list[int], dict[str, Tensor]]] = []
        with inference(tf32=options.tf32), enough_memory(self.device):
            genes = self.evaluator.genes(chunk)
            batches = self._batches(chunk.stretches, by_count.values(), options.batch)
            for members, batch in ahead(batches):
                found += self._evaluated(members, batch, genes, by)

        def fetched() -> dict[str, np.ndarray]:
            values = {"effect": np.zeros((len(source), len(self.contexts)), np.float32)}
            if by is not None:
                values |= by.empty(len(source))
            for members, outputs in found:
                for name, value in outputs.items():
                    values[name][members] = value.cpu().numpy()
            if (source == np.arange(len(source))).all():
                return values
            return {name: value[source] for name, value in values.items()}

        return fetched

    def calibrated(
        self, effect: np.ndarray, columns: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """``quantile`` and ``z`` of effects as they are given out, if asked for.

        Those of a calibration with bins are by the ``kind`` and ``dist_to_tss`` of the rows.
        """
        if self.calibration is None:
            return {}
        with inference():
            own = columns["kind"], columns["dist_to_tss"]
            found = self.calibration.of(to_device(effect, self.device), *own)
        return {name: value.cpu().numpy() for name, value in found.items()}

    def _evaluated(
        self, members: list[int], batch: Batch, genes: Genes, by: Attributor | None
    ) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        """Outputs of a batch, in parts if the device's memory does not suffice for the whole."""
        waiting = [(members, batch)]
        while waiting:
            members, batch = waiting.pop()
            most, outputs = self.at_most or len(members), None
            if len(members) > most:
                waiting.append((members[most:], batch.part(most)))
                members, batch = members[:most], batch.part(0, most)
            try:
                outputs = self._outputs(batch, genes, by)
            except OutOfMemory:
                if len(members) == 1:
                    raise
            if outputs is not None:
                yield members, outputs
                continue
            # no longer within the exception, which holds the memory
            self.at_most = len(members) // 2
            waiting.append((members, batch))
            warnings.warn(
                f"device '{self.device}': out of memory with {len(members)} variants at a time; "
                f"going on with {self.at_most}",
                RuntimeWarning,
                stacklevel=2,
            )
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _outputs(self, batch: Batch, genes: Genes, by: Attributor | None) -> dict[str, Tensor]:
        change = self.evaluator.change(batch, genes)
        effect = self.heads.effect(change.first, change.first_change).sum(1)
        return {"effect": effect} | (by(change, effect) if by is not None else {})

    def _batches(
        self, stretches: Sequence[Stretch], groups: Iterable[list[int]], size: int
    ) -> Iterator[tuple[list[int], Batch]]:
        """Rows of a chunk, by position, in batches of neighbours; read from the store."""
        for group in groups:
            group.sort(key=lambda i: (stretches[i].task.gene, stretches[i].task.allele.pos))
            for start in range(0, len(group), size):
                members = group[start : start + size]
                yield members, self.evaluator.read([stretches[i] for i in members])
