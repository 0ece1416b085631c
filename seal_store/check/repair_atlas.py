"""Repair a finished atlas: compute the shards anew in which ``verify`` finds something damaged.

A repair is a build that has most of its shards already: files of whole ones are linked into
``ATLAS.partial`` and noted as done, the others are computed as any build computes them, and the
whole takes the place of what is there. One that is cut off leaves the atlas as it was, and the
next goes on with its shards.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from seal_store.atlas.arrays import FACTS
from seal_store.atlas.attributes import AtlasAttributes
from seal_store.check.integrity import Folder, Report
from seal_store.check.repair import Repaired
from seal_store.check.verify import verify
from seal_store.common.beside import GROUP
from seal_store.common.files import local_path
from seal_store.common.progress import Progress, silent
from seal_store.errors import InputError, StoreError
from seal_store.run.atlas import (
    MADE_BY,
    atlas_at,
    check_job,
    fill_atlas,
    note_done,
    plan_atlas,
)
from seal_store.run.atlas_job import AtlasJob, Prepared
from seal_store.run.crew import ALONE, Crew
from seal_store.store import manifest, shard_journal
from seal_store.store.layout import get
from seal_store.store.place import files_at

UNREADABLE = ("files", "sha256", "chunk", "finite")
"""Checks that find a file damaged, whatever it is for."""


def repair_atlas(job: AtlasJob, crew: Crew = ALONE, *, progress: Progress = silent) -> Repaired:
    """Verify all of an atlas and compute again what is faulty, here or by ``crew``.

    ``job`` is that by which it was built. With the same software, device and threads the atlas is
    the same again, byte by byte. Else its manifest, and so its SHA-256, changes. Raises, before
    anything is changed, :class:`StoreError` if something damaged cannot be computed and
    :class:`~seal_store.errors.OutputError` if the atlas is of another store or other options.
    """
    path = local_path(job.out)
    with atlas_at(path) as held:
        manifest.complete(held)
        report = verify(path, crew=crew, progress=progress)
        if report.kind != "atlas":
            raise InputError(f"{path} is no atlas", "`seal-store build --repair` mends a store")
        if report.ok:
            return Repaired(manifest.fingerprint(path), [], True, report)
        group, made = _opened(path, report)
        prepared = Prepared(replace(job, made=made))
        damaged = {name.split("/")[0] for name in report.faulty()}
        check_job(prepared, path, made, group, MADE_BY, damaged)
        plan_atlas(prepared, overwrite=not held.begun, resume=True, held=held)
        _take_over(path, held.partial, group, made, report)
        now = fill_atlas(prepared, held, crew, overwrite=True, progress=progress)
        other = {name for name, entry in now.listed.items() if report.listed.get(name) != entry}
        written = other | (report.faulty() & set(now.listed))
        return Repaired(now.sha256, sorted(written), not other, report)


def _opened(path: Path, report: Report) -> tuple[zarr.Group, AtlasAttributes]:
    """Group and attributes of a damaged atlas. Raises :class:`StoreError` for what stays so."""
    for fault in report.faults:
        hint = ""
        if fault.file in (GROUP, manifest.MANIFEST):
            hint = "it cannot be computed again: copy the atlas again or build it anew"
        elif fault.check in ("stray", "unknown") and not fault.file.endswith(".partial"):
            hint = "it is not part of the atlas: move it away first"
        if hint:
            raise StoreError(f"{path}: {fault.file} {fault.message}", hint)
    folder = Folder(Report(path, report.kind))
    folder.check_manifest()
    folder.open()
    return folder.group, folder.attributes


def _take_over(
    path: Path, partial: Path, group: zarr.Group, made: AtlasAttributes, report: Report
) -> None:
    """Link the files of shards that are whole into a plan, and note these as done.

    There are none if facts, which all genes have in one file, are damaged.
    """
    bad: set[int | None] = set()
    computed = {entry.name for entry in made.computed}
    for fault in report.faults:
        name, _, place = fault.file.partition("/c/")
        if name in computed and place:
            bad.add(int(place.split("/")[0]))
        elif name in {entry.name for entry in FACTS} and place:
            if fault.check in UNREADABLE:
                return
            bad.add(fault.shard)
    key, files = shard_journal.plan_key(partial), files_at(path)
    for shard in shard_journal.missing(partial, made.shards):
        if shard in bad:
            continue
        for name in made.files_of(shard).values():
            target = partial / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            files.share(name, report.listed[name], target)
        note_done(partial, made, shard, key, _facts(group, made, shard))


def _facts(group: zarr.Group, made: AtlasAttributes, shard: int) -> dict[str, list[Any]]:
    """What is known of the genes of a shard."""
    size = made.genes_per_shard
    rows = slice(shard * size, (shard + 1) * size)
    return {entry.name: np.asarray(get(group, entry.name)[rows]).tolist() for entry in FACTS}
