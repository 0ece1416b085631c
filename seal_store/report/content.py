"""What a report says of results: facts for its template, and data for its script."""

from __future__ import annotations

from typing import Any

from seal_store.charts.attribution import FEATURE_LABELS, labelled
from seal_store.charts.attribution import drawn as attribution_chart
from seal_store.charts.base import UNIT, altair, short
from seal_store.charts.effect_map import BARS, panels
from seal_store.charts.effect_map import drawn as effect_map
from seal_store.charts.links import variant_links
from seal_store.charts.locus import DISTANCE
from seal_store.charts.locus import drawn as locus_chart
from seal_store.report.rows import CONTEXTS, LEVELS, Part
from seal_store.results.group import Results
from seal_store.scoring.assign import REASONS

LONGEST = 120
"""Characters of an allele or a name that are shown; its middle is left out beyond."""


def facts(results: Results) -> list[tuple[str, str]]:
    """What was scored, from what and how: names and values, in the order shown."""
    made = results.attributes
    store, counts = made.store, made.counts
    found = [
        ("variants", made.variants),
        ("their SHA-256", made.variants_sha256 or "not known: they were no file"),
        ("regions", ", ".join(made.regions or ())),
        ("alleles", f"{counts.alleles:,}, of which {counts.alleles_scored:,} scored"),
        ("rows", f"{counts.rows:,}, one for each allele and gene"),
        ("REF is not the genome's", f"{counts.ref_mismatches:,} rows"),
        ("contexts", f"{len(results.contexts()[0]):,}"),
        ("scheme", made.scheme),
        ("genes", made.gene or f"{made.genes} within {made.max_distance:,} bp"),
        ("effect", f"{UNIT}, alt minus ref"),
        ("background", _background(results)),
        ("attributions", made.attribution.method if made.attribution else "none"),
        ("lifted by", made.liftover.chain if made.liftover else ""),
        ("store", store.path),
        ("its SHA-256", store.sha256),
        ("assembly", store.assembly),
        ("SHA-256 of the CNN", store.cnn_sha256),
        *((f"SHA-256 of head set {name}", digest) for name, digest in store.heads.items()),
        ("device", made.device or ""),
        ("software", ", ".join(f"{name} {version}" for name, version in made.software.items())),
    ]
    return [(name, value) for name, value in found if value]


def _background(results: Results) -> str:
    own = results.attributes.calibration
    if own is None:
        return "none: quantiles need `seal-store calibrate` and `score --calibrated`"
    return f"{own.rows:,} rows of {own.file}, genes {own.genes} within {own.max_distance:,} bp"


def not_scored(results: Results) -> list[tuple[str, str, int, str]]:
    """Reason, what it means, alleles, and examples, of those that have no row."""
    counts = results.attributes.counts
    return [
        (reason, REASONS.get(reason, ""), count, "; ".join(counts.examples.get(reason, ())))
        for reason, count in counts.not_scored.items()
    ]


def commands(results: Results) -> list[str]:
    """What made the results, as it was typed."""
    made = results.attributes
    own = [made.command, *(part.command for part in made.merged or ())]
    return [*own, *([made.attribution_command] if made.attribution_command else [])]


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
            "map": effect_map(shown, [_named(f"panel{i}") for i in range(len(shown))], 1),
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
