"""Changes of an allele equal to whole windows: every position, edges, N, any stretch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from test_beluga import encode, random_sequence

from seal_store.model import delta
from seal_store.model.beluga import Beluga
from seal_store.model.delta import Delta
from seal_store.model.edits import Edit, bases_of, jobs_of
from seal_store.model.sweep import sweep
from seal_store.reference.fasta import reverse_complement
from seal_store.scoring.evaluate import feature_change

pytestmark = pytest.mark.usefixtures("convolutions")

BASES = np.frombuffer(b"ACGT", np.uint8)


def plain_change(model: Beluga, frame: bytes, edit: Edit) -> torch.Tensor:
    """Hidden of whole windows, alt minus ref, ``(windows, strand, unit)``."""
    ref = frame[200 * edit.first :][: len(edit.alt)].decode()
    out = []
    for sequence in (edit.alt.decode(), ref):
        x = encode(*(sequence[200 * i : 200 * i + 2000] for i in range(edit.count)))
        out.append(torch.stack((model.hidden(x), model.hidden(x.flip((1, 2)))), 1))
    return out[0] - out[1]


def snv_edit(frame: bytes, index: int, frame_number: int, rng: np.random.Generator) -> Edit:
    """All windows of ``frame`` that hold base ``index``, with another base there."""
    last = (len(frame) - 2000) // 200
    low = max(0, (index - 2000) // 200 + 1)
    high = min(last, index // 200)
    alt = bytearray(frame[200 * low : 200 * high + 2000])
    at = index - 200 * low
    alt[at] = int(rng.choice([b for b in b"ACGT" if b != alt[at]]))
    return Edit(frame_number, low, high - low + 1, bytes(alt))


def check(model: Beluga, frames: list[bytes], edits: list[Edit]) -> Delta:
    engine = Delta(model)
    with torch.inference_mode():
        for count in sorted({e.count for e in edits}):
            group = [e for e in edits if e.count == count]
            found = engine.hidden_change(frames, group)
            for edit, change in zip(group, found, strict=True):
                expected = plain_change(model, frames[edit.frame], edit)
                assert (change - expected).abs().max() <= 2e-5
    return engine


def test_reach_and_cone_are_those_of_layers_followed_position_by_position() -> None:
    def convolved(of: set[int]) -> set[int]:
        return {p - tap for p in of for tap in range(8)}

    def read(by: set[int]) -> set[int]:
        return {p + tap for p in by for tap in range(8)}

    def pooled(by: set[int], shift: int = 0) -> set[int]:
        return {4 * p + shift + i for p in by for i in range(4)}

    block = 100
    conv1 = convolved(set(range(16 * block, 16 * block + 16)))
    conv2 = convolved(conv1)
    conv3 = convolved({p // 4 for p in conv2})
    conv4 = convolved(conv3)
    assert [16 * block - min(x) for x in (conv1, conv2)] == [delta.CONV1, delta.CONV2]
    assert [4 * block - min(x) for x in (conv3, conv4)] == [delta.CONV3, delta.CONV4]
    assert 4 * block - min(p // 4 for p in conv2) == delta.POOL1
    bases: set[int] = set()
    for shift in (0, delta.SHIFT):
        pool2 = {(p - shift) // 4 for p in conv4}
        conv5 = convolved(pool2)
        conv6 = convolved(conv5)
        found = [block - min(x) for x in (pool2, conv5, conv6)]
        assert found == [delta.POOL2, delta.CONV5, delta.CONV6]
        assert max(conv6) == block
        bases |= read(read(pooled(read(read(pooled(read(read(conv6)), shift))))))
    assert 16 * block - min(bases) == delta.CONE_BEFORE == 304
    assert len(bases) == max(bases) - min(bases) + 1 == delta.CONE == 622
    assert (delta.BLOCK, delta.SHIFT, delta.GAP) == (16, 2, 37)


def test_snvs_at_all_positions_modulo_16_and_at_the_edges(
    tiny: Beluga, rng: np.random.Generator
) -> None:
    frames = [random_sequence(rng, 2000 + 200 * 19).encode() for _ in range(2)]
    length = len(frames[0])
    places = [*range(2700, 2732), *range(20), *range(length - 20, length), 1999, 2000, 3799, 3800]
    edits = [snv_edit(frames[i % 2], p, i % 2, rng) for i, p in enumerate(places)]
    check(tiny, frames, edits)


def test_one_window_alone(tiny: Beluga, rng: np.random.Generator) -> None:
    frame = random_sequence(rng, 2000).encode()
    check(tiny, [frame], [snv_edit(frame, p, 0, rng) for p in range(0, 2000, 37)])


@pytest.mark.parametrize("kind", ["mnv", "right", "left", "both", "everything"])
def test_changed_stretches_of_any_length(tiny: Beluga, rng: np.random.Generator, kind: str) -> None:
    frame = random_sequence(rng, 2000 + 200 * 14).encode()
    edits = []
    for _ in range(12):
        low = int(rng.integers(0, 5))
        count = 10
        start, length = 200 * low, 200 * (count - 1) + 2000
        alt = np.frombuffer(frame, np.uint8, length, start).copy()
        at = int(rng.integers(length))
        fresh = rng.choice(BASES, length)
        if kind == "mnv":
            alt[at : at + int(rng.integers(2, 40))] = fresh[0]
        elif kind == "right":
            alt[at:] = fresh[at:]
        elif kind == "left":
            alt[:at] = fresh[:at]
        elif kind == "both":
            alt[at : at + 900] = fresh[at : at + 900]
        else:
            alt = fresh
        edits.append(Edit(0, low, count, alt.tobytes()))
    check(tiny, [frame], edits)


def test_dense_edits_share_their_reference_and_change_no_number(
    tiny: Beluga, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = random_sequence(rng, 2000 + 200 * 19).encode()
    edits = [snv_edit(frame, p, 0, rng) for p in range(2400, 2900, 9)]
    engine = check(tiny, [frame], edits)
    assert engine.shared <= 4
    assert engine.alone <= 4
    group = [e for e in edits if e.count == 10]
    with torch.inference_mode():
        together = Delta(tiny).hidden_change([frame], group)
        monkeypatch.setattr(delta, "GAP", -1)
        apart = Delta(tiny)
        assert (apart.hidden_change([frame], group) - together).abs().max() <= 1e-5
    assert apart.shared == 0
    assert apart.alone >= 30


def test_no_change_is_exactly_zero(tiny: Beluga, rng: np.random.Generator) -> None:
    frame = random_sequence(rng, 4000, 0).encode()
    with torch.inference_mode():
        same = Edit(0, 3, 2, frame[600:2800])
        other = Edit(0, 3, 2, frame[600:1500] + 200 * b"N" + frame[1700:2800])
        change = Delta(tiny).hidden_change([frame], [same, other, same])
    assert change.any((1, 2, 3)).tolist() == [False, True, False]


@pytest.mark.parametrize("strand", [1, -1])
def test_features_with_exact_hidden_equal_whole_windows(
    tiny: Beluga, rng: np.random.Generator, strand: int
) -> None:
    frame = random_sequence(rng, 2000 + 200 * 19).encode()
    if strand < 0:
        frame = reverse_complement(frame)
    edits = [snv_edit(frame, int(p), 0, rng) for p in rng.integers(2000, 3800, 200)]
    edits = [e for e in edits if e.count == 10]
    with torch.inference_mode():
        change = Delta(tiny).hidden_change([frame], edits)
        base = sweep(tiny, encode(frame.decode()))[0]
        rows = torch.tensor([[e.first + i for i in range(10)] for e in edits])
        found = feature_change(tiny, base, rows, change)
        for edit, delta_features in zip(edits, found, strict=True):
            ref = frame[200 * edit.first :][:3800].decode()
            windows = [
                tiny(encode(*(s[200 * i : 200 * i + 2000] for i in range(10))))
                for s in (edit.alt.decode(), ref)
            ]
            assert (delta_features - (windows[0] - windows[1])).abs().max() <= 1e-6


@pytest.mark.parametrize(
    ("blocks", "shared", "alone"),
    [
        ((0, 37), 1, 0),  # 592 bp: one stretch is shorter than two cones
        ((0, 38), 0, 2),
        ((0, 0), 0, 1),
        (range(0, 256, 17), 1, 0),
        (range(0, 257, 32), 1, 1),  # the ninth is 256 blocks after the first
    ],
)
def test_which_changes_share_a_reference_stretch(
    tiny: Beluga, rng: np.random.Generator, blocks: Sequence[int], shared: int, alone: int
) -> None:
    frame = random_sequence(rng, 2000 + 200 * 45).encode()
    engine = check(tiny, [frame], [snv_edit(frame, 2500 + 16 * b, 0, rng) for b in blocks])
    assert (engine.shared, engine.alone) == (2 * shared, 2 * alone)


def test_few_at_once_are_the_same_as_all_at_once(tiny: Beluga, rng: np.random.Generator) -> None:
    frame = random_sequence(rng, 2000 + 200 * 19).encode()
    edits = [snv_edit(frame, int(p), 0, rng) for p in rng.integers(2000, 3800, 23)]
    edits = [e for e in edits if e.count == 10]
    with torch.inference_mode():
        together = Delta(tiny).hidden_change([frame], edits)
        for most in (0, 640, 5 * 640):
            engine = Delta(tiny)
            engine._bases_at_once = most
            change = engine.hidden_change([frame], edits)
            assert (change - together).abs().max() <= 1e-5


@pytest.mark.parametrize("length", [1, 2, 16, 17, 40, 700])
def test_both_strands_change_only_the_blocks_that_differ(
    rng: np.random.Generator, length: int
) -> None:
    frame = random_sequence(rng, 2000 + 200 * 19, 0).encode()
    for at in rng.integers(2000, 3800 - length, 20):
        low, high = int(at), int(at) + length - 1
        alt = bytearray(frame[1000:4000])
        for i in (low, high):
            alt[i - 1000] = ord("N")
        plus, minus = jobs_of([frame], [Edit(0, 5, 6, bytes(alt))])
        assert (plus.strand, plus.first, plus.block) == (0, 5, low // 16)
        assert (minus.strand, minus.first, minus.block) == (1, 9, (len(frame) - 1 - high) // 16)
        assert minus.alt == reverse_complement(bytes(alt))
        for job, end in ((plus, high), (minus, len(frame) - 1 - low)):
            exact = end // 16 - job.block
            assert job.extra == exact


@pytest.mark.parametrize("strand", [0, 1])
def test_a_stretch_beyond_the_frame_is_n(rng: np.random.Generator, strand: int) -> None:
    frame = random_sequence(rng, 60, 0).encode()
    own = reverse_complement(frame) if strand else frame
    padded = b"N" * 100 + own + b"N" * 100
    for start in range(-80, 100):
        for length in (1, 7, 60, 70):
            expected = (padded + b"N" * 100)[100 + start :][:length]
            assert bases_of(frame, strand, start, length) == expected
