"""A chart as a page of its own: scripts and data are in it, and it may not ask any network."""

from __future__ import annotations

import json
from html import escape
from typing import Any

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
)
"""What a page may load: nothing but what is in it, and pictures that it saves. No ``eval``."""


def script_json(value: Any) -> str:
    """``value`` as JSON that may stand in a ``<script>`` element, whatever its strings hold."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def scripts() -> str:
    """Vega, Vega-Lite and Vega-Embed, as vl-convert carries them."""
    import vl_convert

    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    assert "</script" not in bundle.lower()
    return bundle


def chart_page(spec: dict[str, Any]) -> str:
    """A page of the Vega-Lite ``spec``, with its ``description`` in words below."""
    title = escape(str(spec.get("title", {}).get("text", "chart")))
    said = escape(str(spec.get("description", "")))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{title}</title>
<style>body {{ font: 14px sans-serif; margin: 1.5em; }} figure {{ margin: 0; overflow-x: auto; }}
figcaption {{ margin-top: 1em; max-width: 60em; }}</style>
</head>
<body>
<main>
<figure><div id="chart"></div><figcaption>{said}</figcaption></figure>
</main>
<script type="application/json" id="spec">{script_json(spec)}</script>
<script>{scripts()}</script>
<script>
const spec = JSON.parse(document.getElementById("spec").textContent);
const how = {{ast: true, renderer: "svg", actions: {{export: true, source: false, compiled: false,
  editor: false}}}};
vegaEmbed("#chart", spec, how);
</script>
</body>
</html>
"""
