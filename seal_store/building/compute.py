"""Features, decay sums and hidden units of single genes, for the arrays of a shard."""

from __future__ import annotations

from pathlib import Path

import numcodecs
import numpy as np
import torch
import zarr
from torch import Tensor

from seal_store.common.device import inference
from seal_store.errors import InputError, ProfileError, StoreError
from seal_store.model.beluga import Beluga
from seal_store.model.grid import aggregate
from seal_store.model.sweep import sweep
from seal_store.model.trunk import Trunk
from seal_store.store.attributes import StoreAttributes
from seal_store.store.layout import STORE, get, shape_of
from seal_store.store.store import grid_slice, read_cnn


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

    def computed(self, gene: int) -> tuple[Tensor, Tensor | None]:
        """Features of a gene's windows and, where they are wanted or come with them, hidden.

        A GPU may still be at work.
        """
        if self.profiles is None:
            return self.sweep(gene)
        shape = self.grid.bins, self.config.features
        values = read_profile(self.profiles, str(self.gene_id[gene]), shape)
        return torch.from_numpy(values), self.sweep(gene)[1] if self.hidden else None

    def place(
        self, gene: int, found: tuple[Tensor, Tensor | None], out: dict[str, np.ndarray]
    ) -> None:
        """Fill one gene's rows with what was ``computed``."""
        name = str(self.gene_id[gene])
        features = found[0].cpu().numpy()
        if self.hidden:
            if found[1] is None:
                raise StoreError(f"gene {name}: no hidden was computed")
            out["hidden"][...] = found[1].cpu().numpy()
        if not np.isfinite(features).all():
            raise StoreError(f"gene {name}: features are not finite", "check the weights")
        out["aggregated"][...] = aggregate(self.grid.decay_weights, features)
        if self.keep_bits is not None:
            features = numcodecs.BitRound(self.keep_bits).encode(features)
        out["features"][...] = np.asarray(features).view(np.float32).reshape(out["features"].shape)

    def compute(self, gene: int, out: dict[str, np.ndarray]) -> None:
        """Fill one gene's rows."""
        self.place(gene, self.computed(gene), out)

    def sweep(self, gene: int) -> tuple[Tensor, Tensor]:
        """Features float32 and hidden float16 of a gene's windows, by window index."""
        assert self.model is not None
        strand = int(self.strand[gene])
        bases = np.asarray(self.sequence[gene, grid_slice(self.grid, int(self.tss[gene]), strand)])
        with inference(tf32=self.tf32):
            x = self.trunk.encode([bases.tobytes()]).transpose(1, 2)
            hidden = sweep(self.model, x, self.grid.step, self.trunk)[0]
            features = self.model.output(hidden).mean(1)
            if strand < 0:
                features, hidden = features.flip(0), hidden.flip(0)
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
