"""Tables of effects for data frames: Parquet and Arrow IPC (``.arrow``, ``.feather``).

The columns and values are those of the TSV; text that repeats is dictionary-encoded, effects are
float32. The schema's metadata hold the attributes of the results. Importing this needs pyarrow.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from seal_store.common.progress import Progress, silent
from seal_store.results.group import ATTRIBUTE, Results
from seal_store.results.view import COLUMN_OF, LABELS, Block, Scored, View
from seal_store.store.layout import CALIBRATED, LIFTED, NAMED, RESULTS, SOURCE, spec

GROUP_BYTES = 64 << 20
"""Size of a row group before compression, about."""

GROUP_LINES = 1 << 17
"""Most lines of a row group."""

_REPEATED = (
    *("chrom", "gene_strand", "gene_id", "input_chrom", "gene_symbol"),
    *("source_contig", "liftover", "status"),
)
"""Leading columns that are dictionaries."""


def write_columns(view: View, path: Path, progress: Progress = silent) -> int:
    """Write Parquet, or by any other ending an Arrow IPC file (Feather 2); the number of lines.

    Both are compressed by zstd, in row groups or record batches of bounded size.
    """
    table = _Table(view)
    count = 0
    with _writer(path, path.suffix, table.schema) as writer:
        for group in table.groups():
            writer.write_table(group)
            count += len(group)
            progress("rows", count, None)
    return count


def write_lines(
    parts: Iterator[dict[str, np.ndarray]],
    path: Path,
    ending: str,
    about: Mapping[str, str],
    progress: Progress = silent,
) -> int:
    """Write columns, a part at a time, as :func:`write_columns`; the lines.

    Without any part nothing is written. ``about`` are the schema's metadata.
    """
    if (part := next(parts, None)) is None:
        return 0
    first = _plain_table(part, about)
    count = 0
    with _writer(path, ending, first.schema) as writer:
        for table in chain([first], (_plain_table(part, about) for part in parts)):
            writer.write_table(table)
            count += len(table)
            progress("lines", count, None)
    return count


def _plain_table(columns: Mapping[str, np.ndarray], about: Mapping[str, str]) -> pa.Table:
    arrays = {
        name: pa.array(values.tolist(), pa.string()) if values.dtype.kind in "UTO" else values
        for name, values in columns.items()
    }
    return pa.table(arrays, metadata=dict(about))


def metadata_of(results: Scored) -> dict[str, str]:
    """What the schema says of results: their attributes."""
    return {ATTRIBUTE: json.dumps(results.attributes.to_dict())}


def _writer(path: Path, ending: str, schema: pa.Schema) -> Any:
    """A writer of Parquet or, by another ``ending``, an Arrow IPC file."""
    if ending != ".parquet":
        zstd = pa.ipc.IpcWriteOptions(compression="zstd")
        return pa.ipc.new_file(str(path), schema, options=zstd)
    numbers = ("float", "int", "bool")
    repeated = [f.name for f in schema if not str(f.type).startswith(numbers)]
    return pq.ParquetWriter(str(path), schema, compression="zstd", use_dictionary=repeated)


class _Table:
    """A view as Arrow tables of one schema, with the same dictionaries throughout."""

    def __init__(self, view: View) -> None:
        self.view = view
        self._words = {name: self._values(name) for name in _REPEATED if name in view.columns}
        self._codes = {}
        for name, own in zip(LABELS, (view.context_set, view.context_name), strict=True):
            self._words[name], codes = np.unique(np.array(own, np.str_), return_inverse=True)
            self._codes[name] = codes.astype(np.int32)
        words = self._words.items()
        self._dictionaries = {name: pa.array(own.tolist(), pa.string()) for name, own in words}
        self.schema: pa.Schema = self._schema()

    def _values(self, name: str) -> np.ndarray:
        """The different values of a leading column, sorted."""
        if name == "gene_strand":
            return np.array(["+", "-"])
        found: set[str] = set()
        results, column = self.view.results, COLUMN_OF.get(name, name)
        assert isinstance(results, Results)
        for start in range(0, len(results), GROUP_LINES):
            found.update(results.labels(column, slice(start, start + GROUP_LINES)).tolist())
        return np.array(sorted(found), np.str_)

    def _schema(self) -> pa.Schema:
        category, number = pa.dictionary(pa.int32(), pa.string()), pa.float32()
        fields = [
            pa.field(name, category if name in _REPEATED else _arrow_type(name))
            for name in self.view.columns
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
        return pa.schema(fields, metadata_of(self.view.results))

    def groups(self) -> Iterator[pa.Table]:
        """Tables of a row group's size."""
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
        return pa.DictionaryArray.from_arrays(pa.array(codes), self._dictionaries[name])


def _unit(measure: str) -> dict[str, str]:
    return {"unit": spec((*RESULTS, *CALIBRATED), measure).unit}


def _arrow_type(column: str) -> pa.DataType:
    dtype = spec((*RESULTS, *NAMED, SOURCE, *LIFTED), COLUMN_OF.get(column, column)).dtype
    return pa.string() if dtype == "str" else pa.from_numpy_dtype(dtype)
