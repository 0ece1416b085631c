"""Scores in slices: plan -> run each slice, anywhere and in any order -> finalize.

A slice is a run of whole chunks of alleles, so its batches are those of a run in one process, and
so are the bytes that :func:`finalize_scores` makes of all slices. ``OUT.partial/journal`` holds
the plan and, in ``slices``, what is done: each a results group, renamed to its number once it is
whole. Whoever does a slice twice, even at the same time, changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seal_store.common.beside import partial_path, remove
from seal_store.common.files import sync
from seal_store.common.lock import hold
from seal_store.common.output import JOURNAL, Output
from seal_store.common.progress import Progress, silent
from seal_store.common.tasks import noted
from seal_store.errors import FormatError, InputError, OutputError, UnfinishedError
from seal_store.exporting.render import Exported, RenderedWriter
from seal_store.exporting.tsv import TsvWriter
from seal_store.results.group import Results, ZarrWriter
from seal_store.results.heading import heading_of
from seal_store.run.crew import Crew
from seal_store.run.job import Prepared, ScoreJob
from seal_store.run.scores import (
    columns_of,
    finished_attributes,
    open_writer,
    write_scores,
)
from seal_store.run.slices_plan import Plan, check_plan, plan_scores, planned_at, read_plan
from seal_store.scoring.assign import Counts
from seal_store.scoring.rows import Rows
from seal_store.scoring.scorer import Tally
from seal_store.store import manifest
from seal_store.store.layout import VARIANTS_PER_CHUNK
from seal_store.store.place import Place


@dataclass(frozen=True)
class SliceWork:
    """The slices of a plan as work for others; see :mod:`seal_store.run.work`."""

    job: ScoreJob
    partial: Path
    unit = "slice"

    def begin(self, device: str) -> Callable[[int], None]:
        """Load the engine on ``device``; what is returned does a slice."""
        return _begun(Prepared(self.job.on(device)), self.partial)


def _begun(prepared: Prepared, partial: Path) -> Callable[[int], None]:
    plan = read_plan(partial)
    check_plan(prepared, partial, plan)
    return lambda index: _run_slice(prepared, plan, partial, index)


def _run_slice(prepared: Prepared, plan: Plan, partial: Path, index: int) -> None:
    if not 0 <= index < len(plan.slices):
        last = len(plan.slices) - 1
        raise InputError(f"`slice` {index}: this plan has slices 0 to {last}")
    if read_plan(partial).key != plan.key:
        raise OutputError(f"{partial}: was planned anew meanwhile", "run the slice again")
    piece, target = plan.slices[index], plan.path(partial, index)
    if target.exists():
        return
    own = target.with_name(f"{target.stem}.{os.urandom(8).hex()}.zarr")
    alleles = prepared.part(piece.first, piece.alleles, piece.entry)
    with noted(partial, index):
        try:
            write_scores(prepared.scorer, alleles, own, command=plan.command)
            os.rename(own, target)
            sync(target.parent)
        except BaseException as error:
            remove(own)
            remove(partial_path(own))
            if not (isinstance(error, OSError) and target.exists()):  # another one was faster
                raise


def run_slices(prepared: Prepared, indices: Sequence[int], progress: Progress = silent) -> None:
    """Do slices of a plan, those that are not done; other processes may do others, or the same.

    Raises :class:`OutputError` if a process plans or finalizes meanwhile, or the plan was made of
    another input or options.
    """
    out = planned_at(prepared.job.out)
    with hold(out.path, shared=True):
        run = _begun(prepared, out.partial)
        for done, index in enumerate(indices, 1):
            run(index)
            progress("slices", done, len(indices))


def finalize_scores(
    prepared: Prepared,
    *,
    overwrite: bool = False,
    progress: Progress = silent,
    tell: Callable[[Exported], object] = bool,
    held: Output | None = None,
) -> tuple[Tally, Plan] | None:
    """Make the output of all slices, in order: the same bytes as in one process.

    None if it was finished before, if only just now by what another finalize had left. Raises
    :class:`UnfinishedError` that names the first slice that is not done.
    """
    if held is None:
        with planned_at(prepared.job.out) as held:
            how: dict[str, Any] = {"overwrite": overwrite, "progress": progress, "tell": tell}
            return finalize_scores(prepared, held=held, **how)
    if manifest.stands(held) and not overwrite:
        return None
    plan = read_plan(held.partial)
    held.check(overwrite=overwrite, resume=True)
    if missing := plan.missing(held.partial):
        more = f", nor are {len(missing) - 1} others" if len(missing) > 1 else ""
        raise UnfinishedError(
            f"{held.place}: slice {missing[0]} of {len(plan.slices)} is not done{more}",
            f"run it with `slice={missing[0]}`, or go on with `resume=True`",
        )
    check_plan(prepared, held.partial, plan)
    tally, writer = _joined(prepared, plan, held, progress)
    if isinstance(writer, RenderedWriter):
        tell(writer.done)
    return tally, plan


def _joined(
    prepared: Prepared,
    plan: Plan,
    held: Output,
    progress: Progress = silent,
    wait: Callable[[int], object] = bool,
) -> tuple[Tally, ZarrWriter | TsvWriter]:
    """Publish the output of all slices; ``wait`` returns once a slice is done."""
    for left in held.partial.iterdir():  # of a finalize that was killed
        if left.name != JOURNAL:
            remove(left)
    scorer = prepared.scorer
    heading = heading_of(scorer, columns_of(prepared.whole))
    writer = open_writer(held, heading, prepared.form, scorer.reader.reason)
    tally = Tally()
    for index in range(len(plan.slices)):
        wait(index)
        for rows in _slice_rows(plan, held.partial, index, tally):
            writer.write(rows)
        progress("slices joined", index + 1, len(plan.slices))
    check_plan(prepared, held.partial, plan)
    facts = {**prepared.facts, "command": plan.command}
    writer.publish(finished_attributes(facts, prepared.whole, tally.counts))
    return tally, writer


def score_in_slices(
    prepared: Prepared,
    crew: Crew,
    slices: int | None = None,
    *,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress = silent,
    tell: Callable[[Exported], object] = bool,
) -> tuple[Tally, Plan]:
    """Plan, have ``crew`` do the slices, and finalize: the bytes of one process.

    The first slices are joined while the crew is at the next ones. With ``resume`` a plan that is
    there is gone on with. Raises as its steps do.
    """
    with planned_at(prepared.job.out) as held, ThreadPoolExecutor(1) as pool:
        how: dict[str, Any] = {"overwrite": overwrite, "progress": progress, "held": held}
        plan = plan_scores(prepared, slices, least=crew.slices, resume=resume, **how)
        manifest.complete(held)
        held.check(overwrite=overwrite, resume=True)
        tasks = plan.missing(held.partial)
        is_done: list[Future[None]] = [Future() for _ in plan.slices]
        for index in set(range(len(plan.slices))) - set(tasks):
            is_done[index].set_result(None)
        total = sum(piece.alleles for piece in plan.slices)
        scored = total - sum(plan.slices[i].alleles for i in tasks)
        progress("alleles", scored, total)

        def done(index: int) -> None:
            nonlocal scored
            if joined.done():  # it failed: a full disk, say
                joined.result()
            scored += plan.slices[index].alleles
            progress("alleles", scored, total)
            is_done[index].set_result(None)

        joined = pool.submit(
            _joined, prepared, plan, held, wait=lambda index: is_done[index].result()
        )
        try:
            crew.do(SliceWork(prepared.job, held.partial), tasks, done)
        except BaseException:
            for slice_ in is_done:
                slice_.cancel()
            raise
        tally, writer = joined.result()
        if isinstance(writer, RenderedWriter):
            tell(writer.done)
        return tally, plan


def score_job(
    prepared: Prepared,
    crew: Crew,
    slices: int | None = None,
    *,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress = silent,
    tell: Callable[[Exported], object] = bool,
) -> tuple[Tally, tuple[int, int] | None]:
    """Score to the job's output, here or by ``crew``, or go on with what was begun.

    Returns what was counted, and the records of a file with how many of them were malformed.
    """
    job = prepared.job
    how: dict[str, Any] = {"overwrite": overwrite, "resume": resume}
    how |= {"progress": progress, "tell": tell}
    if is_divided(job.out, crew, resume=resume):
        tally, plan = score_in_slices(prepared, crew, slices, **how)
        return tally, None if prepared.source is None else (plan.records, plan.malformed)
    scorer = prepared.scorer
    how |= {"form": prepared.form, "command": job.command, "watch": prepared.watch}
    write_scores(scorer, prepared.whole, job.out, **how)
    return Tally(scorer.counts, scorer.completeness), prepared.seen


def is_divided(out: Place, crew: Crew, *, resume: bool) -> bool:
    """Whether scores are made in slices: by several processes, or as they were begun."""
    return not crew.is_one or (resume and planned_at(out).begun)


def _slice_rows(plan: Plan, partial: Path, index: int, tally: Tally) -> Iterator[Rows]:
    """The rows of a slice; adds to ``tally``. What is damaged is removed, to be done again."""
    path, piece = plan.path(partial, index), plan.slices[index]
    try:
        results = Results(path)
        made = results.attributes.to_dict()
        counts = Counts.from_dict(made["counts"])
        facts = {name: plan.fingerprint[name] for name in made if name in plan.fingerprint}
        if counts.alleles != piece.alleles or any(made[name] != facts[name] for name in facts):
            raise FormatError(f"{path}: is not of this plan")
        for start in range(0, len(results), VARIANTS_PER_CHUNK):
            rows = results.as_written(start, start + VARIANTS_PER_CHUNK)
            if "completeness" in rows.attribution:
                largest = float(np.abs(rows.attribution["completeness"]).max(initial=0))
                tally.completeness = max(largest, tally.completeness or 0)
            yield rows
    except FormatError as error:
        remove(path)
        raise UnfinishedError(
            f"{partial}: slice {index} was damaged and is removed ({error})",
            f"run it again with `slice={index}`, or go on with `resume=True`",
        ) from error
    tally.counts.add(counts)
