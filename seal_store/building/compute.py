"""Features, decay sums and hidden units of single genes, for the arrays of a shard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numcodecs
import numpy as np
import torch
import zarr
from torch import Tensor

from seal_store.common.device import OutOfMemory, enough_memory, inference
from seal_store.common.prefetch import ahead
from seal_store.errors import InputError, ProfileError, StoreError
from seal_store.model.beluga import Beluga
from seal_store.model.grid import aggregate
from seal_store.model.sweep import sweep
from seal_store.model.trunk import Trunk
from seal_store.store.attributes import StoreAttributes
from seal_store.store.layout import STORE, get, shape_of
from seal_store.store.store import grid_slice, read_cnn

GENES_AT_ONCE = {"cpu": 1, "cuda": 8}
"""A GPU is filled by several genes only, and starting its kernels costs as much as they do."""


class Shards:
    """Computes genes of a store, from the CNN or from imported profiles."""

    def __init__(
        self,
        group: zarr.Group,
        attributes: StoreAttributes,
        device: torch.device,
        tf32: bool,
        profiles: Path | None,
    ) -> None:
        self.grid, self.config = attributes.grid, attributes.cnn.config
        self.keep_bits, self.hidden = attributes.keep_bits, attributes.hidden
        self._sizes = attributes.sizes()
        self.device, self.tf32 = device, tf32
        self.sequence = get(group, "sequence")
        self.gene_id, self.strand, self.tss = (
            np.asarray(get(group, name)[:]) for name in ("gene_id", "strand", "tss")
        )
        self.profiles = profiles if attributes.source == "profiles" else None
        if attributes.source == "profiles" and profiles is None:
            raise InputError("this store takes imported profiles", "give `from_profiles`")
        self.model: Beluga | None = None
        if self.profiles is None or self.hidden:
            self.model = read_cnn(group, self.config).to(device)
            self.trunk = Trunk(self.model)

    def empty(self, genes: int) -> dict[str, np.ndarray]:
        """Arrays of a shard by name."""
        sizes = self._sizes | {"gene": genes}
        entries = [
            e for e in STORE if e.written == "shards" and (e.name != "hidden" or self.hidden)
        ]
        return {e.name: np.empty(shape_of(e, sizes), e.dtype) for e in entries}

    def fill(
        self, genes: Sequence[int], block: dict[str, np.ndarray], done: Callable[[], object]
    ) -> None:
        """Fill ``block``, a row for each of ``genes``, those of a shard; ``done`` after each.

        The same genes get the same bytes, whoever computes them on such a device.
        """
        parts, row = self.parts(genes), 0
        for part, found in zip(parts, ahead(map(self._computed, parts)), strict=True):
            features, hidden = (None if x is None else x.cpu().numpy() for x in found)
            assert features is not None
            for i, gene in enumerate(part):
                out = {name: values[row] for name, values in block.items()}
                if "hidden" in out:
                    assert hidden is not None
                    out["hidden"][...] = hidden[i]
                self._place(gene, features[i], out)
                done()
                row += 1

    def parts(self, genes: Sequence[int]) -> list[Sequence[int]]:
        """``genes`` of a shard, divided into those that are computed at once."""
        size = GENES_AT_ONCE[self.device.type]
        return [genes[first : first + size] for first in range(0, len(genes), size)]

    def _computed(self, genes: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Features of windows and, where they are wanted or come with them, hidden, by gene.

        A GPU may still be at work.
        """
        if self.profiles is None:
            return self.sweep(genes)
        shape = self.grid.bins, self.config.features
        ids = [str(self.gene_id[gene]) for gene in genes]
        values = np.stack([read_profile(self.profiles, gene_id, shape) for gene_id in ids])
        return torch.from_numpy(values), self.sweep(genes)[1] if self.hidden else None

    def _place(self, gene: int, features: np.ndarray, out: dict[str, np.ndarray]) -> None:
        """Fill what follows from a gene's ``features``."""
        if not np.isfinite(features).all():
            name = self.gene_id[gene]
            raise StoreError(f"gene {name}: features are not finite", "check the weights")
        out["aggregated"][...] = aggregate(self.grid.decay_weights, features)
        if self.keep_bits is not None:
            features = numcodecs.BitRound(self.keep_bits).encode(features)
        out["features"][...] = np.asarray(features).view(np.float32).reshape(out["features"].shape)

    def sweep(self, genes: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Features float32 and hidden float16, ``(gene, window, ...)``, by window index."""
        if len(genes) == 1:
            with enough_memory(self.device):
                return self._swept(genes)
        with suppress(OutOfMemory):
            return self._swept(genes)
        half = len(genes) // 2
        parts = zip(self.sweep(genes[:half]), self.sweep(genes[half:]), strict=True)
        features, hidden = (torch.cat(pair) for pair in parts)
        return features, hidden

    def _swept(self, genes: Sequence[int]) -> tuple[Tensor, Tensor]:
        assert self.model is not None
        places = [
            (gene, grid_slice(self.grid, int(self.tss[gene]), int(self.strand[gene])))
            for gene in genes
        ]
        bases = [np.asarray(self.sequence[place]).tobytes() for place in places]
        with inference(tf32=self.tf32):
            x = self.trunk.encode(bases).transpose(1, 2)
            hidden = sweep(self.model, x, self.grid.step, self.trunk)
            features = self.model.output(hidden).mean(2)
            for row in np.flatnonzero(self.strand[list(genes)] < 0).tolist():
                features[row], hidden[row] = features[row].flip(0), hidden[row].flip(0)
            return features, hidden.half()


def read_profile(folder: Path, gene: str, shape: tuple[int, int]) -> np.ndarray:
    """Seal's ``<gene>.npy``: float32 ``(windows, feature)``, window 0 most upstream.

    Raises :class:`ProfileError` if it is unreadable, of another shape or not float.
    """
    path = folder / f"{gene}.npy"
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ProfileError(f"{path}: not a readable .npy file", "fetch it again") from error
    if values.shape != shape or values.dtype.kind != "f":
        raise ProfileError(
            f"{path}: shape {values.shape} {values.dtype}, expected {shape} float32",
            "profiles and CNN must have the same features",
        )
    return values.astype(np.float32)
