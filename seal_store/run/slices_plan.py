"""What a score is divided into: slices of like cost, kept in the unfinished output."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from seal_store.common.files import check_fingerprint, json_text, write_json
from seal_store.common.output import JOURNAL, Output
from seal_store.common.plain import read_plain
from seal_store.common.progress import Progress, silent
from seal_store.errors import InputError, OutputError, UnfinishedError
from seal_store.results import journal
from seal_store.run.job import Prepared
from seal_store.run.scores import (
    check_kind,
    scores_at,
)
from seal_store.scoring.assign import Counts, Task
from seal_store.store.outside import check_outside
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

    ``variants`` is how the input looked when it was planned. ``records`` and ``malformed``
    are counts of the input's lines.
    """

    fingerprint: dict[str, Any]
    command: str
    variants: dict[str, Any] | None
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

    def standing() -> Plan:
        plan = read_plan(held.partial)
        check_plan(prepared, held.partial, plan)
        return plan

    if plan := held.planned(standing, overwrite=overwrite, resume=resume):
        return plan
    if resume and not overwrite and (held.partial / journal.CHECKPOINT).exists():
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

    The assembly is decided here, as in one process: the first chunks are read for it. Raises
    :class:`InputError` if the input is changed meanwhile.
    """
    scorer, source, watch = prepared.scorer, prepared.source, prepared.watch
    looks = single_at(source.path).looks() if source is not None else None
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
    fingerprint = json.loads(json.dumps(prepared.fingerprint))
    if source is not None and single_at(source.path).looks() != looks:
        raise InputError(f"{source.name}: was changed while it was read", "plan it again")
    return Plan(
        fingerprint,
        prepared.job.command,
        looks,
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


def check_plan(prepared: Prepared, partial: Path, plan: Plan) -> None:
    """Raise :class:`OutputError` if a job is not what was planned.

    The input is not read for its SHA-256 where it looks as when it was planned.
    """
    source = prepared.source
    if source is not None and single_at(source.path).looks() == plan.variants:
        source.sha256 = plan.fingerprint["variants_sha256"]
    now = json.loads(json.dumps(prepared.fingerprint))
    check_fingerprint(partial, plan.fingerprint, now)
