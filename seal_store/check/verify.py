"""Verify a store or results: all checks in turn."""

from __future__ import annotations

import os

from seal_store.atlas.attributes import ATTRIBUTE as ATLAS_ATTRIBUTE
from seal_store.check.integrity import Folder, Report
from seal_store.check.parts import Checks
from seal_store.common.beside import GROUP, partial_path
from seal_store.common.output import JOURNAL
from seal_store.common.progress import Progress, silent
from seal_store.errors import UnfinishedError
from seal_store.results.group import ATTRIBUTE as RESULTS_ATTRIBUTE
from seal_store.results.haplotypes import ATTRIBUTE as HAPLOTYPES_ATTRIBUTE
from seal_store.run.crew import ALONE, Crew
from seal_store.store import manifest
from seal_store.store.opening import attributes_at
from seal_store.store.place import Place, files_at, place

_TOLD_BY = {
    "atlas": (ATLAS_ATTRIBUTE, "largest"),
    "haplotypes": (HAPLOTYPES_ATTRIBUTE, "haplotype_of"),
    "results": (RESULTS_ATTRIBUTE, "effect"),
}
"""The attribute of each kind of folder but a store, and an array that those before it lack."""

_MADE_BY = {
    "store": "build",
    "results": "score",
    "atlas": "atlas build",
    "haplotypes": "score haplotypes",
}


def verify(
    path: str | os.PathLike[str],
    *,
    full: bool = False,
    windows: int = 16,
    seed: int = 0,
    contents: bool = True,
    crew: Crew = ALONE,
    progress: Progress = silent,
) -> Report:
    """Check a finished store, results group, atlas or haplotypes; all faults are in the report.

    ``full``: sums and predictions of all genes, not of a sample. ``windows`` of a store are
    recomputed with the plain CNN. ``seed`` chooses both. Without ``contents`` only metadata and
    the SHA-256 of files are checked: it finds all that changed since they were written. ``crew``
    says who shares the work; the report is the same, but that it may count more of what is
    skipped for damage. Raises
    :class:`FormatError` or :class:`UnfinishedError` if there is nothing finished at ``path``,
    :class:`StoreError` if it is replaced meanwhile.
    """
    path = place(path)
    files = files_at(path)
    whole = files.has(manifest.MANIFEST)
    if not (whole or files.has(GROUP)):
        manifest.load(path, "folder", lambda: _finish(partial_path(path)))  # says what is wrong
    if not whole and (path.name.endswith(".partial") or files.has(JOURNAL)):
        raise UnfinishedError(f"{path}: unfinished", _finish(path))
    report = Report(path, _kind(path))
    folder = Folder(report)
    if folder.check_manifest():
        folder.open()
        checks = Checks(path, report.kind, full, windows, seed, crew)
        checks.files(folder, progress)
        if folder.group is None:
            report.skipped["contents"] = "the metadata cannot be used"
        elif not contents:
            report.skipped["contents"] = "not asked for"
        else:
            checks.numbers(folder, progress)
    folder.check_unchanged()
    if left := files.left():
        report.skipped[left] = "left by a killed run; the next that writes here removes it"
    report.faults.sort(key=lambda fault: fault.file)
    return report


def _finish(path: Place) -> str:
    return f"finish it with `seal-store {_MADE_BY[_kind(path)]} ... --resume`"


def _kind(path: Place) -> str:
    """What stands at ``path``, by its attributes, or if these are damaged by its arrays."""
    files, named = files_at(path), attributes_at(path)
    for kind, (attribute, array) in _TOLD_BY.items():
        if attribute in named or files.has(f"{array}/zarr.json"):
            return kind
    return "store"
