"""Pages of charts: scripts, styles and data are in them, and they may not ask any network."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from seal_store.common.extras import require

if TYPE_CHECKING:
    from jinja2 import Environment

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)
"""What a page in a file may load: nothing but what is in it, and pictures that it saves."""


def script_json(value: Any) -> str:
    """``value`` as JSON that may stand in a ``<script>`` element, whatever its strings hold."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def scripts() -> str:
    """Vega, Vega-Lite and Vega-Embed, as vl-convert carries them; making the text takes seconds."""
    import vl_convert

    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    assert "</script" not in bundle.lower()
    return bundle


def web_file(package: str, name: str) -> str:
    """The text of a template, style or script, ``name`` in the folder ``web`` of a package."""
    return (resources.files(f"seal_store.{package}") / "web" / name).read_text(encoding="utf-8")


def environment(package: str) -> Environment:
    """Templates of a package's folder ``web``, and those of charts; whatever they show is escaped.

    Raises :class:`~seal_store.errors.MissingExtraError` without the extra ``plot``.
    """
    require("plot", "a page")
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    def load(name: str) -> str:
        own, _, file = name.rpartition("/")
        return web_file(own or package, file)

    return Environment(
        loader=FunctionLoader(load),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def rendered(package: str, template: str, **values: Any) -> str:
    """A template of a package with ``values``, the style and the policy that all pages have."""
    from markupsafe import Markup

    style = Markup(web_file("charts", "base.css"))  # noqa: S704 - ours
    return environment(package).get_template(template).render(policy=POLICY, style=style, **values)


def trusted(text: str) -> Any:
    """Scripts and JSON of :func:`script_json`, which a template takes as they are."""
    from markupsafe import Markup

    return Markup(text)  # noqa: S704 - made above


def chart_page(spec: dict[str, Any]) -> str:
    """A page of the Vega-Lite ``spec``, with its ``description`` in words below."""
    return rendered(
        "charts",
        "chart.html",
        title=str(spec.get("title", {}).get("text", "chart")),
        said=str(spec.get("description", "")),
        spec=trusted(script_json(spec)),
        vega=trusted(scripts()),
        draw=trusted(web_file("charts", "draw.js")),
    )
