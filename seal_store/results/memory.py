"""Results in memory: what a scorer gave, as an xarray dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from seal_store.results.group import result_attributes
from seal_store.results.heading import attribution_labels
from seal_store.scoring.rows import Rows
from seal_store.scoring.source import RowSource
from seal_store.store import frames
from seal_store.store.layout import (
    CALIBRATED,
    LIFTED,
    NAMED,
    PLACES,
    RESULTS,
    SOURCE,
    ArraySpec,
)
from seal_store.variants.source import Alleles

if TYPE_CHECKING:
    import xarray as xr


def dataset(
    scorer: RowSource, found: Sequence[Rows], alleles: Alleles, command: str = ""
) -> xr.Dataset:
    """What ``scorer`` gave for ``alleles``, at least one part, as :func:`seal_store.score` does."""
    attributes = result_attributes(scorer.provenance(), alleles, command)
    specs: list[ArraySpec] = [*RESULTS, *NAMED, SOURCE, *LIFTED, *CALIBRATED]
    labels: list[tuple[ArraySpec, np.ndarray]] = []
    if scorer.attributor is not None:
        specs += scorer.attributor.specs()
        labels = attribution_labels(scorer)
    parts = [
        {**rows.columns, "effect": rows.effect, **rows.calibrated, **rows.attribution}
        for rows in found
    ]
    arrays = {
        entry.name: (entry, np.concatenate([part[entry.name] for part in parts]))
        for entry in specs
        if entry.name in parts[0]
    }
    if "attribution_scale" in arrays:  # as Results.attribution gives them
        (_, scale), (entry, small) = arrays.pop("attribution_scale"), arrays["attribution"]
        arrays["attribution"] = entry, small.astype(np.float32) * scale[..., None]
    lines = np.concatenate([np.array(rows.lines, np.int64) for rows in found])
    arrays |= {entry.name: (entry, lines) for entry in PLACES if entry.name == alleles.place}
    return frames.effects(
        [*arrays.values(), *labels],
        scorer.context_set,
        scorer.context_name,
        {**attributes, "counts": scorer.counts.to_dict()},
    )
