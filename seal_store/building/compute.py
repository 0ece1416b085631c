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
        self._weights = torch.from_numpy(self.grid.decay_weights).double().to(device)
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
            arrays = {name: found[name].cpu().numpy() for name in block}
            for i, gene in enumerate(part):
                if not np.isfinite(arrays["features"][i]).all():
                    name = self.gene_id[gene]
                    raise StoreError(f"gene {name}: features are not finite", "check the weights")
                for name, values in block.items():
                    values[row] = self._kept(name, arrays[name][i]).reshape(values[row].shape)
                done()
                row += 1

    def _kept(self, name: str, values: np.ndarray) -> np.ndarray:
        """Values as they are stored: features rounded where bits are to be kept."""
        if name != "features" or self.keep_bits is None:
            return values
        return np.asarray(numcodecs.BitRound(self.keep_bits).encode(values)).view(np.float32)

    def parts(self, genes: Sequence[int]) -> list[Sequence[int]]:
        """``genes`` of a shard, divided into those that are computed at once."""
        size = GENES_AT_ONCE[self.device.type]
        return [genes[first : first + size] for first in range(0, len(genes), size)]

    def _computed(self, genes: Sequence[int]) -> dict[str, Tensor]:
        """The arrays of genes: features of windows, their sums and, where it is wanted, hidden.

        A GPU may still be at work.
        """
        found: dict[str, Tensor] = {}
        if self.profiles is None or self.hidden:
            found["features"], found["hidden"] = self.sweep(genes)
        if self.profiles is not None:
            shape = self.grid.bins, self.config.features
            ids = [str(self.gene_id[gene]) for gene in genes]
            profiles = [read_profile(self.profiles, gene_id, shape) for gene_id in ids]
            found["features"] = torch.from_numpy(np.stack(profiles)).to(self.device)
        # summed in float64, as :func:`seal_store.model.grid.aggregate` does
        found["aggregated"] = (self._weights @ found["features"].double()).float()
        return found

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
