"""Sphinx: `make docs`."""

import ast
import re
from collections.abc import Iterable
from importlib.metadata import version as installed
from os.path import relpath
from pathlib import Path
from typing import Any

project = "seal-store"
version = release = installed("seal-store")
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click"]
exclude_patterns = ["_build", "demo"]
html_theme = "furo"
html_title = f"seal-store {release}"

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
napoleon_google_docstring = False

myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True

ROOT = Path(__file__).resolve().parents[1]
ELSEWHERE = {"readme": "README.md", "benchmarks": "benchmarks/RESULTS.md"}
"""Pages whose text stands outside of this folder."""


def in_one_line(path: Path) -> str:
    """The first line of a Python file's docstring, as Markdown."""
    found = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return re.sub(r":\w+:`~?([\w.]+)`", r"`\1`", found.partition("\n")[0]).replace("``", "`")


def listing() -> str:
    """Every module of the library and of its tests, by package, each with its own first line."""
    pages = [(ROOT / "docs" / "modules.md").read_text(encoding="utf-8")]
    for title, top in (("Library", "seal_store"), ("Commands", "cli"), ("Tests", "tests")):
        folders = {path.parent for path in (ROOT / top).rglob("*.py")}
        pages.append(f"## {title}\n")
        for folder in sorted(folders, key=lambda f: (f.name != top, f)):
            name = folder.relative_to(ROOT).as_posix()
            own = folder / "__init__.py"
            pages.append(f"### `{name}/`\n\n{in_one_line(own) if own.is_file() else ''}\n")
            pages.append("\n".join(rows(p for p in sorted(folder.glob("*.py")) if p != own)) + "\n")
    return "\n".join(pages)


def rows(paths: Iterable[Path]) -> list[str]:
    """A table of modules."""
    return ["| module | |", "|---|---|", *(f"| `{p.stem}` | {in_one_line(p)} |" for p in paths)]


def bring_in(app: Any, page: str, source: list[str]) -> None:
    """Bring in pages made of other files, and turn links to them; of other links keep the words."""
    folder = own = (ROOT / "docs" / page).parent
    if page == "modules":
        source[0] = listing()
    if page in ELSEWHERE:
        path = ROOT / ELSEWHERE[page]
        app.env.note_dependency(str(path))
        source[0], folder = path.read_text(encoding="utf-8"), path.parent
    names = {(ROOT / file).resolve(): ROOT / f"docs/{name}.md" for name, file in ELSEWHERE.items()}

    def turn(link: re.Match[str]) -> str:
        words, target, anchor = link.groups()
        file = (folder / target).resolve()
        file = names.get(file, file)
        inside = ROOT / "docs" in file.parents
        return f"[{words}]({relpath(file, own)}{anchor or ''})" if inside else words

    source[0] = re.sub(r"\[([^\]]*)\]\(([^)#:]+)(#[^)]*)?\)", turn, source[0])


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", bring_in)
