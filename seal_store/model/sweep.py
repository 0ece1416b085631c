"""The CNN over consecutive windows at once: one trunk shared by all of them.

There is no padding, so windows a step apart share their convolutions. After the first pool a
step of 200 bp is 50 positions; after the second it would be 12.5, so windows are evaluated in as
many phases as it takes (two) for their starts to fall on whole positions. Exact: the same
products as :class:`~seal_store.model.beluga.Beluga` on every window alone.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from seal_store.model.beluga import Beluga, flip
from seal_store.model.trunk import Trunk


def sweep(model: Beluga, x: Tensor, step: int = 200, trunk: Trunk | None = None) -> Tensor:
    """``hidden`` of all windows, ``step`` bp apart, of one-hot sequences ``(n, 4, length)``.

    ``length`` is ``step * (windows - 1) + 2000``; ``step`` a multiple of the first pool (4).
    Returns float32 ``(n, windows, strand, unit)``, before the ReLU, windows in the order of the
    sequence, strand 1 being the reverse complement of the same window. The features are
    ``model.output(hidden).mean(2)``. ``trunk`` may be given to use it again. Raises
    :class:`ValueError` for another length or step.
    """
    trunk = trunk or Trunk(model)
    windows = _windows(trunk, torch.cat([x, flip(x)]), step)
    windows[len(x) :] = windows[len(x) :].flip(1)
    hidden = model.first_linear(windows.flatten(0, 1))  # one pass over its large weights
    return hidden.unflatten(0, (2, len(x), -1)).permute(1, 2, 0, 3)


def _windows(trunk: Trunk, x: Tensor, step: int) -> Tensor:
    """Last convolution of every window ``(n, windows, position, channel)``, read as given."""
    config = trunk.config
    rest = x.shape[-1] - config.window
    if rest < 0 or rest % step or step % config.pool:
        raise ValueError(f"{x.shape[-1]} bases are not windows of {config.window} every {step}")
    count = rest // step + 1
    stride = step // config.pool
    phases = config.pool // math.gcd(stride, config.pool)
    x = trunk.pool(trunk.conv(2, trunk.conv(1, x.transpose(1, 2))))
    x = trunk.conv(4, trunk.conv(3, x))
    out = x.new_empty((len(x), count, config.positions, config.channels[-1]))
    for phase in range(min(phases, count)):
        tail = trunk.conv(6, trunk.conv(5, trunk.pool(x[:, stride * phase :])))
        windows = tail.unfold(1, config.positions, stride * phases // config.pool)
        out[:, phase::phases] = windows[:, : len(range(phase, count, phases))].transpose(2, 3)
    return out
