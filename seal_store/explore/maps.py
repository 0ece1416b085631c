"""Effect maps in milliseconds: the chart of a list of contexts is made once, then only filled.

Altair copies the data of a chart many times, which for a map takes longer than scoring a variant.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np

from seal_store.charts.base import Scores, titled
from seal_store.charts.effect_map import cells, empty, panels, words

Spec = dict[str, Any]
SCALE = [-1, 0, 1]
"""Of the effects in the chart that is kept."""


def effect_map(scores: Scores, row: int) -> Spec:
    """Vega-Lite of :func:`seal_store.charts.effect_map` of a row."""
    pairs = tuple(scores.pairs())
    effect = scores.data.effect.values[row].astype(float)
    spec = deepcopy(_empty(pairs))
    most = float(np.abs(effect).max(initial=0)) or 1e-9
    _scale(spec, [-most, 0, most])
    tables = {f"panel{i}": cells(panel, pairs, effect) for i, panel in enumerate(panels(pairs))}
    title, lines, spec["description"] = words(scores, row)
    spec["title"] |= {"text": title, "subtitle": lines}
    spec["datasets"] = tables
    return spec


@cache
def _empty(pairs: Sequence[tuple[str, str]]) -> Spec:
    """The map of these contexts, each (head set, name), with names in the place of data."""
    found: Spec = titled(empty(panels(pairs)), "", [""], "").to_dict(validate=False)
    return found


def _scale(node: Any, scale: list[float]) -> None:
    """Set the domain of every colour of effects."""
    if isinstance(node, dict):
        if node.get("domain") == SCALE:
            node["domain"] = scale
        for value in node.values():
            _scale(value, scale)
    elif isinstance(node, list):
        for value in node:
            _scale(value, scale)
