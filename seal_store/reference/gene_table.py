"""Gene tables -> TSSs; the nearest TSS of a position; all genes within a distance.

A TSS is a 1-based position. These formats are read, plain or gzipped:

* BED as Seal's, 5 columns: chrom, start, end, strand, gene id;
* BED6: chrom, start, end, gene id, score, strand;
* geneanno CSV with a header: ``id, symbol, seqnames, strand, CAGE_representative_TSS, type``;
* GTF and GFF3, see :mod:`seal_store.reference.gtf`.

In a BED of 1 bp features the end coordinate is the TSS; a longer BED6 feature has its TSS at its
5' end.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TextIO, cast

import numpy as np
from ncls import NCLS

from seal_store.common.files import compression
from seal_store.errors import GeneTableError
from seal_store.reference.contigs import UNKNOWN, assembly_of_text, resolve_contig
from seal_store.reference.gtf import STRANDS, TSS_CHOICES, Row, is_annotation, read_rows

LONGEST = 256
"""Most characters of an id, symbol, contig or type."""

CSV_COLUMNS = ("id", "symbol", "seqnames", "strand", "CAGE_representative_TSS", "type")


@dataclass(frozen=True)
class GeneTable:
    """Genes in the order of their file, one row a gene.

    ``tss`` int64, 1-based; ``strand`` int8, +1 or -1; the others are arrays of str. ``assembly``
    is the one that the file's header names, or ``unknown``.
    """

    gene_id: np.ndarray
    symbol: np.ndarray
    contig: np.ndarray
    strand: np.ndarray
    tss: np.ndarray
    gene_type: np.ndarray
    assembly: str = field(default=UNKNOWN, kw_only=True)

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
        """This table's spelling of a contig, under any of its names; None if it has no gene."""
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


def read_genes(path: str | Path, *, tss: str = "gene", gene_types: Sequence[str] = ()) -> GeneTable:
    """Read a gene table; the format is told by its content.

    ``tss`` is one of :data:`seal_store.reference.gtf.TSS_CHOICES` and applies to GTF and GFF3. With
    ``gene_types`` only genes of these types are in the table. Raises :class:`GeneTableError` with
    file and line if the file is missing, empty, malformed or has a gene id twice.
    """
    path = Path(path)
    if not path.is_file():
        raise GeneTableError(f"gene table not found: {path}", "check --genes")
    if tss not in TSS_CHOICES:
        raise GeneTableError(f"--tss {tss!r}: not one of {', '.join(TSS_CHOICES)}")
    try:
        with _open(path) as handle:
            header, rows = _parse(path, handle, tss)
    except UnicodeDecodeError as error:
        raise GeneTableError(
            f"{path}: not a text file", "give BED, GTF, GFF3 or a geneanno CSV, plain or gzipped"
        ) from error
    except (EOFError, OSError, zlib.error) as error:
        raise GeneTableError(f"{path}: cannot be read ({error})", "copy it again") from error
    if not rows:
        raise GeneTableError(f"{path}: no gene in this table", "check --genes")
    if gene_types:
        rows = _of_types(path, rows, gene_types)
    _check(path, rows)
    gene_id, symbol, contig, strand, tsss, gene_type = zip(*(r[1] for r in rows), strict=True)
    return GeneTable(
        np.array(gene_id),
        np.array(symbol),
        np.array(contig),
        np.array(strand, np.int8),
        np.array(tsss, np.int64),
        np.array(gene_type),
        assembly=next((a for a in map(assembly_of_text, header) if a != UNKNOWN), UNKNOWN),
    )


def _open(path: Path) -> TextIO:
    with path.open("rb") as handle:
        compressed = compression(handle.read(18))
    opened = gzip.open if compressed else open
    return cast(TextIO, opened(path, "rt", encoding="utf-8-sig", newline=""))


def _parse(path: Path, lines: TextIO, tss: str) -> tuple[list[str], list[tuple[int, Row]]]:
    """The comments before the first gene, and all genes with their line numbers."""
    header: list[str] = []
    numbered = enumerate(lines, 1)
    for number, line in numbered:
        if line.startswith("id,"):
            return header, list(_csv_rows(path, line, lines, number))
        if line.startswith("#"):
            header.append(line)
        elif not _is_blank(line):
            rows = chain(((number, line),), numbered)
            if is_annotation(line.rstrip("\r\n").split("\t")):
                found = read_rows(path, rows, tss)
                if not found:
                    kind = "genes" if tss == "gene" else "transcripts"
                    raise GeneTableError(f"{path}: no {kind} in it", "try another --tss")
                return header, found
            if tss != "gene":
                raise GeneTableError(
                    f"{path}: --tss {tss} needs GTF or GFF3", "this table has one TSS a gene"
                )
            return header, list(_bed_rows(path, rows))
    return header, []


def _is_blank(line: str) -> bool:
    return not line.strip() or line.startswith(("#", "track", "browser"))


def _of_types(
    path: Path, rows: list[tuple[int, Row]], gene_types: Sequence[str]
) -> list[tuple[int, Row]]:
    present = Counter(row[5] for _, row in rows)
    if set(present) == {""}:
        raise GeneTableError(f"{path}: no types of genes in this table", "leave --gene-type out")
    for name in gene_types:
        if name not in present:
            common = ", ".join(name for name, _ in present.most_common(6) if name)
            raise GeneTableError(f"{path}: no gene of type {name!r}", f"it has {common} ...")
    return [row for row in rows if row[1][5] in gene_types]


def _bed_rows(path: Path, lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, Row]]:
    for number, line in lines:
        if _is_blank(line):
            continue
        where = f"{path}:{number}"
        fields = line.rstrip("\r\n").split("\t")
        if len(fields) == 5:
            contig, start, end, strand, gene = fields
        elif len(fields) >= 6:
            contig, start, end, gene, _, strand = fields[:6]
        elif len(fields) == 4:
            raise GeneTableError(
                f"{where}: BED with 4 columns has no strand, and the model needs it",
                "add score and strand (BED6: chrom, start, end, gene, score, strand)",
            )
        else:
            raise GeneTableError(
                f"{where}: {len(fields)} tab-separated columns",
                "expected BED6, Seal's BED (chrom, start, end, strand, gene), GTF, GFF3 or CSV",
            )
        sign = _strand(strand, where)
        low, high = _integer(start, where), _integer(end, where)
        if not 0 <= low < high:
            raise GeneTableError(f"{where}: interval {start}-{end} is empty or negative")
        tss = high if sign < 0 or len(fields) == 5 else low + 1
        yield number, (gene, "", contig, sign, tss, "")


def _csv_rows(
    path: Path, header: str, lines: Iterator[str], first: int
) -> Iterator[tuple[int, Row]]:
    try:
        names = next(csv.reader([header]))
    except csv.Error as error:
        raise GeneTableError(f"{path}:{first}: not CSV ({error})") from error
    missing = [name for name in CSV_COLUMNS if name not in names]
    if missing:
        raise GeneTableError(
            f"{path}:{first}: no column {missing[0]!r}",
            f"a geneanno CSV has {', '.join(CSV_COLUMNS)}",
        )
    reader = csv.DictReader(lines, names)
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise GeneTableError(
                f"{path}:{reader.line_num + first + 1}: not CSV ({error})"
            ) from error
        if row is None:
            return
        number = reader.line_num + first
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


def _check(path: Path, rows: Sequence[tuple[int, Row]]) -> None:
    seen: dict[str, int] = {}
    for number, (gene, symbol, contig, _, _, kind) in rows:
        for what, text in (("id", gene), ("symbol", symbol), ("contig", contig), ("type", kind)):
            if len(text) > LONGEST:
                raise GeneTableError(
                    f"{path}:{number}: a gene's {what} of {len(text):,} characters",
                    f"{LONGEST} is the most",
                )
            if not text.isprintable():
                raise GeneTableError(
                    f"{path}:{number}: a gene's {what} has a control or invisible character"
                )
        if not gene:
            raise GeneTableError(f"{path}:{number}: empty gene id")
        if gene in seen:
            raise GeneTableError(
                f"{path}:{number}: gene {gene!r} stands on line {seen[gene]} too",
                "gene ids must be unique",
            )
        seen[gene] = number
