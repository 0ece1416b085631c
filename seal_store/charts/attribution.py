"""Attribution: the features to which an effect on a context is owed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from seal_store.charts.base import CATEGORIES, UNIT, Scores, altair, inline, short, titled
from seal_store.common.words import listed, nearest
from seal_store.errors import InputError, printable

if TYPE_CHECKING:
    import altair as alt

    from seal_store.charts.base import Effects

SHOWN = 25
"""Features shown: the strongest, either sign."""
NAMED = 8
"""Targets that a message names."""
FEATURE_LABELS = ("name", "assay_type", "factor", "cell_type")


def attribution(
    effects: Effects,
    variant: str | int | None = None,
    gene: str | None = None,
    target: str | None = None,
) -> alt.Chart:
    """Bars of the strongest features of one row, coloured by assay.

    ``variant`` and ``gene`` choose the row, as in :func:`~seal_store.charts.effect_map`;
    ``target`` the context, by default the only one that was attributed.

    Raises :class:`~seal_store.errors.InputError` if the results have no attributions of single
    features, or not exactly one row or target is meant.
    """
    scores = Scores.of(effects)
    data, made = scores.data, scores.fact("attribution")
    if "attribution" not in data:
        raise InputError(
            "there are no attributions of features in these results",
            "`seal-store attribute RESULTS` adds them",
        )
    row = scores.row(variant, gene)
    targets = scores.texts("target_name")
    fits = [i for i, name in enumerate(targets) if target in (None, name)]
    if len(fits) != 1:
        hint = f"name one of {listed(targets, NAMED)}"
        if target is None:
            raise InputError(f"no `target`: {len(targets)} contexts were attributed", hint)
        raise InputError(
            f"`target` {printable(target)}: {len(fits)} of {len(targets)} fit",
            nearest(target, targets) + hint,
        )
    named = data.attribution_feature[row, fits[0]].values if "attribution_feature" in data else None
    index, values = strongest_features(data.attribution[row, fits[0]].values, named, SHOWN)
    columns = {name: scores.texts(f"feature_{name}") for name in FEATURE_LABELS}
    table: list[dict[str, Any]] = [
        {"value": float(value), **labels}
        for value, labels in zip(values, labelled(columns, index.tolist()), strict=True)
    ]
    assays = sorted({entry["assay_type"] for entry in table})
    chart = drawn(inline(table), assays)
    context = targets[fits[0]]
    effect = float(
        data.effect[row, scores.pairs().index((scores.texts("target_set")[fits[0]], context))]
    )
    lines = [f"effect {effect:+.3g} on {context}; {made['method']}, the {len(table)} strongest"]
    if "completeness" in data:
        rest = float(data.completeness[row, fits[0]])
        lines.append(f"sum of all attributions minus effect: {rest:+.2g}")
    strongest = ", ".join(f"{entry['label']} {entry['value']:+.2g}" for entry in table[:3])
    description = (
        f"Attributions of an effect of {effect:+.3g} on {context}. Strongest: {strongest}."
    )
    title = f"Attribution of {scores.title(row)}"
    return titled(chart, title, [*lines, *scores.about()], description)


def strongest_features(
    values: np.ndarray, features: np.ndarray | None, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Indices and attributions of the ``most`` strongest features of one row and target.

    ``features`` are the indices that ``values`` belong to, -1 for none; None where all are there.
    """
    index = np.arange(len(values)) if features is None else features
    order = np.argsort(-np.abs(values), kind="stable")
    order = order[index[order] >= 0][:most]
    return index[order], values[order]


def labelled(
    columns: Mapping[str, Sequence[str]], features: Iterable[int]
) -> Iterator[dict[str, str]]:
    """What is shown of ``features``, whose :data:`FEATURE_LABELS` are ``columns``, one by one.

    ``label`` is unique among them: what several have gets a number.
    """
    seen: Counter[str] = Counter()
    for feature in features:
        own = {name: column[feature] for name, column in columns.items()}
        label = ", ".join(filter(None, (own["factor"], own["cell_type"]))) or own["name"]
        seen[label] += 1
        yield {"label": short(label) + (f" ({seen[label]})" if seen[label] > 1 else ""), **own}


def drawn(data: Any, assays: Sequence[str]) -> alt.Chart:
    """Bars of Altair's ``data``: label, value, name and assay_type, which is one of ``assays``."""
    alt = altair()
    chart: Any = (
        alt.Chart(data)
        .mark_bar()
        .encode(
            alt.X("value:Q", title=f"attribution, {UNIT}", axis=alt.Axis(format="~g")),
            alt.Y("label:N", sort=None, title="feature"),
            alt.Color(
                "assay_type:N",
                scale=alt.Scale(domain=list(assays), range=list(CATEGORIES[: len(assays)])),
                legend=alt.Legend(title="assay") if list(assays) != [""] else None,
            ),
            tooltip=["name:N", "assay_type:N", alt.Tooltip("value:Q", format="+.4g")],
        )
        .properties(width=420, height=alt.Step(16))
    )
    return chart
