"""What the documentation shows does run; `make docs` builds it."""

from __future__ import annotations

import ast
import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from test_package import ORDER

from seal_store.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(ROOT.glob("docs/**/*.md")),
    ROOT / "benchmarks/RESULTS.md",
]


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, kind: str) -> list[str]:
    """The code of a page's fenced blocks that begin with ``kind``."""
    fence = rf"^```{re.escape(kind)}\n(.*?)^```$"
    return re.findall(fence, text(page), re.MULTILINE | re.DOTALL)


BLOCKS = [
    (page.name, number, code)
    for page in PAGES
    for number, code in enumerate(blocks(page, "python"), 1)
]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the `demo` that the pages speak of."""
    from seal_store.cli import main

    folder = tmp_path_factory.mktemp("docs")
    main(["demo", str(folder / "demo"), "-q"], standalone_mode=False)
    main(
        ["export", str(folder / "demo/scores.zarr"), str(folder / "scores.parquet")],
        standalone_mode=False,
    )
    return folder


@pytest.mark.slow
def test_the_tutorial_runs(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("anndata")
    monkeypatch.chdir(demo)
    cells = blocks(ROOT / "docs" / "tutorial.md", "{code-cell} python")
    assert len(cells) > 8
    names: dict[str, Any] = {}
    for number, cell in enumerate(cells, 1):
        exec(compile(cell, f"tutorial.md, cell {number}", "exec"), names)
    assert names["store"].synthetic
    assert json.loads(names["effects"].attrs["counts"])["alleles"] == 4
    assert names["effects"].row.values.tolist() == [0, 1, 2]
    assert len(names["long"]) == 3 * 802
    assert names["scored"].sizes["variant"] == 286


@pytest.mark.parametrize("page", ["index", "charts", "schemes"])
def test_pages_with_pictures_run(page: str, demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    altair = pytest.importorskip("altair")
    monkeypatch.chdir(demo)
    names: dict[str, Any] = {}
    before = altair.renderers.active
    for number, cell in enumerate(blocks(ROOT / "docs" / f"{page}.md", "{code-cell} python"), 1):
        code = "\n".join(line for line in cell.splitlines() if not line.startswith(":tags:"))
        exec(compile(code, f"{page}.md, cell {number}", "exec"), names)
    assert names["altair"].renderers.active == "svg"
    altair.renderers.enable(before)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", sorted(ROOT.glob("docs/recipes/*.md")), ids=lambda page: str(page.stem)
)
def test_recipes_run(
    page: Path, demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    altair = pytest.importorskip("altair")
    pytest.importorskip("duckdb")
    (tmp_path / "demo").symlink_to(demo / "demo")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    names: dict[str, Any] = {}
    before = altair.renderers.active
    begin, *cells = blocks(page, "{code-cell} python")
    assert "%run start.py" in begin
    for number, cell in enumerate(cells, 1):
        shell, code = re.match(r"(%%bash -e\n)?(.*)", cell, re.DOTALL).groups()  # type: ignore[union-attr]
        if shell:
            subprocess.run(["bash", "-e", "-c", code], check=True)
        else:
            exec(compile(code, f"{page.name}, cell {number}", "exec"), names)
    altair.renderers.enable(before)


@pytest.mark.parametrize(("page", "number", "code"), BLOCKS, ids=lambda x: str(x)[:12])
def test_python_blocks_run(
    page: str, number: int, code: str, demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(demo)
    exec(compile(code, f"{page}, python block {number}", "exec"), {})


def anchors(page: Path) -> set[str]:
    """What a code host calls the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", text(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", text(page)):
        target = page.parent / link if link else page
        assert target.exists(), link
        if anchor and target.name != "modules.md":
            assert anchor in anchors(target), f"{link}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_tests_that_pages_name_exist(page: Path) -> None:
    if page.name == "CHANGELOG.md":
        return  # tells what was
    for path in re.findall(
        r"`((?:seal_store|cli|tests|docs|benchmarks|schemas)/[\w/.-]+\.\w+)`", text(page)
    ):
        assert (ROOT / path).exists() or re.search("NAME|-N", path), path
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    known = {path.stem for path in files} | set(
        re.findall(r"def (test_\w+)", "".join(map(text, files)))
    )
    for name, more in re.findall(r"`(test_\w+?)(\.\.\.)?`", text(page)):
        found = any(n.startswith(name) for n in known) if more else name in known
        assert found or name.endswith(("_mse", "_spearman")), name


def test_the_table_of_packages_is_that_of_the_code() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| (.*) \|$", text(ROOT / "docs" / "architecture.md"), re.MULTILINE
    )
    library = ROOT / "seal_store"
    expected = []
    for name in ORDER:
        path = library / f"{name}.py"
        own = ast.get_docstring(
            ast.parse(text(path if path.exists() else library / name / "__init__.py"))
        )
        expected.append((name, (own or "").splitlines()[0].replace("``", "`")))
    assert rows == expected


def test_every_module_tells_its_idea_in_one_line() -> None:
    """The page of modules is made of them when the documentation is built."""
    page = runpy.run_path(str(ROOT / "docs" / "conf.py"))["listing"]()
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", page, re.MULTILINE)
    for folder in ("seal_store", "cli", "tests"):
        names = {path.stem for path in (ROOT / folder).rglob("*.py")} - {"__init__"}
        assert names <= {name for name, _ in rows}
    assert [name for name, line in rows if not line] == []


def test_every_command_has_help(cli: Callable[..., Result]) -> None:
    for name in COMMANDS:
        done = cli(name, "--help")
        assert done.exit_code == 0
        assert len(done.output.split("Usage:")[1].strip().splitlines()) > 2
