"""Tables of genes and contexts: measured expression, or another model's predictions.

TSV, or CSV where the first line has commas and no tab; plain or gzipped. The first line names the
columns; the first column holds gene ids, the others one context each. Cells are numbers; an empty
cell, ``NA`` and ``NaN`` are missing values. Every cell is read with Python's ``float``, so a number
is the nearest float64 to what is written.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from seal_store.common.files import compression
from seal_store.errors import TrainingError
from seal_store.reference.gtf import without_version

MISSING = frozenset({"", "NA", "N/A", "NaN", "nan", "NAN"})


@dataclass(frozen=True)
class Matrix:
    """One table. ``values`` float64 ``(genes, contexts)``, NaN where missing.

    ``lines`` holds the 1-based line of each gene in ``path``, ``sha256`` is of the file's bytes.
    """

    path: Path
    gene_id: np.ndarray
    contexts: tuple[str, ...]
    values: np.ndarray
    lines: np.ndarray
    sha256: str = ""

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {str(gene): row for row, gene in enumerate(self.gene_id)}

    @cached_property
    def _row_of_versionless(self) -> dict[str, int]:
        """Rows by id without version, where only one row has it."""
        plain = [without_version(gene) for gene in self.gene_id.tolist()]
        count = Counter(plain)
        return {gene: row for row, gene in enumerate(plain) if count[gene] == 1}

    def rows(self, gene_id: np.ndarray) -> np.ndarray:
        """Row of each gene, int64, by its id or that without version; -1 where there is none."""
        others = self._row_of_versionless
        found = (
            self._row_of.get(gene, others.get(without_version(gene), -1))
            for gene in map(str, gene_id)
        )
        return np.array(list(found), np.int64)

    def of(self, gene_id: np.ndarray) -> np.ndarray:
        """Values ``(genes, contexts)`` of some genes; NaN for a gene that the table lacks."""
        rows = self.rows(gene_id)
        return np.where((rows >= 0)[:, None], self.values[rows], np.nan)


def read_matrix(path: str | Path, parameter: str, *, negative: bool = True) -> Matrix:
    """Read a table; ``parameter`` is the one to name if the file is not there.

    Raises :class:`TrainingError` with file, line and column if the file is missing, empty, not
    UTF-8, has a row of another length, a cell that is no finite number, a gene or a context
    twice or without a name, or (``negative`` false) a negative value.
    """
    path = Path(path)
    text = NumberedLines(path, "table", parameter)
    matrix = replace(_read(path, iter(text)), sha256=text.sha256)
    if not negative and (matrix.values < 0).any():
        row, column = np.argwhere(matrix.values < 0)[0]
        raise TrainingError(
            f"{_cell(path, matrix.lines[row], column, matrix.contexts)}: "
            f"{matrix.values[row, column]:g} is negative",
            "give expression on its linear scale (TPM, RPKM, counts), before any logarithm",
        )
    return matrix


class NumberedLines:
    """Lines of a text file and their numbers, from 1; blank lines are left out.

    ``sha256`` is of the bytes that they came from, once all were read: the file may be another
    one by then. Raises :class:`TrainingError` if it is not there, naming ``parameter``, or not
    UTF-8.
    """

    def __init__(self, path: Path, what: str, parameter: str) -> None:
        if not path.is_file():
            raise TrainingError(f"{what} not found: {path}", f"check `{parameter}`")
        self._path = path
        self.sha256 = ""

    def __iter__(self) -> Iterator[tuple[int, str]]:
        try:
            with self._path.open("rb", buffering=0) as raw:
                hashing = _Hashing(raw)
                plain = io.BufferedReader(hashing)
                is_packed = compression(plain.peek(18)[:18])
                whole: Any = gzip.GzipFile(fileobj=plain) if is_packed else plain
                for number, line in enumerate(io.TextIOWrapper(whole, "utf-8-sig"), 1):
                    if line.strip():
                        yield number, line.rstrip("\n")
                self.sha256 = hashing.digest.hexdigest()
        except UnicodeDecodeError as error:
            raise TrainingError(f"{self._path}: not UTF-8 text", "give a TSV or CSV") from error
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise TrainingError(
                f"{self._path}: damaged gzip ({error})", "fetch it again"
            ) from error


class _Hashing(io.RawIOBase):
    """Bytes of a file, hashed as they are read."""

    def __init__(self, raw: io.FileIO) -> None:
        super().__init__()
        self._raw, self.digest = raw, hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        length = self._raw.readinto(buffer)
        self.digest.update(memoryview(buffer)[:length])
        return length


def _read(path: Path, lines: Iterator[tuple[int, str]]) -> Matrix:
    first = next(lines, None)
    if first is None:
        raise TrainingError(f"{path}: empty file", "give a TSV with a header line")
    number, line = first
    split = _comma_separated if "\t" not in line and "," in line else _tab_separated
    contexts = _header(path, number, split(line))
    seen: dict[str, int] = {}
    values = []
    for number, line in lines:
        gene, *cells = split(line)
        if len(cells) != len(contexts):
            raise TrainingError(
                f"{path}:{number}: {len(cells) + 1} columns, the header has {len(contexts) + 1}",
                "the first column holds gene ids and is named gene_id"
                if len(cells) == len(contexts) + 1
                else "the file may be cut off here: fetch it again",
            )
        if not (gene := gene.strip()):
            raise TrainingError(f"{path}:{number}: empty gene id", "give every row its gene")
        if gene in seen:
            raise TrainingError(
                f"{path}:{number}: gene {gene!r} stands on line {seen[gene]} too",
                "keep one row a gene",
            )
        seen[gene] = number
        values.append(_numbers(path, number, cells, contexts))
    if not seen:
        raise TrainingError(f"{path}: no gene in this table", "give a row for each gene")
    return Matrix(
        path, np.array(list(seen)), contexts, np.stack(values), np.array([*seen.values()])
    )


def _tab_separated(line: str) -> list[str]:
    return line.split("\t")


def _comma_separated(line: str) -> list[str]:
    return next(csv.reader([line]))


def _header(path: Path, number: int, cells: list[str]) -> tuple[str, ...]:
    contexts = tuple(name.strip() for name in cells[1:])
    if not contexts:
        raise TrainingError(
            f"{path}:{number}: one column only", "expected gene_id and contexts, TSV or CSV"
        )
    for column, name in enumerate(contexts):
        if not name:
            raise TrainingError(
                f"{path}:{number}: column {column + 2} has no name", "name every context"
            )
        if name in contexts[:column]:
            raise TrainingError(
                f"{path}:{number}: column {column + 2} is named {name!r}, "
                f"as is column {contexts.index(name) + 2}",
                "context names must be unique",
            )
    return contexts


def _numbers(path: Path, line: int, cells: list[str], contexts: tuple[str, ...]) -> np.ndarray:
    """The values of a line; missing ones and faults are looked for only if some are there."""
    try:
        values = np.array(list(map(float, cells)))
        plain = "_" not in "".join(cells)  # float() takes 1_000 for a number
    except ValueError:
        plain = False
    if not plain:
        values = np.full(len(cells), np.nan)
        for column, cell in enumerate(map(str.strip, cells)):
            try:
                if "_" in cell:
                    raise ValueError(cell)
                if cell not in MISSING:
                    values[column] = float(cell)
            except ValueError:
                where = _cell(path, line, column, contexts)
                raise TrainingError(
                    f"{where}: {cells[column][:40]!r} is not a number",
                    "leave the cell empty or write NA if the value is missing",
                ) from None
    if np.isinf(values).any():
        column = int(np.flatnonzero(np.isinf(values))[0])
        raise TrainingError(
            f"{_cell(path, line, column, contexts)}: {cells[column]!r} is infinite",
            "leave the cell empty if the value is unknown",
        )
    return values


def _cell(path: Path, line: int, column: int, contexts: tuple[str, ...]) -> str:
    return f"{path}:{line}: column {column + 2} ({contexts[column]})"
