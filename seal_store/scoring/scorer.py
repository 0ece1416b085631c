"""The engine: alleles -> effects on expression, in batches of bounded memory.

Scheme ``grid`` (default): the allele is put into the gene's own 40 kb and the windows it touches
are evaluated for both haplotypes; ``effect = heads(A + D) - heads(A)`` with ``A`` the gene's
decay sums and ``D`` their change. Scheme ``centered``: Seal's own nine windows around the
variant, the sum of nine such differences. The heads are evaluated in delta form.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from seal_store.common.device import inference, resolve_device, to_device
from seal_store.common.prefetch import ahead, behind
from seal_store.common.progress import Progress, silent
from seal_store.errors import InputError
from seal_store.model.grid import MAX_DISTANCE
from seal_store.model.heads import Heads
from seal_store.scoring.assign import Assigner, Counts, Task, mismatch_error, reference_matches
from seal_store.scoring.attribution import GROUPS, AttributionOptions, Attributor
from seal_store.scoring.calibration import read_calibration
from seal_store.scoring.evaluate import Batch, Change, Evaluator
from seal_store.scoring.haplotype import Stretch, centered_stretch, grid_stretch
from seal_store.scoring.rows import TEXT, Rows, origin_columns, select_contexts
from seal_store.store.shards import ShardFiles
from seal_store.store.store import Store
from seal_store.variants.alleles import Allele
from seal_store.variants.source import Alleles

SCHEMES = ("grid", "centered")
GENE_CHOICES = ("nearest", "all")
MISMATCH_POLICIES = ("flag", "skip", "error")
ALLELES_PER_CHUNK = 1_024
CHUNK_BYTES = 256 << 20


@dataclass(frozen=True)
class ScoreOptions:
    """How to score; see ``seal-store score vcf --help``.

    ``heads`` and ``contexts`` are names (a context also as ``set:name``); empty means all.
    ``batch`` is the number of variants evaluated at once: it changes speed and memory only.
    ``calibrated`` adds ``quantile`` and ``z`` of every effect, from the store's calibration.
    """

    scheme: str = "grid"
    genes: str = "nearest"
    max_distance: int = MAX_DISTANCE
    ref_mismatch: str = "flag"
    heads: tuple[str, ...] = ()
    contexts: tuple[str, ...] = ()
    device: str = "auto"
    tf32: bool = False
    batch: int = 128
    calibrated: bool = False

    def __post_init__(self) -> None:
        for value, choices, flag in (
            (self.scheme, SCHEMES, "--scheme"),
            (self.genes, GENE_CHOICES, "--genes"),
            (self.ref_mismatch, MISMATCH_POLICIES, "--ref-mismatch"),
        ):
            if value not in choices:
                raise InputError(f"{flag} {value!r}: not one of {', '.join(choices)}")
        if not 0 <= self.max_distance <= MAX_DISTANCE:
            raise InputError(
                f"--max-distance {self.max_distance}: not between 0 and {MAX_DISTANCE}",
                "the model sees 20 kb to either side of a TSS",
            )
        if self.batch < 1:
            raise InputError(f"--batch {self.batch}: not positive")


@dataclass
class _Chunk:
    """Alleles read and assigned, with what their evaluation needs on the CPU."""

    counts: Counts
    tasks: list[Task]
    matches: list[bool]
    stretches: list[Stretch]
    sequences: dict[int, bytes]
    aggregated: np.ndarray


@dataclass(frozen=True)
class _Launched:
    """Outputs of a chunk, maybe still being computed; ``source`` is the task that each equals."""

    source: np.ndarray
    found: list[tuple[list[int], dict[str, Tensor]]]


class Scorer:
    """Scores alleles against one store; ``counts`` says where the input went.

    ``completeness`` is the largest ``|sum of attributions - effect|`` so far, None where the
    method promises none.

    ``gene`` names the one gene to score against, whatever is nearest; by default an allele's
    genes are found as ``options`` say. ``attribution`` adds attributions to every row.
    """

    def __init__(
        self,
        store: Store,
        options: ScoreOptions = ScoreOptions(),
        gene: str | None = None,
        attribution: AttributionOptions | None = None,
    ) -> None:
        self.store, self.options = store, options
        self.device = resolve_device(options.device)
        sets = store.heads(list(options.heads))
        names = [(head_set.name, name) for head_set in sets for name in head_set.contexts]
        keep = select_contexts(names, options.contexts)
        self.context_set = [names[i][0] for i in keep]
        self.context_name = [names[i][1] for i in keep]
        self.assign: Callable[[Allele, Counts], list[Task]] = Assigner(
            store, options.max_distance, all_genes=options.genes == "all", gene=gene
        )
        heads = Heads(sets, self.device, keep)
        self.evaluator = Evaluator(store, heads, self.device, options.scheme)
        self.sequences = ShardFiles(store.array("sequence"))
        self.aggregated = ShardFiles(store.array("aggregated"))
        self.attributor = self._attributor(attribution, heads) if attribution else None
        own = list(zip(self.context_set, self.context_name, strict=True))
        self.calibration = (
            read_calibration(store, options.scheme, own, self.device)
            if options.calibrated
            else None
        )
        self.completeness: float | None = None
        self.gene = gene
        self.counts = Counts()

    def score(
        self, alleles: Iterable[Allele], where: str = "input", progress: Progress = silent
    ) -> Iterator[Rows]:
        """Rows in the order of the input, a chunk of alleles at a time; some may have none.

        ``counts`` are those of the chunks given out. Memory does not grow with the input.
        The next alleles are read and assigned while the last ones are computed.
        """
        stream = Alleles.of(alleles, where)
        chunks = ahead(self._chunks(stream))
        launched: Iterator[tuple[_Chunk, _Launched]]
        launched = ((chunk, self._launched(chunk)) for chunk in chunks)
        if self.device.type == "cuda":  # it works on the next chunk while results are fetched
            launched = behind(launched)
        for chunk, work in launched:
            values = self._values(len(chunk.tasks), work)
            _turn(values, chunk.tasks)
            effect = values.pop("effect")
            columns = self._columns(chunk)
            if stream.columns:
                columns |= origin_columns([task.allele for task in chunk.tasks])
            rows = Rows(columns, effect, values, self._calibrated(effect))
            chunk.counts.rows = len(rows)
            self.counts.add(chunk.counts)
            progress("alleles", self.counts.alleles, None)
            yield rows
        self.store.check_unchanged()

    def reason(self, allele: Allele) -> str:
        """Why ``allele`` has no row: one of ``assign.REASONS``; empty if it has.

        Nothing is counted.
        """
        counts = Counts()
        tasks = self.assign(allele, counts)
        if tasks:
            self._read([tasks], counts, "input")
        return next(iter(counts.not_scored), "")

    def _chunks(self, stream: Alleles) -> Iterator[_Chunk]:
        """Chunks bounded in alleles and, for their attributions, in rows."""
        most = max(ALLELES_PER_CHUNK, 4 * self.options.batch)
        rows = most if self.attributor is None else CHUNK_BYTES // self.attributor.row_bytes()
        assigned: list[list[Task]] = []
        waiting, counts = 0, Counts()
        for allele in stream:
            found = self.assign(allele, counts)
            counts.alleles += 1
            assigned.append(found)
            waiting += len(found)
            if len(assigned) >= most or (self.attributor is not None and waiting >= rows):
                yield self._read(assigned, counts, stream.name)
                assigned, waiting, counts = [], 0, Counts()
        if assigned:
            yield self._read(assigned, counts, stream.name)

    def _read(self, assigned: Sequence[list[Task]], counts: Counts, where: str) -> _Chunk:
        genes = sorted({task.gene for tasks in assigned for task in tasks})
        sequences = self._sequences(genes)
        tasks: list[Task] = []
        matches: list[bool] = []
        stretches: list[Stretch] = []
        for group in assigned:
            kept, reason = 0, ""
            for task in group:
                sequence = sequences[task.gene]
                match = reference_matches(task, sequence)
                stretch = self._stretch(task, sequence) if match is not None else None
                if match is False and self.options.ref_mismatch == "error":
                    raise mismatch_error(task, where)
                if match is False and self.options.ref_mismatch == "skip":
                    reason = "ref_mismatch"
                elif match is None or stretch is None:
                    reason = "too_long"
                    counts.genes_too_long += 1
                else:
                    tasks.append(task)
                    matches.append(match)
                    stretches.append(stretch)
                    kept += 1
            if kept:
                counts.alleles_scored += 1
            elif group:
                counts.reject(group[0].allele, reason)
        counts.ref_mismatches += matches.count(False)
        counts.swapped += sum(task.allele.swapped for task in tasks)
        sums = np.empty(0, np.float32)
        if genes:
            sums = self.aggregated.read([(gene, 0, 0) for gene in genes])[:, 0]
        return _Chunk(counts, tasks, matches, stretches, sequences, sums)

    def _stretch(self, task: Task, sequence: bytes) -> Stretch | None:
        if self.options.scheme == "grid":
            return grid_stretch(task, sequence, self.store.grid)
        return centered_stretch(task, sequence)

    def _sequences(self, genes: list[int]) -> dict[int, bytes]:
        if not genes:
            return {}
        block = self.sequences.read([(gene, 0) for gene in genes])[:, 0]
        return {gene: row.tobytes() for gene, row in zip(genes, block, strict=True)}

    def _launched(self, chunk: _Chunk) -> _Launched:
        """Evaluate a chunk; equal tasks once. Does not wait for the device."""
        tasks, stretches = chunk.tasks, chunk.stretches
        first: dict[tuple[int, int, int, bytes, bytes], int] = {}
        by_count: dict[int, list[int]] = defaultdict(list)
        source = np.arange(len(tasks))
        for i, (task, stretch) in enumerate(zip(tasks, stretches, strict=True)):
            begin = int(stretch.windows[0]) if stretch.count else -1
            key = (task.gene, task.allele.pos, begin, stretch.ref, stretch.alt)
            source[i] = first.setdefault(key, i)
            if source[i] == i and stretch.count:
                by_count[stretch.count].append(i)
        found: list[tuple[list[int], dict[str, Tensor]]] = []
        if not by_count:
            return _Launched(source, found)
        with inference(tf32=self.options.tf32):
            genes = self.evaluator.genes(chunk.sequences, chunk.aggregated)
            for members, batch in ahead(self._batches(chunk, by_count.values())):
                found.append((members, self._outputs(self.evaluator.change(batch, genes))))
        return _Launched(source, found)

    def _values(self, rows: int, launched: _Launched) -> dict[str, np.ndarray]:
        """``effect`` and attributions, one entry a task, from the device."""
        values = self._empty(rows)
        for members, outputs in launched.found:
            for name, value in outputs.items():
                values[name][members] = value.cpu().numpy()
        if "completeness" in values:
            largest = float(np.abs(values["completeness"]).max(initial=0))
            self.completeness = max(largest, self.completeness or 0)
        if (launched.source == np.arange(rows)).all():
            return values
        return {name: value[launched.source] for name, value in values.items()}

    def _calibrated(self, effect: np.ndarray) -> dict[str, np.ndarray]:
        """``quantile`` and ``z`` of effects as they are given out, if asked for."""
        if self.calibration is None:
            return {}
        with inference():
            found = self.calibration(to_device(effect, self.device))
        return {name: value.cpu().numpy() for name, value in found.items()}

    def _outputs(self, change: Change) -> dict[str, Tensor]:
        effect = self.evaluator.heads.effect(change.first, change.first_change).sum(1)
        found = {"effect": effect}
        if self.attributor is not None:
            found |= self.attributor(change.sums, change.first, change.first_change, effect)
        return found

    def _empty(self, rows: int) -> dict[str, np.ndarray]:
        """Values of rows that change nothing."""
        values = {"effect": np.zeros((rows, len(self.context_name)), np.float32)}
        if self.attributor is not None:
            sizes = self.attributor.sizes()
            for entry in self.attributor.specs():
                shape = (rows, *(sizes[dim] for dim in entry.dims[1:]))
                values[entry.name] = np.zeros(shape, entry.dtype)
            for name, fill in (("attribution_feature", -1), ("attribution_scale", 1)):
                if name in values:
                    values[name][...] = fill
        return values

    def _attributor(self, options: AttributionOptions, heads: Heads) -> Attributor:
        names = list(zip(self.context_set, self.context_name, strict=True))
        targets = select_contexts(names, () if "all" in options.targets else options.targets)
        labels = {name: self.store.column(name) for name in GROUPS.values()}
        return Attributor(heads, options, targets, self.store.config.features, labels)

    def _batches(
        self, chunk: _Chunk, groups: Iterable[list[int]]
    ) -> Iterator[tuple[list[int], Batch]]:
        """Tasks of a chunk, by position, in batches of neighbours; read from the store."""
        tasks, stretches = chunk.tasks, chunk.stretches
        for group in groups:
            group.sort(key=lambda i: (tasks[i].gene, tasks[i].allele.pos))
            for start in range(0, len(group), self.options.batch):
                members = group[start : start + self.options.batch]
                batch = [tasks[i] for i in members], [stretches[i] for i in members]
                yield members, self.evaluator.read(*batch)

    def _columns(self, chunk: _Chunk) -> dict[str, np.ndarray]:
        tasks, matches, stretches = chunk.tasks, chunk.matches, chunk.stretches
        alleles = [task.allele for task in tasks]
        status = ["scored" if s.count else "outside_grid" for s in stretches]
        return {
            "contig": np.array([t.contig for t in tasks], np.str_),
            "pos": np.array([a.pos for a in alleles], np.int64),
            "id": np.array([a.id for a in alleles], TEXT),
            "ref": np.array([a.alt if a.swapped else a.ref for a in alleles], TEXT),
            "alt": np.array([a.ref if a.swapped else a.alt for a in alleles], TEXT),
            "kind": np.array([a.kind for a in alleles], np.str_),
            "gene_id": self.store.gene_id[np.array([t.gene for t in tasks], np.int64)],
            "strand": np.array([t.strand for t in tasks], np.int8),
            "dist_to_tss": np.array([t.allele.pos - t.tss for t in tasks], np.int64),
            "ref_match": np.array(matches, np.bool_),
            "status": np.array(status, np.str_),
        }


def _turn(values: dict[str, np.ndarray], tasks: Sequence[Task]) -> None:
    """Turn the sign of what swapped alleles have: theirs is ALT to REF. Saliency has no sign."""
    swapped = np.array([task.allele.swapped for task in tasks], bool)
    if swapped.any():
        for name, value in values.items():
            if name not in ("attribution_feature", "attribution_scale"):
                value[swapped] *= -1
