"""Checks of the contents of an atlas: every chunk, and that effects and summaries agree."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np

from seal_store.atlas.arrays import ALTS, BASES, SUMMARY
from seal_store.atlas.entries import Entries, Found
from seal_store.check.integrity import EPS, Folder, Report
from seal_store.common.progress import Progress
from seal_store.errors import StoreError

POSITIONS = 1_024
"""Positions of a gene that are decoded at once: 10 MB of effects on 802 contexts."""


class Genes:
    """The contents of an atlas."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.atlas = Entries(folder.path, opened=(folder.group, folder.attributes))
        self._entries = cache(lambda: self.atlas.column("entries"))

    @property
    def report(self) -> Report:
        """Of the folder."""
        return self.folder.report

    def check(self, progress: Progress) -> None:
        """Every chunk of arrays of labels and facts, then gene by gene."""
        sharded = {entry.name for entry in self.folder.attributes.computed}
        for name, array in sorted(self.folder.group.members(max_depth=None)):
            if name not in sharded:
                for file, _, values in self.folder.blocks(array):
                    if values.dtype.kind == "f" and not np.isfinite(values).all():
                        self.report.add("finite", file, "holds NaN or infinite")
        try:
            self.atlas.of_genes("rank")  # and the labels, without which no entry is found
            self._entries()
        except (StoreError, KeyError):  # its own fault is noted
            self.report.skipped["entries"] = "needs labels and facts that are damaged"
            return
        absent = self.report.faulty("files")
        for gene in range(len(self.atlas)):
            if not self.folder.share.has(gene):
                continue
            shard = gene // self.folder.attributes.genes_per_shard
            files = [f for f in absent if f.split("/")[0] in sharded and f"/c/{shard}/" in f]
            if files:
                continue  # noted already
            try:
                for message in self._faults(gene):
                    self._add("entries", gene, message)
            except StoreError as error:
                self._damaged(gene, error)
            self.report.count("genes")
            progress("genes", gene + 1, len(self.atlas))

    def _faults(self, gene: int) -> Iterator[str]:
        atlas, made = self.atlas, self.atlas.attributes
        count = 2 * made.span + 1
        position = np.arange(count)
        base = atlas.gathered("base", np.full(count, gene), position)
        if not np.isin(base, [0, *BASES]).all():
            yield "base: holds others than A, C, G, T"
        if (entries := int(self._entries()[gene])) != ALTS * int((base != 0).sum()):
            yield f"entries: {entries}, not three for each base"
        for start in range(0, count, POSITIONS):
            part = position[start : start + POSITIONS]
            row = np.arange(ALTS * len(part))
            where = np.full(len(row), gene), np.repeat(part, ALTS), row % ALTS
            found = Found(row, *where, np.zeros(0, bool))
            yield from self._compared(found, np.repeat(base[start : start + POSITIONS] != 0, ALTS))

    def _compared(self, found: Found, has: np.ndarray) -> Iterator[str]:
        """What is wrong with the effects and summaries of entries."""
        made = self.atlas.attributes
        effect, own = self.atlas.values(found), self.atlas.summaries(found)
        finite = all(np.isfinite(own[e.name]).all() for e in SUMMARY if "float" in e.dtype)
        if not (finite and np.isfinite(effect).all()):
            yield "holds NaN or infinite"
            return
        if effect[~has].any() or own["largest"][~has].any():
            yield "has effects where there is no base"
        place = own["largest_context"].astype(np.int64)
        if (place < 0).any() or (place >= made.contexts).any():
            yield "largest_context: is no context"
            return
        largest = own["largest"].astype(np.float64)
        allowed = np.maximum((made.max_error or 0) * np.abs(largest), made.floor)
        allowed += 8 * EPS * np.abs(largest)
        stored = effect[np.arange(len(place)), place]
        if (np.abs(stored - largest) > allowed).any():
            yield "effect in its context is not the largest of the summary"
        if (np.abs(effect).max(1) > np.abs(largest) + allowed).any():
            yield "an effect is larger than the largest of the summary"

    def _add(self, check: str, gene: int, message: str) -> None:
        shard = gene // self.atlas.attributes.genes_per_shard
        array = message.partition(":")[0] if ":" in message else self._main
        file = f"{array}/c/{shard}" + "/0" * (self.folder.group[array].ndim - 1)
        if array == "entries":
            file = "entries/c/0"
        self.report.add(check, file, message, shard, self.folder.genes[gene])

    @property
    def _main(self) -> str:
        return "effect" if self.atlas.attributes.is_full else "coefficient"

    def _damaged(self, gene: int, error: StoreError) -> None:
        """A chunk that cannot be read: its file is named by the error."""
        shard = gene // self.atlas.attributes.genes_per_shard
        text = str(error)
        named = [e.name for e in self.folder.attributes.computed if f"/{e.name}/c/" in text]
        array = named[0] if named else self._main
        file = f"{array}/c/{shard}" + "/0" * (self.folder.group[array].ndim - 1)
        message = "cannot be decoded: " + text.split(": ", 1)[-1]
        self.report.add("chunk", file, message, shard, self.folder.genes[gene])
