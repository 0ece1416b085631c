"""Results of many rows, quickly: rows of others, with random places and effects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from seal_store.results.group import Results, ZarrWriter
from seal_store.scoring.rows import Rows
from seal_store.store.place import output_at


def many(results: Results, out: Path, rows: int, rng: np.random.Generator) -> Results:
    """Results in all as ``results`` but for ``rows`` rows of their own."""
    source, heading = results.rows(), results.heading()
    take = rng.integers(0, len(source), rows)
    columns = {name: values[take] for name, values in source.columns.items()}
    columns["pos"] = rng.integers(1, 1_000_000, rows)
    columns["dist_to_tss"] = rng.integers(-20_000, 20_001, rows)
    shape = rows, source.effect.shape[1]
    size = rng.normal(size=(rows, 1)) ** 2
    effect = (rng.standard_normal(shape, np.float32) * size * 0.01).astype(np.float32)
    calibrated = {name: values[take] for name, values in source.calibrated.items()}
    attribution: dict[str, Any] = {
        name: values[take] for name, values in results.attribution().items()
    }
    attributes = results.attributes.to_dict()
    counts = {**attributes["counts"], "alleles": rows, "alleles_scored": rows, "rows": rows}
    with output_at(out) as held:
        held.claim(overwrite=False)
        writer = ZarrWriter(held, heading)
        writer.write(Rows(columns, effect, attribution, calibrated, range(rows)))
        writer.publish({**attributes, "counts": {**counts, "not_scored": {}, "examples": {}}})
    return Results(out)
