"""The convolutions of the CNN on channels-last activations, for the faster paths.

The same products as :class:`~seal_store.cnn.Beluga`, arranged for speed: activations are
``(n, position, channel)``, so that a stretch of positions is contiguous and pooling is one pass.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from seal_store.cnn import Beluga


class Trunk:
    """The six convolutions of ``model``, on its device."""

    def __init__(self, model: Beluga) -> None:
        self.config = model.config
        self._first = model.get_buffer("conv1_weight").permute(2, 1, 0).flatten(0, 1).contiguous()
        self._bias = [model.get_buffer(f"conv{i}_bias") for i in range(1, 7)]
        self._weight = [
            model.get_buffer(f"conv{i}_weight")
            .unsqueeze(2)
            .contiguous(memory_format=torch.channels_last)
            for i in range(1, 7)
        ]

    def conv(self, layer: int, x: Tensor) -> Tensor:
        """Convolution ``layer`` (1..6) and its ReLU: ``(n, L, in)`` to ``(n, L - 7, out)``."""
        if layer == 1:
            rows = x.contiguous().unfold(1, self.config.kernel, 1).transpose(2, 3).flatten(2)
            return (
                torch.addmm(self._bias[0], rows.flatten(0, 1), self._first)
                .relu_()
                .unflatten(0, rows.shape[:2])
            )
        image = x.contiguous().transpose(1, 2).unsqueeze(2)
        out = F.conv2d(image, self._weight[layer - 1], self._bias[layer - 1])
        return out.squeeze(2).transpose(1, 2).relu_()

    def pool(self, x: Tensor) -> Tensor:
        """Max-pooling: ``(n, L, c)`` to ``(n, L // 4, c)``."""
        size = self.config.pool
        whole = x[:, : x.shape[1] // size * size]
        return whole.unflatten(1, (-1, size)).amax(2)
