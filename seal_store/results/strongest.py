"""The strongest contexts of a few variants, as rows to print."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from seal_store.results.view import strongest
from seal_store.scoring.source import RowSource
from seal_store.variants.alleles import Allele


def strongest_contexts(
    scorer: RowSource, alleles: Iterable[Allele], top: int
) -> list[dict[str, Any]]:
    """Each row with its ``top`` contexts of largest ``|effect|``, in the order of the input.

    Keys are the columns of results, and ``effects``: ``context_set``,
    ``context_name`` and ``effect`` (ln(expression + pseudocount), alt minus ref), the strongest
    first, at a tie in the order of the store; of a calibrated scorer ``quantile`` and ``z`` too,
    None in a context whose background effects are all the same.
    ``scorer.counts`` says why others have no row.
    """
    found = []
    for rows in scorer.score(alleles, "command line"):
        columns = {name: values.tolist() for name, values in rows.columns.items()}
        places = strongest(rows.effect, top).tolist()
        measures = {"effect": rows.effect} | rows.calibrated
        for i in range(len(rows)):
            row = {name: values[i] for name, values in columns.items()}
            row["effects"] = [
                {
                    "context_set": scorer.context_set[place],
                    "context_name": scorer.context_name[place],
                    **{name: _number(values[i, place]) for name, values in measures.items()},
                }
                for place in places[i]
            ]
            found.append(row)
    return found


def _number(value: np.float32) -> float | None:
    return None if np.isnan(value) else float(value)
