"""The CNN over consecutive windows at once: one trunk shared by all of them.

There is no padding, so windows a step apart share their convolutions. After the first pool a
step of 200 bp is 50 positions; after the second it would be 12.5, so windows are evaluated in as
many phases as it takes (two) for their starts to fall on whole positions. Exact: the same
products as :class:`~seal_store.cnn.Beluga` on every window alone.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from seal_store.cnn import Beluga, flip
from seal_store.trunk import Trunk


def sweep(model: Beluga, x: Tensor, step: int = 200, trunk: Trunk | None = None) -> Tensor:
    """``hidden`` of all windows, ``step`` bp apart, of one-hot sequences ``(n, 4, length)``.

    ``length`` is ``step * (windows - 1) + 2000``; ``step`` a multiple of the first pool (4).
    Returns float32 ``(n, windows, strand, unit)``, before the ReLU, windows in the order of the
    sequence, strand 1 being the reverse complement of the same window. The features are
    ``model.output(hidden).mean(2)``. ``trunk`` may be given to use it again. Raises
    :class:`ValueError` for another length or step.
    """
    trunk = trunk or Trunk(model)
    forward = sweep_strand(model, trunk, x, step)
    reverse = sweep_strand(model, trunk, flip(x), step).flip(1)
    return torch.stack((forward, reverse), 2)


def sweep_strand(model: Beluga, trunk: Trunk, x: Tensor, step: int = 200) -> Tensor:
    """``hidden`` ``(n, windows, unit)`` of one strand, windows in the order of the sequence."""
    config = model.config
    rest = x.shape[-1] - config.window
    if rest < 0 or rest % step or step % config.pool:
        raise ValueError(f"{x.shape[-1]} bases are not windows of {config.window} every {step}")
    count = rest // step + 1
    stride = step // config.pool
    phases = config.pool // math.gcd(stride, config.pool)
    x = trunk.pool(trunk.conv(2, trunk.conv(1, x.transpose(1, 2))))
    x = trunk.conv(4, trunk.conv(3, x))
    hidden = x.new_empty((len(x), count, config.hidden))
    for phase in range(min(phases, count)):
        tail = trunk.conv(6, trunk.conv(5, trunk.pool(x[:, stride * phase :])))
        windows = tail.unfold(1, config.positions, stride * phases // config.pool)
        windows = windows[:, : len(range(phase, count, phases))].transpose(2, 3)
        rows = model.first_linear(windows.flatten(0, 1))
        hidden[:, phase::phases] = rows.view(len(x), -1, config.hidden)
    return hidden
