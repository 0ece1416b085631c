"""Invented factors and their motifs, and where a sequence has them.

None of these factors exists. A site is 12 bp that differ from a factor's motif, or from its
reverse complement, in at most one base. Its *strength* is 2 for all bases, 1 for all but one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seal_store.model.head_set import SYNTHETIC

NOTE = f"{SYNTHETIC}, invented motifs"
"""What store, files and prints say of the demo's world."""

LENGTH = 12
"""Bases of each motif."""

FULL = 2
"""Strength of a site that has every base of its motif."""

COMPLEMENT = bytes.maketrans(b"ACGT", b"TGCA")


@dataclass(frozen=True)
class Factor:
    """An invented factor: ``motif``, and the contexts in which it acts.

    A site adds expression (``+1``) in the contexts that fit the query ``contexts``, takes it away
    (``-1``) or does nothing (``0``), in windows ``upstream`` and ``downstream`` of the TSS.
    """

    name: str
    motif: bytes
    contexts: str
    upstream: int
    downstream: int


FACTORS = (
    Factor("ALDER", b"CTGAGACATAGC", "region=DFC", 1, 1),
    Factor("BIRCH", b"AGTCGTACATGC", "stage=childhood", -1, -1),
    Factor("CEDAR", b"TCATACAGATGC", "cell_type=Astro", 1, 1),
    Factor("HAZEL", b"GATAGCTACTCG", "cell_type=Radial glia", -1, -1),
    Factor("MAPLE", b"AGTCACGACAGT", "kind=region stage=adulthood", 1, -1),
    Factor("ROWAN", b"AGTATGCGCTGT", "cell_type=Oligo", 1, 0),
)


def reverse_complement(bases: bytes) -> bytes:
    """Of upper-case ``bases``; other characters than A, C, G, T stay."""
    return bases.translate(COMPLEMENT)[::-1]


def mismatches(bases: bytes) -> np.ndarray:
    """Bases in which each 12-mer differs from each motif, on the better strand.

    int64 ``(factors, len(bases) - 11)``; an N differs from every base.
    """
    letters = np.frombuffer(bases, np.uint8)
    starts = max(len(letters) - LENGTH + 1, 0)
    found = np.full((len(FACTORS), starts), LENGTH)
    for i, factor in enumerate(FACTORS):
        for motif in (factor.motif, reverse_complement(factor.motif)):
            differ = np.zeros(starts, np.int64)
            for k, base in enumerate(motif):
                differ += letters[k : k + starts] != base
            found[i] = np.minimum(found[i], differ)
    return found


def strength(bases: bytes) -> np.ndarray:
    """Summed strength of each factor's sites in ``bases``: int64 ``(factors,)``."""
    total: np.ndarray = np.maximum(FULL - mismatches(bases), 0).sum(1)
    return total
