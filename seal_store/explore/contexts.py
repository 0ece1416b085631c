"""Contexts as lines of a table: their labels, with numbers beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seal_store.model.contexts import select_contexts
from seal_store.model.labels import context_labels, harmonised_stage
from seal_store.scoring.calibration import in_words


@dataclass(frozen=True)
class Line:
    """A context, with its value and, of calibrated effects, how unusual that is."""

    head_set: str
    name: str
    stage: str
    region: str
    cell_type: str
    value: float
    quantile: float | None = None
    z: float | None = None

    @property
    def label(self) -> str:
        """What chooses exactly this context."""
        return f"{self.head_set}:{self.name}"

    @property
    def words(self) -> str:
        """How unusual it is."""
        return in_words(self.quantile)


def lines(
    pairs: Sequence[tuple[str, str]],
    values: np.ndarray,
    wanted: str = "",
    most: int | None = None,
    quantile: np.ndarray | None = None,
    z: np.ndarray | None = None,
    *,
    by_size: bool = True,
) -> tuple[list[Line], int]:
    """The contexts ``wanted`` (a name or query), largest value first, and how many there are.

    ``pairs`` are head set and name of each, ``values`` float ``(contexts,)``, and so are
    ``quantile`` and ``z``. ``by_size``: whatever the sign. Ties stay in order. Raises
    :class:`~seal_store.errors.HeadsError` if no context fits.
    """
    keep = select_contexts(list(pairs), (wanted,) if wanted else ())
    own = np.asarray(values, float)[keep]
    order = keep[np.argsort(-(np.abs(own) if by_size else own), kind="stable")]

    def number(column: np.ndarray | None, i: int) -> float | None:
        return None if column is None or np.isnan(column[i]) else float(column[i])

    shown = order[:most].tolist()
    labels = context_labels([(pairs[i][0], [pairs[i][1]]) for i in shown])
    found = [
        Line(
            pairs[i][0],
            pairs[i][1],
            harmonised_stage(str(labels["context_stage"][row])),
            str(labels["context_region"][row]),
            str(labels["context_cell_type"][row]),
            float(values[i]),
            number(quantile, i),
            number(z, i),
        )
        for row, i in enumerate(shown)
    ]
    return found, len(order)
