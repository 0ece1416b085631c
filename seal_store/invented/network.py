"""A tiny Beluga whose kernels are matched filters for the invented motifs, and its heads.

Convolution 1 counts matching bases of a motif's first eight and last four; convolution 2 adds the
counts, and its bias leaves the strength of a site: 2 for all twelve bases, 1 for eleven, else 0.
Pooling keeps the maximum, the other convolutions hand on, and the first linear layer adds up the
positions, so that a feature says how much of its factor the window's middle 1,700 bp have. A
site on the other strand is found in the reverse complement, which the model reads too.

One more feature, ``GC``, is the content of G and C, a running mean of which pooling keeps the
maximum of each 16 positions. Heads give it a small weight in every context, so that other variants
do next to nothing, not nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from seal_store.invented.motifs import FACTORS
from seal_store.model.config import LAYERS, CnnConfig
from seal_store.model.contexts import Context, matching

FEATURES = (*(factor.name for factor in FACTORS), "GC")
_COUNT = len(FEATURES)
CONFIG = CnnConfig(channels=(2 * len(FACTORS) + 1, *(_COUNT,) * 5), hidden=_COUNT, features=_COUNT)

FIRST = 8
"""Bases of a motif that the first of its two kernels counts; the second counts the others."""

HANDED_ON = 3, 4, 3, 4
"""Taps of convolutions 3 to 6: together they take the window's middle."""

RATE = 3
"""The decay sums that heads read, by their rate: 0.1 per 200 bp."""

DECAYS = 10
ACTS, GC_ACTS = 0.1, 0.002
"""Weights of decay sums in the heads: of a factor, and of GC."""

BASELINE = 2.0
"""Expression without any site, ln(expression + pseudocount)."""


def cnn_state() -> dict[str, Tensor]:
    """The weights file's state dict."""
    arrays = {key: np.zeros(shape, np.float32) for key, shape in CONFIG.shapes().items()}
    weight = {name: arrays[f"{key}.weight"] for name, key in LAYERS.items()}
    bias = {name: arrays[f"{key}.bias"] for name, key in LAYERS.items()}
    for i, factor in enumerate(FACTORS):
        for k, base in enumerate(factor.motif):
            half = int(k >= FIRST)
            tap = k - half * (len(factor.motif) - CONFIG.kernel)
            weight["conv1"][2 * i + half, b"AGCT".index(base), 0, tap] = 1
        # both counts from two below all on, so that two missing bases leave 0, wherever they are
        bias["conv1"][2 * i : 2 * i + 2] = 2 - FIRST, 2 - (len(factor.motif) - FIRST)
        weight["conv2"][i, 2 * i, 0, 0] = 1
        weight["conv2"][i, 2 * i + 1, 0, len(factor.motif) - CONFIG.kernel] = 1
        bias["conv2"][i] = -2
    weight["conv1"][-1, [b"AGCT".index(base) for base in b"GC"]] = 1
    weight["conv2"][-1, -1] = 1 / CONFIG.kernel
    for i in range(_COUNT):
        for layer, tap in enumerate(HANDED_ON, 3):
            weight[f"conv{layer}"][i, i, 0, tap] = 1
        weight["linear1"][i, i * CONFIG.positions : (i + 1) * CONFIG.positions] = 1
    np.fill_diagonal(weight["linear2"], 1)
    bias["linear2"][:] = -3
    weight["linear2"][-1, -1], bias["linear2"][-1] = 0.01, -5
    return {key: torch.from_numpy(array) for key, array in arrays.items()}


def acting(contexts: Sequence[Context]) -> np.ndarray:
    """Whether each factor acts in each of all ``contexts``: bool ``(factors, contexts)``."""
    found = np.zeros((len(FACTORS), len(contexts)), bool)
    for i, factor in enumerate(FACTORS):
        found[i, sorted(matching(contexts, factor.contexts))] = True
    return found


def head_state(acts: np.ndarray) -> dict[str, Tensor]:
    """``model_state_dict`` of a head set; ``acts`` has the columns of :func:`acting` of its own.

    Two hidden units for a feature, one for each side of the TSS, and always above 0.
    """
    w1 = np.zeros((2 * _COUNT, DECAYS * _COUNT), np.float32)
    w2 = np.zeros((acts.shape[1], 2 * _COUNT), np.float32)
    for side, rate in enumerate((RATE, RATE + DECAYS // 2)):
        units = np.arange(_COUNT)
        w1[2 * units + side, rate * _COUNT + units] = 1
    for i, factor in enumerate(FACTORS):
        w2[acts[i], 2 * i] = ACTS * factor.upstream
        w2[acts[i], 2 * i + 1] = ACTS * factor.downstream
    w2[:, -2:] = GC_ACTS
    state = {
        "layers.0.weight": w1,
        "layers.0.bias": np.zeros(len(w1), np.float32),
        "layers.2.weight": w2,
        "layers.2.bias": np.full(len(w2), BASELINE, np.float32),
    }
    return {key: torch.from_numpy(array) for key, array in state.items()}
