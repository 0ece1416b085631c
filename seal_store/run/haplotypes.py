"""Scoring haplotypes: every distinct one of each gene once, for all samples that carry it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seal_store.common.device import inference
from seal_store.common.progress import Progress, silent
from seal_store.common.records import from_json
from seal_store.errors import InputError
from seal_store.results.attributes import MadeFrom
from seal_store.results.haplotypes import (
    ATTRIBUTE,
    VERSION,
    Haplotypes,
    HaplotypesAttributes,
    write_haplotypes,
)
from seal_store.scoring.carried import RULES, Copies, Rules, copies_of
from seal_store.scoring.joint import Carried, Frame
from seal_store.scoring.options import DEFAULTS, ScoreOptions
from seal_store.scoring.scorer import Scorer
from seal_store.store.place import Place, output_at
from seal_store.store.store import Store, sequence_start
from seal_store.variants.alleles import Change
from seal_store.variants.genotypes import LEFT_OUT, Genotypes


def score_haplotypes(
    store: Store,
    vcf: Path,
    out: Place,
    *,
    samples: Sequence[str] = (),
    genes: Sequence[str] = (),
    options: ScoreOptions = DEFAULTS,
    rules: Rules = RULES,
    overwrite: bool = False,
    command: str = "",
    progress: Progress = silent,
) -> Haplotypes:
    """Score the haplotypes of ``samples`` (all by default) of ``genes`` of a store to ``out``.

    Raises :class:`InputError` for another scheme than ``grid``, :class:`VariantError` for a file
    without index, :class:`OutputError` if ``out`` exists and ``overwrite`` is false. Distinct
    haplotypes of all genes are held in memory, with two numbers for each context.
    """
    if options.scheme != "grid":
        raise InputError(
            f"`scheme` {options.scheme!r}: haplotypes are anchored at the TSS", "use `grid`"
        )
    genotypes = Genotypes(vcf, samples)
    scorer = Scorer(store, options)
    chosen = sorted({store.gene(gene) for gene in genes}) if genes else list(range(len(store)))
    counts: Counter[str] = Counter()
    parts: dict[str, list[Any]] = {
        name: [] for name in ("effect", "interaction", "haplotype_gene", "alleles", "copies")
    }
    places, total = [], 0
    with output_at(out, kind=ATTRIBUTE) as held, store.standing():
        held.claim(overwrite=overwrite)
        for row, gene in enumerate(chosen):
            frame = frame_of(store, gene)
            contig = str(store.column("contig")[gene])
            calls = genotypes.within(contig, frame.first + 1, frame.first + frame.length)
            copies = copies_of(frame, calls, len(genotypes.samples), rules)
            with inference(tf32=options.tf32):
                effect, interaction, kept = _effects(scorer, gene, frame, copies)
            counts += copies.counts  # which drops zeros
            place = copies.place
            new = np.full(len(copies.changes) + 1, LEFT_OUT, np.int32)
            new[kept] = total + np.arange(len(kept))
            place = np.where(place >= 0, new[np.maximum(place, 0)], place)
            places.append(place.astype(np.int32))
            parts["effect"].append(effect)
            parts["interaction"].append(interaction)
            parts["haplotype_gene"].append(np.full(len(kept), row, np.int32))
            parts["alleles"] += [described(frame, copies.changes[i]) for i in kept]
            often = np.bincount(copies.place[copies.place >= 0], minlength=len(copies.changes))
            parts["copies"].append(often[kept])
            total += len(kept)
            progress("genes", row + 1, len(chosen))
        values = {n: np.concatenate(v) for n, v in parts.items() if n != "alleles"}
        values["alleles"] = np.array(parts["alleles"], np.dtypes.StringDType())
        values["haplotype_of"] = np.stack(places)
        named = ("gene_id", "gene_symbol", "contig", "strand", "tss")
        values |= {name: store.column(name)[chosen] for name in named}
        values["sample"] = np.array(genotypes.samples)
        values["context_name"] = np.array(scorer.context_name)
        values["context_set"] = np.array(scorer.context_set)
        made = scorer.provenance()
        attributes = HaplotypesAttributes(
            haplotypes_version=VERSION,
            variants=str(vcf),
            unphased=rules.unphased,
            phase_sets=rules.phase_sets,
            genes=len(chosen),
            samples=len(genotypes.samples),
            haplotypes=total,
            contexts=len(scorer.context_name),
            device=made["device"],
            tf32=made["tf32"],
            counts=dict(sorted(counts.items())),
            store=from_json(MadeFrom, made["store"]),
            software=made["software"],
            command=command,
        )
        write_haplotypes(held, attributes, values)
    return Haplotypes(out)


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
    scorer: Scorer, gene: int, frame: Frame, copies: Copies
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Joint effects and interactions of haplotypes, and which these are: those that fit."""
    alone = dict.fromkeys(change for changes in copies.changes for change in changes)
    singles = {change: frame.haplotype([change]) for change in alone}
    made = {
        i: haplotype
        for i, changes in enumerate(copies.changes)
        if (haplotype := frame.haplotype(changes)) is not None
        and all(singles[change] is not None for change in changes)
    }
    copies.counts.update(too_long=len(copies.changes) - len(made))
    evaluator = scorer.engine.evaluator
    sums = torch.from_numpy(scorer.store.aggregated(gene))[None].to(evaluator.device)
    carried = Carried(evaluator, gene, frame, sums)
    effect = carried.effects(list(made.values()))
    fit = {change: haplotype for change, haplotype in singles.items() if haplotype is not None}
    single = carried.effects(list(fit.values()))
    place = {change: i for i, change in enumerate(fit)}
    total = np.zeros_like(effect)
    for row, i in enumerate(made):
        own = [place[change] for change in copies.changes[i]]
        total[row] = single[own].sum(0, dtype=np.float64)
    return effect, effect - total, list(made)
