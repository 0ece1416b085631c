"""Atlases from Python: built from a store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from seal_store.api.effects import attribution_options
from seal_store.atlas.atlas import Atlas
from seal_store.common.progress import Progress, silent
from seal_store.common.typed import paths, texts
from seal_store.model.grid import MAX_DISTANCE
from seal_store.run.atlas import build_atlas as run_build
from seal_store.run.atlas_job import AtlasJob, Prepared
from seal_store.run.crew import Crew
from seal_store.scoring.options import ScoreOptions
from seal_store.store.place import given_place
from seal_store.store.store import Store
from seal_store.variants.regions import chosen

if TYPE_CHECKING:
    from seal_store.api.effects import Attributions


def build_atlas(
    store: Store | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    gene: str | Sequence[str] = (),
    region: str | Sequence[str] = (),
    regions_file: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    span: int = MAX_DISTANCE,
    genes: str = "nearest",
    scheme: str = "grid",
    calibration: str = "",
    max_error: float = 0.01,
    full: bool = False,
    attributions: Attributions = None,
    genes_per_shard: int | None = None,
    device: str = "auto",
    tf32: bool = False,
    batch: int = 128,
    workers: int | None = None,
    scheduler: str = "",
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = silent,
) -> Atlas:
    """Score every SNV near TSSs once, as ``seal-store atlas build`` does, to ``out``.

    ``gene`` are ids or symbols, by default all genes of the store; ``region`` and ``regions_file``
    limit the positions. An SNV has an entry against the gene with the ``nearest`` TSS within
    ``span`` bp, or against ``all`` genes there. Every effect is within ``max_error`` times its
    SNV's largest, or exact if it is ``full``. ``attributions`` are as in :func:`score`, with
    ``top_features``. Quantiles are from the store's calibration without a name, if it fits, or
    from the one that ``calibration`` names. Other options are as in :func:`score`.

    Raises :class:`~seal_store.errors.OutputError` if ``out`` exists already, and
    :class:`~seal_store.errors.InputError` for an option with another value.
    """
    opened = store if isinstance(store, Store) else Store(given_place("store", store))
    crew = Crew(workers, scheduler, device)
    regions, named = chosen(texts("region", region), paths("regions_file", regions_file))
    job = AtlasJob(
        opened.path,
        given_place("out", out),
        ScoreOptions(
            scheme=scheme,
            genes=genes,
            device=crew.kind,
            tf32=tf32,
            batch=batch,
            calibration=calibration,
        ),
        tuple(texts("gene", gene)),
        tuple(regions),
        tuple(named),
        span,
        None if full else max_error,
        attribution_options(attributions),
        genes_per_shard,
        "seal_store.build_atlas",
    )
    how: dict[str, Any] = {"overwrite": overwrite, "resume": resume}
    return run_build(Prepared(job, opened), crew, progress=progress or silent, **how)
