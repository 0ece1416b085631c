"""What is written of the haplotypes of one gene."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from seal_store.common.device import inference
from seal_store.run.haplotypes_job import Prepared
from seal_store.scoring.carried import Copies, copies_of, none_of
from seal_store.scoring.joint import Carried, Frame
from seal_store.store.store import Store, sequence_start
from seal_store.variants.alleles import Change
from seal_store.variants.genotypes import LEFT_OUT

AT_ONCE = 128
"""Haplotypes whose bases are held at once, 42 kB each."""


@dataclass(frozen=True)
class GeneValues:
    """The distinct haplotypes of a gene, and what was left out.

    ``effect`` and ``interaction`` are float32 ``(haplotypes, contexts)``, ``copies`` int64
    ``(haplotypes,)``; ``place`` int32 ``(samples, 2)`` is ``haplotype_of`` among these alone.
    """

    effect: np.ndarray
    interaction: np.ndarray
    alleles: list[str]
    copies: np.ndarray
    place: np.ndarray
    counts: Counter[str]


def gene_values(prepared: Prepared, gene: int) -> GeneValues:
    """Those of a gene, by its position in the store."""
    store, frame = prepared.store, frame_of(prepared.store, gene)
    copies = _copies(prepared, str(store.column("contig")[gene]), frame)
    evaluator = prepared.scorer.engine.evaluator
    with inference(tf32=prepared.job.options.tf32):
        sums = torch.from_numpy(store.aggregated(gene))[None].to(evaluator.device)
        carried = Carried(evaluator, gene, frame, sums)
        effect, interaction, kept = _effects(carried, copies.changes)
    new = np.full(len(copies.changes) + 1, LEFT_OUT, np.int32)
    new[kept] = np.arange(len(kept))
    place = copies.place
    often = np.bincount(place[place >= 0], minlength=len(copies.changes))
    counts = copies.counts + Counter(too_long=len(copies.changes) - len(kept))
    return GeneValues(
        effect,
        interaction,
        [described(frame, copies.changes[i]) for i in kept],
        often[kept],
        np.where(place >= 0, new[np.maximum(place, 0)], place).astype(np.int32),
        counts,
    )


def _copies(prepared: Prepared, contig: str, frame: Frame) -> Copies:
    genotypes = prepared.genotypes
    samples = len(genotypes.samples)
    if contig in prepared.other_lengths:
        return none_of(samples, "contig_length")
    if not genotypes.has_records(contig):
        return none_of(samples, "no_records")
    return copies_of(frame, partial(genotypes.within, contig), samples, prepared.job.rules)


def frame_of(store: Store, gene: int) -> Frame:
    """The windows of a gene of a store, by its position."""
    tss, strand = (int(store.column(name)[gene]) for name in ("tss", "strand"))
    return Frame(store.grid, tss, strand, store.sequence(gene).tobytes())


def described(frame: Frame, changes: Sequence[Change]) -> str:
    """Alleles of a haplotype as ``POS:REF>ALT``, 1-based, trimmed; ``-`` for no base."""
    origin = sequence_start(frame.tss)
    found = []
    for change in changes:
        ref = frame.sequence[change.start - origin : change.end - origin].decode("ascii")
        found.append(f"{change.start + 1}:{ref or '-'}>{change.alt or '-'}")
    return ";".join(found)


def _effects(
    carried: Carried, haplotypes: Sequence[tuple[Change, ...]]
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Joint effects and interactions of haplotypes, and which these are: those that fit."""
    alone = dict.fromkeys(change for changes in haplotypes for change in changes)
    single, fit = _evaluated(carried, [(change,) for change in alone])
    changes = list(alone)
    place = {changes[i]: row for row, i in enumerate(fit)}
    whole = [i for i, own in enumerate(haplotypes) if all(change in place for change in own)]
    effect, fit = _evaluated(carried, [haplotypes[i] for i in whole])
    kept = [whole[i] for i in fit]
    total = np.zeros_like(effect)
    for row, i in enumerate(kept):
        total[row] = single[[place[c] for c in haplotypes[i]]].sum(0, dtype=np.float64)
    return effect, effect - total, kept


def _evaluated(
    carried: Carried, haplotypes: Sequence[tuple[Change, ...]]
) -> tuple[np.ndarray, list[int]]:
    """Effects of haplotypes, and which these are: those the stored sequence is long enough for."""
    effects = [carried.effects([])]
    fit: list[int] = []
    for start in range(0, len(haplotypes), AT_ONCE):
        part = map(carried.frame.haplotype, haplotypes[start : start + AT_ONCE])
        made = {i: own for i, own in enumerate(part, start) if own is not None}
        effects.append(carried.effects(list(made.values())))
        fit += made
    return np.concatenate(effects), fit
