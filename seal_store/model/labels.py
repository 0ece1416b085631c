"""Labels of the published model's contexts and features, from the package's own tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np

from seal_store.common.files import resource_table

FEATURE_COLUMNS = ("name", "assay_type", "factor", "cell_type", "treatment")
CONTEXT_COLUMNS = ("kind", "stage", "region", "cell_type")


def feature_labels(count: int) -> dict[str, np.ndarray]:
    """Columns ``feature_*`` of a store: the published labels for 2,002 features, else numbers."""
    rows = resource_table("features")
    if count != len(rows):
        rows = tuple(
            dict.fromkeys(FEATURE_COLUMNS, "") | {"name": f"feature_{i}"} for i in range(count)
        )
    return {f"feature_{c}": np.array([row[c] for row in rows]) for c in FEATURE_COLUMNS}


def context_labels(sets: Sequence[tuple[str, Sequence[str]]]) -> dict[str, np.ndarray]:
    """Columns ``context_*`` of a store for (set name, context names); unknown ones stay empty."""
    known = {(row["head_set"], row["name"]): row for row in resource_table("contexts")}
    keys = [(head_set, name) for head_set, names in sets for name in names]
    columns = {
        "context_name": np.array([name for _, name in keys]),
        "context_set": np.array([head_set for head_set, _ in keys]),
    }
    for column in CONTEXT_COLUMNS:
        columns[f"context_{column}"] = np.array([known.get(k, {}).get(column, "") for k in keys])
    return columns


def context_columns(
    context_set: Sequence[str], context_name: Sequence[str], taken: Collection[str] = ()
) -> list[str]:
    """Column names: the context, or ``set:context`` where several sets have that name.

    So too where a column of that name is ``taken``.
    """
    times = Counter([*context_name, *taken])
    return [
        name if times[name] == 1 else f"{head_set}:{name}"
        for head_set, name in zip(context_set, context_name, strict=True)
    ]
