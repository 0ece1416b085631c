"""Calibration: an effect within the distribution of a background's effects."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from seal_store.charts.base import CATEGORIES, SYNTHETIC, UNIT, altair, inline, titled
from seal_store.errors import InputError
from seal_store.model.contexts import select_contexts
from seal_store.scoring.bins import label
from seal_store.scoring.calibration import in_words
from seal_store.store.store import Store

if TYPE_CHECKING:
    import altair as alt


def calibration(
    store: Store | str | os.PathLike[str],
    context: str,
    effect: float | None = None,
    scheme: str = "grid",
    name: str = "",
    kind: str | None = None,
    distance: int | None = None,
) -> alt.LayerChart:
    """The share of a calibration's background that is at least as extreme as each effect.

    ``context`` is a name of one; ``effect`` is marked, if given. The share is one-sided: of
    effects as low or lower below the median, as high or higher above it. ``name`` is that of a
    named calibration; of one with bins, ``kind`` and ``distance`` to the TSS in bp, as results
    have them, choose the bin, and without them the whole background is drawn.

    Raises :class:`~seal_store.errors.StoreError` if ``store`` has no such calibration for
    ``scheme``, :class:`~seal_store.errors.HeadsError` or
    :class:`~seal_store.errors.InputError` unless context and bin are exactly one.
    """
    import torch

    from seal_store.scoring.quantiles import read_calibration  # computes with PyTorch

    alt = altair()
    store = store if isinstance(store, Store) else Store(store)
    names, sets = (column.tolist() for column in store.contexts())
    pairs = list(zip(map(str, sets), map(str, names), strict=True))
    found = select_contexts(pairs, (context,))
    if len(found) != 1:
        one = ":".join(pairs[found[0]])
        raise InputError(f"`context` {context}: {len(found)} fit", f"name one, as {one}")
    own = read_calibration(store, scheme, [pairs[found[0]]], torch.device("cpu"), name)
    rows, among = own.source["rows"], ""
    if (part := own.part(kind, distance)) is not None:
        rows, among = own.bins[part].rows, f" ({label(own.bins[part])})"
        own = own.parts[part]
    level, knots = own.level.numpy(), own.knots.numpy()[0].astype(float)
    tail = np.minimum(level, 1 - level)
    inner = tail > 0
    table = [
        {"effect": float(x), "share": float(s)}
        for x, s in zip(knots[inner], tail[inner], strict=True)
    ]
    least = float(tail[inner].min())
    axis = alt.Axis(format="~%", grid=False)
    scale = alt.Scale(type="log", domain=[least, 0.5])
    x = alt.X(
        "effect:Q", axis=alt.Axis(grid=False), title=f"effect on {pairs[found[0]][1]}, {UNIT}"
    )
    y = alt.Y("share:Q", title="share of the background as extreme", scale=scale, axis=axis)
    layers = [
        alt.Chart(inline(table))
        .mark_area(color=CATEGORIES[5], opacity=0.5, line=True)
        .encode(x, y, y2=alt.datum(least))
    ]
    lines = [
        f"background: {rows:,} rows of {own.source['file']}{among}; scheme {scheme}, store "
        f"{store.path.name}, sha256 {store.sha256[:12]}",
        *([SYNTHETIC] if store.synthetic else []),
    ]
    words = f"The background's effects on {pairs[found[0]][1]}: {rows} rows{among}."
    if effect is not None:
        quantile = float(own(torch.tensor([[effect]], dtype=torch.float32))["quantile"][0, 0])
        mark = alt.Chart(inline([{"effect": effect, "text": f"{effect:+.3g}"}]))
        rule = mark.mark_rule(color=CATEGORIES[4], strokeWidth=2).encode(x)
        text = mark.mark_text(color=CATEGORIES[4], dy=-8, y=0).encode(x, text="text:N")
        layers += [rule, text]
        said = f"{effect:+.3g} is {in_words(quantile)} (quantile {quantile:+.4f})"
        lines.insert(0, said)
        words += f" {said}."
    chart = alt.layer(*layers).properties(width=520, height=260)
    return titled(
        chart,
        "An effect among the background's" if effect is not None else "The background's effects",
        lines,
        words,
    )
