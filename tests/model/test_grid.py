"""Window centres, touched windows and decay weights, by hand and the reference."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import reference

from seal_store.model.grid import MAX_DISTANCE, Grid, Run, aggregate, decay_weights


@pytest.mark.parametrize("first", [-19_900, -20_000, -18_400])
@pytest.mark.parametrize("strand", [1, -1])
def test_window_centres(first: int, strand: int) -> None:
    starts = Grid(first_offset=first).starts(50_000, strand)
    centres = [50_000 + strand * (first + 200 * i) for i in range(200)]
    assert starts.tolist() == [centre - 1000 for centre in centres]


def test_window_0_is_the_most_upstream() -> None:
    assert Grid().starts(50_000, 1).argmin() == 0
    assert Grid().starts(50_000, -1).argmax() == 0


@pytest.mark.parametrize("first", [-19_900, -20_000])
def test_decay_weights_and_sums(first: int, rng: np.random.Generator) -> None:
    grid = Grid(first_offset=first)
    offsets = first + 200 * np.arange(200)
    np.testing.assert_allclose(grid.decay_weights, reference.decay(offsets), rtol=1e-12)
    features = rng.random((200, 7), np.float32)
    np.testing.assert_allclose(
        aggregate(grid.decay_weights, features).ravel(),
        reference.aggregate(features, first),
        rtol=1e-6,
    )


def test_decay_by_hand() -> None:
    weights = decay_weights(np.array([-200, 0, 400]), (0.01, 0.2))
    expected = [
        [np.exp(-0.01), 1, 0],
        [np.exp(-0.2), 1, 0],
        [0, 1, np.exp(-0.02)],
        [0, 1, np.exp(-0.4)],
    ]
    np.testing.assert_allclose(weights, expected)


def test_sums_are_float32_of_a_float64_sum() -> None:
    features = np.full((200, 1), np.float32(1e-8))
    features[100] = 1.0
    exact = Grid().decay_weights @ features.astype(np.float64)
    assert (aggregate(Grid().decay_weights, features) == exact.astype(np.float32)).all()


@pytest.mark.parametrize("first", [-19_900, -20_000])
@pytest.mark.parametrize("strand", [1, -1])
def test_touched_windows_are_those_that_overlap(
    first: int, strand: int, rng: np.random.Generator
) -> None:
    grid, tss = Grid(first_offset=first), 50_000
    starts = grid.starts(tss, strand)
    for _ in range(300):
        low = int(rng.integers(tss - 22_500, tss + 22_500))
        high = low + int(rng.choice([1, 2, 30, 199, 200, 201, 5_000]))
        expected = np.flatnonzero((starts < high) & (starts + 2000 > low))
        run = grid.touched(tss, strand, low, high)
        if run is None:
            assert not len(expected)
            continue
        assert sorted(run.index) == expected.tolist()
        assert run.count == len(expected)
        assert run.start == starts[expected].min()
        assert (starts[run.index] == run.start + 200 * np.arange(run.count)).all()


def test_an_snv_touches_ten_windows_inside_and_fewer_at_the_edges() -> None:
    grid = Grid()
    for position, count in [(0, 10), (123, 10), (-20_000, 5), (20_000, 5), (-20_900, 1)]:
        run = grid.touched(50_000, 1, 50_000 + position, 50_001 + position)
        assert run is not None
        assert run.count == count


def test_nearest_bin_is_seals_formula() -> None:
    offsets = np.arange(-21_000, 21_001)
    expected = np.clip(np.ceil(offsets / 200).astype(int) + 99, 0, 199)
    assert (Grid().nearest_bin(offsets) == expected).all()


def test_nearest_bin_on_another_grid() -> None:
    grid = Grid(first_offset=-20_000)
    offsets = np.arange(-20_000, 19_801, 7)
    distance = np.abs(grid.offsets[:, None] - offsets)
    assert (distance[grid.nearest_bin(offsets), np.arange(len(offsets))] == distance.min(0)).all()


def test_the_published_grid() -> None:
    grid = Grid()
    assert (grid.first_offset, grid.step, grid.bins, grid.window) == (-19_900, 200, 200, 2_000)
    assert grid.rates == (0.01, 0.02, 0.05, 0.1, 0.2)
    half = grid.step // 2
    assert (grid.offsets[0] - half, grid.offsets[-1] + half) == (-MAX_DISTANCE, MAX_DISTANCE)


@pytest.mark.parametrize("first", [-19_900, -20_000])
@pytest.mark.parametrize("strand", [1, -1])
def test_first_start_and_length_of_runs(first: int, strand: int) -> None:
    grid = Grid(first_offset=first)
    starts = np.sort(grid.starts(50_000, strand))
    assert grid.first_start(50_000, strand) == starts[0]
    for count in (1, 2, 3, 10, 200):
        assert grid.run_length(count) == starts[count - 1] + 2000 - starts[0]


def test_grids_of_other_sizes() -> None:
    grid = Grid(first_offset=-500, step=100, bins=11, window=300)
    assert grid.starts(10_000, 1).tolist() == list(range(9_350, 10_351, 100))
    assert grid.starts(10_000, -1).tolist() == list(range(10_350, 9_349, -100))
    assert grid.first_start(10_000, -1) == 9_350
    run = grid.touched(10_000, -1, 9_650, 9_651)
    assert run is not None
    assert (run.start, run.count, run.index.tolist()) == (9_450, 3, [9, 8, 7])
    assert grid.nearest_bin(np.array([-9_000, -451, -450, -449, 0, 50, 51, 9_000])).tolist() == [
        *(0, 0, 0, 1, 5, 5, 6, 10)
    ]


@pytest.mark.parametrize("value", [Grid(), Run(0, 1, np.arange(1))])
def test_grids_and_runs_do_not_change(value: Grid | Run) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(value, next(iter(vars(value))), 5)
