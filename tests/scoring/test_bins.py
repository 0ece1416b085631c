"""Bins of a calibration: which rows they hold, what is pooled, what a name may be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from seal_store.errors import InputError
from seal_store.scoring.bins import ALL, BY, EDGES, KINDS, Binning, bin_of, label
from seal_store.scoring.calibration import key_of, levels, tied
from seal_store.store.attributes import CalibrationBin


def rows(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Kinds, SNVs most of all, and distances to the TSS with their sign."""
    kind = rng.choice(ALL, count, p=(0.6, 0.05, 0.15, 0.15, 0.05))
    return kind, rng.integers(-20_000, 20_001, count)


@pytest.mark.parametrize("by", BY)
def test_every_row_is_in_one_bin_of_enough(by: str, rng: np.random.Generator) -> None:
    for least in (1, 400, 2_000, 50_000):
        binning = Binning(by, (100, 400, 5_000, 19_000), least)
        kind, distance = rows(rng, 20_000)
        bins = binning.bins(kind, distance)
        found = bin_of(bins, kind, distance)
        assert [int((found == i).sum()) for i in range(len(bins))] == [own.rows for own in bins]
        assert sum(own.rows for own in bins) == 20_000
        assert all(own.rows >= least for own in bins) or len(bins) == 1
        for i, row in enumerate(found.tolist()):
            own = bins[row]
            assert kind[i] in own.kinds
            assert own.start <= abs(distance[i])
            assert own.stop is None or abs(distance[i]) < own.stop
        if least == 1:
            assert [(own.kinds, own.start, own.stop) for own in bins] == binning.asked
        starts = {own.start for own in bins} - {0}
        assert starts <= set(binning.bin_edges)
        assert bool(starts) <= (by != "kind")


def test_too_few_are_pooled_with_their_neighbour() -> None:
    distance = np.repeat([50, -150, 250, -350, 450], (5, 20, 2, 3, 4))
    kind = np.full(len(distance), "snv")

    def starts(least: int) -> list[tuple[int, int | None, int]]:
        made = Binning("distance", (100, 200, 300, 400), least).bins(kind, distance)
        return [(own.start, own.stop, own.rows) for own in made]

    assert starts(2) == [(0, 100, 5), (100, 200, 20), (200, 300, 2), (300, 400, 3), (400, None, 4)]
    assert starts(5) == [(0, 100, 5), (100, 200, 20), (200, None, 9)]
    assert starts(6) == [(0, 200, 25), (200, None, 9)]
    assert starts(10) == [(0, None, 34)]


def test_a_kind_of_which_there_are_too_few_has_no_bins_of_its_own(
    rng: np.random.Generator,
) -> None:
    kind = np.where(np.arange(500) < 30, "deletion", "snv")
    distance = rng.integers(-20_000, 20_001, 500)
    apart, together = (Binning("both", (5_000,), n).bins(kind, distance) for n in (10, 31))
    assert {own.kinds for own in apart} == set(KINDS)
    assert {own.kinds for own in together} == {ALL}
    assert together == Binning("distance", (5_000,), 31).bins(kind, distance)


def test_the_edge_is_in_the_bin_that_begins_there() -> None:
    distance = np.array([-500, 500, 499, -499, 0, 30_000, 999, 1_000])
    kind = np.full(len(distance), "snv")
    bins = [
        CalibrationBin(kinds=ALL, start=start, stop=stop, rows=1)
        for start, stop in ((0, 500), (500, 1_000), (1_000, None))
    ]
    assert bin_of(bins, kind, distance).tolist() == [1, 1, 0, 0, 0, 2, 1, 2]
    assert bin_of(bins[:1], kind, distance).tolist() == [-1, -1, 0, 0, 0, -1, -1, -1]
    assert [label(own) for own in bins] == [
        "all kinds, 0 to 499 bp",
        "all kinds, 500 to 999 bp",
        "all kinds, 1,000 bp and more",
    ]


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"by": "size"}, "`by`"),
        ({"bin_edges": ()}, "`bin_edges`"),
        ({"bin_edges": (500, 500)}, "`bin_edges`"),
        ({"bin_edges": (0, 500)}, "`bin_edges`"),
        ({"bin_edges": (20_001,)}, "`bin_edges`"),
        ({"bin_edges": (1.5,)}, "`bin_edges`"),
        ({"bin_edges": range(1, 102)}, "`bin_edges`"),
        ({"bin_least": 0}, "`bin_least`"),
        ({"bin_least": "x"}, "`bin_least`"),
    ],
)
def test_other_values_are_refused(given: dict[str, Any], names: str) -> None:
    with pytest.raises(InputError, match=names):
        Binning(**{"by": "both", **given})


def test_what_is_left_out_or_numpys_is_taken() -> None:
    assert Binning("both", None, None) == Binning("both", EDGES, 1_000)  # type: ignore[arg-type]
    assert Binning("both", np.array([10, 20])).bin_edges == (10, 20)  # type: ignore[arg-type]
    assert Binning("both", 300).bin_edges == (300,)  # type: ignore[arg-type]


def test_a_name_is_one_part_of_a_path() -> None:
    assert (key_of("grid"), key_of("grid", "common.1")) == ("grid", "grid.common.1")
    for name in ("../x", "a/b", ".a", "-a", "a b", "ä", "a\n", "x" * 101):
        with pytest.raises(InputError, match="`name`"):
            key_of("grid", name)


def test_what_is_tied_at_an_end_is_told(rng: np.random.Generator) -> None:
    values = np.sort(rng.standard_normal((5, 4_000)).astype(np.float32))
    values[1, 2_000:] = values[1, -1]  # half of it at the top
    values[2, :100] = values[2, 0]
    values[3] = 2
    values[4, 1_000:3_000] = 0  # ties in the middle can be ranked
    level = levels()
    knots = np.quantile(values, level, axis=1).T.astype(np.float32)
    ends = [max((v == v[0]).mean(), (v == v[-1]).mean()) for v in values]
    found = tied(level, knots)
    assert (found <= ends).all()
    assert np.abs(found - ends).max() < 0.0011
    assert found[0] == found[4] == 0
    assert found[3] == 1
