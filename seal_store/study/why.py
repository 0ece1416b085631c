"""Which features make the effect of a locus: its attributions, weighted as effects are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from seal_store.results.group import Results

Target = tuple[str, str]
"""Head set and name of a context."""


class Features:
    """The attributions of results to features, of the contexts that they have them for."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self.exist = "attribution" in results.group
        made = results.attributes.attribution
        self._has_sign = made is not None and made.method != "saliency"

    @cached_property
    def names(self) -> np.ndarray:
        """Unique names of the features."""
        return self._results.labels("feature_name")

    @cached_property
    def targets(self) -> list[Target]:
        """Contexts that have attributions."""
        names, sets = (self._results.labels(f"target_{n}").tolist() for n in ("name", "set"))
        return list(zip(sets, names, strict=True))

    def strongest(
        self, rows: Sequence[int], weight: np.ndarray, top: int
    ) -> dict[Target, list[tuple[str, float]]]:
        """Of each target the ``top`` features of the largest weighted sums, and these sums.

        ``weight`` float64 ``(rows,)`` is signed; sizes of gradients are weighted by its size.
        Where the results keep a few features of each variant, the others count as 0.
        """
        total = np.zeros((len(self.targets), len(self.names)))
        for row, own in zip(rows, weight.tolist(), strict=True):
            found = self._results.attribution(row, row + 1)
            values = found["attribution"][0].astype(np.float64)
            values *= own if self._has_sign else abs(own)
            if (place := found.get("attribution_feature")) is None:
                total += values
            else:
                target, rank = np.nonzero(place[0] >= 0)
                np.add.at(total, (target, place[0][target, rank]), values[target, rank])
        order = np.argsort(-np.abs(total), axis=1, kind="stable")[:, :top]
        return {
            target: [
                (str(self.names[i]), value)
                for i, value in zip(own.tolist(), sums[own].tolist(), strict=True)
                if value
            ]
            for target, own, sums in zip(self.targets, order, total, strict=True)
        }
