"""Effect map: one variant's effects on all contexts, by where and when in the brain they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from seal_store.charts.base import UNIT, Scores, altair, inline, signed, titled
from seal_store.model.labels import context_labels, harmonised_stage

if TYPE_CHECKING:
    import altair as alt

    from seal_store.charts.base import Effects

Cell = dict[str, Any]

STAGES = (
    *("early_fetal", "mid_fetal", "late_fetal", "fetal", "neonatal", "infancy", "childhood"),
    *("adolescence", "adulthood"),
)
"""In the order of development."""
BARS = 40
"""Contexts without labels that are shown: the strongest."""
EMPTY = "×: the model has no such context"


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
    scores = Scores.of(effects)
    row = scores.row(variant, gene)
    effect = scores.data.effect[row].values.astype(float)
    pairs = scores.pairs()
    shown = panels(pairs)
    tables = [inline(cells(panel, pairs, effect)) for panel in shown]
    chart = drawn(shown, tables, float(np.abs(effect).max(initial=0)))
    return titled(chart, *words(scores, row))


def words(scores: Scores, row: int) -> tuple[str, list[str], str]:
    """Title, the lines below it and the description of a row's map."""
    effect, pairs = scores.data.effect.values[row], scores.pairs()
    order = np.argsort(-np.abs(effect))[:3]
    strongest = ", ".join(f"{pairs[i][1]} {effect[i]:+.3g}" for i in order)
    description = f"Effects on {len(effect)} contexts, {UNIT}. Strongest: {strongest}."
    return f"Effects of {scores.title(row)}", [EMPTY, *scores.about()], description


def empty(shown: Sequence[Panel]) -> alt.VConcatChart:
    """The panels for whoever fills them: data named ``panel0`` ..., effects from -1 to 1."""
    return drawn(shown, [altair().NamedData(name=f"panel{i}") for i in range(len(shown))], 1)


@dataclass(frozen=True)
class Panel:
    """A heat map: ``members`` are the positions of its contexts, ``cells`` those in each cell.

    Cells are keyed by row and column, row by row. Without them nothing is known of the contexts
    but their names, and they are bars.
    """

    head_set: str
    members: tuple[int, ...]
    row_title: str = ""
    column_title: str = ""
    cells: Mapping[tuple[str, str], tuple[int, ...]] = field(default_factory=dict)


def panels(pairs: Sequence[tuple[str, str]]) -> list[Panel]:
    """A panel for each head set, those of regions first; ``pairs`` are head set and context."""
    sets: dict[str, list[int]] = defaultdict(list)
    for i, (own, _) in enumerate(pairs):
        sets[own].append(i)
    found = [_panel(own, members, [pairs[i][1] for i in members]) for own, members in sets.items()]
    return sorted(found, key=lambda panel: (panel.row_title != "region", panel.head_set))


def _panel(head_set: str, members: Sequence[int], names: list[str]) -> Panel:
    labels = context_labels([(head_set, names)])
    stages = [harmonised_stage(str(stage)) for stage in labels["context_stage"]]
    kinds = set(labels["context_kind"].tolist())
    if not kinds <= {"region", "cell"}:
        return Panel(head_set, tuple(members))
    rows, row_title = labels["context_region"].tolist(), "region"
    if kinds != {"region"}:
        rows, row_title = labels["context_cell_type"].tolist(), "cell type"
    columns, column_title = stages, "stage"
    if len(set(stages)) == 1:
        columns, column_title = labels["context_region"].tolist(), f"region ({stages[0]})"
    found: dict[tuple[str, str], list[int]] = {
        (y, x): [] for y in sorted(set(rows)) for x in sorted(set(columns), key=_in_time)
    }
    for i, where in zip(members, zip(rows, columns, strict=True), strict=True):
        found[where].append(i)
    whole = {where: tuple(own) for where, own in found.items()}
    return Panel(head_set, tuple(members), row_title, column_title, whole)


def cells(panel: Panel, pairs: Sequence[tuple[str, str]], effect: np.ndarray) -> list[Cell]:
    """What a panel draws of the ``effect`` of every context: its cells, or its bars."""
    if not panel.cells:
        strongest = sorted(panel.members, key=lambda i: -abs(effect[i]))[:BARS]
        return [{"y": pairs[i][1], "effect": float(effect[i])} for i in strongest]
    table: list[Cell] = []
    for (y, x), own in panel.cells.items():
        value = float(effect[list(own)].mean()) if own else None
        names = ", ".join(pairs[i][1] for i in own[:3]) + (", …" if len(own) > 3 else "")
        table.append({"y": y, "x": x, "effect": value, "contexts": len(own), "names": names})
    return table


def drawn(shown: Sequence[Panel], data: Sequence[Any], most: float) -> alt.VConcatChart:
    """The panels with Altair's ``data`` of each, as :func:`cells` has it, in the same colours.

    ``most`` is the largest effect, in size.
    """
    library = altair()
    parts = [
        (_heat_map if panel.cells else _bars)(library, panel, own, most)
        for panel, own in zip(shown, data, strict=True)
    ]
    chart: alt.VConcatChart = library.vconcat(*parts, spacing=24).resolve_scale(color="shared")
    return chart


def _heat_map(alt: Any, panel: Panel, data: Any, most: float) -> Any:
    many = any(len(own) > 1 for own in panel.cells.values())
    rows, columns = (list(dict.fromkeys(cell[i] for cell in panel.cells)) for i in range(2))
    base = alt.Chart(data).encode(
        alt.X("x:N", sort=columns, title=panel.column_title, axis=alt.Axis(labelAngle=-40)),
        alt.Y("y:N", sort=rows, title=panel.row_title),
    )
    tooltip = ["y:N", "x:N", alt.Tooltip("effect:Q", format="+.4g"), "contexts:Q", "names:N"]
    filled = base.transform_filter("isValid(datum.effect)").mark_rect(stroke="#fff")
    empty = base.transform_filter("!isValid(datum.effect)").mark_text(text="×", color="#bbb")
    width = 26 if panel.column_title == "stage" else 17
    what = f"{panel.head_set}: {len(panel.members)} contexts"
    return (filled.encode(signed(most), tooltip=tooltip) + empty).properties(
        width=alt.Step(width),
        height=alt.Step(15),
        title=_heading(alt, what + (", means of those in a cell" if many else "")),
    )


def _bars(alt: Any, panel: Panel, data: Any, most: float) -> Any:
    """Contexts of which nothing is known but their names."""
    shown = f"{panel.head_set}: {len(panel.members)} contexts"
    if len(panel.members) > BARS:
        shown += f", the {BARS} strongest"
    return (
        alt.Chart(data)
        .mark_bar()
        .encode(
            alt.X("effect:Q", title=f"effect, {UNIT}"),
            alt.Y("y:N", sort=None, title="context"),
            signed(most),
            tooltip=["y:N", alt.Tooltip("effect:Q", format="+.4g")],
        )
        .properties(width=300, height=alt.Step(15), title=_heading(alt, shown))
    )


def _heading(alt: Any, text: str) -> Any:
    return alt.TitleParams(text, fontSize=12, anchor="start", frame="group")


def _in_time(name: str) -> tuple[int, str]:
    """Stages in the order of development, all else by name."""
    return (STAGES.index(name) if name in STAGES else len(STAGES), name)
