"""The arrays as data: what is documented, and what a store of its attributes has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from seal_store.store.layout import (
    ATTRIBUTION,
    CALIBRATED,
    CALIBRATION,
    CNN,
    HEADS,
    LIFTED,
    RESULTS,
    STORE,
    ArraySpec,
)
from seal_store.store.opening import expected_arrays
from seal_store.store.store import Store

PAGE = Path(__file__).resolve().parents[2] / "docs" / "formats.md"


def rows() -> list[tuple[str, list[str]]]:
    """Names and further cells of every row of a table that has arrays."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    cells = [re.split(r" *\| *", line.strip("| ")) for line in lines if line.startswith("| `")]
    return [(row[0], row[1:]) for row in cells]


@pytest.mark.parametrize(
    "entry", [*STORE, *RESULTS, *LIFTED, *CALIBRATED, *CALIBRATION], ids=lambda e: e.name
)
def test_every_array_is_documented(entry: ArraySpec) -> None:
    dtype = "string" if entry.dtype == "str" else entry.dtype
    wanted = [", ".join(entry.dims), dtype, entry.unit]
    found = [cells[:3] for names, cells in rows() if f"`{entry.name}`" in names]
    assert wanted in found, f"{entry.name} {wanted} is not in docs/formats.md: {found}"


@pytest.mark.parametrize("entry", ATTRIBUTION, ids=lambda e: e.name)
def test_every_array_of_attributions_is_documented(entry: ArraySpec) -> None:
    assert any(f"`{entry.name}`" in names for names, _ in rows())


@pytest.mark.parametrize("entry", [*CNN, *HEADS], ids=lambda e: e.name)
def test_every_weight_is_documented(entry: ArraySpec) -> None:
    name = entry.name if "/" in entry.name else f"SET/{entry.name}"
    found = [cells[0] for names, cells in rows() if f"{name}`" in names]
    assert found == [", ".join(entry.dims)]


def test_a_store_has_the_arrays_of_its_attributes(store: Store) -> None:
    found = {array.path: array for _, array in store.group.members(None) if hasattr(array, "dtype")}
    expected = expected_arrays(store.attributes)
    assert set(found) == set(expected)
    for name, want in expected.items():
        assert found[name].shape == want.shape
        assert found[name].metadata.dimension_names == want.entry.dims
