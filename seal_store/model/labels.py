"""Labels of the published model's contexts and features, from the package's own tables."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from seal_store.common.files import resource_table
from seal_store.errors import InputError, printable

FEATURE_COLUMNS = ("name", "assay_type", "factor", "cell_type", "treatment")
CONTEXT_COLUMNS = ("kind", "stage", "region", "cell_type")


def feature_labels(count: int, table: Path | None = None) -> dict[str, np.ndarray]:
    """Columns ``feature_*`` of a store: those of ``table``, if it is given.

    Otherwise the published labels for 2,002 features, and numbers for others. Raises as
    :func:`read_features`.
    """
    rows = resource_table("features") if table is None else read_features(table, count)
    if count != len(rows):
        rows = tuple(
            dict.fromkeys(FEATURE_COLUMNS, "") | {"name": f"feature_{i}"} for i in range(count)
        )
    return {f"feature_{c}": np.array([row[c] for row in rows]) for c in FEATURE_COLUMNS}


def read_features(path: Path, count: int) -> tuple[dict[str, str], ...]:
    """The labels of ``count`` features: a TSV with a header, one row a feature, in their order.

    It needs a column ``name``, unique; the other columns of :data:`FEATURE_COLUMNS` are empty
    where it lacks them, and further ones are not read. Raises :class:`InputError` for a file that
    is none of that, with the line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable text file", "check `features`") from error
    table = [dict(row) for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)]
    if not table or "name" not in table[0]:
        raise InputError(
            f"{path}: no table with a column 'name'",
            f"features: a TSV with the columns {', '.join(FEATURE_COLUMNS)}",
        )
    if len(table) != count:
        raise InputError(f"{path}: {len(table)} rows, the CNN has {count} features")
    rows = tuple({column: row.get(column) or "" for column in FEATURE_COLUMNS} for row in table)
    times = Counter(row["name"] for row in rows)
    for line, row in enumerate(rows, 2):
        if not row["name"] or times[row["name"]] > 1:
            what = f"name {printable(row['name'])!r} twice" if row["name"] else "no name"
            raise InputError(f"{path}:{line}: {what}", "each feature needs a name of its own")
        if not all(value.isprintable() for value in row.values()):
            raise InputError(f"{path}:{line}: a label with control characters")
    return rows


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


def harmonised_stage(stage: str) -> str:
    """A developmental stage in the one spelling for all published sets; empty for an empty one.

    These are early_fetal (of all its parts), mid_fetal, late_fetal, fetal (of a set that tells no
    part), neonatal, infancy, childhood, adolescence and adulthood.
    """
    found = stage.partition("/")[0].lower()
    return "adulthood" if found == "adult" else found
