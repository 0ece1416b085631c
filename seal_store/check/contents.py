"""Checks that a store's numbers, features, sums and predictions, follow from each other.

Tolerances follow from how numbers are stored, not from what is seen: ``aggregated`` is a float32
of a float64 sum, ``features`` may be rounded to ``keep_bits``, ``hidden`` is float16, and products
of float32 differ between libraries by the order in which they sum.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch

from seal_store.check import calibrations
from seal_store.check.integrity import EPS, Folder, Report
from seal_store.common.device import inference
from seal_store.common.progress import Progress
from seal_store.errors import StoreError
from seal_store.model.beluga import Beluga
from seal_store.model.head_set import HeadSet
from seal_store.model.labels import context_labels
from seal_store.reference.fasta import one_hot
from seal_store.store.layout import STORE
from seal_store.store.store import Store, sequence_start

T = TypeVar("T")

SAMPLE = 64
"""Genes whose sums and predictions are computed again, without ``full``."""

WINDOW_TOLERANCE, TF32_TOLERANCE = 1e-4, 1e-2
"""Of recomputed features: float32 on any device; stores for which TF32 was allowed."""

GENE_COLUMNS = ("gene_id", "gene_symbol", "gene_type", "contig", "strand", "tss")
SHARDED = tuple(entry.name for entry in STORE if entry.sharded)


class Genes:
    """The contents of a store."""

    def __init__(self, folder: Folder, *, full: bool, windows: int, seed: int) -> None:
        self.folder, self.genes = folder, folder.genes
        self.group, self.attributes = folder.group, folder.attributes
        self.full, self.windows, self.seed = full, windows, seed
        self.store = Store(folder.path, (folder.group, folder.attributes))

    @property
    def report(self) -> Report:
        """Of the folder."""
        return self.folder.report

    def check(self, progress: Progress) -> None:
        """Everything, in turn; a part whose inputs cannot be read is skipped, with the reason."""
        rng, count = np.random.default_rng(self.seed), len(self.genes)
        for _, array in sorted(self.group.members(max_depth=None)):
            if hasattr(array, "chunks") and array.path not in SHARDED and array.shape:
                for file, _, values in self.folder.blocks(array):
                    if values.dtype.kind == "f" and not np.isfinite(values).all():
                        shard, genes = self.folder.place(file)
                        self.report.add("finite", file, "holds NaN or infinite", shard, *genes)
        chosen = np.arange(count)
        if not self.full and count > SAMPLE:
            chosen = np.sort(rng.choice(count, SAMPLE, replace=False))
        once = (
            ("coordinates", self._coordinates),
            ("weights", self._weights),
            ("calibrations", self._calibrations),
        )
        for what, part in (
            *(once if self.folder.share.is_first else ()),
            ("genes", lambda: self._rows(set(chosen.tolist()), progress)),
            ("predictions", lambda: self._predictions(chosen)),
            ("windows", lambda: self._windows(rng, progress)),
        ):
            try:
                part()
            except (StoreError, KeyError, IndexError) as error:
                self.report.skipped[what] = f"needs what is damaged ({str(error)[:160]})"

    def _coordinates(self) -> None:
        store, lengths = self.store, self.attributes.genome.contigs
        for name, values in expected_labels(store).items():
            found = store.column(name)
            file = f"{name}/c/0" + "/0" * (values.ndim - 1)
            if name not in GENE_COLUMNS:
                if not _equal(found, values):
                    self.report.add("coordinates", file, "is not that of the grid")
                continue
            for gene in np.flatnonzero(found != values) if len(found) == len(values) else [0]:
                self._label(int(gene), name, "is not as in the gene table")
        columns = (store.column(name).tolist() for name in ("contig", "tss", "strand"))
        for gene, (contig, tss, strand) in enumerate(zip(*columns, strict=True)):
            length = lengths.get(contig, 0)
            if not 1 <= tss <= length:
                self._label(gene, "tss", f"TSS {tss} is not on {contig} (1 to {length})")
            if strand not in (1, -1):
                self._label(gene, "strand", f"strand {strand}")
        self.report.count("coordinates", len(self.genes))

    def _label(self, gene: int, name: str, message: str) -> None:
        self.report.add("coordinates", f"{name}/c/0", message, None, self.genes[gene])

    def _weights(self) -> None:
        made = self.attributes.cnn.sha256
        found = self.store.cnn().sha256()
        if found != made:
            message = f"weights have SHA-256 {found}, the attributes say {made}"
            self.report.add("fingerprint", "cnn", message)
        heads = self.store.heads()
        for head_set, entry in zip(heads, self.attributes.heads, strict=True):
            if head_set.sha256() != entry.sha256:
                message = f"has SHA-256 {head_set.sha256()}, the attributes say {entry.sha256}"
                self.report.add("fingerprint", f"heads/{head_set.name}", message)
        if heads:
            labels = context_labels([(s.name, s.contexts) for s in heads])
            for name in ("context_name", "context_set"):
                if not np.array_equal(self.store.column(name), labels[name]):
                    self.report.add("coordinates", f"{name}/c/0", "is not as in the head sets")
        self.report.count("head sets", len(heads))

    def _calibrations(self) -> None:
        for file, message in calibrations.faults(self.store):
            self.report.add("calibration", file, message)
        self.report.count("calibrations", len(self.attributes.calibration))

    def _rows(self, chosen: set[int], progress: Progress) -> None:
        """Arrays kept gene by gene."""
        store = self.store
        model = self._or_none(lambda: self._cnn) if store.has_hidden else None
        ends = self._or_none(self._ends)
        for gene in filter(self._has, range(len(self.genes))):
            sequence, features, aggregated, hidden = (self._gene(a, gene) for a in _ROWS)
            if sequence is not None:
                self._sequence(gene, sequence, ends[gene] if ends else None)
            for array, values in (("aggregated", aggregated), ("hidden", hidden)):
                if values is not None and not np.isfinite(values).all():
                    self._fault("finite", array, gene, "holds NaN or infinite")
            if features is not None:
                if not np.isfinite(features).all():
                    self._fault("finite", "features", gene, "holds NaN or infinite")
                    features = None
                elif features.min() < 0 or features.max() > 1:
                    self._fault("range", "features", gene, "holds features outside 0 to 1")
            if features is not None and gene in chosen:
                if aggregated is not None:
                    self._sums(gene, features, aggregated)
                if hidden is not None and model is not None:
                    self._hidden(gene, features, hidden, model)
            self.report.count("genes")
            progress("genes", gene + 1, len(self.genes))

    def _has(self, gene: int) -> bool:
        """Whether the shard of a gene is checked here."""
        return self.folder.share.has(gene // self.attributes.genes_per_shard)

    @cached_property
    def _cnn(self) -> Beluga:
        return self.store.cnn()

    def _file(self, array: str, gene: int) -> str:
        found = self.group[array]
        return f"{array}/c/{gene // found.shards[0]}" + "/0" * (found.ndim - 1)

    def _gene(self, array: str, gene: int) -> np.ndarray | None:
        if array not in self.group or (file := self._file(array, gene)) in self.report.faulty(
            "files"
        ):
            return None
        found = self.group[array]
        chunks = math.prod(
            -(-n // c) for n, c in zip(found.shape[1:], found.chunks[1:], strict=True)
        )
        return self.folder.read(found, gene, file, self.genes[gene], chunks=chunks)

    def _fault(self, check: str, array: str, gene: int, message: str) -> None:
        shard = gene // self.group[array].shards[0]
        self.report.add(check, self._file(array, gene), message, shard, self.genes[gene])

    def _or_none(self, make: Callable[[], T]) -> T | None:
        """What ``make`` gives; None where what it needs is damaged, which is noted already."""
        try:
            return make()
        except StoreError:
            return None

    def _ends(self) -> list[tuple[int, int]]:
        """Where each gene's contig begins and ends, in its ``sequence``."""
        lengths = self.attributes.genome.contigs
        columns = (table_column(self.store, name).tolist() for name in ("tss", "contig"))
        pairs = zip(*columns, strict=True)
        starts = [(sequence_start(tss), lengths.get(contig, 0)) for tss, contig in pairs]
        return [(max(0, -start), max(0, length - start)) for start, length in starts]

    def _sequence(self, gene: int, sequence: np.ndarray, ends: tuple[int, int] | None) -> None:
        if not np.isin(sequence, _LETTERS).all():
            self._fault("sequence", "sequence", gene, "holds what is no base")
        elif ends and (np.r_[sequence[: ends[0]], sequence[ends[1] :]] != ord("N")).any():
            self._fault("sequence", "sequence", gene, "holds bases beyond its contig")

    def _sums(self, gene: int, features: np.ndarray, aggregated: np.ndarray) -> None:
        sums = self.store.grid.decay_weights @ features.astype(np.float64)
        # all terms are positive, so their relative errors carry over to the sum
        relative = EPS + self._rounding() * 1.01
        if (np.abs(sums - aggregated) > relative * np.abs(sums) + 1e-30).any():
            message = "is not the decay sums of features"
            self._fault("aggregated", "aggregated", gene, message)
        self.report.count("decay sums")

    def _rounding(self) -> float:
        """Largest relative error of ``features`` from ``keep_bits``."""
        bits = self.attributes.keep_bits
        return 0.0 if bits is None else 2.0 ** -(bits + 1)

    def _hidden(self, gene: int, features: np.ndarray, hidden: np.ndarray, model: Beluga) -> None:
        with inference():
            units = torch.from_numpy(hidden.astype(np.float32))
            found = model.output(units).mean(1).numpy()
            weight = model.get_buffer("linear2_weight")
            # float16 rounds each unit by up to 2^-11 of it: 8 times the root of the summed
            # squares is beyond chance (Hoeffding), and a sigmoid is at most 1/4 as steep
            spread = (units.relu() * 2.0**-11 + 2.0**-25).square() @ weight.square().T
            allowed = 2.0 * spread.sqrt().mean(1).numpy()
        allowed = allowed + self._rounding() * features + self._tolerance() / 10
        if (np.abs(found - features) > allowed).any():
            self._fault("hidden", "hidden", gene, "does not give the features")
        self.report.count("hidden")

    def _tolerance(self) -> float:
        return TF32_TOLERANCE if self.attributes.allowed_tf32 else WINDOW_TOLERANCE

    def _predictions(self, chosen: np.ndarray) -> None:
        heads = self.store.heads()
        if not heads:
            self.report.skipped["predictions"] = "the store has no heads"
            return
        expression = self.group["expression"]
        chosen = chosen[[self._has(gene) for gene in chosen.tolist()]]
        for first in range(0, len(chosen), SAMPLE):
            genes = chosen[first : first + SAMPLE]
            rows = [(g, self._gene("aggregated", g)) for g in genes.tolist()]
            usable = [(g, row) for g, row in rows if row is not None and np.isfinite(row).all()]
            for gene, row in usable:
                file = f"expression/c/{gene // expression.chunks[0]}/0"
                if file in self.report.faulty("files"):
                    continue
                name = self.genes[gene]
                stored = self.folder.read(expression, gene, file, name)
                if stored is None:
                    continue
                value, allowed = predictions(heads, row)
                if not (np.abs(stored - value) <= allowed).all():
                    message = "is not the heads on aggregated"
                    self.report.add("expression", file, message, None, name)
                self.report.count("predictions")

    def _windows(self, rng: np.random.Generator, progress: Progress) -> None:
        store = self.store
        if self.attributes.source == "profiles":
            self.report.skipped["windows"] = "the features were imported, not computed"
            return
        model, bins = self._cnn, store.grid.bins
        tss, strand = (table_column(store, name).tolist() for name in ("tss", "strand"))
        pairs = rng.integers(0, [len(self.genes), bins], (self.windows, 2))
        for done, (gene, window) in enumerate(pairs.tolist(), 1):
            if not self._has(gene):
                continue
            sequence, features = (self._gene(a, gene) for a in ("sequence", "features"))
            progress("windows", done, len(pairs))
            if sequence is None or features is None:
                continue
            start = int(store.grid.starts(tss[gene], strand[gene])[window])
            start -= sequence_start(tss[gene])
            bases = sequence[start : start + store.grid.window]
            with inference():
                found = model(torch.from_numpy(one_hot(bases))[None])[0].numpy()
            allowed = self._tolerance() + self._rounding() * found
            if not (np.abs(found - features[window]) <= allowed).all():
                message = f"window {window} is not what the CNN gives for the sequence"
                self._fault("window", "features", gene, message)
            self.report.count("windows")


_ROWS = ("sequence", "features", "aggregated", "hidden")
_LETTERS = np.frombuffer(b"ACGTNRYSWKMBDHVU", np.uint8)


def table_column(store: Store, name: str) -> np.ndarray:
    """A column of the gene table, of the genes computed."""
    return store.column(f"table/{name}")[store.table_status == "computed"]


def expected_labels(store: Store) -> dict[str, np.ndarray]:
    """Labels of genes, windows and decay sums, as the gene table and the grid have them."""
    found = {name: table_column(store, name) for name in GENE_COLUMNS}
    return found | {"window_offset": store.grid.offsets, "decay_weight": store.grid.decay_weights}


def _equal(found: np.ndarray, expected: np.ndarray) -> bool:
    """Whether coordinates are the same: NumPy's `exp` differs in its last bits between CPUs."""
    if expected.dtype.kind != "f":
        return np.array_equal(found, expected)
    return np.allclose(found, expected, rtol=4 * np.finfo(expected.dtype).eps, atol=0)


def predictions(heads: list[HeadSet], aggregated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Predictions of one gene in float64, and how far float32 may be off; ``(context,)`` each.

    A float32 sum of n products is off by about ``sqrt(n)`` roundings of the sum of their sizes;
    four times that is allowed, in whatever order a library sums.
    """
    x = aggregated.ravel().astype(np.float64)
    values, allowed = [], []
    for s in heads:
        units = s.w1 @ x + s.b1
        sizes = np.abs(s.w1) @ np.abs(x) + np.abs(s.b1)
        active = np.maximum(units, 0)
        values.append(s.w2 @ active + s.b2)
        first = 4 * EPS * np.sqrt(len(x)) * (np.abs(s.w2) @ sizes)
        second = 4 * EPS * np.sqrt(len(units)) * (np.abs(s.w2) @ active + np.abs(s.b2))
        allowed.append(first + second + 1e-12)
    return np.concatenate(values), np.concatenate(allowed)
