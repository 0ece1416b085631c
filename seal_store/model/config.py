"""Sizes and layer names of the CNN. No PyTorch: a store opens without it."""

from __future__ import annotations

from dataclasses import dataclass

LAYERS = {f"conv{n}": f"model.0.{i}" for n, i in enumerate((0, 2, 6, 8, 12, 14), 1)} | {
    "linear1": "model.1.2.1",
    "linear2": "model.1.4.1",
}
"""Our layer names and the keys of a weights file."""


@dataclass(frozen=True)
class CnnConfig:
    """Sizes of the network; the defaults are the published ones."""

    channels: tuple[int, ...] = (320, 320, 480, 480, 640, 640)
    hidden: int = 2003
    features: int = 2002
    kernel: int = 8
    pool: int = 4
    window: int = 2000

    @property
    def positions(self) -> int:
        """Positions of the last convolution within one window (106 as published)."""
        length, shrink = self.window, 2 * (self.kernel - 1)
        for _ in range(2):
            length = (length - shrink) // self.pool
        return length - shrink

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor of a weights file, in the file's order."""
        outputs = (*self.channels, self.hidden, self.features)
        inputs = (4, *self.channels[:-1], self.channels[-1] * self.positions, self.hidden)
        shapes: dict[str, tuple[int, ...]] = {}
        for (name, key), inner, outer in zip(LAYERS.items(), inputs, outputs, strict=True):
            kernel = (1, self.kernel) if name.startswith("conv") else ()
            shapes[f"{key}.weight"] = (outer, inner, *kernel)
            shapes[f"{key}.bias"] = (outer,)
        return shapes
