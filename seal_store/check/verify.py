"""Verify a store or results: all checks in turn, and those of results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from seal_store.check.integrity import EPS, Folder, Report
from seal_store.common.output import GROUP, JOURNAL, attribute_names
from seal_store.common.progress import Progress, silent
from seal_store.errors import StoreError, UnfinishedError
from seal_store.results.group import ATTRIBUTE as RESULTS_ATTRIBUTE
from seal_store.store import manifest
from seal_store.store.layout import read

FINISH = "finish it with `seal-store build ... --resume`, or `seal-store score ... --resume`"
Rule = Callable[[np.ndarray], np.ndarray]


def verify(
    path: str | Path,
    *,
    full: bool = False,
    windows: int = 16,
    seed: int = 0,
    contents: bool = True,
    progress: Progress = silent,
) -> Report:
    """Check a finished store or results group; all faults are in the report.

    ``full``: sums and predictions of all genes, not of a sample. ``windows`` of a store are
    recomputed with the plain CNN. ``seed`` chooses both. Without ``contents`` only metadata and
    the SHA-256 of files are checked: it finds all that changed since they were written. Raises
    :class:`FormatError` or :class:`UnfinishedError` if there is nothing finished at ``path``.
    """
    path = Path(path)
    metadata_there = (path / GROUP).exists()
    if not path.exists() or not ((path / manifest.MANIFEST).exists() or metadata_there):
        manifest.load(path, "store or results", FINISH)  # says what is wrong
    if not (path / manifest.MANIFEST).exists() and _is_work(path):
        raise UnfinishedError(f"{path}: unfinished", FINISH)
    results = (path / "effect").exists() or RESULTS_ATTRIBUTE in attribute_names(path)
    report = Report(path, "results" if results else "store")
    folder = Folder(report)
    if folder.check_manifest():
        folder.open()
        folder.check_files(progress)
        if folder.group is None:
            report.skipped["contents"] = "the metadata cannot be used"
        elif not contents:
            report.skipped["contents"] = "not asked for"
        elif results:
            _Results(folder).check(progress)
        else:
            from seal_store.check.contents import Genes  # computes with PyTorch

            rng = np.random.default_rng(seed)
            Genes(folder, full=full, windows=windows, rng=rng).check(progress)
    report.faults.sort(key=lambda fault: fault.file)
    return report


def _is_work(path: Path) -> bool:
    return path.name.endswith(".partial") or (path / JOURNAL).exists()


class _Results:
    """The contents of results."""

    def __init__(self, folder: Folder) -> None:
        self.folder, self.report, self.genes = folder, folder.report, folder.genes
        self.group, self.attributes = folder.group, folder.attributes

    def check(self, progress: Progress) -> None:
        """Every chunk, the counts, and that attributions add up."""
        for name, array in sorted(self.group.members(max_depth=None)):
            for file, first, values in self.folder.blocks(array):
                self._values(name, file, first, values)
                if name == "effect":
                    progress("rows", first + len(values), array.shape[0])
                    self.report.count("rows", len(values))
        counts = self.attributes.counts
        if counts.alleles != counts.alleles_scored + sum(counts.not_scored.values()):
            message = "counts: alleles are not alleles_scored plus not_scored"
            self.report.add("counts", GROUP, message)
        if "ref_match" in self.group and not self.report.faulty("files", "chunk"):
            mismatches = counts.rows - int(read(self.group["ref_match"]).sum())
            if mismatches != counts.ref_mismatches:
                message = f"{counts.ref_mismatches} mismatches counted, {mismatches} found"
                self.report.add("counts", "ref_match/zarr.json", message)
        try:
            self._sums()
        except (StoreError, KeyError) as error:
            self.report.skipped["attributions"] = f"needs what is damaged ({str(error)[:160]})"

    def _values(self, name: str, file: str, first: int, values: np.ndarray) -> None:
        bad = np.zeros(len(values), bool)
        check, message = "finite", "holds NaN or infinite"
        if values.dtype.kind == "f":
            bad = ~np.isfinite(values).reshape(len(values), -1).all(1)
        elif name in _RULES:
            check, message = "values", _RULES[name][1]
            bad = ~_RULES[name][0](values)
        if bad.any():
            rows = np.flatnonzero(bad) + first
            genes = [self.genes[row] for row in rows[:100] if row < len(self.genes)]
            message += f" (row {rows[0]}, 0-based{', and more' if len(rows) > 1 else ''})"
            self.report.add(check, file, message, None, *dict.fromkeys(genes))

    def _sums(self) -> None:
        """All attributions of a row and target minus its effect are its ``completeness``."""
        made = self.attributes.attribution
        if not made or made.top_features is not None or "completeness" not in self.group:
            return
        names, sets, targets, owners = (
            read(self.group[n]).tolist()
            for n in ("context_name", "context_set", "target_name", "target_set")
        )
        contexts = list(zip(sets, names, strict=True))
        index = [contexts.index(key) for key in zip(owners, targets, strict=True)]
        half = made.dtype == "float16"
        for file, first, values in self.folder.blocks(self.group["attribution"], again=True):
            part = slice(first, first + len(values))
            shares = values.astype(np.float64)
            if half:
                shares *= read(self.group["attribution_scale"], part)[..., None]
            effect = read(self.group["effect"], part)[:, index]
            stored = read(self.group["completeness"], part)
            sizes = np.abs(shares).sum(-1)
            allowed = sizes * (4 * EPS * np.sqrt(shares.shape[-1]) + 2.0**-11 * half) + 1e-9
            bad = np.abs(shares.sum(-1) - effect - stored) > allowed + 4 * EPS * np.abs(effect)
            if bad.any():
                row = int(np.flatnonzero(bad.any(1))[0]) + first
                message = f"row {row} (0-based) does not add up to effect and completeness"
                self.report.add("completeness", file, message, None, self.genes[row])
            self.report.count("attributions", len(values))


def _among(*known: str) -> Rule:
    return lambda values: np.isin(np.array(values.tolist(), np.str_), known)


_RULES: Mapping[str, tuple[Rule, str]] = {
    "pos": (lambda values: values >= 1, "holds a position below 1"),
    "strand": (lambda values: np.abs(values) == 1, "holds a strand that is not +1 or -1"),
    "status": (_among("scored", "outside_grid"), "holds an unknown status"),
    "kind": (_among("snv", "mnv", "insertion", "deletion", "complex"), "holds an unknown kind"),
}
"""Which values of a column are possible."""
