"""Locus: effects of many variants against where they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from seal_store.charts.base import CATEGORIES, UNIT, Scores, altair, inline, titled
from seal_store.errors import InputError

if TYPE_CHECKING:
    import altair as alt

    from seal_store.charts.base import Effects

DISTANCE = "POS - TSS, bp"
MOST = 5_000
"""Points drawn: the strongest."""
FAINT = "faint: quantile within the background's middle 99 %"
KINDS = ("snv", "mnv", "insertion", "deletion", "complex")


def locus(
    effects: Effects,
    contexts: str | Sequence[str] = (),
    gene: str | None = None,
    by: str = "distance",
) -> alt.LayerChart:
    """A point for each variant: its effect against the distance to the TSS, or its position.

    Of several ``contexts`` (all by default) a variant shows the strongest effect, with its sign.
    ``by`` is ``distance`` or ``position``, which takes variants of one contig. Of calibrated
    results, faint points are within what is usual for the background (quantile below 0.99).

    Raises :class:`~seal_store.errors.InputError` for another ``by``, for several contigs, or if
    no row is left.
    """
    scores = Scores.of(effects)
    data, keep = scores.data, scores.contexts(contexts)
    rows = np.flatnonzero(scores.of_gene(gene)) if gene else np.arange(len(data.pos))
    if by not in ("distance", "position"):
        raise InputError(f"`by` {by!r}: not distance or position")
    if not len(rows):
        raise InputError("there is no row to draw")
    contigs = {scores.texts("contig")[row] for row in rows}
    if by == "position" and len(contigs) > 1:
        raise InputError(f"rows are on {len(contigs)} contigs", "choose a `gene`")
    effect = data.effect.values[np.ix_(rows, keep)].astype(float)
    strongest = np.abs(effect).argmax(1)
    shown = effect[np.arange(len(rows)), strongest]
    order = np.sort(np.argsort(-np.abs(shown), kind="stable")[:MOST])
    names, pairs = scores.names(), scores.pairs()
    distance, pos = data.dist_to_tss.values, data.pos.values
    kinds, genes = scores.texts("kind"), scores.texts("gene_id")
    quantile = data["quantile"].values[np.ix_(rows, keep)] if "quantile" in data else None
    table = []
    for i in order.tolist():
        row = int(rows[i])
        entry = {
            "x": int(distance[row] if by == "distance" else pos[row]),
            "effect": float(shown[i]),
            "variant": names[row],
            "gene": genes[row],
            "kind": kinds[row],
            "context": pairs[int(keep[strongest[i]])][1],
        }
        if quantile is not None:
            entry["quantile"] = float(quantile[i, strongest[i]])
        table.append(entry)
    title = DISTANCE if by == "distance" else f"position on {contigs.pop()}, 1-based"
    what = pairs[int(keep[0])][1] if len(keep) == 1 else f"the strongest of {len(keep)} contexts"
    lines = [f"effect on {what}; {len(rows):,} rows", *scores.about()]
    if len(rows) > MOST:
        lines[0] += f", the {MOST:,} strongest drawn"
    if quantile is not None:
        lines.insert(1, FAINT)
    best = max(table, key=lambda entry: abs(entry["effect"]))
    description = (
        f"Effects of {len(rows)} rows on {what}. Strongest: {best['variant']} against "
        f"{best['gene']}, {best['effect']:+.3g}."
    )
    whose = f" on {gene}" if gene else ""
    chart = drawn(inline(table), title, quantile is not None)
    return titled(chart, f"Effects{whose} by {by}", lines, description)


def drawn(data: Any, x_title: str, calibrated: bool) -> alt.LayerChart:
    """Points of Altair's ``data``: ``x``, effect, variant, gene, kind, context and quantile."""
    alt = altair()
    tooltip = ["variant:N", "gene:N", "context:N", alt.Tooltip("effect:Q", format="+.4g")]
    opacity = alt.value(0.8)
    if calibrated:
        tooltip.append(alt.Tooltip("quantile:Q", format="+.4f"))
        opacity = alt.condition("abs(datum.quantile) >= 0.99", alt.value(0.9), alt.value(0.25))
    points = (
        alt.Chart(data)
        .mark_point(filled=True, size=36)
        .encode(
            alt.X("x:Q", title=x_title, scale=alt.Scale(zero=False), axis=alt.Axis(format=",d")),
            alt.Y("effect:Q", title=f"effect, {UNIT}"),
            alt.Color("kind:N", scale=alt.Scale(domain=list(KINDS), range=list(CATEGORIES[:5]))),
            alt.Shape("kind:N", scale=alt.Scale(domain=list(KINDS))),
            opacity=opacity,
            tooltip=tooltip,
        )
    )
    zero = alt.Chart(inline([{"effect": 0}])).mark_rule(color="#888").encode(y="effect:Q")
    chart: Any = (zero + points).properties(width=640, height=280)
    return chart
