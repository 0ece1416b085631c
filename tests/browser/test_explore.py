"""The explorer in a browser: every page and chart drawn, both themes, narrow, hostile, keyboard."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest

pytest.importorskip("uvicorn")

from explored import Served, served

from seal_store.building.build import build
from seal_store.building.options import BuildOptions
from seal_store.invented.check import one_context_each
from seal_store.invented.world import Planted, Truth, write_planted_world
from seal_store.results.group import Results
from seal_store.run.calibrate import calibrate
from seal_store.run.scores import write_scores
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.scorer import Scorer
from seal_store.store.store import Store
from seal_store.variants.source import read_variants

Visit = Callable[..., Any]
THEMES = ("light", "dark")
GENE = "GENE03"
HOSTILE = "<script>alert(1)</script>\"'&\u202e\u05d0" + "x" * 10_000


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return write_planted_world(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def explorer(planted: Planted) -> Iterator[Served]:
    """A calibrated store of three genes, and results with attributions."""
    root = planted.genome.parent
    out, few = root / "store.zarr", root / "few.vcf"
    inputs = planted.genome, planted.genes, planted.cnn, (planted.heads,), out
    genes = ("GENE02", GENE, "GENE04")
    store = build(BuildOptions(*inputs, features=planted.features, gene=genes), "cpu")
    lines = planted.variants.read_text().splitlines()
    few.write_text("\n".join(x for x in lines if x[0] == "#" or re.search("GENE0[234]", x)) + "\n")
    calibrate(store, few, ScoreOptions(device="cpu"))
    store, results = Store(out), root / "scores.zarr"
    scorer = Scorer(store, ScoreOptions(device="cpu", calibrated=True), attribution=one_context_each(store))
    write_scores(scorer, read_variants(few), results)
    with served(store, Results(results)) as found:
        yield found


@pytest.fixture(scope="module")
def truth(planted: Planted) -> Truth:
    return next(t for t in planted.truth if t.gene_id == GENE and t.event == "weaken")


@pytest.fixture
def look(explorer: Served, visit: Visit) -> Callable[..., Any]:
    """Open a page of the explorer; the token opens the door first."""

    def look(path: str, **how: Any) -> Any:
        seen = visit(explorer.entry, **how)
        seen.page.goto(explorer.base + path)
        return seen

    return look


def variant(truth: Truth, **more: str) -> str:
    written = ":".join((truth.contig, str(truth.pos), truth.ref, truth.alt))
    return f"/variant?{urlencode({'v': written, **more})}"


PAGES = {
    "home": ("/", {}),
    "genes": ("/genes?q=gene0", {}),
    "gene": (f"/gene?id={GENE}", {"#chart-profile": ("rect", 1_000)}),
    "variant": ("", {"#chart-effects": ("rect", 262), "#chart-profile": ("rect", 1_000)}),
    "calibration": (
        "/calibration?context=early_fetal.DFC&effect=0.01",
        {"#chart-calibration": ("area", 1)},
    ),
    "results": ("/results?sort=strongest", {"#chart-locus": ("symbol", 20)}),
    "row": ("/row?row=0", {"#chart-effects": ("rect", 262), "#chart-attribution": ("rect", 5)}),
    "wrong": ("/variant?v=rs12", {}),
}


@pytest.mark.parametrize("width", [1_280, 400])
@pytest.mark.parametrize("theme", THEMES)
def test_pages(look: Callable[..., Any], truth: Truth, theme: str, width: int) -> None:
    seen = look("/", theme=theme, width=width)
    for name, (path, charts) in PAGES.items():
        seen.page.goto(seen.page.url.split("/", 3)[0] + "//" + seen.page.url.split("/")[2] + (path or variant(truth)))
        for chart, (kind, least) in charts.items():
            seen.drawn(chart)
            assert seen.marks(chart, kind) >= least, (name, chart, seen.marks(chart, kind))
        seen.shot(name)
        seen.accessible()
        wide = seen.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, (name, wide)
        if name == "wrong":  # the browser tells of the status itself
            assert len(seen.errors) == 1
            seen.errors.clear()
