"""Effects as whole numbers: every one within its allowed error, whatever they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seal_store.atlas.coding import Coded, coded, decoded


def check(effect: np.ndarray, allowed: np.ndarray) -> Coded:
    """Code, decode, compare."""
    found = coded(effect, allowed)
    back = decoded(found.coefficient, found.step, found.basis, found.rank)
    off = np.abs(back.astype(np.float64) - effect)
    assert (off <= allowed[:, None] * (1 + 1e-6)).all()
    share = off.max(1, initial=0)[allowed > 0] / allowed[allowed > 0]
    assert found.error == pytest.approx(share.max(initial=0), rel=1e-3, abs=1e-3)
    assert not found.basis[found.rank :].any()
    return found


def drawn(
    rng: np.random.Generator, count: int, contexts: int, rank: int, noise: float
) -> np.ndarray:
    """Effects of sizes over six orders along ``rank`` directions, and noise."""
    size = np.exp(rng.normal(0, 3, (count, 1))) * 1e-4
    along = rng.standard_normal((count, rank)) @ rng.standard_normal((rank, contexts))
    effect = size * (along + noise * rng.standard_normal((count, contexts)))
    return effect.astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 200),
    st.integers(1, 40),
    st.integers(1, 12),
    st.sampled_from([0, 1e-4, 1e-2, 1]),
    st.sampled_from([1e-4, 1e-3, 0.01, 0.1]),
    st.sampled_from([0, 1e-5, 1e-2]),
)
def test_every_value_is_within_its_error(
    seed: int, count: int, contexts: int, rank: int, noise: float, share: float, floor: float
) -> None:
    rng = np.random.default_rng(seed)
    effect = drawn(rng, count, contexts, rank, noise)
    effect[rng.random(count) < 0.1] = 0
    largest = np.abs(effect).max(1, initial=0)
    check(effect, np.maximum(np.float32(share) * largest, np.float32(floor)))


def test_what_has_few_directions_is_written_along_them(rng: np.random.Generator) -> None:
    effect = drawn(rng, 3_000, 60, 5, 0)
    found = check(effect, np.float32(0.01) * np.abs(effect).max(1))
    assert found.rank == 5
    assert (found.step > 0).mean() > 0.99
    assert not found.coefficient[found.step > 0, 5:].any()


def test_what_has_as_many_as_contexts_is_written_as_it_is(rng: np.random.Generator) -> None:
    effect = drawn(rng, 500, 30, 30, 0)
    found = check(effect, np.float32(0.01) * np.abs(effect).max(1))
    assert found.rank == 0
    assert (found.step < 0).all()
    assert np.abs(found.coefficient).max() <= round(100 / 1.99)


def test_those_that_do_not_fit_stand_alone(rng: np.random.Generator) -> None:
    effect = drawn(rng, 1_200, 100, 3, 0)
    effect[::10] = rng.standard_normal((120, 100))
    found = check(effect, np.float32(0.01) * np.abs(effect).max(1))
    assert 3 <= found.rank <= 5
    assert (found.step[::10] < 0).all()
    assert (found.step > 0).mean() > 0.88


def test_zeros_stay_zeros() -> None:
    found = check(np.zeros((5, 8), np.float32), np.zeros(5, np.float32))
    assert not found.step.any()
    assert found.error == 0


def test_below_the_floor_nothing_is_left() -> None:
    effect = np.full((4, 6), 1e-7, np.float32)
    found = check(effect, np.full(4, 1e-5, np.float32))
    assert not found.coefficient.any()
