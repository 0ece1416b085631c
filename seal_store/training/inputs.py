"""Features to train on (decay sums of genes): a store's ``aggregated``, or Seal's own NPY.

Either way they are in memory once: an NPY is mapped, not read, and of a store only the genes asked
for are read, straight into their place. Batches are gathered from that one matrix.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seal_store.common.progress import Progress, silent
from seal_store.errors import TrainingError
from seal_store.reference.gene_files import read_genes
from seal_store.reference.gene_table import GeneTable
from seal_store.store.store import Store

GENES_AT_ONCE = 64
"""Rows copied or hashed at once."""


@dataclass(frozen=True)
class Features:
    """Decay sums of some genes. ``matrix`` float32 ``(rows, inputs)``, gene i in ``rows[i]``.

    ``rows`` is int64 ``(genes,)``; ``sha256`` covers the genes' values in their order.
    """

    matrix: Tensor
    rows: Tensor
    sha256: str

    def to(self, device: torch.device) -> Features:
        """The same on another device; to CUDA only the genes' rows, a few at a time."""
        if device.type == self.matrix.device.type:
            return self
        matrix = torch.empty(
            (len(self.rows), self.matrix.shape[1]), device=device, dtype=torch.float32
        )
        for start in range(0, len(matrix), GENES_AT_ONCE):
            part = slice(start, start + GENES_AT_ONCE)
            matrix[part] = self.matrix[self.rows[part]].to(device)
        return Features(matrix, torch.arange(len(self.rows), device=device), self.sha256)


@dataclass(frozen=True)
class Source:
    """Where decay sums come from: ``genes`` in the order of its rows, ``inputs`` a gene."""

    genes: GeneTable
    inputs: int
    store: Store | None = None
    mapped: np.ndarray | None = None
    path: Path = Path()

    @property
    def cnn(self) -> str:
        """SHA-256 of the CNN that the features are of; empty for an NPY."""
        return self.store.attributes.cnn.sha256 if self.store is not None else ""

    def read(self, rows: np.ndarray, progress: Progress = silent) -> Features:
        """Decay sums of the genes in ``rows``, ascending.

        Raises :class:`TrainingError` naming the first gene whose values are not finite.
        """
        if self.mapped is not None:
            matrix, index = self.mapped, rows
        else:
            matrix = np.empty((len(rows), self.inputs), np.float32)
            index = np.arange(len(rows))
            assert self.store is not None
            with self.store.standing():
                self._fill(matrix, rows, progress)
        digest = hashlib.sha256()
        for start in range(0, len(rows), GENES_AT_ONCE):
            part = matrix[index[start : start + GENES_AT_ONCE]]
            finite = np.isfinite(part).all(1)
            if not finite.all():
                row = rows[start + int(np.flatnonzero(~finite)[0])]
                raise TrainingError(
                    f"{self.path}: NaN or infinite values for gene {self.genes.gene_id[row]} "
                    f"(row {row}, counted from 0)",
                    "make these features again",
                )
            digest.update(part.data)
        return Features(
            torch.from_numpy(matrix), torch.from_numpy(index.astype(np.int64)), digest.hexdigest()
        )

    def _fill(self, matrix: np.ndarray, rows: np.ndarray, progress: Progress) -> None:
        assert self.store is not None
        done = 0
        shard = self.store.attributes.genes_per_shard
        for start in range(0, len(self.genes), shard):
            own = rows[(rows >= start) & (rows < start + shard)]
            if len(own):
                values = self.store.aggregated(slice(start, int(own[-1]) + 1))
                matrix[done : done + len(own)] = values.reshape(len(values), -1)[own - start]
                done += len(own)
                progress("genes read", done, len(rows))


def open_source(
    store: Path | None = None, features: Path | None = None, genes: Path | None = None
) -> Source:
    """Training features from a ``store``, or from an NPY ``features`` with its ``genes``.

    The NPY is float32 ``(genes, inputs)``, rows in the order of the gene table. Raises
    :class:`TrainingError` if it is something else, :class:`GeneTableError` for the table, and
    :class:`StoreError` for the store.
    """
    if store is not None and features is not None:
        raise TrainingError("`store` and `features` exclude each other", "give one of them")
    if store is not None:
        opened = Store(store)
        return Source(
            computed_genes(opened),
            int(np.prod(opened.array("aggregated").shape[1:])),
            store=opened,
            path=Path(store),
        )
    if features is None or genes is None:
        raise TrainingError("no features to train on", "give `store`, or `features` and `genes`")
    table = read_genes(genes)
    mapped = _map(Path(features))
    if len(mapped) != len(table):
        raise TrainingError(
            f"{features}: {len(mapped)} rows, but {genes} has {len(table)} genes",
            "give the gene table whose order the rows have",
        )
    return Source(table, mapped.shape[1], mapped=mapped, path=Path(features))


def computed_genes(store: Store) -> GeneTable:
    """The genes that a store has decay sums of, in the order of its ``gene`` dimension."""
    names = ("gene_id", "gene_symbol", "contig", "strand", "tss", "gene_type")
    return GeneTable(*(store.column(name) for name in names))


def _map(path: Path) -> np.ndarray:
    if not path.is_file():
        raise TrainingError(f"features not found: {path}", "check `features`")
    try:
        with path.open("rb") as handle:
            version = np.lib.format.read_magic(handle)
            old = version == (1, 0)
            formats = np.lib.format
            header = formats.read_array_header_1_0 if old else formats.read_array_header_2_0
            shape, by_columns, dtype = header(handle)
            offset = handle.tell()
    except (ValueError, OSError, EOFError) as error:
        raise TrainingError(
            f"{path}: not an NPY file ({str(error).splitlines()[0][:120]})",
            "give the array as np.save writes it",
        ) from error
    if len(shape) != 2 or dtype != np.float32 or by_columns:
        raise TrainingError(
            f"{path}: {dtype} of shape {shape}, expected float32 (genes, inputs)",
            "save it with np.save(path, np.ascontiguousarray(values, np.float32))",
        )
    expected = offset + 4 * shape[0] * shape[1]
    if path.stat().st_size != expected or not all(shape):
        raise TrainingError(
            f"{path}: {path.stat().st_size} bytes, {expected} expected for {shape[0]} genes with "
            f"{shape[1]} inputs",
            "fetch it again and compare its size",
        )
    # copy on write: torch warns about arrays that it may not write to
    return np.memmap(path, np.float32, "c", offset, shape)
