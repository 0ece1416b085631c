"""Beluga, the CNN: forward on whole windows.

This plain form is the definition: every faster path is tested against it. No padding and
stride 1 everywhere; with the published sizes, for one window::

    (4, 2000)   conv 4->320, ReLU, conv 320->320, ReLU, maxpool 4    -> (320, 496)
                conv 320->480, ReLU, conv 480->480, ReLU, maxpool 4  -> (480, 120)
                conv 480->640, ReLU, conv 640->640, ReLU             -> (640, 106)
                flatten channel-major, linear 2003, ReLU, linear 2002, sigmoid

Every value is the mean of the forward sequence's and the reverse complement's output. Dropout
has no effect in inference and is left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seal_store.errors import WeightsError
from seal_store.model.config import LAYERS, CnnConfig
from seal_store.model.weights import dense_tensor, load_tensors

SUMMED_AT_ONCE = 16
"""Positions summed at once in the first linear layer."""


class Beluga(nn.Module):
    """The network, from ``weights`` under our names, float32.

    ``conv{1..6}_weight`` ``(out, in, 8)``; ``linear1_weight`` ``(position, channel, unit)``, so
    that one position's share of the product is contiguous; ``linear2_weight``
    ``(feature, unit)``; and a ``_bias`` for each.
    """

    def __init__(self, config: CnnConfig, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.config = config
        for name in LAYERS:
            for part in ("weight", "bias"):
                self.register_buffer(f"{name}_{part}", weights[f"{name}_{part}"])

    @classmethod
    def from_arrays(cls, config: CnnConfig, arrays: Mapping[str, np.ndarray]) -> Beluga:
        """From arrays as a store has them; their memory is shared."""
        return cls(config, {name: torch.from_numpy(values) for name, values in arrays.items()})

    @classmethod
    def from_state(cls, config: CnnConfig, state: Mapping[str, Tensor]) -> Beluga:
        """From the tensors of a weights file, in the shapes of :meth:`CnnConfig.shapes`."""
        weights = {}
        for name, key in LAYERS.items():
            weight = state[f"{key}.weight"]
            if name == "linear1":
                weight = weight.view(config.hidden, config.channels[-1], config.positions)
                weight = weight.permute(2, 1, 0).contiguous()
            weights[f"{name}_weight"] = weight.squeeze(2) if weight.ndim == 4 else weight
            weights[f"{name}_bias"] = state[f"{key}.bias"]
        return cls(config, weights)

    def conv(self, layer: int, x: Tensor) -> Tensor:
        """Convolution ``layer`` (1..6) and its ReLU: ``(n, in, L)`` to ``(n, out, L - 7)``."""
        weight, bias = getattr(self, f"conv{layer}_weight"), getattr(self, f"conv{layer}_bias")
        return F.conv1d(x, weight, bias).relu_()

    def pool(self, x: Tensor) -> Tensor:
        """Max-pooling: ``(n, c, L)`` to ``(n, c, L // 4)``."""
        return F.max_pool1d(x, self.config.pool)

    def first_linear(self, x: Tensor) -> Tensor:
        """Last convolution ``(n, 106, 640)`` to ``hidden``, before its ReLU: ``(n, 2003)``.

        Summed in blocks of positions: one running float32 sum over 67,840 products would lose
        two decimal digits.
        """
        weight = self.get_buffer("linear1_weight")
        blocks = zip(x.split(SUMMED_AT_ONCE, 1), weight.split(SUMMED_AT_ONCE), strict=True)
        hidden = sum(rows.flatten(1) @ part.flatten(0, 1) for rows, part in blocks)
        return hidden + self.get_buffer("linear1_bias")

    def output(self, hidden: Tensor) -> Tensor:
        """``hidden`` (before ReLU) ``(..., 2003)`` to one strand's features ``(..., 2002)``."""
        weight, bias = self.get_buffer("linear2_weight"), self.get_buffer("linear2_bias")
        return F.linear(hidden.relu(), weight, bias).sigmoid_()

    def hidden(self, x: Tensor) -> Tensor:
        """One strand of whole windows, one-hot ``(n, 4, 2000)``, to ``hidden`` ``(n, 2003)``."""
        x = self.pool(self.conv(2, self.conv(1, x)))
        x = self.pool(self.conv(4, self.conv(3, x)))
        return self.first_linear(self.conv(6, self.conv(5, x)).transpose(1, 2))

    def forward(self, x: Tensor) -> Tensor:
        """One-hot windows float32 ``(n, 4, 2000)`` to features ``(n, 2002)``, strands averaged."""
        return (self.output(self.hidden(x)) + self.output(self.hidden(flip(x)))) / 2

    def state(self) -> dict[str, Tensor]:
        """The weights under the keys and in the shapes of a weights file."""
        state = {}
        for name, key in LAYERS.items():
            weight = self.get_buffer(f"{name}_weight")
            if name == "linear1":
                weight = weight.permute(2, 1, 0)
            state[f"{key}.weight"] = weight.reshape(self.config.shapes()[f"{key}.weight"])
            state[f"{key}.bias"] = self.get_buffer(f"{name}_bias")
        return state

    def sha256(self) -> str:
        """Fingerprint of the weights: SHA-256 over names, shapes and little-endian float32."""
        digest = hashlib.sha256()
        for key, value in self.state().items():
            digest.update(f"{key}{tuple(value.shape)}".encode())
            digest.update(np.ascontiguousarray(value.cpu().numpy(), "<f4").data)
        return digest.hexdigest()


def flip(x: Tensor) -> Tensor:
    """Reverse complement of one-hot sequence ``(..., 4, n)``: rows and columns reversed."""
    return x.flip((-2, -1))


def load_cnn(path: str | Path) -> Beluga:
    """Read a ``deepsea.beluga.pth`` state dict on CPU; sizes follow from the tensors.

    Nothing in the file is executed (``weights_only``). Raises :class:`WeightsError` if the file
    is missing, damaged, or a tensor is missing or of a shape that does not fit the others; the
    message names the first one that is off.
    """
    loaded = load_tensors(
        path, WeightsError, "check `cnn`; `seal-store fetch resources --to DIR` downloads it"
    )
    hint = "expected the state dict of DeepSEA Beluga (deepsea.beluga.pth)"
    keys = [f"{layer}.{part}" for layer in LAYERS.values() for part in ("weight", "bias")]
    tensors = {key: dense_tensor(loaded, key, path, WeightsError, hint) for key in keys}
    weights = (tensors[f"{layer}.weight"] for layer in LAYERS.values())
    *channels, hidden, features = (len(weight) if weight.ndim else 0 for weight in weights)
    config = CnnConfig(tuple(channels), hidden, features)
    for key, expected in config.shapes().items():
        tensor = tensors[key]
        where, shape = f"{path}: tensor {key}", tuple(tensor.shape)
        if shape != expected:
            raise WeightsError(f"{where} has shape {shape}, expected {expected}", hint)
        if tensor.dtype != torch.float32:
            raise WeightsError(f"{where} is {tensor.dtype}, not float32", hint)
        if not tensor.isfinite().all():
            raise WeightsError(f"{where} holds NaN or infinite values", hint)
    return Beluga.from_state(config, tensors)
