"""Effect map: one variant's effects on all contexts, by where and when in the brain they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from seal_store.charts.base import UNIT, Scores, altair, inline, signed, titled
from seal_store.model.labels import context_labels, harmonised_stage

if TYPE_CHECKING:
    import altair as alt

    from seal_store.charts.base import Effects

STAGES = (
    *("early_fetal", "mid_fetal", "late_fetal", "fetal", "neonatal", "infancy", "childhood"),
    *("adolescence", "adulthood"),
)
"""In the order of development."""
BARS = 40
"""Contexts without labels that are shown: the strongest."""


def effect_map(
    effects: Effects, variant: str | int | None = None, gene: str | None = None
) -> alt.VConcatChart:
    """A heat map for each head set: brain regions by stages, cell types by stages or regions.

    ``effects`` are results or what :func:`seal_store.score` gives; ``variant``
    (``CONTIG:POS:REF:ALT``, or the 0-based row) and ``gene`` choose a row where there are
    several. Where several contexts share a cell, it shows their mean. Cells of no context have a
    cross. Contexts without published labels are bars, the strongest ones.

    Raises :class:`~seal_store.errors.InputError` unless exactly one row is meant.
    """
    alt, scores = altair(), Scores.of(effects)
    row = scores.row(variant, gene)
    effect = scores.data.effect[row].values.astype(float)
    most = float(np.abs(effect).max(initial=0))
    pairs = scores.pairs()
    sets = [head_set for head_set, _ in pairs]
    kinds = context_labels([(own, [name]) for own, name in pairs])["context_kind"]
    regional = {own for own, kind in zip(sets, kinds, strict=True) if kind == "region"}
    panels = [
        _panel(
            alt,
            head_set,
            [i for i, (own, _) in enumerate(pairs) if own == head_set],
            pairs,
            effect,
            most,
        )
        for head_set in sorted(dict.fromkeys(sets), key=lambda own: (own not in regional, own))
    ]
    chart = alt.vconcat(*panels, spacing=24).resolve_scale(color="shared")
    order = np.argsort(-np.abs(effect))[:3]
    strongest = ", ".join(f"{pairs[i][1]} {effect[i]:+.3g}" for i in order)
    description = f"Effects on {len(effect)} contexts, {UNIT}. Strongest: {strongest}."
    lines = ["×: the model has no such context", *scores.about()]
    return titled(chart, f"Effects of {scores.title(row)}", lines, description)


def _panel(
    alt: Any,
    head_set: str,
    members: Sequence[int],
    pairs: Sequence[tuple[str, str]],
    effect: np.ndarray,
    most: float,
) -> Any:
    """The contexts ``members`` of a head set."""
    labels = context_labels([(head_set, [pairs[i][1] for i in members])])
    stages = [harmonised_stage(str(stage)) for stage in labels["context_stage"]]
    kinds = set(labels["context_kind"].tolist())
    if not kinds <= {"region", "cell"} or not kinds:
        return _bars(alt, head_set, members, pairs, effect, most)
    rows, row_title = labels["context_region"].tolist(), "region"
    if kinds != {"region"}:
        rows, row_title = labels["context_cell_type"].tolist(), "cell type"
    columns, column_title = stages, "stage"
    if len(set(stages)) == 1:
        columns, column_title = labels["context_region"].tolist(), f"region ({stages[0]})"
    cells: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, where in zip(members, zip(rows, columns, strict=True), strict=True):
        cells[where].append(i)
    row_names, column_names = sorted(set(rows)), sorted(set(columns), key=_in_time)
    table = []
    for y in row_names:
        for x in column_names:
            own = cells.get((y, x), [])
            value = float(effect[own].mean()) if own else None
            names = ", ".join(pairs[i][1] for i in own[:3]) + (", …" if len(own) > 3 else "")
            table.append({"y": y, "x": x, "effect": value, "contexts": len(own), "names": names})
    many = any(len(own) > 1 for own in cells.values())
    base = alt.Chart(inline(table)).encode(
        alt.X("x:N", sort=column_names, title=column_title, axis=alt.Axis(labelAngle=-40)),
        alt.Y("y:N", sort=row_names, title=row_title),
    )
    tooltip = ["y:N", "x:N", alt.Tooltip("effect:Q", format="+.4g"), "contexts:Q", "names:N"]
    filled = base.transform_filter("isValid(datum.effect)").mark_rect(stroke="#fff")
    empty = base.transform_filter("!isValid(datum.effect)").mark_text(text="×", color="#bbb")
    width = 26 if column_title == "stage" else 17
    what = f"{head_set}: {len(members)} contexts" + (", means of those in a cell" if many else "")
    return (filled.encode(signed(most), tooltip=tooltip) + empty).properties(
        width=alt.Step(width),
        height=alt.Step(15),
        title=_heading(alt, what),
    )


def _bars(
    alt: Any,
    head_set: str,
    members: Sequence[int],
    pairs: Sequence[tuple[str, str]],
    effect: np.ndarray,
    most: float,
) -> Any:
    """Contexts of which nothing is known but their names."""
    chosen = sorted(members, key=lambda i: -abs(effect[i]))[:BARS]
    table = [{"y": pairs[i][1], "effect": float(effect[i])} for i in chosen]
    shown = f"{head_set}: {len(members)} contexts"
    if len(members) > BARS:
        shown += f", the {BARS} strongest"
    return (
        alt.Chart(inline(table))
        .mark_bar()
        .encode(
            alt.X("effect:Q", title=f"effect, {UNIT}"),
            alt.Y("y:N", sort=None, title="context"),
            signed(most),
            tooltip=["y:N", alt.Tooltip("effect:Q", format="+.4g")],
        )
        .properties(
            width=300,
            height=alt.Step(15),
            title=_heading(alt, shown),
        )
    )


def _heading(alt: Any, text: str) -> Any:
    return alt.TitleParams(text, fontSize=12, anchor="start", frame="group")


def _in_time(name: str) -> tuple[int, str]:
    """Stages in the order of development, all else by name."""
    return (STAGES.index(name) if name in STAGES else len(STAGES), name)
