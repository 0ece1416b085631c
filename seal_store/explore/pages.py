"""Pages: templates filled with values, all of them escaped, and the files that pages load."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from seal_store.charts.base import short
from seal_store.charts.page import environment, script_json, scripts, trusted, web_file
from seal_store.common.prefetch import begun
from seal_store.errors import printable


@dataclass(frozen=True)
class Page:
    """A template of the folder ``web``, and what fills it; ``status`` is HTTP's."""

    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True)
class Figure:
    """A chart in a page: ``spec`` is Vega-Lite, or ``source`` where it is fetched from.

    ``leads`` is an address to which a click leads, with the 1-based position in the place of
    POSITION: that of ``origin`` (position, direction) and the ``offset`` of what is clicked.
    """

    name: str
    spec: Mapping[str, Any] | None = None
    source: str = ""
    leads: str = ""
    origin: tuple[int, int] = (0, 1)

    @property
    def said(self) -> str:
        """The chart in words; nothing yet where it is fetched."""
        return str(self.spec.get("description", "")) if self.spec else ""

    @property
    def data(self) -> Any:
        """The chart as JSON that may stand in a page."""
        return trusted(script_json(self.spec))


def address(path: str, **query: Any) -> str:
    """``path`` with a query of what is given; nothing is left out but empty values."""
    given = {name: value for name, value in query.items() if value not in ("", None)}
    return f"{path}?{urlencode(given)}" if given else path


class Pages:
    """Renders pages; ``always`` are values that every page has."""

    def __init__(self, **always: Any) -> None:
        self.always = always
        self._vega = begun(scripts)  # takes seconds, and no page waits for it
        self._templates = environment("explore")
        self._templates.filters["shown"] = lambda value: short(str(value))
        self._templates.filters["name"] = lambda value: printable(str(value))
        self._templates.filters["effect"] = lambda value: f"{value:+.4g}" if value else "0"
        self._templates.globals["address"] = address

    def render(self, page: Page) -> str:
        """HTML of a page."""
        values = {"figures": (), "draws_next": False, **self.always, **page.values}
        return self._templates.get_template(page.template).render(values)

    @cached_property
    def style(self) -> str:
        """The style of all pages, and ours."""
        return web_file("charts", "base.css") + web_file("explore", "explore.css")

    @cached_property
    def script(self) -> str:
        """What draws charts and watches saturations."""
        return web_file("charts", "draw.js") + web_file("explore", "explore.js")

    def vega(self) -> str:
        """Vega with what it needs; waits until it is put together."""
        return self._vega()

    @cached_property
    def version(self) -> str:
        """Of what pages load, so that a browser never takes that of another version."""
        from importlib.metadata import version

        text = f"{version('vl-convert-python')} {self.style} {self.script}"
        return hashlib.sha256(text.encode()).hexdigest()[:12]
