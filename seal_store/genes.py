"""Gene tables -> TSSs; the nearest TSS of a position; all genes within a distance.

A TSS is the 1-based position of the CAGE representative TSS. Three formats are read:

* BED as Seal's, 5 columns: chrom, start, end, strand, gene id;
* BED6: chrom, start, end, gene id, score, strand;
* geneanno CSV with a header: ``id, symbol, seqnames, strand, CAGE_representative_TSS, type``.

In a BED of 1 bp features the end coordinate is the TSS; a longer BED6 feature has its TSS at its
5' end.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
from ncls import NCLS

from seal_store.contigs import resolve_contig
from seal_store.errors import GeneTableError

STRANDS = {"+": 1, "-": -1}
CSV_COLUMNS = ("id", "symbol", "seqnames", "strand", "CAGE_representative_TSS", "type")


@dataclass(frozen=True)
class GeneTable:
    """Genes in the order of their file, one row a gene.

    ``tss`` int64, 1-based; ``strand`` int8, +1 or -1; the others are arrays of str.
    """

    gene_id: np.ndarray
    symbol: np.ndarray
    contig: np.ndarray
    strand: np.ndarray
    tss: np.ndarray
    gene_type: np.ndarray

    def __len__(self) -> int:
        return len(self.gene_id)

    @cached_property
    def _by_contig(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Per contig the rows sorted by TSS (stable: file order within one TSS), and the TSSs."""
        order = np.lexsort((self.tss, self.contig))
        names, starts = np.unique(self.contig[order], return_index=True)
        return {
            str(name): (rows, self.tss[rows])
            for name, rows in zip(names, np.split(order, starts[1:]), strict=True)
        }

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {str(gene): row for row, gene in enumerate(self.gene_id)}

    @cached_property
    def _trees(self) -> dict[str, NCLS]:
        return {
            name: NCLS(tss.astype(np.int64), tss.astype(np.int64) + 1, rows.astype(np.int64))
            for name, (rows, tss) in self._by_contig.items()
        }

    def contig_name(self, name: str) -> str | None:
        """This table's spelling of a contig, with or without ``chr``; None if it has no gene."""
        return resolve_contig(name, self._by_contig)

    def row(self, gene_id: str) -> int:
        """Row of a gene. Raises :class:`GeneTableError` if it is not in the table."""
        try:
            return self._row_of[gene_id]
        except KeyError:
            raise GeneTableError(
                f"gene {gene_id!r} is not in the gene table", "give the id as the table spells it"
            ) from None

    def nearest(self, contig: str, position: int) -> int | None:
        """Row of the gene whose TSS is nearest to 1-based ``position``; None without genes there.

        Ties as in Seal's ``closest-features --closest``: at equal distance the left TSS; among
        genes with the same TSS the last row on the left or at the position itself, the first
        row on the right.
        """
        if contig not in self._by_contig:
            return None
        rows, tss = self._by_contig[contig]
        right = int(np.searchsorted(tss, position, side="right"))
        if right == len(tss):
            return int(rows[right - 1])
        if right == 0 or tss[right] - position < position - tss[right - 1]:
            return int(rows[right])
        return int(rows[right - 1])

    def within(self, contig: str, position: int, distance: int) -> list[int]:
        """Rows of all genes with ``|position - TSS| <= distance``, in table order."""
        tree = self._trees.get(contig)
        if tree is None:
            return []
        found = tree.find_overlap(max(0, position - distance), position + distance + 1)
        return sorted(row for _, _, row in found)


def read_genes(path: str | Path) -> GeneTable:
    """Read a gene table; the format is told by its first line.

    Raises :class:`GeneTableError` with file and line if the file is missing, empty, malformed or
    has a gene id twice.
    """
    path = Path(path)
    if not path.is_file():
        raise GeneTableError(f"gene table not found: {path}", "check --genes")
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            rows = list(_rows(path, iter(handle)))
    except UnicodeDecodeError as error:
        raise GeneTableError(
            f"{path}: not a text file", "give a BED or geneanno CSV file, uncompressed"
        ) from error
    if not rows:
        raise GeneTableError(f"{path}: no gene in this table", "check --genes")
    _check_unique(path, rows)
    gene_id, symbol, contig, strand, tss, gene_type = zip(*(r[1] for r in rows), strict=True)
    return GeneTable(
        np.array(gene_id),
        np.array(symbol),
        np.array(contig),
        np.array(strand, np.int8),
        np.array(tss, np.int64),
        np.array(gene_type),
    )


_Row = tuple[str, str, str, int, int, str]


def _rows(path: Path, lines: Iterator[str]) -> Iterator[tuple[int, _Row]]:
    first = next(lines, "")
    if first.startswith("id,"):
        yield from _csv_rows(path, first, lines)
        return
    for number, line in enumerate(chain((first,), lines), 1):
        fields = line.rstrip("\r\n").split("\t")
        if not line.strip() or line.startswith(("#", "track", "browser")):
            continue
        with_location = f"{path}:{number}"
        if len(fields) == 5:
            contig, start, end, strand, gene = fields
        elif len(fields) >= 6:
            contig, start, end, gene, _, strand = fields[:6]
        else:
            raise GeneTableError(
                f"{with_location}: {len(fields)} tab-separated columns",
                "expected BED (chrom, start, end, strand, gene), BED6 or a geneanno CSV",
            )
        sign = _strand(strand, with_location)
        low, high = _integer(start, with_location), _integer(end, with_location)
        if not 0 <= low < high:
            raise GeneTableError(f"{with_location}: interval {start}-{end} is empty or negative")
        yield (
            number,
            (gene, "", contig, sign, high if sign < 0 or len(fields) == 5 else low + 1, ""),
        )


def _csv_rows(path: Path, header: str, lines: Iterator[str]) -> Iterator[tuple[int, _Row]]:
    names = next(csv.reader([header]))
    missing = [name for name in CSV_COLUMNS if name not in names]
    if missing:
        raise GeneTableError(
            f"{path}:1: no column {missing[0]!r}", f"a geneanno CSV has {', '.join(CSV_COLUMNS)}"
        )
    reader = csv.DictReader(lines, names)
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise GeneTableError(f"{path}:{reader.line_num + 2}: not CSV ({error})") from error
        if row is None:
            return
        number = reader.line_num + 1
        where = f"{path}:{number}"
        if any(row[name] is None for name in CSV_COLUMNS):
            raise GeneTableError(f"{where}: {len(names)} columns expected, fewer found")
        yield (
            number,
            (
                row["id"],
                row["symbol"],
                row["seqnames"],
                _strand(row["strand"], where),
                _tss(row["CAGE_representative_TSS"], where),
                row["type"],
            ),
        )


def _strand(text: str, where: str) -> int:
    if text not in STRANDS:
        raise GeneTableError(f"{where}: strand {text!r} is not + or -")
    return STRANDS[text]


def _integer(text: str, where: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise GeneTableError(f"{where}: {text!r} is not a position")
    return int(text)


def _tss(text: str, where: str) -> int:
    if (tss := _integer(text, where)) < 1:
        raise GeneTableError(f"{where}: TSS {tss} is not a 1-based position")
    return tss


def _check_unique(path: Path, rows: Sequence[tuple[int, _Row]]) -> None:
    seen: dict[str, int] = {}
    for number, (gene, *_) in rows:
        if not gene:
            raise GeneTableError(f"{path}:{number}: empty gene id")
        if gene in seen:
            raise GeneTableError(
                f"{path}:{number}: gene {gene!r} stands on line {seen[gene]} too",
                "gene ids must be unique",
            )
        seen[gene] = number
