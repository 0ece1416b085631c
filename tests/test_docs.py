"""What the documentation shows does run; `make docs` builds it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from seal_store.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))


def blocks(page: Path, kind: str) -> list[str]:
    """The code of a page's fenced blocks that begin with ``kind``."""
    fence = rf"^```{re.escape(kind)}\n(.*?)^```$"
    return re.findall(fence, page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the `demo` that the pages speak of."""
    from seal_store.cli import main

    folder = tmp_path_factory.mktemp("docs")
    main(["demo", str(folder / "demo"), "-q"], standalone_mode=False)
    return folder


def test_the_tutorial_runs(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("anndata")
    monkeypatch.chdir(demo)
    cells = blocks(ROOT / "docs" / "tutorial.md", "{code-cell} python")
    assert len(cells) > 8
    names: dict[str, Any] = {}
    for number, cell in enumerate(cells, 1):
        exec(compile(cell, f"tutorial.md, cell {number}", "exec"), names)
    assert names["store"].synthetic
    assert names["effects"].attrs["counts"]["alleles"] == 4
    assert names["effects"].row.values.tolist() == [0, 1, 2]
    assert len(names["long"]) == 3 * 802
    assert names["scored"].sizes["variant"] == 39


@pytest.mark.parametrize("number", range(len(blocks(ROOT / "README.md", "python"))))
def test_the_readme_runs(number: int, demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo)
    code = blocks(ROOT / "README.md", "python")[number]
    exec(compile(code, f"README.md, python block {number + 1}", "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link


def test_every_command_has_help(cli: Callable[..., Result]) -> None:
    for name in COMMANDS:
        done = cli(name, "--help")
        assert done.exit_code == 0
        assert len(done.output.split("Usage:")[1].strip().splitlines()) > 2
