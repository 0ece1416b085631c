"""The explorer in a browser: every page and chart drawn, both themes, narrow, hostile, keyboard."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest

pytest.importorskip("uvicorn")

from explored import Served, served

from seal_store.building.build import build
from seal_store.building.options import BuildOptions
from seal_store.explore import task
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
NAME = "<img/src=x/onerror=alert(1)>\"'&\u05d0\u05d1"
"""A gene of the store."""
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
    planted.genes.write_text(planted.genes.read_text().replace("GENE04", NAME))
    genes = ("GENE02", GENE, NAME)
    store = build(BuildOptions(*inputs, features=planted.features, gene=genes), "cpu")
    lines = planted.variants.read_text().splitlines()
    few.write_text("\n".join(x for x in lines if x[0] == "#" or re.search("GENE0[234]", x)) + "\n")
    calibrate(store, few, ScoreOptions(device="cpu"))
    store, results = Store(out), root / "scores.zarr"
    scorer = Scorer(
        store, ScoreOptions(device="cpu", calibrated=True), attribution=one_context_each(store)
    )
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
    "gene": (f"/gene?id={GENE}&by=factor", {"#chart-profile": "rect"}),
    "variant": ("", {"#chart-effects": "rect", "#chart-profile": "rect"}),
    "calibration": (
        "/calibration?context=early_fetal.DFC&effect=0.01",
        {"#chart-calibration": "area"},
    ),
    "results": ("/results?sort=strongest", {"#chart-locus": "symbol"}),
    "row": ("/row?row=3", {"#chart-effects": "rect", "#chart-attribution": "rect"}),
    "wrong": ("/variant?v=rs12", {}),
}
MARKS = {
    "#chart-effects": 262,  # cells of the three maps that have a context
    "#chart-profile": 7 * 200,
    "#chart-calibration": 1,
    "#chart-locus": 78,  # rows
    "#chart-attribution": 7,
}


@pytest.mark.parametrize(("theme", "width"), [("light", 1_280), ("dark", 400)])
def test_pages(
    explorer: Served, look: Callable[..., Any], truth: Truth, theme: str, width: int
) -> None:
    seen = look("/", theme=theme, width=width)
    for name, (path, charts) in PAGES.items():
        seen.page.goto(explorer.base + (path or variant(truth)))
        for chart, kind in charts.items():
            seen.drawn(chart)
            assert seen.marks(chart, kind) == MARKS[chart], (name, chart)
        seen.shot(name)
        seen.accessible()
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width, name
        if name == "wrong":  # the browser tells of the status itself
            assert [re.search("status of (\\d+)", text)[1] for text in seen.errors] == ["400"]
            seen.errors.clear()


def test_from_a_gene_to_a_variant_and_back(
    explorer: Served, look: Callable[..., Any], truth: Truth
) -> None:
    """Typed and followed by keyboard; each view has an address; back and forward work."""
    seen = look("/")
    page = seen.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.get_by_label("Symbol or id").focus()
    page.keyboard.type("gene03")
    page.keyboard.press("Enter")
    page.wait_for_url("**/gene?id=GENE03")
    seen.drawn("#chart-profile")
    # a click on a window leads to its sequence
    page.locator("#chart-profile .mark-rect.role-mark > *").nth(20).click(force=True)
    page.wait_for_url(re.compile(r"at=\d+"))
    page.goto(f"{explorer.base}/")
    written = f"{truth.contig}-{truth.pos}-{truth.ref}-{truth.alt}"
    page.get_by_label("chr:pos:ref:alt").fill(written)
    page.keyboard.press("Enter")
    page.wait_for_url("**/variant?v=*")
    seen.drawn("#chart-effects")
    assert f"Variant {written.replace('-', ':')}" in page.locator("h1").inner_text()
    first = page.locator("tbody tr").first.inner_text()
    shared = page.url
    page.go_back()
    assert page.url == f"{explorer.base}/"
    page.go_forward()
    assert page.url == shared
    seen.drawn("#chart-effects")
    other = look(shared.removeprefix(explorer.base))
    assert other.page.locator("tbody tr").first.inner_text() == first


@pytest.mark.parametrize("theme", THEMES)
def test_a_saturation_is_watched_cancelled_and_drawn(
    look: Callable[..., Any], theme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    once, gate, asked = task._rows, threading.Event(), []

    def slowly(*given: Any) -> Any:
        asked.append(given)
        if len(asked) > 1:
            gate.wait(60)
        return once(*given)

    monkeypatch.setattr(task, "_rows", slowly)
    seen = look(f"/gene?id={GENE}&at={133_065 if theme == 'light' else 136_000}", theme=theme)
    block = seen.page.locator(".bases button").nth(18)
    block.focus()
    seen.page.keyboard.press("Enter")
    seen.page.wait_for_url("**/saturation?*")
    seen.page.locator(".told", has_text="24 of").wait_for()
    seen.shot("going")
    seen.accessible()
    seen.page.get_by_role("button", name="Cancel").click()
    seen.page.get_by_text("Cancelled.").wait_for()
    gate.set()
    seen.page.get_by_role("button", name="Start").click()
    seen.drawn("#chart-saturation")
    seen.page.locator("progress").wait_for(state="detached")
    assert seen.marks("#chart-saturation", "rect") == 3 * 61
    seen.shot("drawn")
    seen.accessible()


def test_hostile_text_stays_text(explorer: Served, look: Callable[..., Any]) -> None:
    seen = look("/")
    for path in ("/genes?q=", "/gene?id=", "/variant?v=", "/results?gene=", "/saturation?gene="):
        seen.page.goto(explorer.base + path + quote(HOSTILE, safe=""))
        assert seen.page.evaluate("document.scripts.length") <= 3
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= 1_280, path
        seen.accessible()
    seen.page.goto(f"{explorer.base}/gene?id={quote(NAME)}")
    assert seen.page.locator("h1").inner_text() == f"Gene {NAME}"
    seen.drawn("#chart-profile")
    seen.accessible()
    assert NAME in seen.page.locator("#chart-profile svg.marks").text_content()
    seen.page.goto(f"{explorer.base}/results?gene={quote(NAME)}")
    seen.drawn("#chart-locus")
    assert seen.marks("#chart-locus", "symbol") == 26
    assert seen.page.locator("img").count() == 0
    long = f"chr1:135490:C:C{'ACGT' * 2_500}"
    seen.page.goto(f"{explorer.base}/variant?v={long}")
    seen.drawn("#chart-effects")
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= 1_280
    seen.shot("long")
    assert all("status of 4" in text for text in seen.errors)
    seen.errors.clear()
