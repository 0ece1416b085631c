"""Building an atlas: plan -> each shard, anywhere and in any order -> finalize.

A shard holds the genes of one Zarr shard file and is written by one process. The plan is the
group ``OUT.partial`` with its attributes, labels and empty arrays; the journal says which shards
are done. Whoever does a shard twice changes nothing.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from seal_store.atlas.arrays import FACTS
from seal_store.atlas.atlas import Atlas
from seal_store.atlas.attributes import ATTRIBUTE, AtlasAttributes
from seal_store.common.beside import attribute_names, check_plain
from seal_store.common.files import check_fingerprint
from seal_store.common.lock import hold
from seal_store.common.output import JOURNAL, Output
from seal_store.common.prefetch import begun
from seal_store.common.progress import Progress, silent
from seal_store.common.tasks import noted
from seal_store.errors import InputError, OutputError, UnfinishedError
from seal_store.run.atlas_job import AtlasJob, Prepared
from seal_store.run.atlas_values import Scored, gene_values, scored
from seal_store.run.crew import ALONE, Crew
from seal_store.store import manifest, shard_journal
from seal_store.store.layout import create, get
from seal_store.store.opening import consolidate
from seal_store.store.place import Place, output_at
from seal_store.store.shards import ShardFiles
from seal_store.variants.regions import nameless

MADE_BY = ("command", "device", "software")
"""Attributes that say by what an atlas was made, not of what."""


def atlas_at(out: Place) -> Output:
    """The atlas ``out`` as an output."""
    return output_at(out, kind=ATTRIBUTE, checkpoint=JOURNAL)


def plan_atlas(
    prepared: Prepared, *, overwrite: bool = False, resume: bool = False, held: Output | None = None
) -> AtlasAttributes:
    """Write what the atlas is to be; with ``resume`` a plan that is there is kept, if it is this.

    Raises :class:`OutputError` if ``out`` exists and ``overwrite`` is false, or the plan there is
    of other inputs or options.
    """
    if held is None:
        with atlas_at(prepared.job.out) as held:
            return plan_atlas(prepared, overwrite=overwrite, resume=resume, held=held)
    standing = functools.partial(_checked, prepared, held.partial)
    if planned := held.planned(standing, overwrite=overwrite, resume=resume):
        return planned
    attributes = prepared.attributes()
    held.claim(overwrite=overwrite)
    about = {ATTRIBUTE: attributes.to_dict()}
    group = zarr.create_group(str(held.partial), zarr_format=3, attributes=about)
    labels = prepared.labels(prepared.scorer(prepared.genes[0]))
    for entry in attributes.arrays:
        array = create(group, entry, attributes.sizes(), attributes.genes_per_shard)
        if entry.name in labels:
            array[...] = labels[entry.name]
    shard_journal.begin(held.partial)
    held.keep()
    return attributes


def _planned(partial: Path) -> AtlasAttributes:
    """The attributes of a plan. Raises :class:`UnfinishedError` without one."""
    if not (partial / JOURNAL).exists() and not (partial / manifest.MANIFEST).exists():
        raise UnfinishedError(f"{partial}: no planned atlas here", "plan it first")
    check_plain(partial)
    if ATTRIBUTE not in attribute_names(partial):
        raise OutputError(f"{partial}: what was begun there is no atlas", "choose another `out`")
    group = zarr.open_group(str(partial), mode="r", use_consolidated=False)
    return AtlasAttributes.parse(group.attrs[ATTRIBUTE])


def _checked(prepared: Prepared, partial: Path) -> AtlasAttributes:
    """The attributes of a plan. Raises :class:`OutputError` if the job is not what was planned."""
    planned = _planned(partial)
    check_job(prepared, partial, planned, zarr.open_group(str(partial), mode="r"))
    return planned


def check_job(
    prepared: Prepared,
    path: Path,
    made: AtlasAttributes,
    group: zarr.Group,
    unread: Collection[str] = (),
    but: tuple[str, ...] = ("command",),
) -> None:
    """Compare a job with attributes, ``but`` for some, and labels: counts tell not which genes.

    Labels of the names ``unread`` are left out. Files of regions may have other names.
    """
    now, then = prepared.attributes().to_dict(), made.to_dict()
    for facts in (now, then):
        facts["store"].pop("path")
        facts["regions"] = [nameless(text) for text in facts.get("regions") or ()]
        for name in but:
            del facts[name]
    labels = prepared.labels(prepared.scorer(prepared.genes[0]))
    here = {name: own.tolist() for name, own in labels.items() if name not in unread}
    check_fingerprint(path, *(json.loads(json.dumps(facts)) for facts in (then, now)))
    there = {name: np.asarray(get(group, name)[...]).tolist() for name in here}
    check_fingerprint(path, there, here)


@dataclass(frozen=True)
class AtlasWork:
    """The shards of a planned atlas as work for others; see :mod:`seal_store.run.work`."""

    job: AtlasJob
    partial: Path
    unit = "shard"

    def begin(self, device: str) -> Callable[[int], None]:
        """Load the engine on ``device``; what is returned does a shard."""
        run = _begun(Prepared(self.job.on(device)), self.partial)
        return shard_journal.unless_done(self.partial, run)


def _begun(
    prepared: Prepared, partial: Path, progress: Callable[[int], object] = bool
) -> Callable[[int], None]:
    key = shard_journal.plan_key(partial)
    attributes = _checked(prepared, partial)
    return lambda shard: _run_shard(prepared, attributes, partial, key, shard, progress)


def _run_shard(
    prepared: Prepared,
    attributes: AtlasAttributes,
    partial: Path,
    key: str,
    shard: int,
    progress: Callable[[int], object],
) -> None:
    if not 0 <= shard < attributes.shards:
        raise InputError(f"`shard` {shard}: this atlas has shards 0 to {attributes.shards - 1}")
    group = zarr.open_group(str(partial), mode="r+", use_consolidated=False)
    files = {e.name: ShardFiles(get(group, e.name)) for e in attributes.computed}
    chunks: dict[str, dict[tuple[int, ...], bytes]] = {name: {} for name in files}
    size = attributes.genes_per_shard
    facts: dict[str, list[Any]] = {}
    genes = prepared.genes[shard * size : (shard + 1) * size]

    def take(place: int, found: Scored) -> None:
        values = gene_values(attributes, found)
        for name, own in files.items():
            chunks[name] |= own.encoded(values.arrays[name][None], place)
        for name, fact in values.facts.items():
            facts.setdefault(name, []).append(fact)

    with noted(partial, shard):
        taken: Callable[[], object] = bool
        for place, gene in enumerate(genes):
            found = scored(prepared, prepared.positions(gene), progress)
            taken()  # the gene before, while this one was scored
            taken = begun(functools.partial(take, place, found))
        taken()
        shard_journal.check_plan(partial, key)
        shard_journal.drop(partial, shard)
        for entry in attributes.computed:
            at = (shard, *(0,) * (len(entry.dims) - 1))
            files[entry.name].join(at, chunks[entry.name])
        note_done(partial, attributes, shard, key, facts)


def note_done(
    partial: Path, made: AtlasAttributes, shard: int, key: str, facts: dict[str, list[Any]]
) -> None:
    """Say that a shard's files are there, with the ``facts`` of its genes."""
    names = list(made.files_of(shard).values())
    alike = {name: getattr(made, name) for name in shard_journal.ALIKE}
    shard_journal.write(partial, shard, names, key, alike, facts)


def run_shards(prepared: Prepared, shards: Sequence[int], progress: Progress = silent) -> None:
    """Compute shards of a planned atlas; other processes may compute others meanwhile."""
    out = atlas_at(prepared.job.out)
    with ExitStack() as stack:
        stack.enter_context(hold(out.path, shared=True))
        _planned(out.partial)
        for shard in sorted(set(shards)):
            stack.enter_context(hold(shard_journal.entry_path(out.partial, shard)))
        run = _begun(prepared, out.partial, _counting(progress, None))
        for shard in shards:
            run(shard)


def _counting(progress: Progress, total: int | None) -> Callable[[int], None]:
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        progress("SNVs", done, total)

    return count


def finalize_atlas(
    out: Place | Output, *, overwrite: bool = False, progress: Progress = silent
) -> Atlas:
    """Add the facts of all genes and the manifest; rename into place.

    Raises :class:`UnfinishedError` that names the first shard that is not done.
    """
    if not isinstance(out, Output):
        with atlas_at(out) as held:
            return finalize_atlas(held, overwrite=overwrite, progress=progress)
    if manifest.stands(out) and not overwrite:
        return Atlas(out.place)
    out.check(overwrite=overwrite, resume=True)
    attributes = _planned(out.partial)
    known, _ = shard_journal.finished(out.partial, attributes.shards, progress, "atlas build")
    found = [shard_journal.facts(out.partial, shard) for shard in range(attributes.shards)]
    group = zarr.open_group(str(out.partial), mode="r+", use_consolidated=False)
    for entry in FACTS:
        values = [value for facts in found for value in facts[entry.name]]
        get(group, entry.name)[...] = np.array(values, entry.dtype)
    consolidate(out.partial)
    manifest.publish(out, known)
    return Atlas(out.place)


def build_atlas(
    prepared: Prepared,
    crew: Crew = ALONE,
    *,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress = silent,
) -> Atlas:
    """Plan, compute the shards here or by ``crew``, and finalize: the bytes of one process."""
    with atlas_at(prepared.job.out) as held:
        if manifest.stands(held) and resume:
            found = Atlas(held.place)
            try:
                own = Path(str(found.path)), found.attributes, found.group
                check_job(prepared, *own, but=MADE_BY)
                return found
            except OutputError:
                if not overwrite:
                    raise
        plan_atlas(prepared, overwrite=overwrite, resume=resume, held=held)
        return fill_atlas(prepared, held, crew, overwrite=overwrite, progress=progress)


def fill_atlas(
    prepared: Prepared,
    held: Output,
    crew: Crew = ALONE,
    *,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Atlas:
    """Compute the shards that a plan lacks, here or by ``crew``, and finalize."""
    attributes = _planned(held.partial)
    tasks = shard_journal.missing(held.partial, attributes.shards)
    if crew.is_one:
        size = attributes.genes_per_shard
        own = [g for s in tasks for g in prepared.genes[s * size : (s + 1) * size]]
        total = sum(map(prepared.most, own))
        run = _begun(prepared, held.partial, _counting(progress, total))
        for shard in tasks:
            run(shard)
    else:
        done = attributes.shards - len(tasks)

        def one_more(_: int) -> None:
            nonlocal done
            done += 1
            progress("shards", done, attributes.shards)

        progress("shards", done, attributes.shards)
        crew.do(AtlasWork(prepared.job, held.partial), tasks, one_more)
    return finalize_atlas(held, overwrite=overwrite, progress=progress)
