"""Edits of frames: which bases differ, on both strands, in blocks of 16.

A *frame* is consecutive windows a step apart, as ASCII bases: ``200 * (n - 1) + 2000`` of them.
Positions are those of the strand that is read; a strand's windows begin at multiples of the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from seal_store.model.cone import BLOCK, STEP, WINDOW
from seal_store.reference.fasta import reverse_complement


@dataclass(frozen=True)
class Edit:
    """Windows ``first .. first + count`` of frame ``frame`` with other bases.

    ``alt`` holds ``200 * (count - 1) + 2000`` ASCII bases in the place of the frame's. Where an
    insertion or deletion moves bases, ``left`` and ``right`` say by how many to the right it does
    so before and behind it: base ``i`` of ``alt`` then is the frame's ``i - left`` or
    ``i - right``. They say only where to look; what is not found there costs more.
    """

    frame: int
    first: int
    count: int
    alt: bytes
    left: int = 0
    right: int = 0


@dataclass(frozen=True)
class Job:
    """One edit on one strand: changed blocks ``block .. block + extra``.

    ``first`` is the first of its ``count`` windows on the strand.
    """

    edit: int
    frame: int
    strand: int
    first: int
    count: int
    block: int
    extra: int
    alt: bytes
    left: int
    right: int


@dataclass(frozen=True)
class Tails:
    """What jobs change in the last convolution.

    ``rows`` ``(row, channel)``. Job ``i`` changes ``count[i]`` positions from block ``low[i]``
    on, in both phases: position ``p`` of a phase is row
    ``begin[i] + step * p + per_phase * phase``.
    """

    rows: Tensor
    low: np.ndarray
    count: np.ndarray
    begin: np.ndarray
    step: int
    per_phase: int


def jobs_of(frames: Sequence[bytes], edits: Sequence[Edit]) -> list[Job]:
    """Both strands of every edit that changes something."""
    jobs = []
    for i, edit in enumerate(edits):
        frame = frames[edit.frame]
        start = STEP * edit.first
        ref = np.frombuffer(frame, np.uint8, len(edit.alt), start)
        differs = np.flatnonzero(ref != np.frombuffer(edit.alt, np.uint8))
        if not len(differs):
            continue
        low, high = start + int(differs[0]), start + int(differs[-1])
        windows = (len(frame) - WINDOW) // STEP + 1
        last = len(frame) - 1
        for strand, first, near, far in (
            (0, edit.first, low, high),
            (1, windows - edit.first - edit.count, last - high, last - low),
        ):
            block = near // BLOCK
            alt, moved = edit.alt, (edit.left, edit.right)
            if strand:
                alt, moved = reverse_complement(alt), (-edit.right, -edit.left)
            extra = far // BLOCK - block
            jobs.append(Job(i, edit.frame, strand, first, edit.count, block, extra, alt, *moved))
    return jobs


def window_begins(place: np.ndarray) -> np.ndarray:
    """The block that a strand's window begins in, by its place in the frame.

    A window begins 12 blocks after the one before it, and 25 after the one before that: those at
    odd places 8 bases into their block, which is where the second phase pools.
    """
    return 2 * STEP // BLOCK * (place // 2) + STEP // BLOCK * (place % 2)


def bases_of(frame: bytes, strand: int, start: int, length: int) -> bytes:
    """Bases ``[start, start + length)`` of a strand of a frame; N outside it."""
    if strand:
        start = len(frame) - start - length
    inner = frame[max(start, 0) : max(start + length, 0)]
    bases = b"N" * min(max(-start, 0), length) + inner
    bases += b"N" * (length - len(bases))
    return reverse_complement(bases) if strand else bases


def with_alt(bases: bytes, start: int, job: Job) -> bytes:
    """A strand's ``bases`` from ``start`` on, with those of the edit in their place."""
    offset = STEP * job.first - start
    low, high = max(offset, 0), min(offset + len(job.alt), len(bases))
    return bases[:low] + job.alt[low - offset : high - offset] + bases[high:]
