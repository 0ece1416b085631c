"""Charts as files: PNG, SVG, PDF, a page of its own (HTML), or Vega-Lite (JSON).

Everything is made on this machine by vl-convert; a page holds its scripts and asks no network.
"""

from __future__ import annotations

import json
import os
import re
from html import escape
from typing import Any

from seal_store.charts.page import chart_page
from seal_store.common.extras import require
from seal_store.common.output import TABLE
from seal_store.errors import OutputError
from seal_store.exporting.kinds import file_at
from seal_store.store.place import Place, place

ENDINGS = (".png", ".svg", ".pdf", ".html", ".json")
SCALE = 2
"""Pixels of a PNG for each unit of the chart."""


def check_chart_file(out: str | os.PathLike[str]) -> Place:
    """``out`` as a path or address. Raises :class:`OutputError` for an unknown ending."""
    path = place(out)
    if path.suffix not in ENDINGS:
        raise OutputError(f"{path}: unknown kind of chart", f"name it {', '.join(ENDINGS)}")
    return path


def save(chart: Any, out: str | os.PathLike[str], *, overwrite: bool = False) -> Place:
    """Write ``chart``, of any function of this package, to ``out``, in the format of its ending.

    Raises :class:`OutputError` for an unknown ending, or if it exists and ``overwrite`` is false.
    """
    path = check_chart_file(out)
    require("plot", "a chart")
    with file_at(path) as held:
        held.claim(overwrite=overwrite)
        content = _content(path.suffix, chart.to_dict())
        held.partial.mkdir()
        name = f"{TABLE}{path.suffix}"
        (held.partial / name).write_bytes(content)
        held.publish({name: path.name})
    return path


def _content(ending: str, spec: dict[str, Any]) -> bytes:
    import vl_convert

    match ending:
        case ".json":
            schema = {"$schema": spec["$schema"]}  # first, which tells what it is
            return (json.dumps(schema | spec, indent=1) + "\n").encode()
        case ".html":
            return chart_page(spec).encode()
        case ".png":
            return bytes(vl_convert.vegalite_to_png(spec, scale=SCALE))
        case ".pdf":
            return bytes(vl_convert.vegalite_to_pdf(spec))
    text: str = vl_convert.vegalite_to_svg(spec)
    said = f"<desc>{escape(spec.get('description', ''), quote=False)}</desc>"
    return re.sub(r"^<svg[^>]*>", lambda start: f"{start[0]}{said}", text, count=1).encode()
