"""A head set: its weights as arrays, and the lines of its model summary. No PyTorch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np

WEIGHTS, SYNTHETIC = "Weights", "synthetic"
"""The line of a summary that says that a set's numbers have no meaning."""
CNN = "CNN"
"""The line of a summary that names the CNN (its SHA-256) whose features, in their order, a set was
trained on. Training from a store writes it; Seal's own summaries have none."""

ARRAYS = {
    "w1": "layers.0.weight",
    "b1": "layers.0.bias",
    "w2": "layers.2.weight",
    "b2": "layers.2.bias",
}
"""Our array names and the keys of Seal's ``model_state_dict``."""


@dataclass(frozen=True)
class HeadSet:
    """One trained model.

    ``w1`` float32 ``(latent, inputs)``, ``b1`` ``(latent,)``, ``w2`` ``(contexts, latent)``,
    ``b2`` ``(contexts,)``; ``contexts`` names the outputs. ``summary`` holds the summary file's
    lines as they were.
    """

    name: str
    contexts: tuple[str, ...]
    w1: np.ndarray
    b1: np.ndarray
    w2: np.ndarray
    b2: np.ndarray
    summary: dict[str, str] = field(default_factory=dict)

    @property
    def inputs(self) -> int:
        """Length of the decay-aggregated vector it takes."""
        return int(self.w1.shape[1])

    def sha256(self) -> str:
        """Fingerprint: SHA-256 over context names and the four arrays."""
        digest = hashlib.sha256("\n".join(self.contexts).encode())
        for name in ARRAYS:
            array = np.ascontiguousarray(getattr(self, name), "<f4")
            digest.update(f"\n{name}{array.shape}".encode())
            digest.update(array.data)
        return digest.hexdigest()
