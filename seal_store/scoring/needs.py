"""Memory and disk that scoring from a store needs, estimated from the shapes of its arrays.

The figures are sums of the large arrays, not measurements; attributions are left out.
"""

from __future__ import annotations

import math
from typing import Any

from seal_store.model.cone import BASES_AT_ONCE, CONE
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.reading import ALLELES_PER_CHUNK
from seal_store.store.layout import CALIBRATED, VARIANTS_PER_CHUNK
from seal_store.store.store import Store

PROCESS_BYTES = 280_000_000
"""Python with PyTorch, before a store is opened."""

ACTIVATIONS = {"cpu": 3, "cuda": 5}
"""Of the first layers, in use at one time; on a GPU with the sums of ``model.fewer``, seven
quarters of them."""

COLUMN_BYTES = 100
"""A row of results without its effects."""

NUMBER_BYTES = 13
"""A number of six significant digits in a TSV, with its tab."""


def describe_needs(store: Store, batch: int = ScoreOptions.batch) -> dict[str, Any]:
    """Bytes that ``score`` with all contexts needs, estimated, JSON-ready.

    ``disk`` is for 1,000 rows, before compression; ``memory`` and ``gpu_memory`` are for SNVs in
    batches of ``batch`` and do not grow with the input.
    """
    contexts = sum(entry.contexts for entry in store.attributes.heads)
    config, grid = store.config, store.grid
    decay = 2 * len(grid.rates)
    inputs = decay * config.features
    weights = 4 * sum(math.prod(shape) for shape in config.shapes().values()) + sum(
        4 * (entry.latent * (inputs + 1) + entry.contexts * (entry.latent + 1))
        for entry in store.attributes.heads
    )
    bases = 2 * batch * CONE
    windows = math.ceil(config.window / grid.step) + 1
    layer = 4 * config.channels[0]
    activations = {
        device: count * min(BASES_AT_ONCE[device], bases) * layer
        for device, count in ACTIVATIONS.items()
    }
    evaluated = 2 * 4 * batch * windows * 2 * (config.hidden + config.features)
    genes = min(ALLELES_PER_CHUNK, len(store)) * (store.array("sequence").shape[1] + 4 * inputs)
    effects = 4 * contexts * (2 * ALLELES_PER_CHUNK + 2 * VARIANTS_PER_CHUNK)
    disk = {
        kind + calibrated: 1_000 * (numbers * contexts * size + COLUMN_BYTES)
        for kind, size in (("zarr", 4), ("tsv", NUMBER_BYTES))
        for calibrated, numbers in (("", 1), ("_calibrated", 1 + len(CALIBRATED)))
    }
    return {
        "batch": batch,
        "disk": disk,
        "memory": PROCESS_BYTES + weights + activations["cpu"] + evaluated + 2 * genes + effects,
        "gpu_memory": weights + activations["cuda"] + evaluated + genes,
    }
