"""What the script of a report works with: rows, names and empty charts, JSON-ready."""

from __future__ import annotations

from typing import Any

from seal_store.charts.attribution import FEATURE_LABELS, labelled
from seal_store.charts.attribution import drawn as attribution_chart
from seal_store.charts.base import altair, short
from seal_store.charts.effect_map import BARS, empty, panels
from seal_store.charts.links import variant_links
from seal_store.charts.locus import DISTANCE
from seal_store.charts.locus import drawn as locus_chart
from seal_store.report.rows import CONTEXTS, LEVELS, Part
from seal_store.results.group import Results

LONGEST = 120
"""Characters of an allele or a name that are shown; its middle is left out beyond."""


def page_data(results: Results, part: Part, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What the page's script works with, JSON-ready; ``rows`` are those of ``part``."""
    assembly = results.attributes.store.assembly
    for row in rows:
        where = (row[name] for name in ("contig", "pos", "ref", "alt"))
        row["links"] = variant_links(assembly, *where)
        for name in ("contig", "id", "gene", "symbol"):
            row[name] = short(row[name], LONGEST)
        for name in ("ref", "alt"):
            row[name] = _allele(row[name])
    names, sets = results.contexts()
    pairs = list(zip(sets, names, strict=True))
    shown = panels(pairs)
    features, spec = _attributed(results, rows)
    return {
        "rows": rows,
        "total": part.total,
        "contexts": pairs,
        "chosen": part.contexts.tolist(),
        "levels": LEVELS,
        "exact": CONTEXTS,
        "calibrated": results.is_calibrated,
        "panels": [
            {
                "bars": () if panel.cells else panel.members,
                "cells": [(y, x, own) for (y, x), own in panel.cells.items()],
            }
            for panel in shown
        ],
        "most_bars": BARS,
        "features": features,
        "specs": {
            "map": empty(shown),
            "locus": locus_chart(_named("points"), DISTANCE, results.is_calibrated),
            **spec,
        },
    }


def _named(name: str) -> Any:
    """Data that the page's script fills in."""
    return altair().NamedData(name=name)


def _attributed(
    results: Results, rows: list[dict[str, Any]]
) -> tuple[dict[int, dict[str, str]], dict[str, Any]]:
    """Labels of the features that rows name, and the chart of one row's by name; or neither."""
    own = [row["attribution"]["features"] for row in rows if "attribution" in row]
    named = sorted({feature for features in own for feature, _ in features})
    if not named:
        return {}, {}
    columns = {name: results.labels(f"feature_{name}").tolist() for name in FEATURE_LABELS}
    labels = dict(zip(named, labelled(columns, named), strict=True))
    assays = sorted({label["assay_type"] for label in labels.values()})
    return labels, {"attribution": attribution_chart(_named("features"), assays)}


def _allele(bases: str) -> str:
    return bases if len(bases) <= LONGEST else f"{short(bases, LONGEST)} ({len(bases):,} bases)"
