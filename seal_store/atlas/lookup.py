"""Looking alleles up: the rows that scoring would give, of what an atlas has.

:class:`Lookup` stands where a :class:`~seal_store.scoring.scorer.Scorer` does, so that whatever
writes scores writes these too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from seal_store.atlas.bases import AtlasBases
from seal_store.atlas.entries import Entries, Found
from seal_store.common.progress import Progress, silent
from seal_store.common.records import to_json
from seal_store.errors import InputError
from seal_store.model.contexts import select_contexts
from seal_store.model.grid import Grid
from seal_store.reference.assembly import check_name
from seal_store.scoring.assign import Counts
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.rows import TEXT, Rows
from seal_store.scoring.scorer import Tally
from seal_store.store.store import software
from seal_store.variants.alleles import SCORABLE, Allele, trim
from seal_store.variants.source import Alleles

ALLELES = 4_096
"""Alleles looked up at once: 13 MB of effects on 802 contexts."""

SUMMARIES = 65_536
"""The same of summaries alone."""

SHOWN = (
    "contig",
    "pos",
    "id",
    "ref",
    "alt",
    "gene_id",
    "gene_symbol",
    "strand",
    "dist_to_tss",
)
"""Columns of summaries that say which SNV and gene each is of."""


class Lookup:
    """Rows of alleles from an ``atlas``, on ``contexts`` (all by default).

    Raises :class:`~seal_store.errors.HeadsError` for a context that is not there.
    """

    attributor: Any = None
    calibration: Any = None

    def __init__(self, atlas: Entries, contexts: Sequence[str] = ()) -> None:
        self.store = self.atlas = atlas
        made = atlas.attributes
        keep = select_contexts(atlas.contexts, contexts)
        self._keep = None if len(keep) == len(atlas.contexts) else np.array(keep)
        self.context_set = [atlas.contexts[i][0] for i in keep]
        self.context_name = [atlas.contexts[i][1] for i in keep]
        self.options = ScoreOptions(
            scheme=made.scheme, genes=made.genes, max_distance=made.span, tf32=made.tf32
        )
        self.reader = self.known = self
        self.bases = AtlasBases(atlas)
        self.counts = Counts()
        self.completeness: float | None = None

    def reason(self, allele: Allele) -> str:
        """Why ``allele`` has no row; empty if it has."""
        counts = Counts()
        self._found([allele], counts)
        return next(iter(counts.not_scored), "")

    def score(
        self,
        alleles: Iterable[Allele],
        where: str = "input",
        progress: Progress = silent,
        start: Tally | None = None,
    ) -> Iterator[Rows]:
        """As :meth:`seal_store.scoring.scorer.Scorer.score`."""
        if start is not None:
            self.counts = start.counts
        for kept, found in self._batches(Alleles.of(alleles, where), ALLELES):
            progress("alleles", self.counts.alleles, None)
            lines = [kept[row].line for row in found.row.tolist()]
            effect = self.atlas.values(found, self._keep)
            yield Rows(self._columns(kept, found), effect, lines=lines)

    def summarized(self, alleles: Iterable[Allele]) -> Iterator[dict[str, np.ndarray]]:
        """Summaries of alleles, in parts: columns by name, one entry an SNV and gene.

        Beside those that say which it is: ``largest`` (effect of the largest size over all
        contexts, signed) with ``largest_set`` and ``largest_context``, ``rms`` (root mean square
        over all contexts), ``largest_SET`` for each head set and, if the atlas was made with a
        calibration, ``quantile``. Effects are exact, in ln(expression + pseudocount).
        """
        by_set_names = self.atlas.set_columns
        sets, names = (np.array(values) for values in zip(*self.atlas.contexts, strict=True))
        for kept, found in self._batches(Alleles.of(alleles, "input"), SUMMARIES):
            columns, values = self._columns(kept, found), self.atlas.summaries(found)
            place, by_set = values["largest_context"], values.pop("largest_by_set")
            yield {
                **{name: columns[name] for name in SHOWN},
                "largest": values["largest"],
                "largest_set": sets[place],
                "largest_context": names[place],
                "rms": values["rms"],
                **({"quantile": values["quantile"]} if "quantile" in values else {}),
                **{name: by_set[:, i] for i, name in enumerate(by_set_names)},
            }

    def attributed(self, alleles: Iterable[Allele]) -> Iterator[dict[str, np.ndarray]]:
        """The strongest attributions of alleles, in parts: columns by name, a line for each.

        Beside those that say which SNV and gene it is: ``target_set``, ``target``, ``rank`` (from
        1), ``feature`` and ``attribution``. Raises :class:`InputError` if the atlas has none.
        """
        if self.atlas.attributes.attribution is None:
            raise InputError(
                f"{self.atlas.path}: has no attributions",
                "build it with `attribution`, or score the variants with it",
            )
        named = {n: self.atlas.column(n) for n in ("target_set", "target_name", "feature_name")}
        for kept, found in self._batches(Alleles.of(alleles, "input"), ALLELES):
            columns, why = self._columns(kept, found), self.atlas.of_features(found)
            row, target, rank = np.nonzero(why["attribution_feature"] >= 0)
            yield {
                **{name: columns[name][row] for name in SHOWN},
                "target_set": named["target_set"][target],
                "target": named["target_name"][target],
                "rank": rank + 1,
                "feature": named["feature_name"][why["attribution_feature"][row, target, rank]],
                "attribution": why["attribution"][row, target, rank],
            }

    def _batches(self, alleles: Alleles, size: int) -> Iterator[tuple[list[Allele], Found]]:
        """SNVs and their entries, so many alleles at a time, counted; at least once."""
        with self.atlas.standing():
            while True:
                batch = list(islice(alleles, size))
                counts = Counts(alleles=len(batch))
                kept, found = self._found(batch, counts)
                counts.rows = len(found)
                self.counts.add(counts)
                yield kept, found
                if len(batch) < size:
                    return

    def _found(self, batch: Sequence[Allele], counts: Counts) -> tuple[list[Allele], Found]:
        """SNVs of ``batch`` and their entries; what has none is counted with its reason."""
        snvs: list[Allele] = []
        contigs: list[str] = []
        changes: list[tuple[int, str, str]] = []
        for allele in batch:
            reason = "" if allele.kind in SCORABLE else allele.kind
            change = None if reason else single(allele, self.options.scheme)
            if not reason and change is None:
                reason = "not_an_snv"
            if not reason:
                check_name(allele.contig, self.bases.assembly)
                name = self.atlas.contig_name(allele.contig)
                reason = "not_in_atlas" if name is None else self._other_bases(allele)
            if reason:
                counts.reject(allele, reason)
                continue
            assert change is not None
            assert name is not None
            snvs.append(allele)
            contigs.append(name)
            changes.append(change)
        pos = np.array([change[0] for change in changes], np.int64)
        bases = ("".join(c[1] for c in changes), "".join(c[2] for c in changes))
        ascii_ = (np.frombuffer(text.encode("ascii"), np.uint8) for text in bases)
        found = self.atlas.find(np.array(contigs, np.str_), pos, *ascii_)
        has = np.zeros(len(snvs), bool)
        has[found.row] = True
        for i in np.flatnonzero(~has).tolist():
            counts.reject(snvs[i], "ref_mismatch" if found.known[i] else "not_in_atlas")
        counts.alleles_scored = int(has.sum())
        return snvs, found

    def _other_bases(self, allele: Allele) -> str:
        """Why an SNV that is written with more bases is not looked up: these are others."""
        if len(allele.ref) == 1:
            return ""
        known = self.bases(allele.contig, allele.pos, allele.pos + len(allele.ref) - 1)
        return "not_in_atlas" if known is None else "ref_mismatch" * (known != allele.ref)

    def _columns(self, alleles: Sequence[Allele], found: Found) -> dict[str, np.ndarray]:
        """The columns of results; see :func:`seal_store.scoring.rows.columns_of`."""
        atlas, own = self.atlas, [alleles[row] for row in found.row.tolist()]
        pos = np.array([a.pos for a in own], np.int64)
        tss, strand = (atlas.of_genes(name)[found.gene] for name in ("tss", "strand"))
        count = len(own)
        return {
            "contig": atlas.of_genes("contig")[found.gene].astype(np.str_),
            "pos": pos,
            "id": np.array([a.id for a in own], TEXT),
            "ref": np.array([a.ref for a in own], TEXT),
            "alt": np.array([a.alt for a in own], TEXT),
            "kind": np.full(count, "snv"),
            "gene_id": atlas.of_genes("gene_id")[found.gene],
            "strand": strand.astype(np.int8),
            "dist_to_tss": pos - tss,
            "ref_match": np.ones(count, np.bool_),
            "status": np.where(self._touched(pos, tss, strand), "scored", "outside_grid"),
            "input_chrom": np.array([a.read.contig for a in own], TEXT),
            "gene_symbol": atlas.of_genes("gene_symbol")[found.gene],
            "end": np.array([a.last for a in own], np.int64),
            "source": np.full(count, "atlas"),
        }

    def _touched(self, pos: np.ndarray, tss: np.ndarray, strand: np.ndarray) -> np.ndarray:
        """Whether a base is in a window: they overlap, so from the first one to the last."""
        made = self.atlas.attributes
        if made.scheme != "grid":
            return np.ones(len(pos), bool)
        grid = made.store.grid or Grid()
        ends = grid.offsets[[0, -1]]
        centres = tss[:, None] + strand.astype(np.int64)[:, None] * ends
        half = grid.window // 2
        # a window is [centre - half, centre + half), 0-based; a base is at pos - 1
        inside = (pos - 1 >= centres.min(1) - half) & (pos - 1 < centres.max(1) + half)
        return np.asarray(inside)

    def provenance(self) -> dict[str, Any]:
        """As :meth:`seal_store.scoring.scorer.Scorer.provenance`."""
        made = self.atlas.attributes
        named = ("scheme", "genes", "max_distance", "normalize", "tf32")
        return {
            **{name: getattr(self.options, name) for name in named},
            "ref_mismatch": "skip",
            "gene": None,
            "device": made.device,
            "attribution": None,
            "calibration": None,
            "store": to_json(made.store),
            "atlas": source(self.atlas),
            "software": software(),
        }


def single(allele: Allele, scheme: str) -> tuple[int, str, str] | None:
    """The one base that an allele changes: its 1-based position, in REF and in ALT; else None.

    An SNV may be written with more bases, as beside an indel. In ``grid`` these change nothing,
    in ``centered`` they move the windows: then it is none that an atlas has.
    """
    if allele.kind != "snv" or (len(allele.ref) > 1 and scheme != "grid"):
        return None
    if len(allele.ref) == 1:
        return allele.pos, allele.ref, allele.alt
    change = trim(allele.pos, allele.ref, allele.alt)
    return change.start + 1, allele.ref[change.start + 1 - allele.pos], change.alt


def source(atlas: Entries) -> dict[str, Any]:
    """What results say of the atlas that they are from."""
    made = atlas.attributes
    return {"path": str(atlas.path.resolve()), "sha256": atlas.sha256, "max_error": made.max_error}
