"""A real browser: Debian's Chromium, driven by Playwright. It reaches nothing but loopback.

Without Playwright or Chromium these tests are skipped, each with the reason.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from seal_store.building.build import build
from seal_store.building.options import BuildOptions
from seal_store.invented.check import one_context_each
from seal_store.invented.world import write_planted_world
from seal_store.results.group import Results
from seal_store.run.calibrate import calibrate
from seal_store.run.scores import write_scores
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.scorer import Scorer
from seal_store.store.store import Store
from seal_store.variants.source import read_variants

HERE = Path(__file__).parent
SHOTS = Path(os.environ.get("SEAL_STORE_SHOTS", HERE.parent.parent / "bench-out" / "screenshots"))
"""Where pictures of what was seen are kept, to be looked at."""
HOSTILE = "<script>alert(1)</script>\"'&lt;\u202e\u05d0"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.xdist_group("browser"))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="no playwright: `make browser` has it")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if found is None:
        pytest.skip("no chromium: apt-get install chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Of the planted world, calibrated, with attributions, a hostile name and a long allele."""
    root = tmp_path_factory.mktemp("browser")
    planted = write_planted_world(root)
    inputs = planted.genome, planted.genes, planted.cnn, (planted.heads,), root / "store.zarr"
    store = build(BuildOptions(*inputs, features=planted.features), "cpu")
    calibrate(store, planted.variants, ScoreOptions(device="cpu"))
    store = Store(store.path)
    text = planted.variants.read_text()
    last = text.rstrip().splitlines()[-1].split("\t")
    more = [*last[:2], HOSTILE, last[3], last[3] + "ACGT" * 2_500, *last[5:]]
    odd = root / "odd.vcf"
    odd.write_text(text + "\t".join(more) + "\n")
    options = ScoreOptions(device="cpu", calibrated=True)
    scorer = Scorer(store, options, attribution=one_context_each(store))
    write_scores(scorer, read_variants(odd), root / "scores.zarr")
    return Results(root / "scores.zarr")


@dataclass
class Seen:
    """A tab, and what went wrong in it or was asked of a network."""

    page: Any
    name: str
    errors: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def drawn(self, selector: str, count: int = 1) -> None:
        """Wait until charts are drawn."""
        charts = self.page.locator(f"{selector}[data-drawn=yes]")
        charts.nth(count - 1).wait_for(timeout=120_000)

    def marks(self, selector: str, kind: str) -> int:
        """Marks of a kind (``rect``, ``symbol``, ``text`` ...) that are in a chart."""
        path = f"{selector} svg .mark-{kind}.role-mark > *"
        return int(self.page.locator(path).count())

    def shot(self, what: str, **options: Any) -> Path:
        """Keep a picture of the whole page."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        path = SHOTS / f"{self.name}-{what}.png"
        self.page.screenshot(path=path, full_page=True, **options)
        return path

    def accessible(self) -> None:
        """Hold it against axe-core's rules."""
        axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
        found = axe.run(self.page).response["violations"]
        said = [
            f"{rule['id']}: {rule['help']}: {[node['html'][:200] for node in rule['nodes'][:3]]}"
            for rule in found
        ]
        assert not said, "\n".join(said)

    def clean(self) -> None:
        """No error was told and nothing was asked for beyond this machine."""
        assert self.errors == []
        assert self.asked == []


@pytest.fixture
def visit(chromium: Any, request: pytest.FixtureRequest) -> Iterator[Callable[..., Seen]]:
    """Open a path or an address: ``visit(where, theme="dark", width=400)``."""
    opened: list[tuple[Any, Seen]] = []

    def visit(where: Path | str, theme: str = "light", width: int = 1_280, **more: Any) -> Seen:
        size = {"width": width, "height": 900}
        context = chromium.new_context(
            color_scheme=theme, viewport=size, reduced_motion="reduce", **more
        )
        page = context.new_page()
        seen = Seen(page, re.sub(r"\W+", "-", request.node.name).strip("-"))

        def allowed(route: Any) -> None:
            url = route.request.url
            if re.match(
                r"(file|data|blob|about):|http://(127\.0\.0\.1|localhost|\[::1\])[:/]", url
            ):
                route.continue_()
            else:
                seen.asked.append(url)
                route.abort()

        context.route("**/*", allowed)
        page.on("pageerror", lambda error: seen.errors.append(str(error)))
        page.on(
            "console",
            lambda said: (
                seen.errors.append(said.text) if said.type in ("error", "warning") else None
            ),
        )
        page.goto(where.resolve().as_uri() if isinstance(where, Path) else where)
        opened.append((context, seen))
        return seen

    yield visit
    for context, seen in opened:
        context.close()
        seen.clean()
