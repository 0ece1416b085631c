"""Sphinx: `make docs`."""

import re
from importlib.metadata import version as installed
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

ROOT = Path(__file__).resolve().parents[1]
ELSEWHERE = {"readme": "README.md", "benchmarks": "benchmarks/RESULTS.md"}
"""Pages whose text stands outside of this folder."""


def bring_in(app: Any, page: str, source: list[str]) -> None:
    """Read the pages of ``ELSEWHERE``, and turn links to them; to other files, keep the words."""
    folder = ROOT / "docs"
    if page in ELSEWHERE:
        path = ROOT / ELSEWHERE[page]
        app.env.note_dependency(str(path))
        source[0], folder = path.read_text(encoding="utf-8"), path.parent
    names = {(ROOT / file).resolve(): f"{name}.md" for name, file in ELSEWHERE.items()}

    def turn(link: re.Match[str]) -> str:
        words, target, anchor = link.groups()
        file = (folder / target).resolve()
        name = names.get(file, file.name if file.parent == ROOT / "docs" else "")
        return f"[{words}]({name}{anchor or ''})" if name else words

    source[0] = re.sub(r"\[([^\]]*)\]\(([^)#:]+)(#[^)]*)?\)", turn, source[0])


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", bring_in)
