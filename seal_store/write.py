"""Scores written while they are computed: to a results group or a table."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from seal_store.assign import Counts
from seal_store.errors import OutputError
from seal_store.progress import Progress, silent
from seal_store.results import Writer, ZarrWriter, describe, publishing
from seal_store.score import Scorer
from seal_store.tables import TsvWriter
from seal_store.variants import Allele


def write_scores(
    scorer: Scorer,
    alleles: Iterable[Allele],
    out: Path,
    *,
    source: str,
    precision: int = 6,
    overwrite: bool = False,
    command: str = "",
    progress: Progress = silent,
) -> Counts:
    """Score ``alleles`` into ``out`` (``.zarr`` or ``.tsv``); says where they went.

    ``out`` appears only once it is whole. Rows are written while the next ones are computed.
    ``source`` names the input in messages and in the results' attributes.
    """
    if out.resolve() == scorer.store.path.resolve():
        raise OutputError(f"{out} is the store itself", "choose another --out")
    writer = open_writer(out, scorer, precision=precision, overwrite=overwrite)
    with publishing(writer), ThreadPoolExecutor(1) as pool:
        pending: Future[None] | None = None
        for rows in scorer.score(alleles, source, progress):
            if pending is not None:
                pending.result()
            pending = pool.submit(writer.write, rows)
        if pending is not None:
            pending.result()
        counts = scorer.counts.to_dict()
        writer.publish({**describe(scorer, source, command), "counts": counts})
    return scorer.counts


def open_writer(out: Path, scorer: Scorer, *, precision: int, overwrite: bool) -> Writer:
    """The writer for ``out`` by its ending: ``.zarr`` or ``.tsv``."""
    if out.suffix == ".zarr":
        return ZarrWriter(out, scorer, overwrite=overwrite)
    if out.suffix == ".tsv" and scorer.attributor is not None:
        raise OutputError(
            f"{out}: a table of effects has no room for attributions",
            "name it .zarr, and use `seal-store export` afterwards",
        )
    if out.suffix == ".tsv":
        return TsvWriter(
            out, scorer.context_set, scorer.context_name, precision=precision, overwrite=overwrite
        )
    raise OutputError(f"{out}: unknown kind of output", "name it .zarr or .tsv")
