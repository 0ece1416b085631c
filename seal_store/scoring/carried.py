"""Which haplotypes of a gene samples carry, by their genotypes; what is not certain is counted.

Nothing is guessed: an allele whose copy is not known is left out, or the gene of that sample, as
:class:`Rules` say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from seal_store.errors import InputError
from seal_store.scoring.joint import Frame
from seal_store.store.store import sequence_start
from seal_store.variants.alleles import SCORABLE, Change, classify, trim
from seal_store.variants.genotypes import ABSENT, LEFT_OUT, MISSING, NO_COPY, REFERENCE, Call

UNPHASED = MISSING_RULES = ("leave-out", "strict")
PHASE_SETS = ("strict", "ignore")


@dataclass(frozen=True)
class Rules:
    """What is left out where genotypes do not tell.

    Of a heterozygous allele that is not phased: ``unphased`` ``leave-out`` leaves that allele out,
    ``strict`` the gene of that sample. ``phase_sets`` ``strict`` leaves a gene of a sample out
    where heterozygous alleles of several sets are in its windows, ``ignore`` takes them for one;
    those without a set are one too. ``missing`` is as ``unphased``, of what is not called.
    """

    unphased: str = "leave-out"
    phase_sets: str = "strict"
    missing: str = "leave-out"

    def __post_init__(self) -> None:
        for name, values in (
            ("unphased", UNPHASED),
            ("phase_sets", PHASE_SETS),
            ("missing", MISSING_RULES),
        ):
            if getattr(self, name) not in values:
                raise InputError(
                    f"`{name}` {getattr(self, name)!r}: not one of {', '.join(values)}"
                )


RULES = Rules()

Within = Callable[[int, int], Iterable[Call]]
"""The records that touch 1-based positions, from the first to the last, in order."""

UNKNOWN_SET = -1
"""Of a sample of which no heterozygous allele was seen yet; phase sets are not negative."""


@dataclass
class Copies:
    """Haplotypes of a gene: ``changes`` of each, ``place`` int32 ``(samples, 2)`` among them.

    ``place`` may be one of the codes of :mod:`seal_store.variants.genotypes`. ``counts`` are
    alleles on copies, or genes of samples, that were left out, by reason.
    """

    changes: list[tuple[Change, ...]]
    place: np.ndarray
    counts: Counter[str] = field(default_factory=Counter)


def none_of(samples: int, reason: str) -> Copies:
    """No haplotype: the gene of every sample is left out."""
    return Copies([], np.full((samples, 2), LEFT_OUT, np.int32), Counter({reason: samples}))


def copies_of(frame: Frame, within: Within, samples: int, rules: Rules) -> Copies:
    """The distinct haplotypes that samples carry in the windows of a gene.

    Beyond them is read as far as the deletions that somebody carries can bring bases in.
    """
    found = _Carriers(frame, samples, rules)
    first, last = low, high = frame.first, frame.first + frame.length
    for call in within(low + 1, high):
        found.add(call)
    origin = sequence_start(frame.tss)
    while True:
        wanted = (
            max(origin, first - found.most_lost(LEFT)),
            min(origin + len(frame.sequence), last + found.most_lost(RIGHT)),
        )
        # outwards, so that what is nearer is known of each copy when it is asked
        if wanted[0] < low:
            beyond = sorted(within(wanted[0] + 1, low), key=_end, reverse=True)
            found.add_beyond(beyond, LEFT)
        if wanted[1] > high:
            found.add_beyond(list(within(high + 1, wanted[1])), RIGHT)
        if wanted[0] >= low and wanted[1] <= high:
            return found.copies()
        low, high = min(low, wanted[0]), max(high, wanted[1])


LEFT, RIGHT = 0, 1
"""Sides of the TSS, along the contig."""


def _end(call: Call) -> int:
    """0-based end of REF."""
    return call.pos - 1 + len(call.ref)


class _Carriers:
    """Which samples carry which changes of a gene, as records are read."""

    def __init__(self, frame: Frame, samples: int, rules: Rules) -> None:
        self._frame, self._rules = frame, rules
        self._counts: Counter[str] = Counter()
        self._changes: list[Change] = []
        self._carriers: list[np.ndarray] = []
        self._excluded = np.zeros(samples, bool)
        self._first_set = np.full(samples, UNKNOWN_SET)
        self._has_copy = np.ones((samples, 2), bool)
        self._lost = np.zeros((2, samples, 2), np.int64)
        self._seen: set[tuple[int, str, tuple[str, ...]]] = set()

    def add_beyond(self, calls: Sequence[Call], side: int) -> None:
        """Take in records beyond the windows of whoever's deletions reach them: nearest first.

        Of the others they say nothing: what is told of a sample does not depend on who else is in
        the file. Those that were read before, for END or a long REF, are left out.
        """
        begin, end = self._frame.first, self._frame.first + self._frame.length
        seen = frozenset(self._seen)
        for call in calls:
            if (call.pos, call.ref, call.alts) in seen:
                continue
            apart = begin - _end(call) if side == LEFT else call.pos - 1 - end
            reached = self._lost[side] > apart
            # where it is not told which copy has an allele, it may be the one that is reached
            het = call.allele[:, 0] != call.allele[:, 1]
            either = het & ~call.phased | (call.allele == NO_COPY).any(1)
            reached |= reached.any(1, keepdims=True) & either[:, None]
            self.add(replace(call, allele=np.where(reached, call.allele, 0)))

    def add(self, call: Call) -> None:
        """Take in a record."""
        self._seen.add((call.pos, call.ref, call.alts))
        allele, counts, rules = call.allele, self._counts, self._rules
        self._has_copy &= allele != NO_COPY
        counts["missing_genotype"] += int((allele == MISSING).sum())
        if rules.missing == "strict":
            self._excluded |= (allele == MISSING).any(1)
        # an ALT beside what is not called is on an unknown copy too
        carries = (allele > 0).any(1) & (allele != NO_COPY).all(1)
        het = carries & (allele[:, 0] != allele[:, 1])
        unknown = het & ~call.phased
        counts["unphased"] += int(unknown.sum())
        if rules.unphased == "strict":
            self._excluded |= unknown
        if rules.phase_sets == "strict":
            known, first = het & call.phased, self._first_set
            self._excluded |= known & (first != UNKNOWN_SET) & (first != call.phase_set)
            self._first_set = np.where(known & (first == UNKNOWN_SET), call.phase_set, first)
        for k, alt in enumerate(call.alts, 1):
            carried = (allele == k) & ~unknown[:, None]
            if not carried.any():
                continue
            kind = classify(call.ref, alt)
            reason = kind if kind not in SCORABLE else _misfit(self._frame, call.pos, call.ref)
            if reason:
                counts[reason] += int(carried.sum())
                continue
            change = trim(call.pos, call.ref, alt)
            self._changes.append(change)
            self._carriers.append(carried)
            if change.net < 0:
                side = LEFT if change.start <= self._frame.tss - 1 else RIGHT
                self._lost[side][carried] -= change.net

    def most_lost(self, side: int) -> int:
        """Bases that the deletions of any copy on a side of the TSS bring in, at most."""
        return int(self._lost[side].max(initial=0))

    def copies(self) -> Copies:
        """The haplotypes, and who has them."""
        counts, changes, samples = self._counts, self._changes, len(self._excluded)
        for carried in self._carriers:
            counts["partial_copy"] += int(carried[~self._has_copy].sum())
            carried &= self._has_copy & ~self._excluded[:, None]
        order = sorted(range(len(changes)), key=lambda i: (changes[i].start, changes[i].end))
        table = np.array([self._carriers[i] for i in order], bool)
        table = table.reshape(len(order), 2 * samples)
        patterns, inverse = np.unique(table, axis=1, return_inverse=True)
        places: dict[tuple[Change, ...], int] = {}
        of_pattern = []
        often = np.bincount(inverse.ravel(), minlength=patterns.shape[1])
        for pattern, copies in zip(patterns.T, often.tolist(), strict=True):
            own, dropped = _apart([changes[order[i]] for i in np.flatnonzero(pattern).tolist()])
            counts["overlapping"] += dropped * copies
            own = _within_windows(self._frame, own)
            of_pattern.append(places.setdefault(own, len(places)) if own else REFERENCE)
        place = np.array(of_pattern, np.int32)[inverse.ravel()].reshape(samples, 2)
        place[~self._has_copy] = ABSENT
        counts["genes_left_out"] += int(self._excluded.sum())
        place[self._excluded] = LEFT_OUT
        return Copies(list(places), place, Counter({k: n for k, n in counts.items() if n}))


def _within_windows(frame: Frame, changes: Sequence[Change]) -> tuple[Change, ...]:
    """Changes that touch a window where those nearer to the TSS have moved them to."""
    kept = []
    shift = 0
    for change in reversed([c for c in changes if c.start <= frame.tss - 1]):
        if change.end - shift > frame.first:
            kept.append(change)
        shift += change.net
    kept.reverse()
    shift = 0
    for change in (c for c in changes if c.start > frame.tss - 1):
        if change.start + shift < frame.first + frame.length:
            kept.append(change)
        shift += change.net
    return tuple(kept)


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
