"""Insertions and deletions equal whole windows: any length, either side, edges, N, neighbours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_beluga import random_sequence
from test_delta import check

from seal_store.model import moved
from seal_store.model.beluga import Beluga
from seal_store.model.delta import LONG, Delta
from seal_store.model.edits import Edit, jobs_of

pytestmark = pytest.mark.usefixtures("convolutions")

BEFORE = 2500
"""Bases before and behind the frame that are known."""


def indel(
    known: str, at: int, gone: int, new: str, *, right: bool, frame: int = 0
) -> tuple[Edit, int]:
    """Bases ``at .. at + gone`` of a frame become ``new``, in all windows that they touch.

    Windows keep their coordinates on the left (``right``: what lies to the right moves) or on
    the right. ``known`` is the frame with ``BEFORE`` bases on either side. Also gives by how many
    bases the change moves the others.
    """
    haplotype = known[: BEFORE + at] + new + known[BEFORE + at + gone :]
    net, reach = len(new) - gone, max(gone, len(new))
    low, high = (at, at + reach) if right else (at + gone - reach, at + gone)
    windows = (len(known) - 2 * BEFORE - 2000) // 200 + 1
    touched = [i for i in range(windows) if 200 * i < high and 200 * i + 2000 > low]
    first, count = touched[0], len(touched)
    start = BEFORE + 200 * first + (0 if right else net)
    alt = haplotype[start : start + 200 * (count - 1) + 2000].encode()
    return Edit(frame, first, count, alt, *((0, net) if right else (-net, 0))), net


def frame_of(known: str) -> bytes:
    return known[BEFORE:-BEFORE].encode()


def random_known(rng: np.random.Generator, windows: int, n_runs: int = 3) -> str:
    return random_sequence(rng, 2000 + 200 * (windows - 1) + 2 * BEFORE, n_runs)


def in_the_row(frames: list[bytes], edit: Edit) -> tuple[int, int]:
    """Bases in the row of an edit's two strands, and in its two stretches."""
    layouts = [
        moved._Layout(frames, [job], [moved._span(job, 106)], moved.tiles_of([job], 106))
        for job in jobs_of(frames, [edit])
    ]
    return (
        sum(len(piece) for layout in layouts for piece in layout.bases),
        sum(len(layout.positions) // 2 for layout in layouts),
    )


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("kind", ["insertion", "deletion", "both"])
def test_all_lengths_modulo_16(
    tiny: Beluga, rng: np.random.Generator, kind: str, right: bool
) -> None:
    known = random_known(rng, 20)
    edits = []
    for length in range(1, 33):
        at = int(rng.integers(1800, 3800))
        new = random_sequence(rng, length, length // 8)
        gone = {"insertion": 0, "deletion": length, "both": int(rng.integers(1, 40))}[kind]
        new = "" if kind == "deletion" else new
        edits.append(indel(known, at, gone, new, right=right)[0])
    check(tiny, [frame_of(known)], edits)


@pytest.mark.parametrize("right", [True, False])
def test_at_edges_of_windows_and_of_the_frame(
    tiny: Beluga, rng: np.random.Generator, right: bool
) -> None:
    known = random_known(rng, 20)
    length = len(frame_of(known))
    places = [*range(0, 18), 199, 200, 201, 1999, 2000, 2001, 2199, 3200, 3799, 3800, 3801]
    places += range(length - 20, length - 1)
    edits = []
    for at in places:
        first = int(at == 0 and not right)  # what is inserted before all windows is in none
        gone, new = int(rng.integers(first, 20)), random_sequence(rng, int(rng.integers(1, 20)), 0)
        if gone == len(new):
            new += "A"
        edits.append(indel(known, at, gone, new, right=right)[0])
    check(tiny, [frame_of(known)], edits)


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("length", [100, 299, 1000, 2300])
def test_long_ones(tiny: Beluga, rng: np.random.Generator, length: int, right: bool) -> None:
    known = random_known(rng, 30)
    edits = [
        indel(known, 3500, 0, random_sequence(rng, length, 1), right=right)[0],
        indel(known, 3500, length, "", right=right)[0],
        indel(known, 3500, length, random_sequence(rng, length // 2, 1), right=right)[0],
    ]
    check(tiny, [frame_of(known)], edits)


@pytest.mark.slow
def test_neighbours_share_the_reference_and_change_no_number(
    tiny: Beluga, rng: np.random.Generator
) -> None:
    knowns = [random_known(rng, 25) for _ in range(2)]
    frames = [frame_of(known) for known in knowns]
    edits = []
    for i in range(40):
        new = random_sequence(rng, int(rng.integers(1, 9)), 0)
        gone = int(rng.integers(0, 2)) * (len(new) + 3)
        at, right = int(rng.integers(1900, 4500)), bool(rng.integers(2))
        edits.append(indel(knowns[i % 2], at, gone, new, right=right, frame=i % 2)[0])
    check(tiny, frames, edits)
    group = [edit for edit in edits if edit.count == 10]
    engine = Delta(tiny)
    with torch.inference_mode():
        together = engine.hidden_change(frames, group)
        for edit, change in zip(group, together, strict=True):
            assert (engine.hidden_change(frames, [edit])[0] - change).abs().max() <= 1e-5
        engine._bases_at_once = 0
        assert (engine.hidden_change(frames, group) - together).abs().max() <= 1e-5
    engine = Delta(tiny)
    with torch.inference_mode():
        engine.hidden_change(frames, group)
    assert engine.shared + engine.alone <= 12  # of two strands of two frames, in a few parts
    assert len(group) > 20


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("net", [-40, -3, 1, 17, 64])
def test_only_the_junction_is_computed_before_the_first_pool(
    rng: np.random.Generator, net: int, right: bool
) -> None:
    known = random_known(rng, 30, 0)
    new = random_sequence(rng, max(net, 0), 0)
    edit, _ = indel(known, 3555, max(-net, 0), new, right=right)
    row, stretch = in_the_row([frame_of(known)], edit)
    # of each strand: 14 bases that the last position reads, those that are moved in, the junction
    # with 14 more before and behind it, and as many where 8 bases lie before the first window
    assert row <= stretch + 2 * (14 + abs(net) + len(new) + 28 + 36)


def test_where_bases_are_said_to_be_changes_no_number(
    tiny: Beluga, rng: np.random.Generator
) -> None:
    known = random_known(rng, 20)
    edit, _ = indel(known, 2600, 0, "ACGTA", right=True)
    others = [(0, 0), (-5, 5), (3, -8), (4000, -4000), (0, 5)]
    edits = [Edit(0, edit.first, edit.count, edit.alt, *moves) for moves in others]
    check(tiny, [frame_of(known)], edits)


def test_both_sides_move(tiny: Beluga, rng: np.random.Generator) -> None:
    """As the windows of scheme ``centered`` do."""
    known = random_known(rng, 9)
    edits = []
    for net in (-40, -7, -1, 1, 2, 16, 33):
        new = random_sequence(rng, max(net, 0), 0)
        haplotype = known[: BEFORE + 1800] + new + known[BEFORE + 1800 + max(-net, 0) :]
        left = -(net // 2)
        alt = haplotype[BEFORE - left : BEFORE - left + 3600].encode()
        edits.append(Edit(0, 0, 9, alt, left, left + net))
    check(tiny, [frame_of(known)], edits)


@pytest.mark.parametrize("blocks", [LONG, LONG + 1, LONG + 20])
def test_substitutions_of_any_length_are_whole(
    tiny: Beluga, rng: np.random.Generator, blocks: int
) -> None:
    """Long changes that neither begin nor end with their windows, beside short ones."""
    frame = random_sequence(rng, 2000 + 200 * 19, 0).encode()
    edits = []
    for low in (2005, 2300, 2700):
        high = low + 16 * blocks
        fresh = random_sequence(rng, high - low, 0).encode()
        alt = frame[1000:low] + fresh + frame[high:4800]
        edits.append(Edit(0, 5, 10, alt))
    check(tiny, [frame], edits)
