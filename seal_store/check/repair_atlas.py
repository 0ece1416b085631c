"""Repair a finished atlas: compute the shards anew in which ``verify`` finds something damaged.

A repair is a build that has most of its shards already: files of whole ones are linked into
``ATLAS.partial`` and noted as done, the others are computed as any build computes them, and the
whole takes the place of what is there. One that is cut off leaves the atlas as it was; the next
begins anew.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from seal_store.atlas.arrays import FACTS, LABELS, TARGETS
from seal_store.atlas.attributes import AtlasAttributes
from seal_store.check.integrity import Folder, Report
from seal_store.check.repair import Repaired
from seal_store.check.verify import verify
from seal_store.common.beside import GROUP, remove
from seal_store.common.files import local_path
from seal_store.common.output import JOURNAL
from seal_store.common.progress import Progress, silent
from seal_store.errors import InputError, OutputError, StoreError
from seal_store.run.atlas import (
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

MARK = f"{JOURNAL}/repair"
"""In a plan that a repair made: the next one may begin anew where it stands."""


def repair_atlas(
    job: AtlasJob, crew: Crew = ALONE, *, overwrite: bool = False, progress: Progress = silent
) -> Repaired:
    """Verify all of an atlas and compute again what is faulty, here or by ``crew``.

    ``job`` is that by which it was built; ``overwrite`` lets it take the place of another build
    that was begun. With the same software, device and threads the atlas is the same again, byte by
    byte. Else its manifest, and so its SHA-256, changes. Raises, before anything is changed,
    :class:`StoreError` if something damaged cannot be computed and
    :class:`~seal_store.errors.OutputError` if the atlas is of another store or other options.
    """
    path = local_path(job.out)
    with atlas_at(path) as held:
        manifest.complete(held)
        report = verify(path, crew=crew, progress=progress)
        if report.kind != "atlas":
            raise InputError(f"{path} is no atlas", "`seal-store build --repair` mends a store")
        left = (held.partial / MARK).exists()
        if report.ok:
            if left:
                remove(held.partial)
            return Repaired(manifest.fingerprint(path), [], True, report)
        group, made = _opened(path, report)
        prepared = Prepared(replace(job, made=made))
        damaged = {name.split("/")[0] for name in report.faulty()}
        check_job(prepared, path, made, group, damaged)
        if held.begun and not (left or overwrite):
            raise OutputError(
                f"{held.partial}: another build was begun there",
                "finish it with `resume=True`, or add `overwrite=True` to drop it",
            )
        plan_atlas(prepared, overwrite=True, held=held)
        (held.partial / MARK).touch()
        _check_labels(path, held.partial, damaged, report)
        _take_over(path, held.partial, group, made, report)
        now = fill_atlas(prepared, held, crew, overwrite=True, progress=progress)
        other = {name for name, entry in now.listed.items() if report.listed.get(name) != entry}
        written = other | (report.faulty() & set(now.listed))
        return Repaired(now.sha256, sorted(written), not other, report)


def _opened(path: Path, report: Report) -> tuple[zarr.Group, AtlasAttributes]:
    """Group and attributes of a damaged atlas. Raises :class:`StoreError` for what stays so."""
    for fault in report.faults:
        hint = ""
        if fault.file in (GROUP, manifest.MANIFEST) or fault.check == "metadata":
            hint = "it cannot be computed again: copy the atlas again or build it anew"
        elif fault.check in ("stray", "unknown") and not fault.file.endswith(".partial"):
            hint = "it is not part of the atlas: move it away first"
        if hint:
            raise StoreError(f"{path}: {fault.file} {fault.message}", hint)
    folder = Folder(Report(path, report.kind))
    folder.check_manifest()
    folder.open()
    return folder.group, folder.attributes


def _check_labels(path: Path, partial: Path, damaged: set[str], report: Report) -> None:
    """Raise :class:`StoreError` where labels that could not be compared are others than listed.

    The plan is removed then: it may be of other genes.
    """
    for entry in (*LABELS, *TARGETS):
        name = f"{entry.name}/c/0"
        listed = report.listed.get(name)
        if entry.name in damaged and listed and manifest.changed(partial, {name: listed}):
            remove(partial)
            raise StoreError(
                f"{path}: {entry.name} is damaged, and what this job has for it "
                "is not what the manifest lists",
                "repeat the command that built it, with the same versions, or copy it again",
            )


def _take_over(
    path: Path, partial: Path, group: zarr.Group, made: AtlasAttributes, report: Report
) -> None:
    """Link the files of shards that are whole into a plan, and note these as done.

    There are none if facts, which all genes have in one file, are damaged.
    """
    bad: set[int] = set()
    computed, facts = ({entry.name for entry in own} for own in (made.computed, FACTS))
    for name, _, place in (file.partition("/c/") for file in report.faulty()):
        if name in computed and place:
            bad.add(int(place.split("/")[0]))
        elif name in facts and place:
            return
    key, files = shard_journal.plan_key(partial), files_at(path)
    for shard in sorted(set(range(made.shards)) - bad):
        for name in made.files_of(shard).values():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            files.share(name, report.listed[name], partial / name)
        note_done(partial, made, shard, key, _facts(group, made, shard))


def _facts(group: zarr.Group, made: AtlasAttributes, shard: int) -> dict[str, list[Any]]:
    """What is known of the genes of a shard."""
    size = made.genes_per_shard
    rows = slice(shard * size, (shard + 1) * size)
    return {entry.name: np.asarray(get(group, entry.name)[rows]).tolist() for entry in FACTS}
