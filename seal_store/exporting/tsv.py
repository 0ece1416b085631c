"""TSV tables: effects as Seal writes them, reference expression."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, TextIO

import numpy as np

from seal_store.common.files import sync
from seal_store.common.output import TABLE, Output
from seal_store.common.plain import open_plain
from seal_store.common.progress import Progress, silent
from seal_store.errors import HeadsError, OutputError
from seal_store.exporting.cells import cell
from seal_store.exporting.kinds import file_at
from seal_store.model.contexts import select_contexts
from seal_store.model.labels import context_columns
from seal_store.results.group import PLACE_NAMES
from seal_store.results.heading import Heading
from seal_store.results.view import LABELS, LEADING, TSV_COLUMNS, View, leading
from seal_store.scoring.rows import Rows
from seal_store.store.layout import CALIBRATED, read
from seal_store.store.place import Place
from seal_store.store.store import Store

GENES_AT_ONCE = 1_024


class TsvWriter:
    """Writes Seal's table: eight columns and one per context, ``precision`` significant digits.

    Between these stand ``id``, ``status`` and the columns of ``heading`` but for the place in the
    input. Calibrated, the columns ``CONTEXT.quantile`` of all contexts and then ``CONTEXT.z`` of
    all come last. ``out`` is claimed, or has the ``state`` of an earlier writer.
    """

    def __init__(
        self,
        out: Output,
        heading: Heading,
        precision: int,
        state: dict[str, Any] | None = None,
    ) -> None:
        self.out, self.partial = out, out.partial
        self._path = self.partial / TABLE
        self._digest = hashlib.sha256()
        self._size = 0
        self._precision = precision
        self._more = [entry.name for entry in CALIBRATED] if heading.calibrated else []
        if state is None:
            self.partial.mkdir(exist_ok=True)
            self._handle: BinaryIO = self._path.open("wb")
            own = context_columns(heading.context_set, heading.context_name, LEADING)
            labels = [*own, *(f"{name}.{more}" for more in self._more for name in own)]
            columns = [entry.name for entry in heading.columns if entry.name not in PLACE_NAMES]
            first = (*TSV_COLUMNS, "id", "status", *columns)
            self._put("\t".join((*first, *map(cell, labels))) + "\n")
        else:
            self._handle = io.BufferedRandom(open_plain(self._path, write=True))
            self._go_on(state)

    def _go_on(self, state: dict[str, Any]) -> None:
        while block := self._handle.read(min(1 << 20, state["size"] - self._size)):
            self._digest.update(block)
            self._size += len(block)
        if self._size != state["size"] or self._digest.hexdigest() != state["sha256"]:
            self._handle.close()
            raise OutputError(
                f"{self._path} is not as the journal lists it", "start again with `overwrite=True`"
            )
        self._handle.truncate()

    def _put(self, text: str) -> None:
        data = text.encode()
        self._handle.write(data)
        self._digest.update(data)
        self._size += len(data)

    def write(self, rows: Rows) -> None:
        """Append rows."""
        blocks = [rows.effect, *(rows.calibrated[name] for name in self._more)]
        for line in _wide(leading(rows), blocks, self._precision):
            self._put(line)

    def state(self) -> dict[str, Any]:
        """Size and SHA-256 of what is on the disk."""
        if not self._handle.closed:
            self._handle.flush()
            sync(self._path)
        return {"size": self._size, "sha256": self._digest.hexdigest()}

    def publish(self, attributes: dict[str, Any]) -> None:
        """Close and rename into place (a TSV has no room for ``attributes``)."""
        self.state()
        self._handle.close()
        self.out.publish({TABLE: self.out.path.name})

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):  # what is buffered may not fit on the disk
            self._handle.close()


def write_tsv(
    view: View, handle: TextIO, *, precision: int = 6, progress: Progress = silent
) -> int:
    """Write a table of effects, wide or long; the number of lines below the header."""
    number, count = f"%.{precision}g", 0
    more = (*LABELS, *view.measures) if view.selection.is_long else view.value_columns
    handle.write("\t".join((*view.columns, *map(cell, more))) + "\n")
    labels = map(cell, view.context_set), map(cell, view.context_name)
    contexts = list(zip(*labels, strict=True))
    for block in view.blocks():
        if block.row is None or block.context is None:
            handle.writelines(_wide(block.columns, list(block.values.values()), precision))
        else:
            first = ["\t".join(map(cell, fields)) for fields in _lines(block.columns)]
            values = np.stack(list(block.values.values()), 1)
            lines = zip(block.row.tolist(), block.context.tolist(), values.tolist(), strict=True)
            for row, context, numbers in lines:
                shown = (number % value for value in numbers)
                handle.write("\t".join((first[row], *contexts[context], *shown)) + "\n")
        count += len(block)
        progress("rows", count, None)
    return count


def export_expression(
    store: Store,
    out: Place,
    *,
    genes: Sequence[str] = (),
    contexts: Sequence[str] = (),
    precision: int = 6,
    overwrite: bool = False,
) -> tuple[int, int]:
    """Write reference predictions, one gene a line; numbers of genes and contexts.

    ``genes`` are ids, ``contexts`` names as in :func:`seal_store.model.contexts.select_contexts`;
    all by default. Raises :class:`HeadsError` if the store has no heads.
    """
    if not store.head_sets:
        raise HeadsError(f"{store.path} has no heads", "add some with `seal-store heads add`")
    names, sets = store.contexts()
    keep = select_contexts(list(zip(sets.tolist(), names.tolist(), strict=True)), contexts)
    rows = np.array([store.gene(gene) for gene in dict.fromkeys(genes)] or range(len(store)))
    array = store.array("expression")
    text = f"%.{precision}g"
    with writing(out, overwrite=overwrite) as handle, store.standing():
        labels = context_columns(sets[keep].tolist(), names[keep].tolist())
        handle.write("\t".join(("gene_id", *map(cell, labels))) + "\n")
        for part in np.array_split(rows, -(-len(rows) // GENES_AT_ONCE)):
            values = read(array, part, orthogonal=True)[:, keep]
            for gene, line in zip(store.gene_id[part], values.tolist(), strict=True):
                handle.write("\t".join((cell(gene), *(text % value for value in line))) + "\n")
    return len(rows), len(keep)


@contextmanager
def writing(out: Place, *, overwrite: bool) -> Iterator[TextIO]:
    """A text file that stands under its name only once the block has ended well."""
    with file_at(out) as held:
        held.claim(overwrite=overwrite)
        held.partial.mkdir()
        with held[held.path.name].open("w", encoding="utf-8", newline="\n") as handle:
            yield handle
        held.publish()


def _wide(
    columns: dict[str, np.ndarray], blocks: Sequence[np.ndarray], precision: int
) -> Iterator[str]:
    """Lines of a wide table: the leading ``columns``, then the values of all ``blocks``."""
    values = np.concatenate(blocks, 1)
    numbers = "\t".join([f"%.{precision}g"] * values.shape[1]) + "\n"
    for fields, line in zip(_lines(columns), values, strict=True):
        yield "\t".join(map(cell, fields)) + "\t" + numbers % tuple(line.tolist())


def _lines(columns: dict[str, np.ndarray]) -> list[tuple[object, ...]]:
    """The leading fields of each line."""
    return list(zip(*(values.tolist() for values in columns.values()), strict=True))
