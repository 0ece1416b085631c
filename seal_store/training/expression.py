"""Tables of genes and contexts as TSV: measured expression, or another model's predictions.

The first line names the columns; the first column holds gene ids, the others one context each.
Cells are numbers; an empty cell, ``NA`` and ``NaN`` are missing values. Every cell is read with
Python's ``float``, so a number is the nearest float64 to what is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from seal_store.errors import TrainingError

MISSING = frozenset({"", "NA", "N/A", "NaN", "nan", "NAN"})


@dataclass(frozen=True)
class Matrix:
    """One table. ``values`` float64 ``(genes, contexts)``, NaN where missing.

    ``lines`` holds the 1-based line of each gene in ``path``.
    """

    path: Path
    gene_id: np.ndarray
    contexts: tuple[str, ...]
    values: np.ndarray
    lines: np.ndarray

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {str(gene): row for row, gene in enumerate(self.gene_id)}

    def rows(self, gene_id: np.ndarray) -> np.ndarray:
        """Row of each gene, int64; -1 where the table has none."""
        return np.array([self._row_of.get(str(gene), -1) for gene in gene_id], np.int64)

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
    matrix = _read(path, numbered_lines(path, "table", parameter))
    if not negative and (matrix.values < 0).any():
        row, column = np.argwhere(matrix.values < 0)[0]
        raise TrainingError(
            f"{_cell(path, matrix.lines[row], column, matrix.contexts)}: "
            f"{matrix.values[row, column]:g} is negative",
            "give expression on its linear scale (TPM, RPKM, counts), before any logarithm",
        )
    return matrix


def numbered_lines(path: Path, what: str, parameter: str) -> Iterator[tuple[int, str]]:
    """Lines of a text file and their numbers, from 1; blank lines are left out.

    Raises :class:`TrainingError` if it is not there, naming ``parameter``, or not UTF-8.
    """
    if not path.is_file():
        raise TrainingError(f"{what} not found: {path}", f"check `{parameter}`")
    try:
        with path.open(encoding="utf-8-sig") as handle:
            for number, line in enumerate(handle, 1):
                if line.strip():
                    yield number, line.rstrip("\n")
    except UnicodeDecodeError as error:
        raise TrainingError(f"{path}: not UTF-8 text", "give a TSV, uncompressed") from error


def _read(path: Path, lines: Iterator[tuple[int, str]]) -> Matrix:
    first = next(lines, None)
    if first is None:
        raise TrainingError(f"{path}: empty file", "give a TSV with a header line")
    contexts = _header(path, *first)
    seen: dict[str, int] = {}
    values = []
    for number, line in lines:
        gene, *cells = line.split("\t")
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


def _header(path: Path, number: int, line: str) -> tuple[str, ...]:
    contexts = tuple(name.strip() for name in line.split("\t")[1:])
    if not contexts:
        raise TrainingError(
            f"{path}:{number}: one column only", "expected tab-separated gene_id and contexts"
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
