"""Which haplotypes of a gene samples carry, by their genotypes; what is not certain is counted.

Nothing is guessed: an allele whose copy is not known is left out, or the gene of that sample, as
:class:`Rules` say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from seal_store.errors import InputError
from seal_store.scoring.joint import Frame
from seal_store.store.store import sequence_start
from seal_store.variants.alleles import SCORABLE, Change, classify, trim
from seal_store.variants.genotypes import ABSENT, LEFT_OUT, MISSING, NO_COPY, REFERENCE, Call

UNPHASED, PHASE_SETS = ("leave-out", "strict"), ("strict", "ignore")

WHY = {
    "unphased": "heterozygous and not phased: its copy is not known",
    "missing_genotype": "not called on a copy",
    "ref_mismatch": "REF differs from the store's genome",
    "overlapping": "overlaps an allele before it on the same copy",
    "genes_left_out": "genes of samples: several phase sets in its windows, or not phased",
    "partial_copy": "on a copy that the sample has of a part of the windows only",
    "too_long": "a haplotype that the stored sequence is too short for",
}
"""Why an allele on a copy, or a gene of a sample, is left out; others are kinds of alleles."""


@dataclass(frozen=True)
class Rules:
    """What is left out where genotypes do not tell.

    Of a heterozygous allele that is not phased: ``unphased`` ``leave-out`` leaves that allele out,
    ``strict`` the gene of that sample. ``phase_sets`` ``strict`` leaves a gene of a sample out
    where heterozygous alleles of several sets are in its windows, ``ignore`` takes them for one.
    """

    unphased: str = "leave-out"
    phase_sets: str = "strict"

    def __post_init__(self) -> None:
        for name, values in (("unphased", UNPHASED), ("phase_sets", PHASE_SETS)):
            if getattr(self, name) not in values:
                raise InputError(
                    f"`{name}` {getattr(self, name)!r}: not one of {', '.join(values)}"
                )


RULES = Rules()


@dataclass
class Copies:
    """Haplotypes of a gene: ``changes`` of each, ``place`` int32 ``(samples, 2)`` among them.

    ``place`` may be one of the codes of :mod:`seal_store.variants.genotypes`. ``counts`` are
    alleles on copies, or genes of samples, that were left out, by reason.
    """

    changes: list[tuple[Change, ...]]
    place: np.ndarray
    counts: Counter[str] = field(default_factory=Counter)


def copies_of(frame: Frame, calls: Iterable[Call], samples: int, rules: Rules) -> Copies:
    """The distinct haplotypes that samples carry."""
    counts: Counter[str] = Counter()
    changes: list[Change] = []
    carriers: list[np.ndarray] = []
    excluded = np.zeros(samples, bool)
    first_set = np.zeros(samples, np.int64)
    has_copy = np.ones((samples, 2), bool)
    for call in calls:
        allele, ref = call.allele, call.ref
        has_copy &= allele != NO_COPY
        counts["missing_genotype"] += int((allele == MISSING).sum())
        # an ALT beside what is not called is on an unknown copy too
        carries = (allele > 0).any(1) & (allele != NO_COPY).all(1)
        het = carries & (allele[:, 0] != allele[:, 1])
        unknown = het & ~call.phased
        counts["unphased"] += int(unknown.sum())
        if rules.unphased == "strict":
            excluded |= unknown
        if rules.phase_sets == "strict":
            known = het & call.phased & (call.phase_set != 0)
            excluded |= known & (first_set != 0) & (first_set != call.phase_set)
            first_set = np.where(known & (first_set == 0), call.phase_set, first_set)
        for k, alt in enumerate(call.alts, 1):
            carried = (allele == k) & ~unknown[:, None]
            if not carried.any():
                continue
            kind = classify(ref, alt)
            reason = kind if kind not in SCORABLE else _misfit(frame, call.pos, ref)
            if reason:
                counts[reason] += int(carried.sum())
                continue
            changes.append(trim(call.pos, ref, alt))
            carriers.append(carried)
    for carried in carriers:
        counts["partial_copy"] += int(carried[~has_copy].sum())
        carried &= has_copy
    order = sorted(range(len(changes)), key=lambda i: (changes[i].start, changes[i].end))
    carried = np.array([carriers[i] for i in order], bool).reshape(len(order), 2 * samples)
    patterns, inverse = np.unique(carried, axis=1, return_inverse=True)
    places: dict[tuple[Change, ...], int] = {}
    of_pattern = []
    often = np.bincount(inverse.ravel(), minlength=patterns.shape[1])
    for pattern, copies in zip(patterns.T, often.tolist(), strict=True):
        own, dropped = _apart([changes[order[i]] for i in np.flatnonzero(pattern).tolist()])
        counts["overlapping"] += dropped * copies
        of_pattern.append(places.setdefault(own, len(places)) if own else REFERENCE)
    place = np.array(of_pattern, np.int32)[inverse.ravel()].reshape(samples, 2)
    place[~has_copy] = ABSENT
    counts["genes_left_out"] += int(excluded.sum())
    place[excluded] = LEFT_OUT
    return Copies(list(places), place, Counter({k: n for k, n in counts.items() if n}))


def _misfit(frame: Frame, pos: int, ref: str) -> str:
    first = pos - 1 - sequence_start(frame.tss)
    if first < 0 or first + len(ref) > len(frame.sequence):
        return "too_long"
    there = frame.sequence[first : first + len(ref)]
    return "" if there == ref.encode("ascii") else "ref_mismatch"


def _apart(changes: list[Change]) -> tuple[tuple[Change, ...], int]:
    """Changes without those that overlap one before them, and how many these are."""
    kept: list[Change] = []
    for change in changes:
        last = kept[-1] if kept else None
        twice = last is not None and change.start == last.start and not last.length
        if last is None or (change.start >= last.end and not (twice and not change.length)):
            kept.append(change)
    return tuple(kept), len(changes) - len(kept)
