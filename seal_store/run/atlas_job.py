"""What an atlas is made of: its options, its genes, and which of their positions have entries."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from seal_store.atlas.arrays import ALTS, BASES
from seal_store.atlas.attributes import ATLAS_VERSION, AtlasAttributes
from seal_store.common.records import from_json
from seal_store.common.typed import conform
from seal_store.errors import GeneTableError, InputError, StoreError
from seal_store.exporting.tracks import track_lengths
from seal_store.model.grid import MAX_DISTANCE
from seal_store.reference.contigs import resolve_contig
from seal_store.results.attributes import AttributionAttributes, BackgroundAttributes, MadeFrom
from seal_store.scoring.calibration import fits
from seal_store.scoring.options import DEFAULTS, AttributionOptions, ScoreOptions
from seal_store.scoring.scorer import Scorer
from seal_store.store.outside import check_outside
from seal_store.store.place import Place
from seal_store.store.store import Store, sequence_start
from seal_store.variants.alleles import short
from seal_store.variants.regions import Region, inside, nameless

SHARDS = 1_000
"""Shards that a plan makes by itself, at most: batch systems limit their arrays."""

LEAST_ERROR, MOST_ERROR = 1e-4, 0.1
"""Of ``max_error``: coefficients are 16 bits wide, and larger errors tell nothing."""

FLOOR = 0.01
"""The floor, as share of the calibration's median effect in the context where that is least."""


@dataclass(frozen=True)
class AtlasJob:
    """What an atlas is made of. It can be sent to a process.

    ``genes`` of the store are ids or symbols, by default all; ``regions`` (called ``named``) limit
    the positions to those within them. ``attribution`` adds its strongest features to each SNV.
    ``max_error`` is None for effects as they are.
    """

    store: Place
    out: Place
    options: ScoreOptions = DEFAULTS
    genes: tuple[str, ...] = ()
    regions: tuple[Region, ...] = ()
    named: tuple[str, ...] = ()
    span: int = MAX_DISTANCE
    max_error: float | None = 0.01
    attribution: AttributionOptions | None = None
    genes_per_shard: int | None = None
    command: str = ""
    made: AtlasAttributes | None = None
    """Of an atlas that is repaired: it keeps what it says of where and by what it was made."""

    def __post_init__(self) -> None:
        conform(self)
        if not 0 <= self.span <= MAX_DISTANCE:
            raise InputError(f"`span` {self.span}: not between 0 and {MAX_DISTANCE}")
        if self.max_error is not None and not LEAST_ERROR <= self.max_error <= MOST_ERROR:
            raise InputError(
                f"`max_error` {self.max_error:g}: not between {LEAST_ERROR:g} and {MOST_ERROR:g}",
                "`full=True` stores effects as they are",
            )
        why = self.attribution
        if why is not None and (not why.top_features or why.by):
            raise InputError(
                "`attribution`: an atlas keeps the strongest features of each SNV, nothing else",
                "say with `top_features` how many",
            )
        if self.genes_per_shard is not None and self.genes_per_shard < 1:
            raise InputError(f"`genes_per_shard` {self.genes_per_shard}: not positive")

    def on(self, device: str) -> AtlasJob:
        """The same job on another device."""
        return replace(self, options=replace(self.options, device=device))


@dataclass
class Positions:
    """Where a gene of the store has entries: ``base`` uint8, as in the atlas."""

    gene: int
    base: np.ndarray
    others: int = 0
    """Positions left out for their base, which is none of A, C, G, T."""

    @property
    def entries(self) -> int:
        """SNVs."""
        return ALTS * int((self.base != 0).sum())


class Prepared:
    """A job whose store is opened.

    Raises :class:`~seal_store.errors.OutputError` if ``out`` is in the store.
    """

    def __init__(self, job: AtlasJob, store: Store | None = None) -> None:
        self.job = job
        self.store = store or Store(job.store)
        check_outside(job.out, self.store)
        self._length = track_lengths(self.store)
        self.genes = self._genes()
        options = replace(job.options, max_distance=MAX_DISTANCE, ref_mismatch="flag")
        calibrated = fits(self.store, options)
        if options.calibration and not calibrated:
            raise StoreError(
                f"{self.store.path} has no calibration {options.calibration} for scheme "
                f"{options.scheme}, genes {options.genes} and {MAX_DISTANCE} bp that has all "
                "contexts",
                "make one with `seal-store calibrate`, or leave `calibration` out",
            )
        self.options = replace(options, calibrated=calibrated)

    def _genes(self) -> list[int]:
        """Positions of the genes in the store, in its order."""
        store, job = self.store, self.job
        found = sorted({store.gene(gene) for gene in job.genes}) if job.genes else range(len(store))
        if job.regions:
            found = [gene for gene in found if self._within(gene).any()]
        if not len(found):
            raise GeneTableError("no gene of the store has an SNV that is asked for")
        return list(found)

    def notes(self) -> list[str]:
        """What of the regions is on no contig of the gene table."""
        known = set(self.store.table.contig.tolist())
        on = [region.contig for region in self.job.regions]
        strange = [contig for contig in on if resolve_contig(contig, known) is None]
        if not strange:
            return []
        return [
            f"{len(strange)} of {len(on)} regions are on contigs without a gene, such as "
            f"{short(strange[0], 'characters')}"
        ]

    def _within(self, gene: int) -> np.ndarray:
        """Which positions of a gene are asked for, bool ``(2 span + 1,)``."""
        store, job = self.store, self.job
        row = store.table.row(str(store.gene_id[gene]))
        contig, tss = str(store.table.contig[row]), int(store.table.tss[row])
        pos = np.arange(tss - job.span, tss + job.span + 1)
        kept = (pos >= 1) & (pos <= self._length.get(contig, pos[-1]))
        if job.regions:
            kept &= inside(job.regions, contig, pos)
        if job.options.genes == "nearest":
            kept &= store.table.nearest_rows(contig, pos) == row
        return kept

    def most(self, gene: int) -> int:
        """SNVs of a gene if all its bases are A, C, G or T, which are not read for it."""
        return ALTS * int(self._within(gene).sum())

    def positions(self, gene: int) -> Positions:
        """Where a gene of the store has entries, by its bases."""
        tss = int(self.store.column("tss")[gene])
        first = tss - self.job.span - 1 - sequence_start(tss)
        bases = self.store.sequence(gene)[first : first + 2 * self.job.span + 1]
        within, known = self._within(gene), np.isin(bases, np.frombuffer(BASES, np.uint8))
        base = np.where(within & known, bases, 0).astype(np.uint8)
        return Positions(gene, base, int((within & ~known).sum()))

    def scorer(self, gene: int) -> Scorer:
        """What scores SNVs against a gene; the engine is loaded once."""
        name = str(self.store.gene_id[gene])
        return Scorer(self.store, self.options, name, self.job.attribution)

    def attributes(self) -> AtlasAttributes:
        """Those of the atlas."""
        job, store = self.job, self.store
        scorer = self.scorer(self.genes[0])
        made = scorer.provenance()
        count = len(self.genes)
        facts, here = store.attributes, set(store.column("contig")[self.genes].tolist())
        by, own = job.made, from_json(MadeFrom, made["store"])
        named = [nameless(text) for text in job.named]
        return AtlasAttributes(
            atlas_version=ATLAS_VERSION,
            scheme=made["scheme"],
            genes=job.options.genes,
            span=job.span,
            max_error=job.max_error,
            floor=self._floor(scorer),
            regions=by.regions if by and _nameless(by) == named else job.named or None,
            gene_count=count,
            genes_per_shard=job.genes_per_shard or -(-count // SHARDS),
            contexts=len(scorer.context_name),
            head_sets=len(dict.fromkeys(scorer.context_set)),
            device=by.device if by else made["device"],
            tf32=made["tf32"],
            calibration=_background(made["calibration"]),
            attribution=_attribution(scorer, made["attribution"]),
            features=self.store.config.features,
            store=by.store if by and by.store.sha256 == own.sha256 else own,
            contigs={name: n for name, n in self._length.items() if name in here},
            genome_sha256=facts.genome.sha256,
            gene_table_sha256=facts.gene_table.sha256,
            software=by.software if by else made["software"],
            command=by.command if by else job.command,
        )

    def _floor(self, scorer: Scorer) -> float:
        """A hundredth of the least median size of the background's effects; else 0."""
        if scorer.calibration is None:
            return 0.0
        made = scorer.calibration
        level, knots = made.level.cpu().numpy(), made.knots.cpu().numpy()
        quartiles = [np.abs(knots[:, np.searchsorted(level, q)]) for q in (0.25, 0.75)]
        return FLOOR * float(np.minimum(*quartiles).min())

    def labels(self, scorer: Scorer) -> dict[str, np.ndarray]:
        """Values of the arrays of :data:`~seal_store.atlas.arrays.LABELS`."""
        named = ("gene_id", "gene_symbol", "contig", "strand", "tss")
        found = {name: self.store.column(name)[self.genes] for name in named}
        found |= {"context_name": np.array(scorer.context_name)}
        found |= {"context_set": np.array(scorer.context_set)}
        if (by := scorer.attributor) is not None:
            found |= {f"target_{n}": found[f"context_{n}"][by.targets] for n in ("name", "set")}
            found |= {"feature_name": self.store.column("feature_name")}
        return {**found, "head_set": np.array(list(dict.fromkeys(scorer.context_set)))}


def _nameless(made: AtlasAttributes) -> list[str]:
    return [nameless(text) for text in made.regions or ()]


def _attribution(scorer: Scorer, made: dict[str, Any] | None) -> AttributionAttributes | None:
    if made is None or scorer.attributor is None:
        return None
    return AttributionAttributes.parse({**made, "top_features": scorer.attributor.sizes()["rank"]})


def _background(source: dict[str, Any] | None) -> BackgroundAttributes | None:
    return None if source is None else BackgroundAttributes.parse(source)
