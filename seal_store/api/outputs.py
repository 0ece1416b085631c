"""Where effects go that are asked for from Python: into memory, or to an output that is opened."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from seal_store.common.progress import Progress
from seal_store.errors import InputError, OutputError
from seal_store.results.group import Results
from seal_store.results.memory import dataset
from seal_store.run.crew import Crew
from seal_store.run.job import Prepared
from seal_store.run.scores import check_finished, is_finished, write_scores
from seal_store.run.slices import score_job
from seal_store.run.watch import UNWATCHED, Watch
from seal_store.scoring.scorer import Scorer
from seal_store.store.place import Place, given_place, place, single_at
from seal_store.variants.source import Alleles

if TYPE_CHECKING:
    import xarray as xr


def is_file(variants: Any) -> bool:
    """Whether they are named by the path of a regular file, which can be read again."""
    return isinstance(variants, str | os.PathLike) and single_at(place(variants)).is_file()


def group_path(out: Any, work: Any = None) -> Place:
    """``out`` as the path or address of a results group."""
    path = given_place("out", out, work=work)
    if path.suffix != ".zarr":
        raise OutputError(
            f"{path}: `out` is a results group", "name it .zarr, and use `export` afterwards"
        )
    return path


def check_one(crew: Crew) -> None:
    """Raise :class:`InputError` if several processes are to share what cannot be divided."""
    if not crew.is_one:
        raise InputError(
            "`workers`: only what goes to an `out`, from a file or `saturate`, can be shared",
            "give `out`, and variants as the path of a VCF",
        )


def scored(
    prepared: Prepared, crew: Crew, progress: Progress, *, overwrite: bool, resume: bool
) -> xr.Dataset:
    """Score a job to its output, unless ``resume`` finds it finished, and open that."""
    out = prepared.job.out
    if resume and not overwrite and is_finished(out):
        check_finished(prepared.scorer, prepared.whole, out)
    else:
        score_job(prepared, crew, overwrite=overwrite, resume=resume, progress=progress)
    return Results(out).to_xarray()


def effects(
    scorer: Scorer,
    alleles: Alleles,
    out: Place | None,
    command: str,
    progress: Progress,
    *,
    overwrite: bool,
    resume: bool,
    watch: Watch = UNWATCHED,
) -> xr.Dataset:
    """Score ``alleles`` to ``out``, which is opened, or into memory."""
    if out is None:
        return _in_memory(scorer, alleles, command, progress, watch)
    if resume and alleles.place == "row":
        raise InputError(
            "`resume`: whether a table or list is the one of the interrupted run is not known",
            "give the path of a VCF",
        )
    if resume and not overwrite and is_finished(out):
        check_finished(scorer, alleles, out)
    else:
        how: dict[str, Any] = {"overwrite": overwrite, "resume": resume, "watch": watch}
        write_scores(scorer, alleles, out, command=command, progress=progress, **how)
    return Results(out).to_xarray()


def _in_memory(
    scorer: Scorer, alleles: Alleles, command: str, progress: Progress, watch: Watch
) -> xr.Dataset:
    found = []
    for rows in scorer.score(alleles, progress=progress):
        watch(scorer.counts)
        found.append(rows)
    return dataset(scorer, found, alleles, command)
