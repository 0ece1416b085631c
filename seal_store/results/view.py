"""Selections of results as tables: which contexts and rows, wide or long."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from seal_store.common.progress import Progress, silent
from seal_store.common.typed import conform
from seal_store.errors import InputError
from seal_store.model.contexts import select_contexts
from seal_store.model.labels import context_columns
from seal_store.results.attributes import ResultsAttributes
from seal_store.scoring.rows import Rows
from seal_store.store.layout import CALIBRATED, LIFTED, NAMED, SOURCE

COLUMN_OF = {
    "chrom": "contig",
    "pos": "pos",
    "ref": "ref",
    "alt": "alt",
    "gene_strand": "strand",
    "gene_id": "gene_id",
    "dist_to_tss": "dist_to_tss",
    "reference_genome_match": "ref_match",
}
"""The leading columns of every table, as Seal writes them: what results call each."""

TSV_COLUMNS = tuple(COLUMN_OF)

MORE_COLUMNS = ("id", "status", *(entry.name for entry in (*NAMED, SOURCE, *LIFTED)))
"""What follows them; older results lack those of ``NAMED``, and only lifted ones have the last."""

LEADING = (*TSV_COLUMNS, *MORE_COLUMNS)
"""Names that no context's column has."""

LABELS = ("context_set", "context")
"""What follows them in a long table, before the measures."""

LONG_LINES = 1 << 16
"""Lines of a long table at once."""


@dataclass(frozen=True)
class Selection:
    """What to show; everything by default.

    ``contexts`` are names as in :func:`seal_store.model.contexts.select_contexts`. ``min_effect``
    keeps a variant and gene if the effect on any chosen context is at least that large, either
    sign. ``top`` keeps the so many strongest chosen contexts of each variant and gene, strongest
    first (ties in the order of the contexts), and makes a table long. ``long`` gives one line for
    each variant, gene and context instead of one column for each context.
    """

    contexts: Sequence[str] = ()
    min_effect: float = 0.0
    top: int | None = None
    long: bool = False

    def __post_init__(self) -> None:
        conform(self)
        if not self.min_effect >= 0:
            raise InputError(f"`min_effect` {self.min_effect}: not zero or more")
        if self.top is not None and self.top < 1:
            raise InputError(f"`top` {self.top}: not positive")

    @property
    def is_long(self) -> bool:
        """Whether a table has one line for each context."""
        return self.long or self.top is not None


EVERYTHING = Selection()


@dataclass(frozen=True)
class Block:
    """Lines of a table.

    ``columns`` are the leading ones of a view, one entry a variant and gene. ``values``
    has ``effect`` and, of calibrated results, ``quantile`` and ``z``. Wide: each is float32
    ``(variants, contexts)``. Long: each is ``(lines,)``, ``row`` says which entry of the columns
    a line belongs to and ``context`` which of the view's contexts.
    """

    columns: dict[str, np.ndarray]
    values: dict[str, np.ndarray]
    row: np.ndarray | None = None
    context: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.values["effect"])


class Scored(Protocol):
    """What a view needs of results: a group, or what is just being computed."""

    @property
    def attributes(self) -> ResultsAttributes: ...  # noqa: D102

    @property
    def more_columns(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def is_calibrated(self) -> bool: ...  # noqa: D102

    def contexts(self) -> tuple[list[str], list[str]]: ...  # noqa: D102

    def batches(self) -> Iterator[Rows]: ...  # noqa: D102


class View:
    """A selection of results.

    Raises :class:`seal_store.errors.HeadsError` for a context that is not there.
    """

    def __init__(self, results: Scored, selection: Selection = EVERYTHING) -> None:
        names, sets = results.contexts()
        self.results, self.selection = results, selection
        keep = select_contexts(list(zip(sets, names, strict=True)), selection.contexts)
        self._keep = keep if len(keep) < len(names) else None
        self.context_name = [names[i] for i in keep]
        self.context_set = [sets[i] for i in keep]
        self.labels = context_columns(self.context_set, self.context_name, LEADING)
        calibrated = [entry.name for entry in CALIBRATED] if results.is_calibrated else []
        self.measures = ("effect", *calibrated)
        self.value_columns = [
            *self.labels,
            *(f"{label}.{measure}" for measure in calibrated for label in self.labels),
        ]
        self.columns = leading_columns(results)

    def effect(self, rows: Rows) -> np.ndarray:
        """Effects of ``rows`` on the chosen contexts."""
        return self._chosen(rows.effect)

    def blocks(self) -> Iterator[Block]:
        """The whole table, in parts of bounded size."""
        for rows in self.results.batches():
            columns, values = leading(rows), self._values(rows)
            if self.selection.min_effect > 0:
                kept = np.abs(values["effect"]).max(1, initial=0) >= self.selection.min_effect
                columns, values = _part(columns, kept), _part(values, kept)
            if not self.selection.is_long:
                yield Block(columns, values)
                continue
            step = max(1, LONG_LINES // max(1, len(self.labels)))
            for start in range(0, len(values["effect"]), step):
                part = slice(start, start + step)
                yield self._long(_part(columns, part), _part(values, part))

    def _values(self, rows: Rows) -> dict[str, np.ndarray]:
        more = (rows.calibrated[name] for name in self.measures[1:])
        return dict(zip(self.measures, map(self._chosen, (rows.effect, *more)), strict=True))

    def _chosen(self, values: np.ndarray) -> np.ndarray:
        return values if self._keep is None else values[:, self._keep]

    def _long(self, columns: dict[str, np.ndarray], values: dict[str, np.ndarray]) -> Block:
        order = strongest(values["effect"], self.selection.top)
        row = np.repeat(np.arange(len(order)), order.shape[1])
        context = order.ravel()
        long = {name: value[row, context] for name, value in values.items()}
        return Block(columns, long, row, context)


def _part(arrays: dict[str, np.ndarray], part: slice | np.ndarray) -> dict[str, np.ndarray]:
    return {name: values[part] for name, values in arrays.items()}


def strongest(effect: np.ndarray, top: int | None) -> np.ndarray:
    """Contexts of each row of ``effect``, int64 ``(rows, top)``: the largest in size first.

    Ties stay in the order of the contexts. Without ``top`` all, in their own order.
    """
    if top is None:
        return np.broadcast_to(np.arange(effect.shape[1]), effect.shape)
    return np.argsort(-np.abs(effect), axis=1, kind="stable")[:, :top]


def largest(
    results: Scored, contexts: np.ndarray | slice = slice(None), progress: Progress = silent
) -> np.ndarray:
    """The largest effect in size of each row over ``contexts`` (positions), float32 ``(rows,)``.

    Memory does not grow with the contexts.
    """
    parts, done = [np.zeros(0, np.float32)], 0
    for rows in results.batches():
        parts.append(np.abs(rows.effect[:, contexts]).max(1, initial=0))
        done += len(rows)
        progress("rows looked at", done, results.attributes.counts.rows)
    return np.concatenate(parts)


def leading_columns(results: Scored) -> tuple[str, ...]:
    """Names of the columns before those of the contexts."""
    return (*TSV_COLUMNS, "id", "status", *results.more_columns)


def leading(rows: Rows) -> dict[str, np.ndarray]:
    """The columns before those of the contexts, by name; positions are 1-based."""
    shown = as_shown(rows.columns)
    return {name: shown[name] for name in LEADING if name in shown}


def as_shown(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Columns of results under the names, and strands with the signs, that tables have."""
    named = {own: name for name, own in COLUMN_OF.items()}
    shown = {named.get(own, own): values for own, values in columns.items()}
    shown["gene_strand"] = np.where(shown["gene_strand"] > 0, "+", "-")
    return shown
