"""The convolutions of the CNN on channels-last activations, for the faster paths.

The same products as :class:`~seal_store.model.beluga.Beluga`, arranged for speed: activations are
``(n, position, channel)``, so that a stretch of positions is contiguous and pooling is one pass.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seal_store.common.device import to_device
from seal_store.model.beluga import Beluga
from seal_store.model.fewer import FewerProducts
from seal_store.reference.fasta import ONE_HOT

FEWEST_CHANNELS = 96
"""Channels from which the sums of ``fewer`` cost less than the products that they save: with 64 it
takes 1.1 times as long as the library's convolution on a CPU, with 96 0.9 and with 320 0.6."""

FEWEST_ROWS_ON_CUDA = 1 << 15
"""Positions from which ``fewer`` is faster than one product on CUDA, where many small kernels cost
more than their work: with 20,000 it takes 1.1 to 2.5 times as long, with 80,000 0.7 to 0.9."""

GATHERED_AT_ONCE = 16_384
"""Positions gathered at once to be pooled."""


class Trunk:
    """The six convolutions of ``model``, on its device."""

    def __init__(self, model: Beluga) -> None:
        self.config = model.config
        self.device = model.get_buffer("conv1_weight").device
        weights = [model.get_buffer(f"conv{i}_weight") for i in range(1, 7)]
        self._one_hot = torch.from_numpy(ONE_HOT).to(weights[0])
        self._bias = [model.get_buffer(f"conv{i}_bias") for i in range(1, 7)]
        self._taps = [weight.permute(2, 1, 0).contiguous() for weight in weights]
        self._fewer: dict[int, FewerProducts] = {}

    def encode(self, sequences: Sequence[bytes]) -> Tensor:
        """One-hot ``(n, length, 4)`` of ``n`` sequences of ASCII bases, equally long."""
        codes = np.frombuffer(bytearray().join(sequences), np.uint8).reshape(len(sequences), -1)
        return F.embedding(to_device(codes, self.device).int(), self._one_hot)

    def before_relu(self, layer: int, x: Tensor) -> Tensor:
        """Convolution ``layer`` (1..6) without its ReLU: ``(n, L, in)`` to ``(n, L - 7, out)``."""
        few = min(self._taps[layer - 1].shape[1:]) < FEWEST_CHANNELS
        if layer == 1 or (x.is_cuda and (few or x.shape[0] * x.shape[1] < FEWEST_ROWS_ON_CUDA)):
            return self.product(layer, x)
        if few:
            return self.convolution(layer, x)
        if layer not in self._fewer:  # 2.4 times the weights of the layer more
            self._fewer[layer] = FewerProducts(self._taps[layer - 1], self._bias[layer - 1])
        return self._fewer[layer](x)

    def product(self, layer: int, x: Tensor) -> Tensor:
        """:meth:`before_relu` as one matrix product; gathers eight times the memory of ``x``."""
        rows = x.contiguous().unfold(1, self.config.kernel, 1).transpose(2, 3).flatten(2)
        taps = self._taps[layer - 1].flatten(0, 1)
        out = torch.addmm(self._bias[layer - 1], rows.flatten(0, 1), taps)
        return out.unflatten(0, rows.shape[:2])

    def convolution(self, layer: int, x: Tensor) -> Tensor:
        """:meth:`before_relu` as the library's convolution."""
        image = x.contiguous().transpose(1, 2).unsqueeze(2)
        weight = self._taps[layer - 1].permute(2, 1, 0).unsqueeze(2)
        out = F.conv2d(image, weight, self._bias[layer - 1])
        return out.squeeze(2).transpose(1, 2)

    def conv(self, layer: int, x: Tensor) -> Tensor:
        """Convolution ``layer`` and its ReLU."""
        return self.before_relu(layer, x).relu_()

    def spread(self, layer: int, change: Tensor, margin: int = 0) -> Tensor:
        """What a change of some input positions changes before the ReLU, without the bias.

        ``change`` is position-major, ``(L, n, in)``; the result ``(L + 7 + 2 * margin, n, out)``
        begins 7 + ``margin`` positions before it. Positions that do not change cost nothing.
        """
        length, n = change.shape[:2]
        taps = self._taps[layer - 1]
        out = change.new_zeros((length + len(taps) - 1 + 2 * margin, n, taps.shape[2]))
        flat, rows = out.flatten(0, 1), change.flatten(0, 1)
        for tap, weight in enumerate(taps):
            first = (margin + len(taps) - 1 - tap) * n
            flat[first : first + len(rows)].addmm_(rows, weight)
        return out

    def pool(self, x: Tensor, dim: int = 1) -> Tensor:
        """Max-pooling of neighbouring positions along ``dim``: ``L`` to ``L // 4``."""
        size = self.config.pool
        whole = x.narrow(dim, 0, x.shape[dim] // size * size)
        return whole.unflatten(dim, (-1, size)).amax(dim + 1)

    def pooled(self, x: Tensor, positions: Tensor) -> Tensor:
        """Max-pooling of rows ``positions`` of ``x``, four at a time: ``(L // 4, channel)``."""
        return torch.cat([self.pool(x[part], 0) for part in positions.split(GATHERED_AT_ONCE)])
