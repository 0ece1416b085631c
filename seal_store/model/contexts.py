"""Contexts by name, or by their labels: ``stage=childhood region=DFC``.

A query has terms ``KEY=VALUE`` between blanks, and a context fits if it fits all of them. A value
may hold blanks, and several values are separated by commas. Case does not matter. A stage fits by
its published and its harmonised spelling, a region by its name and by its code.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from functools import cache

import numpy as np

from seal_store.common.files import resource_table
from seal_store.common.words import listed, nearest
from seal_store.errors import HeadsError, printable
from seal_store.model.labels import harmonised_stage

KEYS = ("set", "kind", "stage", "region", "cell_type", "cell_state")
_TERM = re.compile(rf"(?:^|\s+)({'|'.join(KEYS)})=", re.IGNORECASE)
LISTED = "`seal-store heads list STORE --contexts` prints their names"
SHOWN = 40
"""Known values that a message names."""

Context = tuple[str, str]
"""Head set and name."""


def select_contexts(names: Sequence[tuple[str, str]], wanted: Sequence[str]) -> np.ndarray:
    """Positions, ascending, of the contexts asked for: each ``name``, ``set:name`` or a query.

    Raises :class:`HeadsError` for what is not there. Without any, all are chosen.
    """
    if not wanted:
        return np.arange(len(names))
    by_label: dict[str, set[int]] = defaultdict(set)
    for i, (head_set, name) in enumerate(names):
        by_label[name].add(i)
        by_label[f"{head_set}:{name}"].add(i)
    for label in wanted:
        if label not in by_label and _TERM.match(label):
            by_label[label] = matching(names, label)
        elif label not in by_label:
            raise HeadsError(
                f"no context {label!r} in the chosen head sets",
                nearest(label, (f"{s}:{n}" if ":" in label else n for s, n in names))
                + f"{LISTED}; by label ({', '.join(KEYS)}) they are chosen as in "
                "'stage=childhood region=DFC'",
            )
    return np.array(sorted(set().union(*(by_label[label] for label in wanted))))


def matching(contexts: Sequence[Context], query: str) -> set[int]:
    """Positions of the ``contexts`` that fit ``query``.

    Raises :class:`HeadsError` for a value that none has, with those that there are, and if none
    fits all terms.
    """
    labels = [_labels(context) for context in contexts]
    found = set(range(len(contexts)))
    for key, values in terms(query):
        fits: set[int] = set()
        for value in values:
            own = {i for i, label in enumerate(labels) if value in map(str.casefold, label[key])}
            if not own:
                known = sorted({label[key][-1] for label in labels if label[key]})
                raise HeadsError(
                    f"no context has {key}={printable(value)}",
                    f"there are {listed(known, SHOWN)}" if known else "none has any",
                )
            fits |= own
        found &= fits
    if not found:
        raise HeadsError(
            f"no context fits all of {printable(query)!r}",
            f"leave a term out; {LISTED}, `seal_store.open(STORE).context_frame()` their labels",
        )
    return found


def terms(query: str) -> list[tuple[str, list[str]]]:
    """Each key of ``query`` and its values, in lower case."""
    _, *parts = _TERM.split(query.strip())
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return [
        (key.casefold(), [value.strip().casefold() for value in values.split(",")])
        for key, values in pairs
    ]


@cache
def _published() -> dict[Context, dict[str, str]]:
    return {(row["head_set"], row["name"]): row for row in resource_table("contexts")}


def _labels(context: Context) -> dict[str, tuple[str, ...]]:
    """Spellings of each label of a context, the one to show last; none for an unknown one."""
    row = _published().get(context, {})
    stage = row.get("stage", "")
    found: dict[str, tuple[str, ...]] = {
        key: (row.get(key, ""),) for key in ("kind", "cell_type", "cell_state")
    }
    found |= {
        "set": (context[0],),
        "stage": (stage, harmonised_stage(stage)),
        "region": (row.get("region", ""), row.get("region_code", "")),
    }
    return {key: tuple(filter(None, spellings)) for key, spellings in found.items()}
