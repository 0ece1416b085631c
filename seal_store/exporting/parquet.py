"""Tables of effects for data frames: Parquet and Arrow IPC (``.arrow``, ``.feather``).

The columns and values are those of the TSV; text that repeats is dictionary-encoded, effects are
float32. The schema's metadata hold the attributes of the results.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seal_store.common.extras import require
from seal_store.common.progress import Progress, silent
from seal_store.results.group import ATTRIBUTE
from seal_store.results.view import LABELS, Block, View
from seal_store.store.layout import CALIBRATED, RESULTS, spec

if TYPE_CHECKING:
    import pyarrow as pa

GROUP_BYTES = 64 << 20
"""Size of a row group before compression, about."""

GROUP_LINES = 1 << 17
"""Most lines of a row group."""

_NUMBERS = {
    "pos": "int64",
    "dist_to_tss": "int64",
    "reference_genome_match": "bool",
    "source_pos": "int64",
}
_REPEATED = {
    "chrom": "contig",
    "gene_strand": "",
    "gene_id": "gene_id",
    "source_contig": "source_contig",
    "liftover": "liftover",
}
"""Leading columns that are dictionaries, and the results' columns of their values."""


def write_parquet(view: View, path: Path, progress: Progress = silent) -> int:
    """Write Parquet: zstd, row groups of bounded size; the number of lines.

    Raises :class:`seal_store.errors.MissingExtraError` without pyarrow.
    """
    require("parquet", "writing Parquet")
    import pyarrow.parquet as pq

    table = _Table(view)
    repeated = [
        f.name for f in table.schema if not str(f.type).startswith(("float", "int", "bool"))
    ]
    options: dict[str, Any] = {"compression": "zstd", "use_dictionary": repeated}
    with pq.ParquetWriter(str(path), table.schema, **options) as writer:
        return _each(table, writer.write_table, progress)


def write_arrow(view: View, path: Path, progress: Progress = silent) -> int:
    """Write an Arrow IPC file (Feather 2): zstd, record batches of bounded size; the lines.

    Raises :class:`seal_store.errors.MissingExtraError` without pyarrow.
    """
    require("parquet", "writing Arrow")
    import pyarrow as pa

    table = _Table(view)
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(str(path), table.schema, options=options) as writer:
        return _each(table, lambda group: writer.write_table(group, GROUP_LINES), progress)


def _each(table: _Table, write: Any, progress: Progress) -> int:
    count = 0
    for group in table.groups():
        write(group)
        count += len(group)
        progress("rows", count, None)
    return count


class _Table:
    """A view as Arrow tables of one schema, with the same dictionaries throughout."""

    def __init__(self, view: View) -> None:
        import pyarrow as pa

        self.view = view
        words = {
            name: self._values(column) for name, column in _REPEATED.items() if name in view.columns
        }
        words["context_set"] = np.unique(np.array(view.context_set, np.str_))
        words["context"] = np.unique(np.array(view.context_name, np.str_))
        self._words = words
        self._codes = {
            "context_set": self._code("context_set", np.array(view.context_set, np.str_)),
            "context": self._code("context", np.array(view.context_name, np.str_)),
        }
        self._dictionaries = {n: pa.array(v.tolist(), pa.string()) for n, v in words.items()}
        self.schema: pa.Schema = self._schema()

    def _values(self, column: str) -> np.ndarray:
        """The different values of a column of the results, sorted."""
        if not column:
            return np.array(["+", "-"])
        found: set[str] = set()
        for start in range(0, len(self.view.results), GROUP_LINES):
            found.update(
                self.view.results.labels(column, slice(start, start + GROUP_LINES)).tolist()
            )
        return np.array(sorted(found), np.str_)

    def _schema(self) -> pa.Schema:
        import pyarrow as pa

        category, number = pa.dictionary(pa.int32(), pa.string()), pa.float32()
        fields = [
            pa.field(n, category if n in _REPEATED else getattr(pa, _arrow(n))())
            for n in self.view.columns
        ]
        if self.view.selection.is_long:
            fields += [pa.field(name, category) for name in LABELS]
            fields += [pa.field(m, number, metadata=_unit(m)) for m in self.view.measures]
        else:
            contexts = list(zip(self.view.context_set, self.view.context_name, strict=True))
            kinds = [(m, *context) for m in self.view.measures for context in contexts]
            for label, (measure, head_set, name) in zip(
                self.view.value_columns, kinds, strict=True
            ):
                more = {**_unit(measure), "context_set": head_set, "context": name}
                fields.append(pa.field(label, number, metadata=more))
        return pa.schema(fields, {ATTRIBUTE: json.dumps(self.view.results.attributes.to_dict())})

    def groups(self) -> Iterator[pa.Table]:
        """Tables of a row group's size."""
        import pyarrow as pa

        line = 4 * len(self.schema) + 64
        most = max(1, min(GROUP_LINES, GROUP_BYTES // line))
        held: list[pa.RecordBatch] = []
        length = 0
        for block in self.view.blocks():
            batch = self._batch(block)
            while length + len(batch) >= most:
                cut = most - length
                held.append(batch.slice(0, cut))
                yield pa.Table.from_batches(held, self.schema).combine_chunks()
                held, length, batch = [], 0, batch.slice(cut)
            held.append(batch)
            length += len(batch)
        if length:
            yield pa.Table.from_batches(held, self.schema).combine_chunks()

    def _batch(self, block: Block) -> pa.RecordBatch:
        import pyarrow as pa

        arrays = []
        for name, values in block.columns.items():
            if name in _REPEATED:
                array = self._coded(name, self._code(name, values))
            else:
                array = pa.array(values.tolist(), self.schema.field(name).type)
            arrays.append(array if block.row is None else array.take(pa.array(block.row)))
        if block.context is None:
            for values in block.values.values():
                arrays += [pa.array(np.ascontiguousarray(column)) for column in values.T]
        else:
            for name in LABELS:
                arrays.append(self._coded(name, self._codes[name][block.context]))
            arrays += [pa.array(values) for values in block.values.values()]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _code(self, name: str, values: np.ndarray) -> np.ndarray:
        return np.searchsorted(self._words[name], values).astype(np.int32)

    def _coded(self, name: str, codes: np.ndarray) -> pa.Array:
        import pyarrow as pa

        return pa.DictionaryArray.from_arrays(pa.array(codes), self._dictionaries[name])


def _unit(measure: str) -> dict[str, str]:
    return {"unit": spec((*RESULTS, *CALIBRATED), measure).unit}


def _arrow(column: str) -> str:
    return {"bool": "bool_"}.get(_NUMBERS.get(column, "string"), _NUMBERS.get(column, "string"))
