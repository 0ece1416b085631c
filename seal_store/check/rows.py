"""Checks of the contents of results: every chunk, the counts, and that attributions add up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

import numpy as np

from seal_store.check.integrity import EPS, Folder, Report
from seal_store.common.beside import GROUP
from seal_store.common.progress import Progress
from seal_store.errors import StoreError
from seal_store.scoring.options import EXACT
from seal_store.store.layout import CALIBRATED, read

Rule = Callable[[np.ndarray], np.ndarray]

_MAY_BE_NAN = {entry.name for entry in CALIBRATED}
"""Where the background's effects are all the same nothing is more or less usual."""


class Rows:
    """The contents of results."""

    def __init__(self, folder: Folder) -> None:
        self.folder, self.genes = folder, folder.genes
        self.group, self.attributes = folder.group, folder.attributes

    @property
    def report(self) -> Report:
        """Of the folder."""
        return self.folder.report

    def check(self, progress: Progress) -> None:
        """Every chunk, the counts, and that attributions add up."""
        for name, array in sorted(self.group.members(max_depth=None)):
            for file, first, values in self.folder.blocks(array):
                self._values(name, file, first, values)
                if name == "effect":
                    progress("rows", first + len(values), array.shape[0])
                    self.report.count("rows", len(values))
        if self.folder.share.is_first:
            self._counts()
        try:
            self._sums()
            self._sizes()
        except (StoreError, KeyError) as error:
            self.report.skipped["attributions"] = f"needs what is damaged ({str(error)[:160]})"

    def _counts(self) -> None:
        counts = self.attributes.counts
        if counts.alleles != counts.alleles_scored + sum(counts.not_scored.values()):
            message = "counts: alleles are not alleles_scored plus not_scored"
            self.report.add("counts", GROUP, message)
        for name, what, counted, odd in (
            ("ref_match", "mismatches", counts.ref_mismatches, False),
            ("status", "alt_is_reference", counts.alt_is_reference, "alt_is_reference"),
        ):
            with suppress(StoreError, KeyError):  # its chunks are faulty, which is noted
                found = int((read(self.group[name]) == odd).sum())
                if counted != found:
                    message = f"{counted} {what} counted, {found} found"
                    self.report.add("counts", f"{name}/zarr.json", message)

    def _values(self, name: str, file: str, first: int, values: np.ndarray) -> None:
        bad = np.zeros(len(values), bool)
        check, message = "finite", "holds NaN or infinite"
        if values.dtype.kind == "f":
            sound = np.isfinite(values)
            if name in _MAY_BE_NAN:
                sound |= np.isnan(values)
            bad = ~sound.reshape(len(values), -1).all(1)
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

    def _sizes(self) -> None:
        """Attributions that have to add up to the effect do not miss it by orders.

        What a fit of too few samples gives may be any number, and adds up to none.
        """
        made = self.attributes.attribution
        if not made or made.method not in EXACT or "completeness" not in self.group:
            return
        for file, first, rest in self.folder.blocks(self.group["completeness"], again=True):
            effect = read(self.group["effect"], slice(first, first + len(rest)))
            bad = np.abs(rest).max(1, initial=0) > 10 * np.abs(effect).max(1, initial=0) + 1e-6
            if bad.any():
                row = int(np.flatnonzero(bad)[0])
                message = (
                    f"row {first + row} (0-based): the sum of attributions is "
                    f"{np.abs(rest[row]).max():.2g} away from the effect"
                )
                self.report.add("completeness", file, message, None, self.genes[first + row])


def _among(*known: str) -> Rule:
    return lambda values: np.isin(np.array(values.tolist(), np.str_), known)


_RULES: Mapping[str, tuple[Rule, str]] = {
    "pos": (lambda values: values >= 1, "holds a position below 1"),
    "strand": (lambda values: np.abs(values) == 1, "holds a strand that is not +1 or -1"),
    "status": (
        _among("scored", "swapped", "alt_is_reference", "outside_grid"),
        "holds an unknown status",
    ),
    "kind": (_among("snv", "mnv", "insertion", "deletion", "complex"), "holds an unknown kind"),
}
"""Which values of a column are possible."""


class Numbers:
    """The contents of what has no rule but that numbers are finite."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    def check(self, progress: Progress) -> None:
        """Every chunk."""
        for name, array in sorted(self.folder.group.members(max_depth=None)):
            for file, first, values in self.folder.blocks(array):
                if values.dtype.kind == "f" and not np.isfinite(values).all():
                    self.folder.report.add("finite", file, "holds NaN or infinite")
                progress(name, first + len(values), array.shape[0])
