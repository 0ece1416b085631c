"""The strongest rows of results, with as much of each as a report shows."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seal_store.charts.attribution import strongest_features
from seal_store.common.progress import Progress, silent
from seal_store.results.group import Results
from seal_store.results.view import largest, strongest
from seal_store.scoring.rows import Rows
from seal_store.store.layout import VARIANTS_PER_CHUNK, get

CONTEXTS = 10
"""Contexts of a row whose numbers are shown: the strongest."""
FEATURES = 15
"""Attributed features of a row that are shown: the strongest."""
LEVELS = 32_767
"""An effect on a map is a whole number of this part of its row's largest: int16."""


@dataclass(frozen=True)
class Part:
    """Rows of results that a report shows, strongest first.

    ``index`` are their places in the results, int64, ``contexts`` the positions of the contexts
    that count, and ``total`` the number of rows there are.
    """

    index: np.ndarray
    contexts: np.ndarray
    total: int


def strongest_rows(
    results: Results, contexts: np.ndarray, top: int, progress: Progress = silent
) -> Part:
    """The ``top`` rows by ``|effect|`` on the strongest of ``contexts``; ties as they stand."""
    peak = largest(results, contexts, progress)
    return Part(np.argsort(-peak, kind="stable")[:top], contexts, len(peak))


def as_shown(results: Results, part: Part, progress: Progress = silent) -> list[dict[str, Any]]:
    """The rows of ``part``, in its order, as a page's script takes them.

    ``top`` has the context, the effect and, of calibrated results, quantile and z of its
    strongest contexts, float32 as they are stored. ``map`` are the effects on all contexts as
    base64 of little-endian int16: :data:`LEVELS` stands for ``peak``, the largest in size of all.
    """
    found: dict[int, dict[str, Any]] = {}
    attributed = Attributed.of(results)
    with results.standing():
        for chunk in np.unique(part.index // VARIANTS_PER_CHUNK).tolist():
            start = chunk * VARIANTS_PER_CHUNK
            rows = results.rows(start, start + VARIANTS_PER_CHUNK)
            own = part.index[part.index // VARIANTS_PER_CHUNK == chunk].tolist()
            shown = {i: _shown(rows, i - start, part.contexts) for i in own}
            if attributed is not None:
                effects = {i: rows.effect[i - start] for i in own}
                for i, strengths in attributed.of_rows(effects).items():
                    shown[i]["attribution"] = strengths
            found |= shown
            progress("rows read", len(found), len(part.index))
    return [found[i] for i in part.index.tolist()]


def _shown(rows: Rows, i: int, contexts: np.ndarray) -> dict[str, Any]:
    column = {name: values[i] for name, values in rows.columns.items()}
    effect = rows.effect[i]
    places = contexts[strongest(effect[None, contexts], CONTEXTS)[0]]
    measures = [effect, *(values[i] for values in rows.calibrated.values())]
    peak = np.abs(effect).max(initial=0)
    levels = np.rint(effect.astype(float) / (peak or 1) * LEVELS).astype("<i2")
    quantile = rows.calibrated.get("quantile")
    rarest = None if quantile is None else np.nanmax(np.abs(quantile[i, contexts]), initial=0)
    return {
        "contig": str(column["contig"]),
        "pos": int(column["pos"]),
        "ref": str(column["ref"]),
        "alt": str(column["alt"]),
        "id": str(column["id"]),
        "gene": str(column["gene_id"]),
        "symbol": str(column.get("gene_symbol", "")),
        "distance": int(column["dist_to_tss"]),
        "strand": "+" if column["strand"] > 0 else "-",
        "kind": str(column["kind"]),
        "status": str(column["status"]),
        "match": bool(column["ref_match"]),
        "top": [[place, *(_number(m[place]) for m in measures)] for place in places.tolist()],
        "rarest": None if rarest is None else _number(rarest),
        "peak": _number(peak),
        "map": base64.b64encode(levels.tobytes()).decode(),
    }


def _number(value: Any) -> float | None:
    """A float32 with as few digits as tell it from its neighbours; None for none."""
    return None if np.isnan(value) else float(str(np.float32(value)))


@dataclass(frozen=True)
class Attributed:
    """Attributions of features in results: ``targets`` are positions of contexts."""

    results: Results
    targets: Sequence[int]

    @staticmethod
    def of(results: Results) -> Attributed | None:
        """Those of ``results``, if it has them feature by feature."""
        if "attribution" not in results.group:
            return None
        pairs = list(zip(*(values for values in reversed(results.contexts())), strict=True))
        own = (results.labels(name).tolist() for name in ("target_set", "target_name"))
        return Attributed(results, [pairs.index(pair) for pair in zip(*own, strict=True)])

    def of_rows(self, effects: dict[int, np.ndarray]) -> dict[int, dict[str, Any]]:
        """The strongest features of some rows, for the target on which each has most effect.

        ``effects`` of a row are those on all contexts.
        """
        length = get(self.results.group, "attribution").chunks[0]
        found: dict[int, dict[str, Any]] = {}
        for chunk in sorted({row // length for row in effects}):
            first = chunk * length
            values = self.results.attribution(first, first + length)
            for row in (row for row in effects if row // length == chunk):
                own = int(np.abs(effects[row][list(self.targets)]).argmax())
                of_one = {name: array[row - first, own] for name, array in values.items()}
                found[row] = {"context": self.targets[own], **_strongest_features(of_one)}
        return found


def _strongest_features(values: dict[str, np.ndarray]) -> dict[str, Any]:
    index, shares = strongest_features(
        values["attribution"], values.get("attribution_feature"), FEATURES
    )
    return {
        "completeness": _number(values["completeness"]) if "completeness" in values else None,
        "features": [[i, _number(share)] for i, share in zip(index.tolist(), shares, strict=True)],
    }
