"""Scores in slices: plan -> run each slice, anywhere and in any order -> finalize.

A slice is a run of whole chunks of alleles, so its batches are those of a run in one process, and
so are the bytes that :func:`finalize_scores` makes of all slices. ``OUT.partial/journal`` holds
the plan and, in ``slices``, what is done: each a results group, renamed to its number once it is
whole. Whoever does a slice twice, even at the same time, changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from seal_store.common.beside import partial_path, remove
from seal_store.common.files import check_fingerprint, json_text, sync, write_json
from seal_store.common.lock import hold
from seal_store.common.output import JOURNAL, Output
from seal_store.common.plain import read_plain
from seal_store.common.progress import Progress, silent
from seal_store.common.tasks import noted
from seal_store.errors import FormatError, InputError, OutputError, UnfinishedError
from seal_store.exporting.render import Exported, RenderedWriter
from seal_store.exporting.tsv import TsvWriter
from seal_store.results import journal
from seal_store.results.group import Results, ZarrWriter
from seal_store.results.heading import heading_of
from seal_store.run.crew import Crew
from seal_store.run.job import Prepared, ScoreJob
from seal_store.run.outside import check_outside
from seal_store.run.scores import (
    check_kind,
    columns_of,
    finished_attributes,
    open_writer,
    scores_at,
    write_scores,
)
from seal_store.scoring.assign import Counts, Task
from seal_store.scoring.rows import Rows
from seal_store.scoring.scorer import Tally
from seal_store.store import manifest
from seal_store.store.layout import VARIANTS_PER_CHUNK
from seal_store.store.place import Place, single_at
from seal_store.variants.source import Entry

PLAN_BYTES = 64 << 20
"""Largest plan that is read."""

INDEL_COST = 3.6
"""Time of an insertion or deletion in that of an SNV: 93.8 and 25.8 ms (benchmarks/RESULTS.md)."""

SLICE_COST = 16_384
"""A slice has so many SNVs, unless the number of slices is given: minutes on a few cores."""

MOST_SLICES = 1_000
"""Slices that a plan makes by itself: batch systems limit their arrays."""


@dataclass(frozen=True)
class Slice:
    """``alleles`` alleles after the ``first``, of an estimated ``cost`` in SNVs."""

    first: int
    alleles: int
    cost: float
    entry: Entry | None = None


@dataclass(frozen=True)
class Plan:
    """What a score is divided into; ``fingerprint`` of its input and options.

    ``variants`` has size and time of the input as it was planned. ``records`` and ``malformed``
    are counts of the input's lines.
    """

    fingerprint: dict[str, Any]
    command: str
    variants: dict[str, int] | None
    records: int
    malformed: int
    slices: tuple[Slice, ...]

    @cached_property
    def key(self) -> str:
        """Tells plans apart: the slices of another one are never taken for this one's."""
        return hashlib.sha256(json_text(asdict(self)).encode()).hexdigest()[:16]

    def folder(self, partial: Path) -> Path:
        """Where the slices of this plan are."""
        return partial / JOURNAL / "slices" / self.key

    def path(self, partial: Path, index: int) -> Path:
        """Where a slice is once it is done."""
        return self.folder(partial) / f"{index:05d}.zarr"

    def missing(self, partial: Path) -> list[int]:
        """Slices that are not done."""
        return [i for i in range(len(self.slices)) if not self.path(partial, i).exists()]


def planned_at(out: Place) -> Output:
    """The results or table ``out`` as an output that is made in slices."""
    return scores_at(out, journal.PLAN)


def plan_scores(
    prepared: Prepared,
    slices: int | None = None,
    *,
    least: int = 1,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress = silent,
    held: Output | None = None,
) -> Plan:
    """Read the whole input once and divide it into ``slices`` of like cost, as far as it goes.

    A slice has a chunk of alleles at least; by default it has :data:`SLICE_COST`, and
    there are ``least`` of them. With ``resume`` a plan that is there is kept, if it
    was made of the same input and options. Raises as
    :func:`~seal_store.run.scores.write_scores` does, and :class:`InputError` for a pipe.
    """
    source, out = prepared.source, prepared.job.out
    if source is not None and source.is_pipe:
        raise InputError(
            f"{source.name}: is not a file, slices of which could be read apart",
            "write it to one first",
        )
    if held is None:
        how: dict[str, Any] = {"least": least, "overwrite": overwrite, "resume": resume}
        with planned_at(out) as held:
            return plan_scores(prepared, slices, progress=progress, held=held, **how)
    check_outside(held.place, prepared.store, source.path if source else None)
    if held.begun and resume:
        plan = read_plan(held.partial)
        _check(prepared, held.partial, plan)
        return plan
    if resume and (held.partial / journal.CHECKPOINT).exists():
        raise OutputError(
            f"{held.partial}: was begun by one process, not in slices",
            "go on with `resume=True` alone, or start again with `overwrite=True`",
        )
    attributed = prepared.job.attribution is not None
    check_kind(held.place, prepared.form, attributed=attributed)
    held.claim(overwrite=overwrite)
    plan = _divided(prepared, slices, least, progress)
    plan.folder(held.partial).mkdir(parents=True)
    held.keep()
    write_json(held.partial / journal.PLAN, asdict(plan))
    return plan


def _divided(prepared: Prepared, slices: int | None, least: int, progress: Progress) -> Plan:
    """Find where each chunk of alleles begins, and group chunks to slices.

    The assembly is decided here, as in one process: the first chunks are read for it.
    """
    scorer, source, watch = prepared.scorer, prepared.source, prepared.watch
    chunks: list[Slice] = []
    looked_at, first, entry = Counts(), 0, None
    for tasks, counts in scorer.reader.assigned(prepared.whole, scorer.chunk_rows):
        if watch.active:
            looked_at.add(scorer.reader.read(tasks, counts, prepared.whole).counts)
            watch(looked_at)
        chunks.append(Slice(first, len(tasks), _cost(tasks), entry))
        first += len(tasks)
        entry = source.last if source is not None else None
        progress("alleles read", first, None)
    cost = sum(chunk.cost for chunk in chunks)
    usual = min(MOST_SLICES, round(cost / SLICE_COST))
    grouped = _grouped(chunks, slices or max(usual, least))
    if source is not None:
        entries = [piece.entry for piece in grouped if piece.entry is not None]
        found = iter(source.found(entries))
        grouped = [replace(p, entry=next(found)) if p.entry is not None else p for p in grouped]
    return Plan(
        json.loads(json.dumps(prepared.fingerprint)),
        prepared.job.command,
        single_at(source.path).standing() if source is not None else None,
        source.seen.records if source is not None else 0,
        source.seen.malformed if source is not None else 0,
        tuple(grouped),
    )


def _cost(tasks: Sequence[Sequence[Task]]) -> float:
    """Estimated time of the tasks of alleles, in that of an SNV."""
    kinds = (task.allele.kind for group in tasks for task in group)
    return sum(1.0 if kind in ("snv", "mnv") else INDEL_COST for kind in kinds)


def _grouped(chunks: Sequence[Slice], count: int) -> list[Slice]:
    """Neighbouring chunks as ``count`` slices of like cost, or fewer."""
    total = sum(chunk.cost for chunk in chunks)
    groups: dict[int, list[Slice]] = {}
    before = 0.0
    for chunk in chunks:
        place = int(count * (before + chunk.cost / 2) / total) if total else 0
        groups.setdefault(min(place, count - 1), []).append(chunk)
        before += chunk.cost
    return [
        Slice(g[0].first, sum(c.alleles for c in g), sum(c.cost for c in g), g[0].entry)
        for g in groups.values()
    ]


def read_plan(partial: Path) -> Plan:
    """The plan in an unfinished output.

    Raises :class:`UnfinishedError` without one, :class:`OutputError` if it is damaged.
    """
    try:
        found = json.loads(read_plain(partial / journal.PLAN, PLAN_BYTES))
        slices = tuple(
            Slice(**{**piece, "entry": piece["entry"] and Entry(**piece["entry"])})
            for piece in found["slices"]
        )
        return Plan(**{**found, "slices": slices})
    except FileNotFoundError:
        raise UnfinishedError(f"{partial}: no planned scores here", "plan them first") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise OutputError(
            f"{partial / journal.PLAN}: damaged", "start again with `overwrite=True`"
        ) from error


def _check(prepared: Prepared, partial: Path, plan: Plan) -> None:
    """Raise :class:`OutputError` if a job is not what was planned.

    The input is not read for its SHA-256 where it has the size and time that it was planned with.
    """
    source = prepared.source
    if source is not None and single_at(source.path).standing() == plan.variants:
        source.sha256 = plan.fingerprint["variants_sha256"]
    now = json.loads(json.dumps(prepared.fingerprint))
    check_fingerprint(partial, plan.fingerprint, now)


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
    _check(prepared, partial, plan)
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
) -> tuple[Tally, Plan]:
    """Make the output of all slices, in order: the same bytes as in one process.

    Raises :class:`UnfinishedError` that names the first slice that is not done.
    """
    if held is None:
        with planned_at(prepared.job.out) as held:
            how: dict[str, Any] = {"overwrite": overwrite, "progress": progress, "tell": tell}
            return finalize_scores(prepared, held=held, **how)
    manifest.complete(held)
    plan = read_plan(held.partial)
    held.check(overwrite=overwrite, resume=True)
    if missing := plan.missing(held.partial):
        more = f", nor are {len(missing) - 1} others" if len(missing) > 1 else ""
        raise UnfinishedError(
            f"{held.place}: slice {missing[0]} of {len(plan.slices)} is not done{more}",
            f"run it with `slice={missing[0]}`, or go on with `resume=True`",
        )
    _check(prepared, held.partial, plan)
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
    _check(prepared, held.partial, plan)
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
        is_done = [Event() for _ in plan.slices]
        for index in set(range(len(plan.slices))) - set(tasks):
            is_done[index].set()
        stopped = Event()
        total = sum(piece.alleles for piece in plan.slices)
        scored = total - sum(plan.slices[i].alleles for i in tasks)

        def done(index: int) -> None:
            nonlocal scored
            scored += plan.slices[index].alleles
            progress("alleles", scored, total)
            is_done[index].set()

        def wait(index: int) -> None:
            is_done[index].wait()
            if stopped.is_set():
                raise UnfinishedError(f"{held.place}: slice {index} is not done")

        progress("alleles", scored, total)
        joined = pool.submit(_joined, prepared, plan, held, wait=wait)
        try:
            crew.do(SliceWork(prepared.job, held.partial), tasks, done)
        except BaseException:
            stopped.set()
            for event in is_done:
                event.set()
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
