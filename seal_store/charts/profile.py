"""Gene profile: chromatin features of a gene's windows, and how windows count by their distance."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from seal_store.charts.base import SYNTHETIC, altair, inline, short, titled
from seal_store.errors import InputError, printable
from seal_store.store.store import Store

if TYPE_CHECKING:
    import altair as alt

FEATURES = 16
"""Features that are shown, unless some are chosen: those that vary most along the gene."""
GROUPS = ("assay_type", "factor", "cell_type")


def profile(
    store: Store | str | os.PathLike[str],
    gene: str | int,
    features: Sequence[str] = (),
    by: str = "",
    position: int | None = None,
) -> alt.VConcatChart:
    """A heat map of windows by features, and above it the weights of the ten decay sums.

    ``gene`` is an id, a symbol or the 0-based row. ``features`` are names, by default the
    :data:`FEATURES` that vary most; with ``by`` (``assay_type``, ``factor``, ``cell_type``) their
    means by group are shown instead. ``position`` (1-based, on the gene's contig) is marked, as
    of a variant. Windows go from upstream to downstream.

    Raises :class:`~seal_store.errors.StoreError` for an unknown gene,
    :class:`~seal_store.errors.InputError` for an unknown feature or group.
    """
    alt = altair()
    store = store if isinstance(store, Store) else Store(store)
    row = store.position(gene)
    values = store.features(row).astype(float)
    names, values = _chosen(store, values, tuple(features), by)
    offsets = store.column("window_offset").tolist()
    step = store.grid.step
    table = [
        {"offset": x, "from": x - step / 2, "to": x + step / 2, "feature": name, "value": float(v)}
        for name, column in zip(names, values.T, strict=True)
        for x, v in zip(offsets, column, strict=True)
    ]
    where = alt.Scale(domain=[offsets[0] - step / 2, offsets[-1] + step / 2], nice=False)
    title = "window centre relative to the TSS, bp, upstream to downstream"
    x = alt.X("from:Q", scale=where, title=title, axis=alt.Axis(format="+,d", grid=False))
    heat = (
        alt.Chart(inline(table))
        .mark_rect()
        .encode(
            x,
            alt.X2("to:Q"),
            alt.Y("feature:N", sort=names, title=by.replace("_", " ") or "feature"),
            alt.Color(
                "value:Q",
                scale=alt.Scale(scheme="viridis"),
                legend=alt.Legend(title="probability", orient="right"),
            ),
            tooltip=["feature:N", "offset:Q", alt.Tooltip("value:Q", format=".4g")],
        )
        .properties(width=720, height=alt.Step(15))
    )
    id_, contig, strand, tss = (
        store.column(n)[row] for n in ("gene_id", "contig", "strand", "tss")
    )
    marks, away = [{"x": 0, "text": "TSS"}], 0
    if position is not None:
        away = (position - int(tss)) * int(strand)
        marks.append({"x": away, "text": f"{contig}:{position:,}"})
    rules = alt.Chart(inline(marks))
    at = alt.X("x:Q", scale=where, axis=None)
    lines = rules.mark_rule(color="#d55e00", strokeDash=[3, 2]).encode(at)
    # on either side of what lies close to each other, and within the chart
    far = abs(away) > step * store.grid.bins / 4
    to_right = (away < 0 or position is None, (away >= 0) != far)
    texts = alt.layer(
        *(
            alt.Chart(inline([mark]))
            .mark_text(y=-6, align="left" if right else "right", dx=3 if right else -3, fontSize=11)
            .encode(at, text="text:N")
            for mark, right in zip(marks, to_right, strict=False)
        )
    )
    chart = alt.vconcat(
        (_weights(alt, store, offsets, where) + lines + texts).properties(width=720, height=90),
        heat + lines,
        spacing=6,
    ).resolve_scale(x="shared", color="independent")
    symbol = str(store.column("gene_symbol")[row])
    side = "+" if strand > 0 else "-"
    title = f"Chromatin profile of {short(symbol or str(id_))}"
    lines_below = [
        f"{id_}, {contig}:{int(tss):,}, {side} strand; store {store.path.name}, "
        f"sha256 {store.sha256[:12]}",
        *([SYNTHETIC] if store.synthetic else []),
    ]
    top = int(values.max(0).argmax())
    best = int(values[:, top].argmax())
    description = (
        f"{len(names)} features in {len(offsets)} windows of {store.grid.window:,} bp. Highest: "
        f"{names[top]} at {offsets[best]:+,} bp, {values[best, top]:.3g}."
    )
    return titled(chart, title, lines_below, description)


def _chosen(
    store: Store, values: np.ndarray, features: tuple[str, ...], by: str
) -> tuple[list[str], np.ndarray]:
    """Names, and values ``(windows, names)``."""
    names = [str(name) for name in store.column("feature_name")]
    for name in features:
        if name not in names:
            raise InputError(
                f"no feature {printable(name)!r}", "`seal_store.open(...).column('feature_name')`"
            )
    if by and by not in GROUPS:
        raise InputError(f"`by` {printable(by)!r}: not one of {', '.join(GROUPS)}")
    own = [names.index(name) for name in features] or range(len(names))
    if by:
        labels = np.array([str(label) or "?" for label in store.column(f"feature_{by}")])[list(own)]
        groups = sorted(set(labels.tolist()))
        means = [values[:, list(own)][:, labels == group].mean(1) for group in groups]
        chosen = sorted(range(len(groups)), key=lambda i: -float(means[i].std()))[:FEATURES]
        return [groups[i] for i in chosen], np.stack([means[i] for i in chosen], 1)
    if not features:
        own = np.argsort(-values.std(0), kind="stable")[:FEATURES].tolist()
    return [names[i] for i in own], values[:, list(own)]


def _weights(alt: Any, store: Store, offsets: Sequence[int], where: Any) -> Any:
    """The decay weights, each side of the TSS a line."""
    rates = store.grid.rates
    table = [
        {"x": x, "weight": float(w), "rate": rates[i % len(rates)], "side": i // len(rates)}
        for i, weights in enumerate(store.grid.decay_weights)
        for x, w in zip(offsets, weights, strict=True)
        if w > 0
    ]
    colour = alt.Color(
        "rate:O",
        scale=alt.Scale(scheme="greys", reverse=True),
        legend=alt.Legend(title="decay rate", orient="right"),
    )
    return (
        alt.Chart(inline(table))
        .mark_line(strokeWidth=1.5)
        .encode(
            alt.X("x:Q", scale=where, axis=None),
            alt.Y("weight:Q", title="decay weight", scale=alt.Scale(domain=[0, 1])),
            colour,
            detail="side:N",
        )
    )
