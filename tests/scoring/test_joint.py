"""Haplotypes of several alleles: whole windows in float64, one allele alone, shared groups."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import reference
import torch

from seal_store.model.heads import load_heads
from seal_store.scoring.assign import Task
from seal_store.scoring.engine import Engine
from seal_store.scoring.haplotype import grid_stretch
from seal_store.scoring.joint import APART, Carried, Frame, grouped, runs_of
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.scorer import Scorer
from seal_store.store.store import Store, sequence_start
from seal_store.synthetic import World
from seal_store.variants.alleles import Allele, Change, trim

WINDOW = 2_000


@pytest.fixture(scope="module")
def engine(store: Store) -> Engine:
    return Scorer(store, ScoreOptions(device="cpu")).engine


def carried(store: Store, engine: Engine, gene: int) -> Carried:
    frame = Frame(
        store.grid,
        int(store.column("tss")[gene]),
        int(store.column("strand")[gene]),
        store.sequence(gene).tobytes(),
    )
    sums = torch.from_numpy(store.aggregated(gene))[None]
    return Carried(engine.evaluator, gene, frame, sums)


@pytest.fixture(scope="module")
def whole(store: Store, world: World) -> Callable[[Frame, Sequence[Change]], np.ndarray]:
    """Effects of haplotypes by whole windows, one at a time, in float64."""
    state = store.cnn().state()
    heads = [
        {"layers.0.weight": s.w1, "layers.0.bias": s.b1, "layers.2.weight": s.w2}
        | {"layers.2.bias": s.b2}
        for s in load_heads(world.heads)
    ]
    tensors = [{k: torch.from_numpy(v) for k, v in head.items()} for head in heads]
    known: dict[str, np.ndarray] = {}

    def features(bases: str) -> np.ndarray:
        if bases not in known:
            known[bases] = reference.cnn(state, [bases])[0]
        return known[bases]

    def effect(frame: Frame, changes: Sequence[Change], sums: np.ndarray) -> np.ndarray:
        alt, ref, touched = pieces(frame, changes)
        total = np.zeros((10, len(features(ref[:WINDOW]))))
        offsets = reference._offsets(frame.grid.first_offset)
        weights = reference.decay(offsets)
        for order in sorted(touched):
            index = order if frame.strand > 0 else frame.grid.bins - 1 - order
            part = slice(200 * order, 200 * order + WINDOW)
            change = features(alt[part]) - features(ref[part])
            total += weights[:, index, None] * change
        before = sums.astype(np.float64).ravel()
        after = before + total.ravel()
        return reference.heads_out(tensors, after) - reference.heads_out(tensors, before)

    return effect


def pieces(frame: Frame, changes: Sequence[Change]) -> tuple[str, str, set[int]]:
    """The windows' bases with and without ``changes``, and which are touched: base by base."""
    origin = sequence_start(frame.tss)
    bases = list(frame.sequence.decode())
    tokens = bases.copy()
    for c in changes:
        at = c.start - origin
        if c.length:
            tokens[at : at + c.length] = [c.alt, *[""] * (c.length - 1)]
        else:
            tokens[at] = c.alt + tokens[at]
    middle = max([frame.tss, *(c.end for c in changes if c.start <= frame.tss - 1)]) - origin
    before, after = "".join(tokens[:middle]), "".join(tokens[middle:])
    centres = [frame.tss + frame.strand * (frame.grid.first_offset + 200 * i) for i in range(200)]
    first = min(centres) - WINDOW // 2
    length = 200 * 199 + WINDOW
    wanted = middle + origin - first
    alt = before[len(before) - wanted :] + after[: length - wanted]
    ref = frame.sequence.decode()[first - origin : first - origin + length]
    touched = set()
    for c in changes:
        reach = max(c.length, len(c.alt))
        if c.start > frame.tss - 1:
            own = "".join(tokens[middle : c.start - origin])
            low = middle + origin + len(own)
        else:
            own = "".join(tokens[c.end - origin : middle])
            if not c.length:  # its bases stand before the base that follows them
                own = own.removeprefix(c.alt)
            low = middle + origin - len(own) - reach
        for order in range(200):
            begin = first + 200 * order
            if begin < low + reach and begin + WINDOW > low:
                touched.add(order)
    return alt, ref, touched


def drawn(
    frame: Frame, rng: np.random.Generator, offsets: Sequence[int], indels: bool
) -> list[Change]:
    """Alleles at offsets from the TSS, sorted and apart."""
    found: list[Change] = []
    origin = sequence_start(frame.tss)
    for offset in sorted(set(offsets)):
        start = frame.tss - 1 + offset
        sizes = [(1, 1), (1, 1), (2, 2), (1, 4), (4, 1), (0, 3), (3, 0), (25, 2)]
        length, gained = sizes[int(rng.integers(len(sizes) if indels else 3))]
        if found and start <= found[-1].end:
            continue
        ref = frame.sequence[start - origin : start - origin + length].decode()
        alt = "".join(rng.choice(list("ACGT"), gained))
        while alt == ref:
            alt = "".join(rng.choice(list("ACGT"), gained))
        if "N" not in ref:
            change = trim(start + 1, ref, alt) if length and gained else Change(start, length, alt)
            found.append(change)
    return found


OFFSETS = {
    "two apart": [-3_000, 5_000],
    "close": [1_000, 1_040, 1_300],
    "around the TSS": [-40, -3, -1, 0, 1, 2, 30],
    "a few": [-15_000, -9_000, -8_200, -2_000, 700, 1_500, 6_000, 12_345],
    "at the edges": [-20_800, -19_990, 19_900, 20_600],
}


@pytest.mark.parametrize("indels", [False, True])
@pytest.mark.parametrize("kind", OFFSETS)
@pytest.mark.parametrize("gene", [1, 2])
def test_joint_effects_equal_whole_windows(
    gene: int,
    kind: str,
    indels: bool,
    store: Store,
    engine: Engine,
    whole: Callable[..., np.ndarray],
    rng: np.random.Generator,
) -> None:
    own = carried(store, engine, gene)
    jitter = rng.integers(0, 8, len(OFFSETS[kind])).tolist()
    offsets = [a + b for a, b in zip(OFFSETS[kind], jitter, strict=True)]
    changes = drawn(own.frame, rng, offsets, indels)
    haplotype = own.frame.haplotype(changes)
    assert haplotype is not None
    alt, _, touched = pieces(own.frame, changes)
    assert haplotype.alt.decode() == alt
    assert set(np.flatnonzero(haplotype.touched).tolist()) == touched
    (found,) = own.effects([haplotype])
    expected = whole(own.frame, changes, store.aggregated(gene))
    assert np.abs(found - expected).max() <= 1e-6 + 1e-3 * np.abs(expected).max()


def test_one_allele_alone_is_what_score_gives(
    store: Store, engine: Engine, rng: np.random.Generator
) -> None:
    scorer = Scorer(store, ScoreOptions(device="cpu"), str(store.gene_id[1]))
    own = carried(store, engine, 1)
    contig, origin = str(store.column("contig")[1]), sequence_start(own.frame.tss)
    bases = own.frame.sequence.decode()
    rows = []
    for _ in range(25):
        pos = own.frame.tss + int(rng.integers(-15_000, 15_000))
        length, gained = ((1, 1), (1, 5), (6, 1), (2, 2))[int(rng.integers(4))]
        ref = bases[pos - 1 - origin : pos - 1 - origin + length]
        alt = ref[0] + "".join(rng.choice(list("ACGT"), gained - 1))
        alt = alt if gained > 1 or length > 1 else "ACGT"[("ACGT".find(ref) + 1) % 4]
        if "N" not in ref and ref != alt:
            rows.append((contig, pos, ref, alt))
    from seal_store.variants.bases import StoreBases
    from seal_store.variants.given import given_alleles

    (scored,) = scorer.score(given_alleles(rows, StoreBases(store)))
    haplotypes = [own.frame.haplotype([trim(*row[1:])]) for row in rows]
    found = own.effects([h for h in haplotypes if h is not None])
    assert len(found) == len(rows)
    largest = np.abs(scored.effect).max(1, keepdims=True)
    assert (np.abs(found - scored.effect) <= 1e-7 + 2e-4 * largest).all()


def test_moved_bases_are_looked_for_where_score_looks(
    store: Store, engine: Engine, rng: np.random.Generator
) -> None:
    frame = carried(store, engine, 2).frame
    for _ in range(40):
        pos = frame.tss + int(rng.integers(-15_000, 15_000))
        change = Change(pos, 0, "ACGT") if rng.random() < 0.5 else Change(pos, 3, "")
        ref = frame.sequence[pos - 1 - sequence_start(frame.tss) :][: 1 + change.length].decode()
        allele = Allele(0, "chr1", pos, "", ref, ref[0] + change.alt, "insertion")
        task = Task(allele, "chr1", 2, frame.tss, frame.strand)
        stretch = grid_stretch(task, frame.sequence, frame.grid)
        haplotype = frame.haplotype([change])
        assert haplotype is not None
        assert stretch is not None
        ((start, stop),) = runs_of(haplotype.moved)
        end = 200 * start + frame.grid.run_length(stop - start)
        found = haplotype.shift(200 * start), haplotype.shift(end)
        assert found == (stretch.left, stretch.right)


@pytest.mark.parametrize("apart", [12, 9_000])
def test_effects_add_up_only_where_nothing_makes_them_meet(
    apart: int, store: Store, engine: Engine
) -> None:
    """In windows of their own, only a ReLU of the heads can; in one window, the CNN does."""
    frame = carried(store, engine, 1).frame
    at = [frame.tss + 100, frame.tss + 100 + apart]
    bases = frame.sequence.decode()
    origin = sequence_start(frame.tss)
    one, two = (
        Change(pos - 1, 1, "ACGT"[("ACGT".find(bases[pos - 1 - origin]) + 1) % 4]) for pos in at
    )
    haplotypes = [frame.haplotype(changes) for changes in ([one], [two], [one, two])]
    touched = [haplotype.touched for haplotype in haplotypes if haplotype is not None]
    assert (touched[0] & touched[1]).any() == (apart == 12)
    evaluator, share = copy.copy(engine.evaluator), {}
    sums = torch.from_numpy(store.aggregated(1))[None]
    for name, hidden in (("linear", 1.0), ("at the ReLU", 0.0)):  # of every unit, on the genome
        evaluator.heads = copy.copy(engine.heads)
        evaluator.heads.b1 = evaluator.heads.b1 + hidden - evaluator.heads.first(sums.flatten(1))[0]
        effects = Carried(evaluator, 1, frame, sums).effects([h for h in haplotypes if h])
        interaction = effects[2] - effects[0] - effects[1]
        share[name] = np.abs(interaction).max() / np.abs(effects[2]).max()
    assert share["at the ReLU"] > 0.01
    if apart == 12:
        assert share["linear"] > 0.01
    else:
        assert share["linear"] < 1e-3  # rounding: 1.0 is large beside what an allele changes


def test_dense_haplotypes_are_swept(
    store: Store, engine: Engine, whole: Callable[..., np.ndarray], rng: np.random.Generator
) -> None:
    """An insertion next to the TSS moves all that lies behind it."""
    own = carried(store, engine, 3)
    offsets = [20, *range(900, 20_000, 400)]
    changes = drawn(own.frame, rng, offsets, False)
    changes[0] = Change(changes[0].start, 0, "ACG")
    haplotype = own.frame.haplotype(changes)
    assert haplotype is not None
    assert max(b - a for a, b in runs_of(haplotype.moved)) > 64
    (found,) = own.effects([haplotype])
    expected = whole(own.frame, changes, store.aggregated(3))
    assert np.abs(found - expected).max() <= 1e-6 + 1e-3 * np.abs(expected).max()


def test_a_group_is_evaluated_once(
    store: Store, engine: Engine, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    own = carried(store, engine, 2)
    changes = drawn(own.frame, rng, [-9_000, -4_000, 1_000, 6_000], False)
    seen: list[int] = []
    before = engine.evaluator.delta.hidden_change

    def counted(frames: Sequence[bytes], edits: Sequence[object]) -> torch.Tensor:
        seen.append(len(edits))
        return before(frames, edits)  # type: ignore[arg-type]

    monkeypatch.setattr(engine.evaluator.delta, "hidden_change", counted)
    subsets = [[c for i, c in enumerate(changes) if mask >> i & 1] for mask in range(1, 16)]
    haplotypes = [own.frame.haplotype(subset) for subset in subsets]
    found = own.effects([h for h in haplotypes if h is not None])
    assert sum(seen) == 4
    assert len(found) == 15
    assert np.abs(found).max(1).min() > 0


def test_changes_are_grouped_by_what_they_meet() -> None:
    at = [0, 10, 10 + APART, 11 + 2 * APART, 40 + 2 * APART]
    changes = [Change(start, 1, "A") for start in at]
    assert [len(g) for g in grouped(changes)] == [3, 2]
    assert grouped([]) == ()


def test_what_the_sequence_does_not_hold_is_none(store: Store, engine: Engine) -> None:
    frame = carried(store, engine, 1).frame
    assert frame.haplotype([Change(frame.tss + 100, 1_500, "")]) is not None
    assert frame.haplotype([Change(frame.tss + 100, 1_700, "")]) is None
