"""Scoring haplotypes: plan -> each shard, anywhere and in any order -> finalize.

Every distinct haplotype of a gene is scored once, for all samples that carry it. A shard is some
genes; what is found of a gene is written to a file of its own in ``OUT.partial/journal``, and the
journal says which shards are done. Finalizing puts these files together, a chunk at a time. Whoever
does a shard twice changes nothing.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seal_store.common.beside import remove
from seal_store.common.files import check_fingerprint, write_json
from seal_store.common.lock import hold
from seal_store.common.output import JOURNAL, Output
from seal_store.common.plain import read_plain
from seal_store.common.progress import Progress, silent
from seal_store.common.tasks import noted
from seal_store.errors import InputError, OutputError, UnfinishedError
from seal_store.results.haplotypes import ATTRIBUTE, Haplotypes, write_haplotypes
from seal_store.run.crew import ALONE, Crew
from seal_store.run.haplotypes_job import HaplotypesJob, Prepared, fingerprint
from seal_store.run.haplotypes_values import GeneValues, gene_values
from seal_store.store import manifest, shard_journal
from seal_store.store.place import Place, output_at, single_at

PLAN = f"{JOURNAL}/haplotypes.json"
PLAN_BYTES = 1 << 20
"""Largest plan that is read."""

SHARDS = 1_000
"""Shards of a plan, at most: batch systems limit their arrays."""


@dataclass(frozen=True)
class Plan:
    """What is scored: the ``fingerprint`` of inputs and options, and how many genes.

    ``variants`` is how the VCF looked when it was planned.
    """

    fingerprint: dict[str, Any]
    command: str
    variants: dict[str, Any]
    genes: int

    @property
    def shards(self) -> int:
        """Into how many the genes are divided."""
        return -(-self.genes // self._size)

    @property
    def _size(self) -> int:
        return -(-self.genes // SHARDS)

    def rows(self, shard: int) -> range:
        """The genes of a shard, by their places in the output."""
        return range(self.genes)[shard * self._size : (shard + 1) * self._size]


def haplotypes_at(out: Place) -> Output:
    """The haplotypes ``out`` as an output."""
    return output_at(out, kind=ATTRIBUTE, checkpoint=PLAN)


def plan_haplotypes(
    prepared: Prepared, *, overwrite: bool = False, resume: bool = False, held: Output | None = None
) -> Plan:
    """Write what is to be scored; with ``resume`` a plan that is there is kept, if it is this.

    The whole VCF is read once. Raises :class:`~seal_store.errors.VariantError` if it is damaged,
    :class:`OutputError` if ``out`` exists and ``overwrite`` is false, or the plan there is of other
    inputs or options.
    """
    job = prepared.job
    if held is None:
        with haplotypes_at(job.out) as held:
            return plan_haplotypes(prepared, overwrite=overwrite, resume=resume, held=held)

    def standing() -> Plan:
        plan = read_plan(held.partial)
        _check(prepared, held.partial, plan)
        return plan

    if plan := held.planned(standing, overwrite=overwrite, resume=resume):
        return plan
    held.check(overwrite=overwrite)
    variants = single_at(job.vcf).looks()
    plan = Plan(prepared.fingerprint(), job.command, variants, len(prepared.genes))
    held.claim(overwrite=overwrite)
    shard_journal.begin(held.partial)
    held.keep()
    write_json(held.partial / PLAN, asdict(plan))
    return plan


def read_plan(partial: Path) -> Plan:
    """The plan in an unfinished output.

    Raises :class:`UnfinishedError` without one, :class:`OutputError` if it is damaged.
    """
    try:
        return Plan(**json.loads(read_plain(partial / PLAN, PLAN_BYTES)))
    except FileNotFoundError:
        raise UnfinishedError(f"{partial}: no planned haplotypes here", "plan them first") from None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise OutputError(
            f"{partial / PLAN}: damaged", "start again with `overwrite=True`"
        ) from error


def _check(prepared: Prepared, partial: Path, plan: Plan) -> None:
    """Raise :class:`OutputError` if a job is not what was planned.

    The VCF is not read for its SHA-256 where it looks as when it was planned.
    """
    if single_at(prepared.job.vcf).looks() == plan.variants:
        prepared.sha256 = plan.fingerprint["variants_sha256"]
    now = json.loads(json.dumps(prepared.fingerprint()))
    check_fingerprint(partial, plan.fingerprint, now)


@dataclass(frozen=True)
class HaplotypesWork:
    """The shards of planned haplotypes as work for others; see :mod:`seal_store.run.work`."""

    job: HaplotypesJob
    partial: Path
    unit = "shard"

    def begin(self, device: str) -> Callable[[int], None]:
        """Load the engine on ``device``; what is returned does a shard."""
        run = _begun(Prepared(self.job.on(device)), self.partial)
        return shard_journal.unless_done(self.partial, run)


def _begun(
    prepared: Prepared, partial: Path, done: Callable[[int], object] = bool
) -> Callable[[int], None]:
    key = shard_journal.plan_key(partial)
    plan = read_plan(partial)
    _check(prepared, partial, plan)
    return lambda shard: _run_shard(prepared, plan, partial, key, shard, done)


def _run_shard(
    prepared: Prepared,
    plan: Plan,
    partial: Path,
    key: str,
    shard: int,
    done: Callable[[int], object],
) -> None:
    if not 0 <= shard < plan.shards:
        raise InputError(f"`shard` {shard}: this plan has shards 0 to {plan.shards - 1}")
    names, numbers, counts = [], [], Counter[str]()
    with noted(partial, shard), prepared.store.standing():
        for row in plan.rows(shard):
            values = gene_values(prepared, prepared.genes[row])
            shard_journal.check_plan(partial, key)
            shard_journal.drop(partial, shard)
            names.append(_name(row))
            numbers.append(len(values.copies))
            counts += values.counts
            _write(partial / names[-1], values)
            done(1)
        facts = {"haplotypes": numbers, "counts": counts}
        made = {name: plan.fingerprint[name] for name in shard_journal.ALIKE}
        shard_journal.write(partial, shard, names, key, made, facts)


def _name(row: int) -> str:
    return f"{JOURNAL}/gene-{row:07d}.npz"


def _write(path: Path, values: GeneValues) -> None:
    """Write what was found of a gene aside, and rename it into place."""
    own = {n: getattr(values, n) for n in ("effect", "interaction", "copies", "place")}
    own["alleles"] = np.frombuffer("\n".join(values.alleles).encode("ascii"), np.uint8)
    aside = path.with_name(f"{path.name}.{os.urandom(8).hex()}.partial")
    try:
        with open(aside, "wb") as file:
            np.savez(file, **own)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def run_shards(prepared: Prepared, shards: Sequence[int], progress: Progress = silent) -> None:
    """Score shards of a plan; other processes may score others meanwhile."""
    out = haplotypes_at(prepared.job.out)
    with ExitStack() as stack:
        stack.enter_context(hold(out.path, shared=True))
        read_plan(out.partial)
        for shard in sorted(set(shards)):
            stack.enter_context(hold(shard_journal.entry_path(out.partial, shard)))
        run = _begun(prepared, out.partial, _counting(progress, 0, None))
        for shard in shards:
            run(shard)


def _counting(progress: Progress, done: int, total: int | None) -> Callable[[int], None]:
    def count(more: int) -> None:
        nonlocal done
        done += more
        progress("genes", done, total)

    return count


def finalize_haplotypes(
    prepared: Prepared,
    *,
    overwrite: bool = False,
    progress: Progress = silent,
    held: Output | None = None,
) -> Haplotypes:
    """Put all shards together, in order; rename into place.

    Raises :class:`UnfinishedError` that names the first shard that is not done.
    """
    if held is None:
        with haplotypes_at(prepared.job.out) as held:
            how: dict[str, Any] = {"overwrite": overwrite, "progress": progress}
            return finalize_haplotypes(prepared, held=held, **how)
    if manifest.stands(held) and not overwrite:
        return Haplotypes(held.place)
    plan = read_plan(held.partial)
    held.check(overwrite=overwrite, resume=True)
    _check(prepared, held.partial, plan)
    shard_journal.finished(held.partial, plan.shards, progress, "score haplotypes")
    for left in held.partial.iterdir():  # of a finalize that was killed
        if left.name != JOURNAL:
            remove(left)
    facts = [shard_journal.facts(held.partial, shard) for shard in range(plan.shards)]
    counts = sum((Counter(own["counts"]) for own in facts), Counter[str]())
    numbers = [number for own in facts for number in own["haplotypes"]]
    attributes = prepared.attributes(sum(numbers), counts)
    attributes = type(attributes).parse({**attributes.to_dict(), "command": plan.command})
    labels = prepared.labels()

    def parts(name: str) -> Iterator[np.ndarray]:
        if name in labels:
            yield labels[name]
            return
        before = 0
        for row, number in enumerate(numbers):
            yield _part(held.partial / _name(row), name, row, number, before)
            before += number

    write_haplotypes(held, attributes, parts)
    return Haplotypes(held.place)


def _part(path: Path, name: str, row: int, number: int, before: int) -> np.ndarray:
    """What the gene at ``row`` adds to an array, after so many haplotypes of others."""
    if name == "haplotype_gene":
        return np.full(number, row, np.int32)
    with np.load(path, allow_pickle=False) as found:
        if name == "haplotype_of":
            place = found["place"]
            return np.where(place >= 0, place + before, place)[None].astype(np.int32)
        values: np.ndarray = found[name]
    if name == "alleles":
        own = values.tobytes().decode("ascii").split("\n") if number else []
        return np.array(own, np.dtypes.StringDType())
    return values


def score_haplotypes(
    prepared: Prepared,
    crew: Crew = ALONE,
    *,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress = silent,
) -> Haplotypes:
    """Plan, score the shards here or by ``crew``, and finalize: the bytes of one process.

    With ``resume`` a plan that is there is gone on with, and what is finished and the same is
    returned as it is. Raises as its steps do.
    """
    with haplotypes_at(prepared.job.out) as held:
        if manifest.stands(held) and resume:
            try:
                return _finished(prepared, Haplotypes(held.place))
            except OutputError:
                if not overwrite:
                    raise
        plan = plan_haplotypes(prepared, overwrite=overwrite, resume=resume, held=held)
        tasks = shard_journal.missing(held.partial, plan.shards)
        done = plan.genes - sum(len(plan.rows(shard)) for shard in tasks)
        count = _counting(progress, done, plan.genes)
        count(0)
        if crew.is_one:
            run = _begun(prepared, held.partial, count)
            for shard in tasks:
                run(shard)
        else:
            work = HaplotypesWork(prepared.job, held.partial)
            crew.do(work, tasks, lambda shard: count(len(plan.rows(shard))))
        return finalize_haplotypes(prepared, overwrite=overwrite, progress=progress, held=held)


def _finished(prepared: Prepared, found: Haplotypes) -> Haplotypes:
    """Finished haplotypes; :class:`OutputError` if they are not those of this job."""
    names = ("gene_id", "sample", "context_set", "context_name")
    then = fingerprint(found.attributes, {name: found.column(name) for name in names})
    now = prepared.fingerprint()
    for facts in (then, now):
        del facts["device"], facts["software"]
    check_fingerprint(Path(str(found.path)), *(json.loads(json.dumps(f)) for f in (then, now)))
    return found
