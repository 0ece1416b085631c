"""The page of every kind of chart: drawn from a file, all of it, without a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

import seal_store
from seal_store import charts
from seal_store.charts.effect_map import panels
from seal_store.results.group import Results
from seal_store.store.store import Store

Visit = Callable[..., Any]
SPAN = 15


@pytest.fixture(scope="module")
def data(results: Results) -> xr.Dataset:
    return results.to_xarray()


@pytest.fixture(scope="module")
def store(results: Results) -> Store:
    return Store(results.path.with_name("store.zarr"))


def shown(visit: Visit, chart: Any, folder: Path, theme: str = "light", width: int = 1_280) -> Any:
    seen = visit(charts.save(chart, folder / "chart.html"), theme=theme, width=width)
    seen.drawn("#chart")
    assert chart.description in seen.page.locator("figcaption").inner_text()
    seen.accessible()
    seen.shot(theme)
    return seen


@pytest.mark.parametrize(("theme", "width"), [("light", 1_280), ("dark", 420)])
def test_effect_map(
    data: xr.Dataset, results: Results, tmp_path: Path, visit: Visit, theme: str, width: int
) -> None:
    seen = shown(visit, charts.effect_map(data, 3), tmp_path, theme, width)
    names, sets = results.contexts()
    cells = [
        own for panel in panels(list(zip(sets, names, strict=True))) for own in panel.cells.items()
    ]
    assert seen.marks("#chart", "rect") == sum(bool(own) for _, own in cells)
    crosses = seen.page.locator("#chart svg text", has_text="×")
    assert crosses.count() >= sum(not own for _, own in cells)


def test_saturation(store: Store, tmp_path: Path, visit: Visit) -> None:
    scan = seal_store.saturate(store, "GENE03", span=SPAN, contexts="stage=childhood", device="cpu")
    seen = shown(visit, charts.saturation(scan), tmp_path)
    assert seen.marks("#chart", "rect") >= len(scan.pos)
    assert seen.marks("#chart", "symbol") >= 2 * SPAN + 1  # the genome's bases, and letters


def test_profile(store: Store, tmp_path: Path, visit: Visit) -> None:
    tss = int(store.column("tss")[store.position("GENE03")])
    seen = shown(visit, charts.profile(store, "GENE03", position=tss + 1_400), tmp_path)
    features = len(store.column("feature_name"))
    assert seen.marks("#chart", "rect") == store.grid.bins * features


def test_attribution(data: xr.Dataset, tmp_path: Path, visit: Visit) -> None:
    target = data.target_name.values.tolist()[0]
    seen = shown(visit, charts.attribution(data, 3, target=target), tmp_path)
    assert seen.marks("#chart", "rect") == len(data.feature_name)


def test_locus(data: xr.Dataset, tmp_path: Path, visit: Visit) -> None:
    seen = shown(visit, charts.locus(data), tmp_path)
    assert seen.marks("#chart", "symbol") == len(data.pos)


def test_calibration(store: Store, tmp_path: Path, visit: Visit) -> None:
    chart = charts.calibration(store, "childhood.DFC", 0.02)
    seen = shown(visit, chart, tmp_path)
    assert seen.marks("#chart", "area") == 1
    assert seen.marks("#chart", "rule") == 1
